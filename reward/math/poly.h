// Exact values as sparse polynomials with rational coefficients in "generators": variables, pi, e, i, roots of
// primes, exp(…), log(…) and other functions of values already built. What is known of a generator is used
// as a rewriting rule when terms are multiplied (i*i = -1, sqrt(2)*sqrt(2) = 2), so every step is an identity
// and two values whose difference cancels to nothing are equal. The converse is never assumed: see zero.h.
#pragma once

#include <gmpxx.h>

#include <compare>
#include <cstdint>
#include <vector>

namespace cohort::math {

// num/den in lowest terms, den >= 1.
struct Exponent {
  int32_t num = 0;
  int32_t den = 1;
  auto operator<=>(const Exponent&) const = default;
  bool is_integer() const { return den == 1; }
  bool is_zero() const { return num == 0; }
};
// These throw Beyond when the result does not fit.
Exponent make_exponent(int64_t num, int64_t den);
Exponent to_exponent(const mpq_class& q);
Exponent operator+(Exponent a, Exponent b);
Exponent operator*(Exponent a, Exponent b);
inline Exponent operator-(Exponent a) {
  return {-a.num, a.den};
}
int32_t floor(Exponent e);

// Of numerator and denominator together.
inline size_t bits(const mpq_class& q) {
  return mpz_sizeinbase(q.get_num_mpz_t(), 2) + mpz_sizeinbase(q.get_den_mpz_t(), 2);
}

struct Factor {
  uint32_t generator = 0;
  Exponent exponent;
  auto operator<=>(const Factor&) const = default;
};
using Monomial = std::vector<Factor>;  // by generator, no exponent zero

struct Term {
  Monomial monomial;
  mpq_class coefficient;
  bool operator==(const Term& o) const { return monomial == o.monomial && coefficient == o.coefficient; }
};

struct Poly {
  std::vector<Term> terms;  // by monomial, no coefficient zero

  static const Poly& one();
  bool is_zero() const { return terms.empty(); }
  bool operator==(const Poly& o) const { return terms == o.terms; }
  // Without generators.
  bool is_rational() const { return terms.empty() || (terms.size() == 1 && terms[0].monomial.empty()); }
  mpq_class rational() const { return terms.empty() ? mpq_class(0) : terms[0].coefficient; }
  bool is_one() const { return is_rational() && rational() == 1; }
};

// num/den, den certainly not zero. A den of one term is divided out.
struct Ratio {
  Poly num, den;
  bool is_rational() const { return num.is_rational() && den.is_one(); }
};

}  // namespace cohort::math
