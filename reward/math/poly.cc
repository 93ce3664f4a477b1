#include "reward/math/poly.h"

#include <limits>
#include <numeric>

#include "reward/math/budget.h"

namespace cohort::math {
namespace {
constexpr int64_t kMaxExponent = 1 << 20;
}

const Poly& Poly::one() {
  static const Poly p{{Term{{}, 1}}};
  return p;
}

Exponent make_exponent(int64_t num, int64_t den) {
  const int64_t g = std::gcd(num, den);
  if (g > 1) num /= g, den /= g;
  if (num > kMaxExponent || num < -kMaxExponent || den > kMaxExponent)
    throw Beyond("an exponent is too large");
  return {static_cast<int32_t>(num), static_cast<int32_t>(den)};
}

Exponent to_exponent(const mpq_class& q) {
  if (!q.get_num().fits_sint_p() || !q.get_den().fits_sint_p()) throw Beyond("an exponent is too large");
  return make_exponent(q.get_num().get_si(), q.get_den().get_si());
}

Exponent operator+(Exponent a, Exponent b) {
  return make_exponent(int64_t{a.num} * b.den + int64_t{b.num} * a.den, int64_t{a.den} * b.den);
}

Exponent operator*(Exponent a, Exponent b) {
  return make_exponent(int64_t{a.num} * b.num, int64_t{a.den} * b.den);
}

int32_t floor(Exponent e) {
  return e.num >= 0 ? e.num / e.den : -((-e.num + e.den - 1) / e.den);
}

}  // namespace cohort::math
