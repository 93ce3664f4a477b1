// exp, log, circular functions, factorials.
#include <algorithm>

#include "reward/math/field.h"

namespace cohort::math {

using K = GeneratorKind;

namespace {
constexpr unsigned long kLargestFactorial = 20000;
}

Ratio Field::exp(const Ratio& a) {
  if (a.num.is_zero()) return number(1);
  if (!a.den.is_one()) return as_ratio(single(of_value(K::exponential, a), {1, 1}));
  Ratio out = number(1);
  for (const Term& t : a.num.terms) {
    const Monomial& m = t.monomial;
    auto kind = [&](size_t i) { return generators_[m[i].generator]->kind; };
    auto plain = [&](size_t i) { return m[i].exponent == Exponent{1, 1}; };
    if (m.empty()) {
      out = multiply(out, as_ratio(single(fixed(K::euler), to_exponent(t.coefficient))));
      continue;
    }
    if (m.size() == 2 && plain(0) && plain(1)) {
      const bool circle =
          (kind(0) == K::imaginary && kind(1) == K::pi) || (kind(0) == K::pi && kind(1) == K::imaginary);
      if (circle) {
        const Ratio c = cos_pi(t.coefficient), s = cos_pi(mpq_class(1, 2) - t.coefficient);
        out = multiply(out, add(c, multiply(imaginary(), s)));
        continue;
      }
    }
    if (m.size() == 1 && plain(0) && kind(0) == K::log_prime) {
      const mpz_class n = generators_[m[0].generator]->n;
      out = multiply(out, power(number(n), number(t.coefficient)));
      continue;
    }
    if (m.size() == 1 && plain(0) && kind(0) == K::logarithm && t.coefficient.get_den() == 1) {
      const Generator& g = *generators_[m[0].generator];
      out = multiply(out, whole_power(Ratio{g.arg, g.arg_den}, t.coefficient.get_num()));
      continue;
    }
    const uint32_t id = of_value(K::exponential, as_ratio(Poly{{Term{m, 1}}}));
    // of_value may have found an equal argument; the exponent counts from that one
    out = multiply(out, as_ratio(single(id, to_exponent(t.coefficient))));
  }
  return out;
}

Ratio Field::log_of_rational(const mpq_class& q) {
  Ratio out = number(0);
  for (bool below : {false, true}) {
    mpz_class n = below ? q.get_den() : q.get_num();
    if (mpz_sizeinbase(n.get_mpz_t(), 2) > 20000)
      throw Beyond("a number is too large to take a logarithm of");
    for (unsigned long p = 2; p <= 2000 && n != 1; p += p == 2 ? 1 : 2) {
      if (n < p * p) break;
      unsigned long e = 0;
      budget_.spend(1 + static_cast<int64_t>(mpz_sizeinbase(n.get_mpz_t(), 2) / 512));
      for (; mpz_divisible_ui_p(n.get_mpz_t(), p); ++e) mpz_divexact_ui(n.get_mpz_t(), n.get_mpz_t(), p);
      budget_.spend(static_cast<int64_t>(e));
      if (e > 0)
        out = add(out, as_ratio(single(of_number(K::log_prime, p), {1, 1},
                                       below ? mpq_class(-static_cast<long>(e)) : mpq_class(e))));
    }
    if (n != 1) out = add(out, as_ratio(single(of_number(K::log_prime, n), {1, 1}, below ? -1 : 1)));
  }
  return out;
}

Ratio Field::log_of_poly(const Poly& a) {
  if (a.terms.size() > 1) {
    mpq_class content;
    Poly p = primitive(a, content);
    Ratio turn = number(0);
    if (is_constant(p)) {
      const std::optional<int> s = sign(as_ratio(p));
      if (s == -1) {
        p = negate(std::move(p));
        turn = multiply(imaginary(), pi());
      }
    }
    return add(add(turn, log_of_rational(content)),
               as_ratio(single(of_value(K::logarithm, as_ratio(p)), {1, 1})));
  }
  const Term& t = a.terms[0];
  Ratio out = log_of_rational(abs(t.coefficient));
  Term rest{{}, t.coefficient < 0 ? -1 : 1};
  for (const Factor& f : t.monomial) {
    const Generator& g = *generators_[f.generator];
    const mpq_class e(f.exponent.num, f.exponent.den);
    const Ratio own = as_ratio(single(f.generator, {1, 1}));
    auto times = [&](const Ratio& x) { out = add(out, multiply(number(e), x)); };
    if (g.kind == K::prime)
      times(as_ratio(single(of_number(K::log_prime, g.n), {1, 1})));
    else if (g.kind == K::euler)
      times(number(1));
    else if (g.kind == K::exponential && surely_positive(f.generator))
      times(Ratio{g.arg, g.arg_den});
    else if (g.kind == K::root && surely_positive(f.generator))
      times(log_of_poly(Poly(g.arg)));
    else if (g.kind == K::imaginary && rest.coefficient == 1 && t.monomial.size() == 1)
      times(multiply(number(mpq_class(1, 2)), multiply(imaginary(), pi())));
    else if (surely_positive(f.generator) || g.kind == K::variable)
      times(as_ratio(single(of_value(K::logarithm, own), {1, 1})));
    else
      rest.monomial.push_back(f);
  }
  if (rest.monomial.empty() && rest.coefficient == 1) return out;
  if (rest.monomial.empty() && is_constant(a)) return add(out, multiply(imaginary(), pi()));
  if (rest.coefficient == -1 && rest.monomial.empty()) {
    // ln(-x) of a function: kept whole, its sign is not known
    return as_ratio(single(of_value(K::logarithm, as_ratio(a)), {1, 1}));
  }
  return as_ratio(single(of_value(K::logarithm, as_ratio(a)), {1, 1}));
}

Ratio Field::log(const Ratio& a) {
  if (a.num.is_zero() || is_zero(a.num) != Truth::no) throw Beyond("the logarithm of zero");
  need(a);
  if (a.den.is_one()) return log_of_poly(a.num);
  if (is_constant(a)) {
    const std::optional<int> below = sign(as_ratio(a.den)), above = sign(as_ratio(a.num));
    if (!below || !above) throw Beyond("the logarithm of a complex quotient");
    if (*below < 0) return subtract(log_of_poly(negate(a.num)), log_of_poly(negate(a.den)));
  }
  return subtract(log_of_poly(a.num), log_of_poly(a.den));
}

// Values at the angles that have short closed forms; the others are generators.
Ratio Field::cos_pi(const mpq_class& angle) {
  mpz_class turns;
  const mpq_class half = angle / 2;
  mpz_fdiv_q(turns.get_mpz_t(), half.get_num_mpz_t(), half.get_den_mpz_t());
  mpq_class q = angle - 2 * turns;  // [0, 2)
  if (q > 1) q = 2 - q;
  if (q > mpq_class(1, 2)) return negate(cos_pi(1 - q));
  if (q == mpq_class(1, 2)) return number(0);
  if (q == 0) return number(1);
  auto whole = [&](long n) { return number(n); };
  auto over = [&](const Ratio& r, long n) { return multiply(r, number(mpq_class(1, n))); };
  auto root_of = [&](long n) { return root(number(n), 2); };
  const unsigned long den = q.get_den().fits_ulong_p() ? q.get_den().get_ui() : 0;
  const unsigned long num = q.get_num().fits_ulong_p() ? q.get_num().get_ui() : 0;
  switch (den) {
    case 3:
      return number(mpq_class(1, 2));
    case 4:
      return over(root_of(2), 2);
    case 5:
      return over(add(root_of(5), whole(num == 1 ? 1 : -1)), 4);
    case 6:
      return over(root_of(3), 2);
    case 8:
      return over(root(add(whole(2), num == 1 ? root_of(2) : negate(root_of(2))), 2), 2);
    case 10:
      return over(root(add(whole(10), multiply(whole(num == 1 ? 2 : -2), root_of(5))), 2), 4);
    case 12:
      return over(add(root_of(6), num == 1 ? root_of(2) : negate(root_of(2))), 4);
    default:
      break;
  }
  if (den == 0 || den > 100000) throw Beyond("an angle of too large a denominator");
  for (uint32_t i = 0; i < generators_.size(); ++i)
    if (generators_[i]->kind == K::cosine_pi && generators_[i]->q == q) return as_ratio(single(i, {1, 1}));
  Generator g{.kind = K::cosine_pi, .q = q};
  g.algebraic = true;
  return as_ratio(single(add_generator(std::move(g)), {1, 1}));
}

// All circular functions are written with exp(i*x): every addition theorem is then an identity of powers.
Ratio Field::cos(const Ratio& a) {
  const Ratio x = multiply(imaginary(), a);
  return multiply(number(mpq_class(1, 2)), add(exp(x), exp(negate(x))));
}
Ratio Field::sin(const Ratio& a) {
  const Ratio x = multiply(imaginary(), a);
  return multiply(divide(number(mpq_class(-1, 2)), number(1)),
                  multiply(imaginary(), subtract(exp(x), exp(negate(x)))));
}

// The rational multiple of pi that arctan or arcsin of a constant is, when it is one: guessed from an
// enclosure, then proved by the function itself.
std::optional<mpq_class> Field::guess_angle(GeneratorKind kind, const Ratio& a) {
  if (!is_constant(a) || is_real(a) != Truth::yes) return {};
  Ball x = enclose(a, 128), turn;
  budget_.spend(100);
  if (!acb_is_finite(x.get())) return {};
  if (kind == K::arctangent)
    arb_atan(turn.real(), x.real(), 128);
  else
    arb_asin(turn.real(), x.real(), 128);
  Ball p;
  arb_const_pi(p.real(), 128);
  arb_div(turn.real(), turn.real(), p.real(), 128);
  if (!arb_is_finite(turn.real())) return {};
  for (long den : {1, 2, 3, 4, 5, 6, 8, 10, 12, 24, 7, 9, 15, 16, 18, 20, 30, 36, 60, 180}) {
    Ball scaled;
    arb_mul_si(scaled.real(), turn.real(), den, 128);
    fmpz_t n;
    fmpz_init(n);
    const bool whole = arb_get_unique_fmpz(n, scaled.real()) != 0;
    const long num = whole && fmpz_fits_si(n) ? fmpz_get_si(n) : 0;
    fmpz_clear(n);
    if (!whole) continue;
    const mpq_class raw(num, den);
    mpq_class angle = raw;
    angle.canonicalize();
    if (abs(angle) > mpq_class(1, 2) || (kind == K::arctangent && abs(angle) == mpq_class(1, 2))) continue;
    const Ratio s = cos_pi(mpq_class(1, 2) - angle);
    const Ratio back = kind == K::arctangent ? divide(s, cos_pi(angle)) : s;
    if (equal(back, a) == Truth::yes) return angle;
    return {};
  }
  return {};
}

Ratio Field::inverse_circular(GeneratorKind kind, const Ratio& a) {
  if (a.num.is_zero()) return a;
  if (const std::optional<mpq_class> angle = guess_angle(kind, a)) return multiply(number(*angle), pi());
  // both are odd: one of a and -a is the generator
  if (a.num.terms[0].coefficient < 0) return negate(inverse_circular(kind, negate(a)));
  return as_ratio(single(of_value(kind, a), {1, 1}));
}
Ratio Field::arctan(const Ratio& a) {
  return inverse_circular(K::arctangent, a);
}
Ratio Field::arcsin(const Ratio& a) {
  if (!is_constant(a)) need(subtract(number(1), multiply(a, a)));
  return inverse_circular(K::arcsine, a);
}

Ratio Field::factorial(const Ratio& a) {
  if (a.is_rational()) {
    const mpq_class q = a.num.rational();
    if (q.get_den() != 1 || q < 0) throw Beyond("a factorial of what is not a whole number");
    if (q > kLargestFactorial) throw Beyond("a factorial is too large");
    const unsigned long n = q.get_num().get_ui();
    budget_.spend(1 + static_cast<int64_t>(n * n / 2000));
    mpz_class out;
    mpz_fac_ui(out.get_mpz_t(), n);
    return number(out);
  }
  if (is_constant(a)) throw Beyond("a factorial of what is not a whole number");
  if (!a.den.is_one()) throw Beyond("a factorial of a quotient");
  // (n+k)! = n! (n+1) … (n+k)
  mpq_class shift = 0;
  for (const Term& t : a.num.terms)
    if (t.monomial.empty()) shift = t.coefficient;
  mpz_class whole;
  mpz_fdiv_q(whole.get_mpz_t(), shift.get_num_mpz_t(), shift.get_den_mpz_t());
  if (abs(whole) > 30) throw Beyond("a factorial far from its variable");
  const Ratio base = subtract(a, number(whole));
  Ratio out = as_ratio(single(of_value(K::factorial, base), {1, 1}));
  for (long k = 1; k <= whole.get_si(); ++k) out = multiply(out, add(base, number(k)));
  for (long k = 0; k > whole.get_si(); --k) out = divide(out, add(base, number(k)));
  return out;
}

Ratio Field::binomial(const Ratio& n, const Ratio& k) {
  if (n.is_rational() && k.is_rational()) {
    const mpq_class a = n.num.rational(), b = k.num.rational();
    if (a.get_den() != 1 || b.get_den() != 1 || a < 0 || b < 0)
      throw Beyond("a binomial coefficient of what are not whole numbers");
    if (b > a) return number(0);
    const mpz_class small = b < a - b ? b.get_num() : mpz_class(a.get_num() - b.get_num());
    if (small > 4000 || mpz_sizeinbase(a.get_num_mpz_t(), 2) * small.get_ui() > kMaxBits)
      throw Beyond("a binomial coefficient is too large");
    budget_.spend(1 + static_cast<int64_t>(small.get_ui() * (1 + small.get_ui() / 200)));
    mpz_class out;
    mpz_bin_ui(out.get_mpz_t(), a.get_num_mpz_t(), small.get_ui());
    return number(out);
  }
  if (k.is_rational()) {
    const mpq_class b = k.num.rational();
    if (b.get_den() != 1 || b < 0 || b > 12) throw Beyond("a binomial coefficient is too large");
    Ratio out = number(1);
    for (long i = 0; i < b.get_num().get_si(); ++i)
      out = multiply(out, multiply(number(mpq_class(1, i + 1)), subtract(n, number(i))));
    return out;
  }
  return divide(factorial(n), multiply(factorial(k), factorial(subtract(n, k))));
}

Ratio Field::floor(const Ratio& a) {
  if (a.is_rational()) {
    const mpq_class q = a.num.rational();
    mpz_class out;
    mpz_fdiv_q(out.get_mpz_t(), q.get_num_mpz_t(), q.get_den_mpz_t());
    return number(out);
  }
  if (!is_constant(a)) return as_ratio(single(of_value(K::floor, a), {1, 1}));
  if (is_real(a) != Truth::yes) throw Beyond("the floor of what may not be real");
  for (long precision = 64; precision <= 1024; precision *= 4) {
    Ball x = enclose(a, precision);
    if (!acb_is_finite(x.get())) break;
    arb_floor(x.real(), x.real(), precision);
    fmpz_t n;
    fmpz_init(n);
    mpz_class out;
    const bool whole = arb_get_unique_fmpz(n, x.real()) != 0 && fmpz_bits(n) < kMaxBits;
    if (whole) fmpz_get_mpz(out.get_mpz_t(), n);
    fmpz_clear(n);
    if (whole) return number(out);
  }
  throw Beyond("the floor of what may be a whole number");
}

}  // namespace cohort::math
