#include "actors/exposition.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

std::string escaped(const std::string& text, bool quote) {
  std::string out;
  for (char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quote)
      out += "\\\"";
    else
      out += c;
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace

void Histogram::observe(double value) {
  if (std::isnan(value)) return;
  sum_ += value;
  ++counts_[static_cast<size_t>(std::lower_bound(kBounds.begin(), kBounds.end(), value) - kBounds.begin())];
}

uint64_t Histogram::cumulative(size_t i) const {
  uint64_t total = 0;
  for (size_t k = 0; k <= std::min(i, kBounds.size()); ++k) total += counts_[k];
  return total;
}

void Exposition::family(const std::string& name, const char* type, const std::string& help) {
  name_ = name;
  text_ += "# HELP " + name + " " + escaped(help, false) + "\n# TYPE " + name + " " + type + "\n";
}

void Exposition::line(const std::string& suffix, const Labels& labels, double value) {
  text_ += name_ + suffix;
  const char* before = "{";
  for (const auto& [key, text] : labels) {
    text_ += before + key + "=\"" + escaped(text, true) + "\"";
    before = ",";
  }
  text_ += (labels.empty() ? " " : "} ") + number(value) + "\n";
}

void Exposition::sample(double value, const Labels& labels) {
  line("", labels, value);
}

void Exposition::histogram(const Histogram& values, const Labels& labels) {
  Labels with_bound = labels;
  with_bound.emplace_back("le", "");
  for (size_t i = 0; i <= Histogram::kBounds.size(); ++i) {
    with_bound.back().second = i < Histogram::kBounds.size() ? number(Histogram::kBounds[i]) : "+Inf";
    line("_bucket", with_bound, static_cast<double>(values.cumulative(i)));
  }
  line("_sum", labels, values.sum());
  line("_count", labels, static_cast<double>(values.count()));
}

void Exposition::one(const std::string& name, const char* type, const std::string& help, double value) {
  family(name, type, help);
  sample(value);
}

}  // namespace cohort
