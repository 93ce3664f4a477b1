// What bounds a check: operand sizes and counted steps, never a clock. The same input takes the same steps on
// every machine, so it always gets the same verdict.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace cohort::math {

// The value exists but cannot be read, decided or afforded here: the verdict is unknown.
class Beyond : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr size_t kMaxText = 4000;        // bytes of one answer
inline constexpr size_t kMaxDigits = 10000;     // of one literal
inline constexpr size_t kMaxBits = 1 << 18;     // of one numerator or denominator
inline constexpr size_t kMaxTerms = 600;        // of one polynomial
inline constexpr size_t kMaxGenerators = 200;   // radicals, constants, variables … of one comparison
inline constexpr long kMaxBoundBits = 1 << 15;  // precision spent on one separation bound
inline constexpr long kMaxBallBits = 1 << 12;   // precision spent on telling two constants apart

// One step is about 0.1 microseconds of work.
class Budget {
 public:
  explicit Budget(int64_t steps) : left_(steps) {}
  void spend(int64_t steps) {
    left_ -= steps;
    if (left_ < 0) throw Beyond("the step budget is spent");
  }
  bool try_spend(int64_t steps) { return (left_ -= steps) >= 0; }
  bool spent() const { return left_ < 0; }

 private:
  int64_t left_;
};

}  // namespace cohort::math
