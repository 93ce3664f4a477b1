#include "reward/math/field.h"

#include <algorithm>

namespace cohort::math {
namespace {

using K = GeneratorKind;

mpz_class whole_power_of(const mpz_class& base, unsigned long n) {
  mpz_class out;
  mpz_pow_ui(out.get_mpz_t(), base.get_mpz_t(), n);
  return out;
}

}  // namespace

void Field::check(const mpq_class& q) const {
  if (bits(q) > kMaxBits) throw Beyond("a number is too large");
}
void Field::check(const Poly& a) const {
  if (a.terms.size() > kMaxTerms) throw Beyond("an expression has too many terms");
}

// ---- leaves -----------------------------------------------------------------------------------------------

uint32_t Field::add_generator(Generator g) {
  if (generators_.size() >= kMaxGenerators) throw Beyond("too many different roots and functions");
  budget_.spend(20);
  generators_.push_back(std::make_unique<Generator>(std::move(g)));
  return static_cast<uint32_t>(generators_.size() - 1);
}

uint32_t Field::fixed(GeneratorKind kind) {
  for (uint32_t i = 0; i < generators_.size(); ++i)
    if (generators_[i]->kind == kind) return i;
  Generator g{.kind = kind};
  g.algebraic = kind == K::imaginary;
  return add_generator(std::move(g));
}

uint32_t Field::of_number(GeneratorKind kind, const mpz_class& n) {
  for (uint32_t i = 0; i < generators_.size(); ++i)
    if (generators_[i]->kind == kind && generators_[i]->n == n) return i;
  Generator g{.kind = kind, .n = n};
  g.algebraic = kind == K::prime;
  return add_generator(std::move(g));
}

// The generator kind(arg). An argument that is provably the same gives the same generator.
uint32_t Field::of_value(GeneratorKind kind, const Ratio& arg) {
  const size_t known = generators_.size();
  for (uint32_t i = 0; i < known; ++i) {
    if (generators_[i]->kind != kind) continue;
    const Ratio other{generators_[i]->arg, generators_[i]->arg_den};
    if (other.num == arg.num && other.den == arg.den) return i;
    if (arg.is_rational() && other.is_rational()) continue;
    if (equal(other, arg) == Truth::yes) return i;
  }
  Generator g{.kind = kind};
  g.arg = arg.num;
  g.arg_den = arg.den;
  g.constant = is_constant(arg);
  if (kind == K::root || kind == K::absolute) {
    g.algebraic = true;
    for (const Term& t : arg.num.terms)
      for (const Factor& f : t.monomial) g.algebraic = g.algebraic && generators_[f.generator]->algebraic;
  }
  g.squares = !perhaps_complex(arg.num);
  return add_generator(std::move(g));
}

Poly Field::single(uint32_t generator, Exponent e, const mpq_class& coefficient) const {
  return Poly{{Term{{Factor{generator, e}}, coefficient}}};
}
Ratio Field::as_ratio(Poly num) const {
  return {std::move(num), Poly::one()};
}
Ratio Field::number(const mpq_class& q) const {
  check(q);
  return {q == 0 ? Poly{} : Poly{{Term{{}, q}}}, Poly::one()};
}
Ratio Field::imaginary() {
  return as_ratio(single(fixed(K::imaginary), {1, 1}));
}
Ratio Field::pi() {
  return as_ratio(single(fixed(K::pi), {1, 1}));
}
Ratio Field::euler() {
  return as_ratio(single(fixed(K::euler), {1, 1}));
}
Ratio Field::log_base() {
  return as_ratio(single(fixed(K::log_base), {1, 1}));
}
Ratio Field::variable(std::string_view name) {
  for (uint32_t i = 0; i < generators_.size(); ++i)
    if (generators_[i]->kind == K::variable && generators_[i]->name == name)
      return as_ratio(single(i, {1, 1}));
  Generator g{.kind = K::variable};
  g.name = name;
  g.constant = false;
  g.integral = name == "n" || name == "k" || name == "m" || name == "j" || name == "N";
  return as_ratio(single(add_generator(std::move(g)), {1, 1}));
}

bool Field::is_constant(const Poly& a) const {
  for (const Term& t : a.terms)
    for (const Factor& f : t.monomial)
      if (!generators_[f.generator]->constant) return false;
  return true;
}

// ---- polynomials ------------------------------------------------------------------------------------------

Poly Field::add(const Poly& a, const Poly& b) {
  Poly out;
  out.terms.reserve(a.terms.size() + b.terms.size());
  budget_.spend(static_cast<int64_t>(a.terms.size() + b.terms.size()));
  size_t i = 0, j = 0;
  while (i < a.terms.size() || j < b.terms.size()) {
    if (j == b.terms.size() || (i < a.terms.size() && a.terms[i].monomial < b.terms[j].monomial)) {
      out.terms.push_back(a.terms[i++]);
    } else if (i == a.terms.size() || b.terms[j].monomial < a.terms[i].monomial) {
      out.terms.push_back(b.terms[j++]);
    } else {
      mpq_class sum = a.terms[i].coefficient + b.terms[j].coefficient;
      budget_.spend(static_cast<int64_t>(bits(sum) / 1024));
      check(sum);
      if (sum != 0) out.terms.push_back({a.terms[i].monomial, std::move(sum)});
      ++i, ++j;
    }
  }
  check(out);
  return out;
}

Poly Field::negate(Poly a) const {
  for (Term& t : a.terms) t.coefficient = -t.coefficient;
  return a;
}

Poly Field::scale(Poly a, const mpq_class& c) {
  if (c == 0) return {};
  if (c == 1) return a;
  for (Term& t : a.terms) {
    budget_.spend(1 + static_cast<int64_t>(bits(t.coefficient) * bits(c) >> 17));
    t.coefficient *= c;
    check(t.coefficient);
  }
  return a;
}

void Field::settle(uint32_t generator, Exponent e, Monomial& monomial, mpq_class& coefficient,
                   std::optional<Poly>& factor) {
  if (e.is_zero()) return;
  const Generator& g = *generators_[generator];
  auto multiply_by = [&](const Poly& base, int32_t n) {
    const Poly p = power(base, static_cast<unsigned long>(n));
    factor = factor ? multiply(*factor, p) : p;
  };
  switch (g.kind) {
    case K::prime: {
      const int32_t whole = math::floor(e);
      if (whole != 0) {
        const size_t size = static_cast<size_t>(std::abs(whole)) * mpz_sizeinbase(g.n.get_mpz_t(), 2);
        if (size > kMaxBits) throw Beyond("a number is too large");
        budget_.spend(static_cast<int64_t>(size / 64));
        const mpz_class p = whole_power_of(g.n, static_cast<unsigned long>(std::abs(whole)));
        if (whole > 0)
          coefficient *= p;
        else
          coefficient /= p;
        check(coefficient);
        e = e + Exponent{-whole, 1};
      }
      break;
    }
    case K::imaginary: {
      if (!e.is_integer()) throw Beyond("a root of i that is not reduced");
      const int32_t r = ((e.num % 4) + 4) % 4;
      if (r >= 2) coefficient = -coefficient;
      e = {r % 2, 1};
      break;
    }
    case K::root:
      if (const int32_t whole = math::floor(e); whole > 0) {
        multiply_by(g.arg, whole);
        e = e + Exponent{-whole, 1};
      }
      break;
    case K::absolute:
      if (g.squares && e.is_integer() && e.num >= 2) {
        multiply_by(g.arg, e.num - e.num % 2);
        e = {e.num % 2, 1};
      }
      break;
    default:
      break;
  }
  if (!e.is_zero()) monomial.push_back({generator, e});
}

void Field::multiply_terms(const Term& a, const Term& b, std::map<Monomial, mpq_class>& out) {
  budget_.spend(5 + static_cast<int64_t>(bits(a.coefficient) * bits(b.coefficient) >> 17));
  mpq_class coefficient = a.coefficient * b.coefficient;
  check(coefficient);
  Monomial monomial;
  std::optional<Poly> factor;
  size_t i = 0, j = 0;
  const Monomial &x = a.monomial, &y = b.monomial;
  while (i < x.size() || j < y.size()) {
    if (j == y.size() || (i < x.size() && x[i].generator < y[j].generator))
      monomial.push_back(x[i++]);
    else if (i == x.size() || y[j].generator < x[i].generator)
      monomial.push_back(y[j++]);
    else {
      settle(x[i].generator, x[i].exponent + y[j].exponent, monomial, coefficient, factor);
      ++i, ++j;
    }
  }
  auto put = [&](const Monomial& m, const mpq_class& c) {
    auto [at, fresh] = out.try_emplace(m, c);
    if (!fresh) {
      at->second += c;
      check(at->second);
    }
  };
  if (!factor) return put(monomial, coefficient);
  const Poly rest{{Term{std::move(monomial), coefficient}}};
  for (const Term& t : multiply(rest, *factor).terms) put(t.monomial, t.coefficient);
}

Poly Field::multiply(const Poly& a, const Poly& b) {
  if (a.is_zero() || b.is_zero()) return {};
  if (a.is_rational()) return scale(b, a.rational());
  if (b.is_rational()) return scale(a, b.rational());
  std::map<Monomial, mpq_class> sum;
  for (const Term& s : a.terms)
    for (const Term& t : b.terms) {
      multiply_terms(s, t, sum);
      if (sum.size() > 2 * kMaxTerms) throw Beyond("an expression has too many terms");
    }
  Poly out;
  for (auto& [m, c] : sum)
    if (c != 0) out.terms.push_back({m, std::move(c)});
  check(out);
  return out;
}

Poly Field::power(const Poly& a, unsigned long n) {
  if (n == 0) return Poly::one();
  if (n > static_cast<unsigned long>(kMaxBits)) throw Beyond("an exponent is too large");
  if (a.is_rational()) {
    mpq_class q = a.rational();
    if (bits(q) * n > 2 * kMaxBits && q != 0 && q != 1 && q != -1) throw Beyond("a number is too large");
    budget_.spend(1 + static_cast<int64_t>(bits(q) * n / 64));
    mpq_class out;
    mpz_pow_ui(out.get_num_mpz_t(), q.get_num_mpz_t(), n);
    mpz_pow_ui(out.get_den_mpz_t(), q.get_den_mpz_t(), n);
    return number(out).num;
  }
  Poly out = Poly::one(), square = a;
  for (;; n >>= 1) {
    if (n & 1) out = multiply(out, square);
    if (n == 1) return out;
    square = multiply(square, square);
  }
}

Poly Field::primitive(const Poly& a, mpq_class& content) {
  mpz_class g = 0, l = 1;
  for (const Term& t : a.terms) {
    mpz_gcd(g.get_mpz_t(), g.get_mpz_t(), t.coefficient.get_num_mpz_t());
    mpz_lcm(l.get_mpz_t(), l.get_mpz_t(), t.coefficient.get_den_mpz_t());
    if (mpz_sizeinbase(l.get_mpz_t(), 2) > kMaxBits) throw Beyond("a number is too large");
    budget_.spend(1 + static_cast<int64_t>(bits(t.coefficient) / 64));
  }
  content = mpq_class(g, l);
  content.canonicalize();
  return content == 1 ? a : scale(a, 1 / content);
}

}  // namespace cohort::math
