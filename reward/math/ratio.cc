// Arithmetic of values: quotients of polynomials in generators.
#include "reward/math/field.h"

#include <algorithm>

namespace cohort::math {

using K = GeneratorKind;

Ratio Field::add(const Ratio& a, const Ratio& b) {
  if (a.den == b.den) {
    Poly num = add(a.num, b.num);
    if (num.is_zero()) return as_ratio({});
    return {std::move(num), a.den};
  }
  return divide(as_ratio(add(multiply(a.num, b.den), multiply(b.num, a.den))),
                as_ratio(multiply(a.den, b.den)));
}
Ratio Field::negate(Ratio a) const {
  a.num = negate(std::move(a.num));
  return a;
}
Ratio Field::subtract(const Ratio& a, const Ratio& b) {
  return add(a, negate(b));
}
Ratio Field::multiply(const Ratio& a, const Ratio& b) {
  if (a.den.is_one() && b.den.is_one()) return as_ratio(multiply(a.num, b.num));
  if (a.num == b.den) return {b.num, a.den};
  if (b.num == a.den) return {a.num, b.den};
  return divide(as_ratio(multiply(a.num, b.num)), as_ratio(multiply(a.den, b.den)));
}

bool Field::surely_nonzero(const Term& t) const {
  for (const Factor& f : t.monomial) switch (generators_[f.generator]->kind) {
      case K::logarithm:
      case K::arctangent:
      case K::arcsine:
      case K::floor:
        return false;
      default:
        break;
    }
  return true;
}

// 1/a for a term, as a term over what its roots leave below.
Ratio Field::invert(const Poly& a) {
  const Term& t = a.terms[0];
  mpq_class coefficient = 1 / t.coefficient;
  Monomial monomial;
  Poly num = Poly::one(), den = Poly::one();
  std::optional<Poly> factor;
  for (const Factor& f : t.monomial) {
    const Generator& g = *generators_[f.generator];
    if (g.kind == K::root) {  // r^-e = r^(1-e)/arg
      monomial.push_back({f.generator, Exponent{1, 1} + -f.exponent});
      den = multiply(den, g.arg);
    } else if (g.kind == K::absolute && g.squares) {
      monomial.push_back({f.generator, Exponent{2, 1} + -f.exponent});
      den = multiply(den, power(g.arg, 2));
    } else {
      settle(f.generator, -f.exponent, monomial, coefficient, factor);
    }
  }
  num.terms[0] = {std::move(monomial), coefficient};
  if (den.is_one()) return as_ratio(num);
  return divide(as_ratio(num), as_ratio(den));
}

Ratio Field::divide(const Ratio& a, const Ratio& b) {
  if (b.num.is_zero()) throw Beyond("a division by zero");
  if (!b.den.is_one()) return divide(multiply(a, as_ratio(b.den)), as_ratio(b.num));
  if (b.num.is_rational()) return {scale(a.num, 1 / b.num.rational()), a.den};
  if ((b.num.terms.size() > 1 || !surely_nonzero(b.num.terms[0])) && is_zero(b.num) != Truth::no)
    throw Beyond("a divisor that may be zero");
  need(as_ratio(b.num), Need::not_zero);
  if (b.num.terms.size() == 1) return multiply(a, invert(b.num));
  mpq_class content;
  Poly den = primitive(b.num, content);
  Poly num = scale(a.num, 1 / content);
  if (!a.den.is_one()) den = multiply(den, a.den);
  if (num.is_zero()) return as_ratio({});
  if (num.terms.size() == den.terms.size()) {  // a multiple of the divisor
    const mpq_class q = num.terms[0].coefficient / den.terms[0].coefficient;
    if (num == scale(den, q)) return number(q);
  }
  return {std::move(num), std::move(den)};
}

Ratio Field::whole_power(const Ratio& base, const mpz_class& n) {
  if (n == 0) {
    if (is_zero(base.num) != Truth::no) throw Beyond("zero to the power of zero");
    return number(1);
  }
  if (!n.fits_slong_p()) {
    if (base.is_rational() && abs(base.num.rational()) == 1)
      return number(mpz_odd_p(n.get_mpz_t()) ? base.num.rational() : mpq_class(1));
    throw Beyond("an exponent is too large");
  }
  const long k = n.get_si();
  const unsigned long m = k < 0 ? -static_cast<unsigned long>(k) : static_cast<unsigned long>(k);
  if (k < 0) return divide(number(1), whole_power(base, mpz_class(m)));
  if (base.den.is_one() && base.num.terms.size() == 1 && !base.num.is_rational()) {
    // one term: its exponents are multiplied, whatever n is
    const Term& t = base.num.terms[0];
    if (m > (1u << 20)) throw Beyond("an exponent is too large");
    mpq_class c = power(Poly{{Term{{}, t.coefficient}}}, m).rational();
    Monomial monomial;
    std::optional<Poly> factor;
    for (const Factor& f : t.monomial)
      settle(f.generator, f.exponent * Exponent{static_cast<int32_t>(m), 1}, monomial, c, factor);
    Poly out{{Term{std::move(monomial), c}}};
    return as_ratio(factor ? multiply(out, *factor) : out);
  }
  Poly num = power(base.num, m);
  if (base.den.is_one()) return as_ratio(std::move(num));
  return {std::move(num), power(base.den, m)};
}

std::string Field::text(const Ratio& a) const {
  auto poly = [&](const Poly& p) {
    std::string out;
    for (const Term& t : p.terms) {
      if (out.size() > 400) return out + "…";
      if (!out.empty()) out += " + ";
      const bool plain = t.coefficient == 1 && !t.monomial.empty();
      if (bits(t.coefficient) > 2000)
        out += "(a long number)";
      else if (!plain)
        out += t.coefficient.get_str();
      for (const Factor& f : t.monomial) {
        const Generator& g = *generators_[f.generator];
        static constexpr const char* names[] = {"",     "i",    "pi",        "e",    "log", "",
                                                "root", "abs",  "exp",       "ln",   "ln",  "cos",
                                                "atan", "asin", "factorial", "floor"};
        if (&f != t.monomial.data() || !plain) out += "*";
        if (g.kind == K::variable)
          out += g.name;
        else if (g.kind == K::prime)
          out += g.n.get_str();
        else if (g.kind == K::log_prime)
          out += "ln(" + g.n.get_str() + ")";
        else if (g.kind == K::cosine_pi)
          out += "cos(" + g.q.get_str() + "*pi)";
        else
          out += names[static_cast<size_t>(g.kind)];
        if (g.kind == K::root || g.kind >= K::absolute)
          if (g.kind != K::log_prime && g.kind != K::cosine_pi) out += "#" + std::to_string(f.generator);
        if (f.exponent != Exponent{1, 1})
          out += "^" + (f.exponent.is_integer() ? std::to_string(f.exponent.num)
                                                : "(" + std::to_string(f.exponent.num) + "/" +
                                                      std::to_string(f.exponent.den) + ")");
      }
    }
    return out.empty() ? std::string("0") : out;
  };
  if (a.den.is_one()) return poly(a.num);
  return "(" + poly(a.num) + ")/(" + poly(a.den) + ")";
}

}  // namespace cohort::math
