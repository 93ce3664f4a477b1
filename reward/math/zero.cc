// Is a value zero? `yes` only when its terms cancel or when it is an algebraic number proved smaller than every
// non-zero number of its kind; `no` only when an enclosure excludes zero; everything else is unknown.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "reward/math/field.h"

namespace cohort::math {

using K = GeneratorKind;

namespace {

// An upper bound for log2(2^a + 2^b), with room for the rounding of doubles.
double log_sum(double a, double b) {
  const double high = std::max(a, b), low = std::min(a, b);
  return high + std::log2(1 + std::exp2(low - high)) + 1e-9;
}
double log2_bound(const mpz_class& n) {  // from above, of |n| >= 1
  if (abs(n) <= 1) return 0;
  long exponent = 0;
  const double d = mpz_get_d_2exp(&exponent, n.get_mpz_t());  // rounded towards zero
  return static_cast<double>(exponent) + std::log2(std::abs(d)) + 1e-9;
}

unsigned long totient(unsigned long n) {
  unsigned long phi = n;
  for (unsigned long p = 2; p * p <= n; ++p)
    if (n % p == 0) {
      phi -= phi / p;
      while (n % p == 0) n /= p;
    }
  if (n > 1) phi -= phi / n;
  return phi;
}

}  // namespace

// The separation bound of Burnikel, Funke, Mehlhorn, Schirra and Schmitt in the form for a common field: an
// algebraic number is U/L with algebraic integers U and L whose conjugates are at most 2^upper and 2^lower in
// size, both in a field of degree at most D. The norm of U != 0 is a whole number, so
// |U| >= 2^(-upper*(D-1)), and the number itself is at least 2^-(upper*(D-1) + lower).
struct Field::Bound {
  struct Leaf {
    double upper = 0, lower = 0;  // of the generator to the power of one
    int64_t degree = 1;           // the common denominator of its exponents
  };
  std::map<uint32_t, Leaf> leaves;
  unsigned long conductor = 1;  // of the roots of unity that the cosines need
  bool imaginary = false;

  double degree() const {
    double d = static_cast<double>(totient(conductor)) * (imaginary ? 2 : 1);
    for (const auto& [id, leaf] : leaves) d *= static_cast<double>(leaf.degree);
    return d;
  }
};

namespace {

struct Size {
  double upper = 0, lower = 0;
};

// upper and lower of a polynomial, all terms over one common L. `leaf_of` a generator's; `power_of` the exponent
// a factor counts with.
template <class LeafOf, class PowerOf>
Size size_of(const Poly& a, LeafOf&& leaf_of, PowerOf&& power_of) {
  std::map<uint32_t, double> highest;  // exponent
  for (const Term& t : a.terms)
    for (const Factor& f : t.monomial) {
      double& h = highest[f.generator];
      h = std::max(h, power_of(f));
    }
  Size out;
  mpz_class common = 1;
  for (const Term& t : a.terms) {
    mpz_lcm(common.get_mpz_t(), common.get_mpz_t(), t.coefficient.get_den_mpz_t());
    if (mpz_sizeinbase(common.get_mpz_t(), 2) > kMaxBits) throw Beyond("a number is too large");
  }
  bool first = true;
  for (const Term& t : a.terms) {
    double upper = log2_bound(mpz_class(t.coefficient.get_num() * (common / t.coefficient.get_den())));
    std::map<uint32_t, double> left = highest;
    for (const Factor& f : t.monomial) {
      const double e = power_of(f);
      upper += e * leaf_of(f.generator).upper;
      left[f.generator] -= e;
    }
    for (const auto& [id, e] : left) upper += e * leaf_of(id).lower;
    out.upper = first ? upper : log_sum(out.upper, upper);
    first = false;
  }
  out.lower = log2_bound(common);
  for (const auto& [id, e] : highest) out.lower += e * leaf_of(id).lower;
  out.upper = out.upper * (1 + 1e-9) + 1e-6;
  out.lower = out.lower * (1 + 1e-9) + 1e-6;
  return out;
}

}  // namespace

// An exponent s/t of a root of U/L counts as 1: the power is (U^s*L^(t-s))^(1/t) / L, below 2^(u+l) over L.
double Field::bound_power(const Factor& f) const {
  if (generators_[f.generator]->kind == K::root)
    return std::ceil(static_cast<double>(f.exponent.num) / f.exponent.den);
  return static_cast<double>(f.exponent.num) / f.exponent.den;
}

// False when something is no algebraic number that the bound covers.
bool Field::add_bound(uint32_t id, Bound& bound, int depth) {
  if (bound.leaves.contains(id)) return true;
  if (depth > 20) return false;
  const Generator& g = *generators_[id];
  Bound::Leaf leaf;
  switch (g.kind) {
    case K::prime:
      leaf.upper = log2_bound(g.n);
      break;
    case K::imaginary:
      bound.imaginary = true;
      break;
    case K::cosine_pi: {  // (z + 1/z)/2 with a root of unity z of order 2*den
      const unsigned long order = 2 * g.q.get_den().get_ui();
      bound.conductor = std::lcm(bound.conductor, order);
      if (bound.conductor > 1000000) return false;
      leaf.upper = leaf.lower = 1;
      break;
    }
    case K::root: {
      for (const Term& t : g.arg.terms)
        for (const Factor& f : t.monomial) {
          if (!add_bound(f.generator, bound, depth + 1)) return false;
          Bound::Leaf& inner = bound.leaves[f.generator];
          inner.degree = std::lcm(inner.degree, int64_t{f.exponent.den});
          if (f.exponent.num < 0) return false;
        }
      const Size s = size_of(
          g.arg, [&](uint32_t i) { return bound.leaves.at(i); },
          [&](const Factor& f) { return bound_power(f); });
      leaf.upper = s.upper + s.lower;
      leaf.lower = s.lower;
      break;
    }
    default:
      return false;
  }
  bound.leaves[id] = leaf;
  return true;
}

// Of an algebraic number.
Truth Field::algebraic_zero(const Poly& a) {
  if (a.is_zero()) return Truth::yes;
  if (a.is_rational()) return Truth::no;
  Bound bound;
  for (const Term& t : a.terms)
    for (const Factor& f : t.monomial) {
      if (f.exponent.num < 0 || !add_bound(f.generator, bound, 0)) return Truth::unknown;
      Bound::Leaf& leaf = bound.leaves[f.generator];
      leaf.degree = std::lcm(leaf.degree, int64_t{f.exponent.den});
    }
  const Size s = size_of(
      a, [&](uint32_t i) { return bound.leaves.at(i); }, [&](const Factor& f) { return bound_power(f); });
  const double degree = bound.degree();
  const double needed = (degree - 1) * std::max(0.0, s.upper) + s.lower + 2;
  if (!(needed < static_cast<double>(kMaxBoundBits))) return Truth::unknown;
  const long small = static_cast<long>(std::ceil(needed));
  for (long precision = std::min(256L, small + 64);; precision = std::min(4 * precision, small + 64)) {
    const Ball x = enclose(a, precision);
    if (!acb_is_finite(x.get())) return Truth::unknown;
    if (!acb_contains_zero(x.get())) return Truth::no;
    // |a| <= |mid| + radius < 2^-small: nothing but zero is left
    mag_t size;
    mag_init(size);
    acb_get_mag(size, x.get());
    const bool below = mag_cmp_2exp_si(size, -small) < 0;
    mag_clear(size);
    if (below) return Truth::yes;
    if (precision == small + 64) return Truth::unknown;
  }
}

void Field::need(const Ratio& a, Need what) {
  if (is_constant(a)) return;
  for (const auto& [known, of] : needed_)
    if (of == what && known.num == a.num && known.den == a.den) return;
  if (needed_.size() >= kMaxGenerators) throw Beyond("too many different roots and functions");
  needed_.emplace_back(a, what);
}

bool Field::defined_at(const Point& point, long precision) {
  for (const auto& [a, what] : needed_) {
    const Ball x = enclose(a, precision, point);
    if (what == Need::not_zero && (!acb_is_finite(x.get()) || acb_contains_zero(x.get()))) return false;
    if (what == Need::not_zero) continue;
    const bool complex = acb_is_finite(x.get()) && !arb_contains_zero(x.imag());
    if (!complex && !arb_is_nonnegative(x.real())) return false;
  }
  return true;
}

Truth Field::is_zero(const Poly& a) {
  if (a.is_zero()) return Truth::yes;
  if (a.is_rational()) return Truth::no;
  if (a.terms.size() == 1 && is_constant(a) && surely_nonzero(a.terms[0])) return Truth::no;
  bool constant = true, logs = false;
  for (const Term& t : a.terms)
    for (const Factor& f : t.monomial) {
      constant = constant && generators_[f.generator]->constant;
      logs = logs || generators_[f.generator]->kind == K::log_base;
    }
  auto apart = [&](long precision) {
    for (int point = 0; point < (constant ? 1 : 6); ++point) {
      if (!constant && !defined_at(Point{point, true}, precision)) continue;
      const Ball x = enclose(a, precision, Point{point, true});
      if (!acb_is_finite(x.get()) || acb_contains_zero(x.get())) continue;
      if (logs) {  // whatever base a bare \log has
        const Ball y = enclose(a, precision, Point{point, false});
        if (!acb_is_finite(y.get()) || acb_contains_zero(y.get())) continue;
      }
      return true;
    }
    return false;
  };
  if (apart(64)) return Truth::no;
  if (apart(192)) return Truth::no;
  // As a polynomial in everything that is not an algebraic number: zero if all coefficients are.
  std::map<Monomial, Poly> parts;
  for (const Term& t : a.terms) {
    Monomial outer, inner;
    for (const Factor& f : t.monomial) {
      const Generator& g = *generators_[f.generator];
      (g.algebraic && g.constant ? inner : outer).push_back(f);
    }
    parts[outer].terms.push_back({inner, t.coefficient});
  }
  bool all = true;
  for (auto& [outer, part] : parts) {
    std::sort(part.terms.begin(), part.terms.end(),
              [](const Term& x, const Term& y) { return x.monomial < y.monomial; });
    const Truth zero = algebraic_zero(part);
    all = all && zero == Truth::yes;
    if (zero == Truth::no && parts.size() == 1 && outer.empty()) return Truth::no;
    if (!all) break;
  }
  if (all) return Truth::yes;
  for (long precision = 1024; precision <= kMaxBallBits; precision *= 4)
    if (apart(precision)) return Truth::no;
  return Truth::unknown;
}

Truth Field::equal(const Ratio& a, const Ratio& b) {
  if (a.num == b.num && a.den == b.den) return Truth::yes;
  if (a.den == b.den) return is_zero(add(a.num, negate(b.num)));
  return is_zero(add(multiply(a.num, b.den), negate(multiply(b.num, a.den))));
}

// The complex conjugate, where the generators say what it is. A function is taken where it is defined over the reals:
// there roots, logarithms and arc sines of real functions are real.
std::optional<Poly> Field::conjugate(const Poly& a) {
  Poly out;
  for (const Term& t : a.terms) {
    budget_.spend(2);
    Term image{{}, t.coefficient};
    for (const Factor& f : t.monomial) {
      const Generator& g = *generators_[f.generator];
      Exponent e = f.exponent;
      if (g.kind == K::imaginary) {
        image.coefficient = -image.coefficient;
      } else if (g.kind == K::root) {
        if (g.q != 1 && (g.constant || !surely_real(Ratio{g.arg, g.arg_den}))) return {};
      } else if (g.kind == K::exponential) {
        const std::optional<Poly> arg = conjugate(g.arg), den = conjugate(g.arg_den);
        if (!arg || !den || *den != g.arg_den) return {};
        if (*arg == negate(g.arg))
          e = -e;
        else if (*arg != g.arg)
          return {};
      } else if (g.kind == K::arctangent || g.kind == K::arcsine || g.kind == K::logarithm ||
                 g.kind == K::factorial || g.kind == K::floor) {
        const Ratio arg{g.arg, g.arg_den};
        if (!surely_real(arg)) return {};
        if (g.kind == K::logarithm && g.constant && sign(arg) != 1) return {};
        if (g.kind == K::arcsine && g.constant) return {};
      }
      image.monomial.push_back({f.generator, e});
    }
    out = add(out, Poly{{std::move(image)}});
  }
  return out;
}

Truth Field::is_real(const Ratio& a) {
  const std::optional<Poly> num = conjugate(a.num), den = conjugate(a.den);
  if (num && den) {
    if (*num == a.num && *den == a.den) return Truth::yes;
    if (is_constant(a)) return equal(Ratio{*num, *den}, a);
  }
  const Ball x = enclose(a, 128);
  if (acb_is_finite(x.get()) && !arb_contains_zero(x.imag())) return Truth::no;
  return Truth::unknown;
}

std::optional<int> Field::sign(const Ratio& a) {
  if (!is_constant(a)) return {};
  if (a.is_rational()) return sgn(a.num.rational());
  if (is_real(a) != Truth::yes) return {};
  bool tested = false;
  for (long precision = 64; precision <= kMaxBallBits; precision *= 4) {
    const Ball x = enclose(a, precision);
    if (!acb_is_finite(x.get())) return {};
    if (arb_is_positive(x.real())) return 1;
    if (arb_is_negative(x.real())) return -1;
    if (!tested && is_zero(a.num) == Truth::yes) return 0;
    tested = true;
  }
  return {};
}

}  // namespace cohort::math
