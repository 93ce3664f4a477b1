// Exact real numbers for answers: finite sums q·√n with rational q and squarefree whole n >= 1. The square
// roots of different squarefree numbers are linearly independent over the rationals, so equality is decided
// by comparing terms and never by closeness. All work is bounded by the sizes below, not by a clock: the same
// input always ends the same way.
#pragma once

#include <gmpxx.h>

#include <map>
#include <optional>
#include <stdexcept>

namespace cohort::math {

// The value exists but is outside what this arithmetic covers (too large, no closed form here): the verdict
// is unknown.
class Beyond : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr size_t kMaxBits = 1 << 16;
inline constexpr size_t kMaxTerms = 16;

class Exact {
 public:
  Exact() = default;  // zero
  explicit Exact(const mpq_class& rational);

  bool is_zero() const { return terms_.empty(); }
  // The value when it is rational.
  std::optional<mpq_class> rational() const;

  Exact operator-() const;
  Exact operator+(const Exact& other) const;
  Exact operator-(const Exact& other) const { return *this + -other; }
  Exact operator*(const Exact& other) const;
  // Throws Beyond for division by zero and for a divisor of more than two terms.
  Exact operator/(const Exact& other) const;
  bool operator==(const Exact& other) const { return terms_ == other.terms_; }

  Exact power(const mpz_class& exponent) const;
  // The non-negative square root. Throws Beyond when negative, irrational itself, or not factored within
  // bounds.
  Exact sqrt() const;
  // The real `degree`-th root when it is rational. Throws Beyond otherwise.
  Exact root(unsigned long degree) const;

  // lo <= value <= hi with hi - lo far below 10^-decimals.
  struct Interval {
    mpq_class lo, hi;
  };
  Interval enclose(long decimals) const;

  std::string text() const;

 private:
  void check_size() const;
  std::map<mpz_class, mpq_class> terms_;  // squarefree n -> q, q != 0
};

}  // namespace cohort::math
