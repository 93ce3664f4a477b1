// Line charts as inline SVG, without scripts, readable in light and dark.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace cohort {

struct ChartPoint {
  double x = 0, y = 0;
  std::optional<double> low, high;  // an interval, drawn as a band
};

struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;  // by x; points that are not finite are left out
};

struct Chart {
  std::string title, note;  // note: one line below the title, may be ""
  std::string x_label = "step";
  std::vector<ChartSeries> series;
  bool from_zero = false;  // the y axis includes 0
  bool percent = false;    // y values are shares, shown in percent
};

// A <figure>; "" when no series has a point.
std::string chart_figure(const Chart& chart);

// &, <, > and " written so that they are text in HTML.
std::string html_text(const std::string& text);

}  // namespace cohort
