#include "reward/math/field.h"

#include <algorithm>

namespace cohort::math {
namespace {

using K = GeneratorKind;

size_t bits(const mpq_class& q) {
  return mpz_sizeinbase(q.get_num_mpz_t(), 2) + mpz_sizeinbase(q.get_den_mpz_t(), 2);
}

const Poly& one() {
  static const Poly p{{Term{{}, 1}}};
  return p;
}

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
  return add_generator(std::move(g));
}

Poly Field::single(uint32_t generator, Exponent e, const mpq_class& coefficient) const {
  return Poly{{Term{{Factor{generator, e}}, coefficient}}};
}
Ratio Field::as_ratio(Poly num) const {
  return {std::move(num), one()};
}
Ratio Field::number(const mpq_class& q) const {
  check(q);
  return {q == 0 ? Poly{} : Poly{{Term{{}, q}}}, one()};
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
      if (e.is_integer() && e.num >= 2) {
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
  if (n == 0) return one();
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
  Poly out = one(), square = a;
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

// ---- values -----------------------------------------------------------------------------------------------

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
  Poly num = one(), den = one();
  std::optional<Poly> factor;
  for (const Factor& f : t.monomial) {
    const Generator& g = *generators_[f.generator];
    if (g.kind == K::root) {  // r^-e = r^(1-e)/arg
      monomial.push_back({f.generator, Exponent{1, 1} + -f.exponent});
      den = multiply(den, g.arg);
    } else if (g.kind == K::absolute) {
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
