// Roots, powers and absolute values.
#include <algorithm>
#include <numeric>

#include "reward/math/field.h"

namespace cohort::math {
namespace {

using K = GeneratorKind;
constexpr unsigned long kLargestTrialDivisor = 2000;
constexpr unsigned long kLargestDegree = 1000;

// The primes and exponents of n >= 1 found by trial division; what is left in `rest`, and whether that is 1
// or certainly prime.
struct Factored {
  std::vector<std::pair<mpz_class, unsigned long>> primes;
  mpz_class rest;
  bool complete = true;
};
Factored factor(const mpz_class& n, Budget& budget) {
  Factored out;
  out.rest = n;
  const size_t size = mpz_sizeinbase(n.get_mpz_t(), 2);
  if (size > 20000) throw Beyond("a number is too large to take a root or logarithm of");
  for (unsigned long p = 2; p <= kLargestTrialDivisor && out.rest != 1; p += p == 2 ? 1 : 2) {
    if (out.rest < p * p) break;
    unsigned long e = 0;
    budget.spend(static_cast<int64_t>(size / 512) + 1);
    for (; mpz_divisible_ui_p(out.rest.get_mpz_t(), p); ++e)
      mpz_divexact_ui(out.rest.get_mpz_t(), out.rest.get_mpz_t(), p);
    if (e > 0) {
      budget.spend(static_cast<int64_t>(e * (size / 512 + 1)));
      out.primes.emplace_back(p, e);
    }
  }
  if (out.rest == 1) return out;
  // below the square of the last divisor nothing but a prime is left
  if (out.rest < mpz_class(kLargestTrialDivisor) * kLargestTrialDivisor) {
    out.primes.emplace_back(out.rest, 1);
    out.rest = 1;
    return out;
  }
  out.complete = false;
  return out;
}

}  // namespace

bool Field::surely_positive(uint32_t generator) const {
  budget_.spend(1);
  const Generator& g = *generators_[generator];
  switch (g.kind) {
    case K::prime:
    case K::pi:
    case K::euler:
    case K::log_base:
    case K::log_prime:
    case K::absolute:
    case K::cosine_pi:
      return true;
    case K::root:  // of a positive constant (see opaque_root)
      return g.q == 1;
    case K::exponential:  // of a real argument
      for (const Poly* p : {&g.arg, &g.arg_den})
        for (const Term& t : p->terms)
          for (const Factor& f : t.monomial) {
            const Generator& inner = *generators_[f.generator];
            if (inner.kind != K::variable && inner.kind != K::logarithm && !surely_positive(f.generator))
              return false;
            if (inner.kind == K::logarithm && inner.constant) return false;
          }
      return true;
    default:
      return false;
  }
}

bool Field::positive_constant(const Poly& a) {
  return is_constant(a) && sign(as_ratio(a)) == 1;
}

Ratio Field::root_of_rational(const mpq_class& q, unsigned long k) {
  Ratio out = number(1);
  for (bool below : {false, true}) {
    const mpz_class& n = below ? q.get_den() : q.get_num();
    mpz_class exact;
    if (n == 1) continue;
    if (mpz_root(exact.get_mpz_t(), n.get_mpz_t(), k) != 0) {
      out = below ? divide(out, number(exact)) : multiply(out, number(exact));
      continue;
    }
    const Factored f = factor(n, budget_);
    mpq_class whole = 1;
    for (const auto& [p, e] : f.primes) {
      const Exponent x =
          make_exponent(below ? -static_cast<int64_t>(e) : static_cast<int64_t>(e), static_cast<int64_t>(k));
      Monomial m;
      std::optional<Poly> none;
      mpq_class c = 1;
      settle(of_number(K::prime, p), x, m, c, none);
      out = multiply(out, as_ratio(Poly{{Term{std::move(m), c}}}));
    }
    if (!f.complete) {
      Ratio rest;
      if (mpz_root(exact.get_mpz_t(), f.rest.get_mpz_t(), k) != 0)
        rest = number(exact);
      else
        rest = opaque_root(number(f.rest).num, k);
      out = below ? divide(out, rest) : multiply(out, rest);
    }
  }
  return out;
}

// a^(1/k) as a generator of its own. `q` of the generator says whether a is a positive constant.
Ratio Field::opaque_root(const Poly& a, unsigned long k) {
  // a constant must be told apart from zero; that a function is not zero everywhere its caller has seen
  bool positive = false;
  if (is_constant(a)) {
    if (is_zero(a) != Truth::no) throw Beyond("a root of what may be zero");
    const std::optional<int> s = sign(as_ratio(a));
    if (s == -1 && k % 2 == 1) return negate(opaque_root(negate(a), k));  // \sqrt[3]{-2} is real
    positive = s == 1;
    if (!s && is_real(as_ratio(a)) != Truth::no) throw Beyond("a root of an unknown sign");
  }
  const uint32_t id = of_value(K::root, as_ratio(a));
  if (positive) generators_[id]->q = 1;
  return as_ratio(single(id, make_exponent(1, static_cast<int64_t>(k))));
}

Ratio Field::root_of_term(const Term& t, unsigned long k) {
  if (t.coefficient < 0) {
    bool positive = true;
    for (const Factor& f : t.monomial) positive = positive && surely_positive(f.generator);
    const Term opposite{t.monomial, -t.coefficient};
    if (k % 2 == 1 && is_constant(Poly{{t}}) && positive) return negate(root_of_term(opposite, k));
    if (k % 2 == 1 && !is_constant(Poly{{t}})) return negate(root_of_term(opposite, k));
    if (positive) {
      const mpq_class angle(1, k);
      const Ratio turn =
          k == 2 ? imaginary() : add(cos_pi(angle), multiply(imaginary(), cos_pi(mpq_class(1, 2) - angle)));
      return multiply(turn, root_of_term(opposite, k));
    }
    return opaque_root(Poly{{t}}, k);
  }
  Ratio out = root_of_rational(t.coefficient, k);
  Term rest{{}, 1};
  for (const Factor& f : t.monomial) {
    const Generator& g = *generators_[f.generator];
    const Exponent e = f.exponent * make_exponent(1, static_cast<int64_t>(k));
    // x^2, x^{2/3}: not negative though x may be
    const bool even_power = k % 2 == 0 && f.exponent.den % 2 == 1 && f.exponent.num % 2 == 0;
    if (surely_positive(f.generator)) {
      Monomial m;
      std::optional<Poly> none;
      mpq_class c = 1;
      settle(f.generator, e, m, c, none);
      out = multiply(out, as_ratio(Poly{{Term{std::move(m), c}}}));
    } else if (g.kind == K::variable && even_power) {
      const Ratio x = as_ratio(single(f.generator, {1, 1}));
      const Ratio size = absolute(x);
      if (e.is_integer() && e.num % 2 == 0)
        out = multiply(out, as_ratio(single(f.generator, e)));
      else
        out = multiply(out, e.is_integer() ? whole_power(size, e.num)
                                           : as_ratio(single(size.num.terms[0].monomial[0].generator, e)));
    } else if (g.kind == K::variable) {
      out = multiply(out, as_ratio(single(f.generator, e)));
    } else {
      rest.monomial.push_back(f);
    }
  }
  if (rest.monomial.empty()) return out;
  return multiply(out, opaque_root(Poly{{rest}}, k));
}

Ratio Field::root_of_poly(const Poly& a, unsigned long k) {
  if (a.terms.size() == 1) return root_of_term(a.terms[0], k);
  mpq_class content;
  Poly p = primitive(a, content);
  bool flip = false;
  if (is_constant(p)) {
    const std::optional<int> s = sign(as_ratio(p));
    if (s == 0) return number(0);
    if (s == -1) flip = true;
  } else if (k % 2 == 1) {
    flip = p.terms.back().coefficient < 0;
  }
  if (flip) {
    p = negate(std::move(p));
    content = -content;
  }
  // what every term has in common comes out as a term of its own
  Monomial common = p.terms[0].monomial;
  for (const Term& t : p.terms) {
    Monomial kept;
    for (const Factor& c : common)
      for (const Factor& f : t.monomial)
        if (f.generator == c.generator) {
          const bool less =
              int64_t{f.exponent.num} * c.exponent.den < int64_t{c.exponent.num} * f.exponent.den;
          kept.push_back(less ? f : c);
        }
    common = std::move(kept);
  }
  // of complex numbers the root of a product is not the product of the roots
  std::erase_if(common, [&](const Factor& f) {
    const K kind = generators_[f.generator]->kind;
    return kind != K::variable && kind != K::pi && kind != K::euler &&
           !(kind == K::exponential && surely_positive(f.generator));
  });
  Ratio out = root_of_term(Term{common, content}, k);
  if (!common.empty()) {
    Monomial inverse = common;
    for (Factor& f : inverse) f.exponent = -f.exponent;
    p = multiply(p, Poly{{Term{inverse, 1}}});
  }
  return multiply(out, opaque_root(p, k));
}

Ratio Field::root(const Ratio& a, unsigned long k) {
  if (k == 0 || k > kLargestDegree) throw Beyond("the degree of a root cannot be read");
  if (k == 1 || a.num.is_zero()) return a;
  if (k % 2 == 0) need(a);
  if (a.den.is_one()) return root_of_poly(a.num, k);
  if (!is_constant(a)) {
    if (is_zero(a.num) != Truth::no) throw Beyond("a root of what may be zero");
    return divide(root_of_poly(a.num, k), root_of_poly(a.den, k));
  }
  const std::optional<int> below = sign(as_ratio(a.den));
  if (!below) throw Beyond("a root of a complex quotient");
  if (*below < 0) return divide(root_of_poly(negate(a.num), k), root_of_poly(negate(a.den), k));
  return divide(root_of_poly(a.num, k), root_of_poly(a.den, k));
}

Ratio Field::power(const Ratio& base, const Ratio& exponent) {
  if (exponent.is_rational()) {
    const mpq_class e = exponent.num.rational();
    if (e.get_den() == 1) return whole_power(base, e.get_num());
    if (!e.get_den().fits_ulong_p()) throw Beyond("an exponent is too large");
    if (base.num.is_zero()) {
      if (e < 0) throw Beyond("a division by zero");
      return base;
    }
    // an odd root of a negative number is written \sqrt[3]{}; (-8)^{1/3} has two readings
    if (is_constant(base) && e.get_den() != 2 && sign(base) != 1)
      throw Beyond("a broken power of a number that is not positive");
    return whole_power(root(base, e.get_den().get_ui()), e.get_num());
  }
  if (base.num.is_zero()) throw Beyond("a power of zero");
  return exp(multiply(exponent, log(base)));
}

// Variables are real, but z and w, of which |z|^2 is often asked for, may be meant as complex ones.
bool Field::perhaps_complex(const Poly& a) const {
  for (const Term& t : a.terms)
    for (const Factor& f : t.monomial) {
      const Generator& g = *generators_[f.generator];
      if (g.kind == K::variable && (g.name[0] == 'z' || g.name[0] == 'w') &&
          (g.name.size() == 1 || g.name[1] == '_'))
        return true;
      if (perhaps_complex(g.arg) || perhaps_complex(g.arg_den)) return true;
    }
  return false;
}

bool Field::surely_real(const Ratio& a) {
  const std::optional<Poly> num = conjugate(a.num), den = conjugate(a.den);
  return num && den && *num == a.num && *den == a.den;
}

// |f^e| of a real f.
Ratio Field::size_of_factor(const Factor& f) {
  const Generator& g = *generators_[f.generator];
  const bool complex = perhaps_complex(single(f.generator, {1, 1}));
  const bool even = !complex && f.exponent.is_integer() && f.exponent.num % 2 == 0;
  const Ratio own = as_ratio(single(f.generator, f.exponent));
  if (even || surely_positive(f.generator)) return own;
  if (!f.exponent.is_integer()) {  // an even root is defined where it is not negative, an odd one may be
    const bool real_root = g.kind == K::variable || g.kind == K::root;
    return real_root && f.exponent.den % 2 == 0 ? own : as_ratio(single(of_value(K::absolute, own), {1, 1}));
  }
  if (g.kind == K::imaginary) return number(1);
  const Ratio size = as_ratio(single(of_value(K::absolute, as_ratio(single(f.generator, {1, 1}))), {1, 1}));
  return whole_power(size, f.exponent.num);
}

Ratio Field::absolute(const Ratio& a) {
  if (a.num.is_zero()) return a;
  if (is_constant(a))
    if (const std::optional<int> s = sign(a)) return *s < 0 ? negate(a) : a;
  if (is_constant(a) || !surely_real(a)) {  // |a+bi| = sqrt(a*conj(a))
    const std::optional<Poly> n = conjugate(a.num), d = conjugate(a.den);
    if (!n || !d || perhaps_complex(a.num) || perhaps_complex(a.den))
      throw Beyond("the size of what may not be real");
    return root(divide(as_ratio(multiply(a.num, *n)), as_ratio(multiply(a.den, *d))), 2);
  }
  if (!a.den.is_one()) return divide(absolute(as_ratio(a.num)), absolute(as_ratio(a.den)));
  if (a.num.terms.size() == 1) {
    const Term t = a.num.terms[0];
    Ratio out = number(abs(t.coefficient));
    for (const Factor& f : t.monomial) out = multiply(out, size_of_factor(f));
    return out;
  }
  mpq_class content;
  Poly p = primitive(a.num, content);
  if (p.terms.back().coefficient < 0) p = negate(std::move(p));
  return as_ratio(single(of_value(K::absolute, as_ratio(p)), {1, 1}, content));
}

}  // namespace cohort::math
