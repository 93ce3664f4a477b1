// Numbers as Prometheus reads them (text format 0.0.4): families with their help and type, samples with labels, and
// histograms over buckets that suit grading, which takes from a millisecond to many minutes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cohort {

class Histogram {
 public:
  static constexpr std::array<double, 18> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                     1,     2.5,    5,     10,   30,    60,   120, 300,  600};
  void observe(double value);
  // Observations up to kBounds[i], cumulative; the last is all of them.
  uint64_t cumulative(size_t i) const;
  uint64_t count() const { return cumulative(kBounds.size()); }
  double sum() const { return sum_; }

 private:
  std::array<uint64_t, kBounds.size() + 1> counts_{};
  double sum_ = 0;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

class Exposition {
 public:
  // Begins a family: every sample until the next one is of it. `type`: gauge, counter or histogram.
  void family(const std::string& name, const char* type, const std::string& help);
  void sample(double value, const Labels& labels = {});
  void histogram(const Histogram& values, const Labels& labels = {});
  // A family of one sample without labels.
  void one(const std::string& name, const char* type, const std::string& help, double value);
  const std::string& text() const { return text_; }

 private:
  void line(const std::string& suffix, const Labels& labels, double value);
  std::string name_, text_;
};

}  // namespace cohort
