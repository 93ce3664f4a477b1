#include "launch/report/chart.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace cohort {
namespace {

constexpr double kWidth = 560, kHeight = 240, kLeft = 56, kRight = 12, kTop = 10, kBottom = 34;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void take(double v) { low = std::min(low, v), high = std::max(high, v); }
};

// 1, 2 or 5 times a power of ten, so that about `count` steps fill the range.
double tick_step(double range, int count) {
  const double raw = range / count, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (double m : {1.0, 2.0, 5.0})
    if (raw <= m * power) return m * power;
  return 10 * power;
}

std::string number(double v, bool percent) {
  if (percent) return fmt::format("{:.4g}%", v * 100);
  if (v != 0 && std::abs(v) < 1e-4) return fmt::format("{:.3g}", v);
  if (std::abs(v) >= 1e6) return fmt::format("{:.4g}M", v / 1e6);
  if (std::abs(v) >= 1e4) return fmt::format("{:.4g}k", v / 1e3);
  return fmt::format("{:.4g}", v);
}

bool finite(const ChartPoint& p) {
  return std::isfinite(p.x) && std::isfinite(p.y);
}

}  // namespace

std::string html_text(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string chart_figure(const Chart& chart) {
  Range x, y;
  for (const ChartSeries& s : chart.series)
    for (const ChartPoint& p : s.points) {
      if (!finite(p)) continue;
      x.take(p.x), y.take(p.y);
      if (p.low) y.take(*p.low);
      if (p.high) y.take(*p.high);
    }
  if (x.low > x.high) return "";
  if (chart.from_zero) y.take(0);
  if (x.high - x.low < 1e-12) x.low -= 0.5, x.high += 0.5;
  if (y.high - y.low < 1e-12 * std::max(1.0, std::abs(y.high))) {
    const double pad = y.high == 0 ? 1 : std::abs(y.high) * 0.1;
    if (!chart.from_zero || y.low != 0) y.low -= pad;
    y.high += pad;
  }
  const double step_y = tick_step(y.high - y.low, 4), step_x = std::max(tick_step(x.high - x.low, 6), 1e-9);
  y.low = std::floor(y.low / step_y + 1e-9) * step_y, y.high = std::ceil(y.high / step_y - 1e-9) * step_y;
  auto at_x = [&](double v) { return kLeft + (v - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight); };
  auto at_y = [&](double v) {
    return kHeight - kBottom - (v - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom);
  };

  std::string svg;
  for (int i = 0; y.low + i * step_y <= y.high + step_y * 1e-6; ++i) {
    const double v = std::abs(y.low + i * step_y) < step_y * 1e-9 ? 0 : y.low + i * step_y;
    svg += fmt::format(
        "<line class=grid x1={0:.1f} x2={1:.1f} y1={2:.1f} y2={2:.1f} /><text x={3:.1f} y={4:.1f} "
        "text-anchor=end>{5}</text>",
        kLeft, kWidth - kRight, at_y(v), kLeft - 6, at_y(v) + 4, number(v, chart.percent));
  }
  for (double v = std::ceil(x.low / step_x - 1e-9) * step_x; v <= x.high + step_x * 1e-6; v += step_x)
    svg += fmt::format("<text x={:.1f} y={:.1f} text-anchor=middle>{}</text>", at_x(v),
                       kHeight - kBottom + 16, number(std::abs(v) < step_x * 1e-9 ? 0 : v, false));
  svg += fmt::format("<text x={:.1f} y={:.1f} text-anchor=middle>{}</text>", (kLeft + kWidth - kRight) / 2,
                     kHeight - 4, html_text(chart.x_label));
  std::string legend;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const ChartSeries& s = chart.series[i];
    const size_t colour = i % 6;
    std::string line, upper, lower, dots;
    size_t shown = 0;
    for (const ChartPoint& p : s.points) {
      if (!finite(p)) continue;
      ++shown;
      line += fmt::format("{:.1f},{:.1f} ", at_x(p.x), at_y(p.y));
      if (p.low && p.high) {
        upper += fmt::format("{:.1f},{:.1f} ", at_x(p.x), at_y(*p.high));
        lower = fmt::format("{:.1f},{:.1f} ", at_x(p.x), at_y(*p.low)) + lower;
      }
    }
    if (shown == 0) continue;
    if (shown <= 200)
      for (const ChartPoint& p : s.points)
        if (finite(p))
          dots += fmt::format(
              "<circle class=s{} cx={:.1f} cy={:.1f} r=2.5><title>{} {}: {}{}</title></circle>", colour,
              at_x(p.x), at_y(p.y), html_text(chart.x_label), number(p.x, false), number(p.y, chart.percent),
              p.low && p.high
                  ? fmt::format(" ({} to {})", number(*p.low, chart.percent), number(*p.high, chart.percent))
                  : "");
    if (!upper.empty())
      svg += fmt::format("<polygon class=\"s{} band\" points=\"{}{}\" />", colour, upper, lower);
    svg += fmt::format("<polyline class=s{} points=\"{}\" />{}", colour, line, dots);
    legend += fmt::format("<span class=s{}>{}</span> ", colour, html_text(s.name));
  }
  return fmt::format(
      "<figure><figcaption><b>{}</b>{}<br>{}</figcaption><svg viewBox=\"0 0 {} {}\" role=img "
      "aria-label=\"{}\">{}</svg></figure>\n",
      html_text(chart.title), chart.note.empty() ? "" : " <small>" + html_text(chart.note) + "</small>",
      legend, kWidth, kHeight, html_text(chart.title), svg);
}

}  // namespace cohort
