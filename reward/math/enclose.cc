// Certified enclosures of values by ball arithmetic.
#include <cstdlib>

#ifdef COHORT_FLINT3
#include <flint/acb_hypgeom.h>
#else
#include <acb_hypgeom.h>
#endif

#include "reward/math/field.h"

namespace cohort::math {
namespace {

using K = GeneratorKind;

// FLINT keeps caches a thread; they go when the thread does. Filled once to the largest precision used, so
// that no enclosure depends on what the thread has computed before.
struct ThreadCaches {
  ThreadCaches() {
    Ball z;
    arb_const_pi(z.real(), kMaxBallBits + 128);
    arb_const_e(z.real(), kMaxBallBits + 128);
    arb_const_log2(z.real(), kMaxBallBits + 128);
    arb_const_log10(z.real(), kMaxBallBits + 128);
  }
  ~ThreadCaches() { flint_cleanup(); }
};
void warm_thread() {
  thread_local const ThreadCaches caches;
  (void)caches;
}

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The value of a variable at one of the points: the first three positive, the others of any sign; points 1 and
// 4 inside (-1, 1). Whole-valued variables are always positive whole numbers.
mpq_class value_at(const Generator& g, int point) {
  uint64_t h = 1469598103934665603u;
  for (char c : g.name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
  h = mix(h ^ (static_cast<uint64_t>(point) << 32));
  if (g.integral) return mpq_class(static_cast<long>(2 + h % 7 + static_cast<uint64_t>(point)));
  const long den = 101 + static_cast<long>((h >> 8) % 90);
  long num = 1 + static_cast<long>((h >> 20) % static_cast<uint64_t>(den - 1));
  if (point % 3 != 1) num += den * (1 + static_cast<long>((h >> 40) % 5));
  if (point >= 3 && ((h >> 50) & 1)) num = -num;
  mpq_class q(num, den);
  q.canonicalize();
  return q;
}

int64_t price(bool algebraic, long precision) {
  return algebraic ? 3 + precision * precision / (1 << 20) : 8 + precision * precision / (1 << 14);
}

void set(Ball& out, const mpq_class& q, long precision) {
  const FlintRational f(q);
  acb_set_fmpq(out.get(), f.get(), precision);
}

}  // namespace

Ball Field::enclose_generator(uint32_t id, Exponent e, long precision, const Point& point) {
  warm_thread();
  const Generator& g = *generators_[id];
  budget_.spend(price(g.algebraic, precision));
  Ball out;
  auto argument = [&] { return enclose(Ratio{g.arg, g.arg_den}, precision + 10, point); };
  if (g.kind == K::exponential) {  // exp(e*arg) at once
    Ball x = argument();
    acb_mul_si(x.get(), x.get(), e.num, precision);
    acb_div_si(x.get(), x.get(), e.den, precision);
    acb_exp(out.get(), x.get(), precision);
    return out;
  }
  if (cache_.size() < generators_.size()) cache_.resize(generators_.size());
  const bool cached = cache_[id].precision == precision && (g.constant || cache_[id].point == point.index) &&
                      cache_[id].common_log == point.common_log;
  if (cached) {
    out = cache_[id].value;
  } else {
    switch (g.kind) {
      case K::prime:
        set(out, mpq_class(g.n), precision);
        break;
      case K::imaginary:
        acb_onei(out.get());
        break;
      case K::pi:
        acb_const_pi(out.get(), precision);
        break;
      case K::euler:
        arb_const_e(out.real(), precision);
        break;
      case K::log_base:
        if (point.common_log)
          arb_const_log10(out.real(), precision);
        else
          acb_one(out.get());
        break;
      case K::variable:
        set(out, value_at(g, point.index), precision);
        break;
      case K::log_prime: {
        set(out, mpq_class(g.n), precision + 10);
        arb_log(out.real(), out.real(), precision);
        break;
      }
      case K::logarithm: {
        Ball x = argument();
        if (!g.constant && arb_is_zero(x.imag()) && !arb_is_positive(x.real()))
          acb_indeterminate(out.get());
        else
          acb_log(out.get(), x.get(), precision);
        break;
      }
      case K::root:
        out = enclose(g.arg, precision + 10, point);
        break;
      case K::absolute: {
        Ball x = enclose(g.arg, precision + 10, point);
        acb_abs(out.real(), x.get(), precision);
        break;
      }
      case K::cosine_pi: {
        const FlintRational q(g.q);
        arb_cos_pi_fmpq(out.real(), q.get(), precision);
        break;
      }
      case K::arctangent: {
        Ball x = argument();
        acb_atan(out.get(), x.get(), precision);
        break;
      }
      case K::arcsine: {
        Ball x = argument();
        acb_asin(out.get(), x.get(), precision);
        if (!g.constant && !arb_contains_zero(out.imag())) acb_indeterminate(out.get());
        break;
      }
      case K::factorial: {
        Ball x = argument();
        acb_add_si(x.get(), x.get(), 1, precision);
        if (arb_is_positive(x.real()) && mag_cmp_2exp_si(arb_radref(x.real()), 10) < 0 &&
            arf_cmpabs_2exp_si(arb_midref(x.real()), 20) < 0)
          acb_gamma(out.get(), x.get(), precision);
        else
          acb_indeterminate(out.get());
        break;
      }
      case K::floor: {
        Ball x = argument();
        arb_floor(out.real(), x.real(), precision);
        break;
      }
      case K::exponential:
        break;
    }
    cache_[id] = {precision, point.index, point.common_log, out};
  }
  if (e == Exponent{1, 1}) return out;
  const unsigned long k = static_cast<unsigned long>(e.den);
  if (k != 1) {
    const bool function = !g.constant && arb_is_zero(out.imag());
    if (!g.constant && !function && arb_contains_zero(out.imag()) && !arb_is_positive(out.real())) {
      acb_indeterminate(out.get());  // real or not, and so which root, cannot be seen
    } else if (function && arb_is_negative(out.real())) {
      if (k % 2 == 0) {
        acb_indeterminate(out.get());
      } else {  // the real root
        acb_neg(out.get(), out.get());
        arb_root_ui(out.real(), out.real(), k, precision);
        acb_neg(out.get(), out.get());
      }
    } else if (arb_is_zero(out.imag()) && arb_is_nonnegative(out.real())) {
      arb_root_ui(out.real(), out.real(), k, precision);
    } else {
      acb_root_ui(out.get(), out.get(), k, precision);
    }
  }
  if (e.num != 1) acb_pow_si(out.get(), out.get(), e.num, precision);
  return out;
}

Ball Field::enclose(const Poly& a, long precision, const Point& point) {
  Ball sum, product, c;
  for (const Term& t : a.terms) {
    budget_.spend(2 + precision * precision / (1 << 20));
    set(product, t.coefficient, precision);
    for (const Factor& f : t.monomial) {
      const Ball x = enclose_generator(f.generator, f.exponent, precision, point);
      acb_mul(product.get(), product.get(), x.get(), precision);
    }
    acb_add(sum.get(), sum.get(), product.get(), precision);
  }
  return sum;
}

Ball Field::enclose(const Ratio& a, long precision, const Point& point) {
  Ball num = enclose(a.num, precision, point);
  if (a.den.is_one()) return num;
  const Ball den = enclose(a.den, precision, point);
  if (acb_contains_zero(den.get()))
    acb_indeterminate(num.get());
  else
    acb_div(num.get(), num.get(), den.get(), precision);
  return num;
}

}  // namespace cohort::math
