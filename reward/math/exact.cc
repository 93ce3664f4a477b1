#include "reward/math/exact.h"

namespace cohort::math {
namespace {

mpz_class abs_of(const mpz_class& n) {
  return n < 0 ? mpz_class(-n) : n;
}

// n = square² · rest with squarefree rest. Trial division to the cube root: what is left then has at most two
// prime factors, so it is a square or squarefree.
void split_square(const mpz_class& n, mpz_class& square, mpz_class& rest) {
  if (mpz_perfect_square_p(n.get_mpz_t())) {
    mpz_sqrt(square.get_mpz_t(), n.get_mpz_t());
    rest = 1;
    return;
  }
  if (n > mpz_class("1000000000000")) throw Beyond("the number under a root is too large");
  uint64_t left = n.get_ui(), out = 1, keep = 1;
  for (uint64_t p = 2; p * p * p <= left; p += p == 2 ? 1 : 2) {
    while (left % (p * p) == 0) left /= p * p, out *= p;
    if (left % p == 0) left /= p, keep *= p;
  }
  const mpz_class tail(static_cast<unsigned long>(left));
  if (mpz_perfect_square_p(tail.get_mpz_t())) {
    mpz_sqrt(square.get_mpz_t(), tail.get_mpz_t());
    square *= static_cast<unsigned long>(out);
    rest = static_cast<unsigned long>(keep);
  } else {
    square = static_cast<unsigned long>(out);
    rest = static_cast<unsigned long>(keep * left);
  }
}

}  // namespace

Exact::Exact(const mpq_class& rational) {
  if (rational != 0) terms_[1] = rational;
  check_size();
}

void Exact::check_size() const {
  if (terms_.size() > kMaxTerms) throw Beyond("too many terms");
  for (const auto& [n, q] : terms_)
    if (mpz_sizeinbase(q.get_num_mpz_t(), 2) > kMaxBits || mpz_sizeinbase(q.get_den_mpz_t(), 2) > kMaxBits)
      throw Beyond("a number is too large");
}

std::optional<mpq_class> Exact::rational() const {
  if (terms_.empty()) return mpq_class(0);
  if (terms_.size() == 1 && terms_.begin()->first == 1) return terms_.begin()->second;
  return {};
}

Exact Exact::operator-() const {
  Exact out = *this;
  for (auto& [n, q] : out.terms_) q = -q;
  return out;
}

Exact Exact::operator+(const Exact& other) const {
  Exact out = *this;
  for (const auto& [n, q] : other.terms_) {
    mpq_class& sum = out.terms_[n];
    sum += q;
    if (sum == 0) out.terms_.erase(n);
  }
  out.check_size();
  return out;
}

Exact Exact::operator*(const Exact& other) const {
  Exact out;
  for (const auto& [n, q] : terms_) {
    for (const auto& [m, r] : other.terms_) {
      const mpz_class g = gcd(n, m);  // √n·√m = g·√(nm/g²), again squarefree
      const mpz_class rest = (n / g) * (m / g);
      if (mpz_sizeinbase(rest.get_mpz_t(), 2) > kMaxBits) throw Beyond("a number under a root is too large");
      mpq_class& sum = out.terms_[rest];
      sum += q * r * g;
      if (sum == 0) out.terms_.erase(rest);
    }
  }
  out.check_size();
  return out;
}

Exact Exact::operator/(const Exact& other) const {
  if (other.is_zero()) throw Beyond("division by zero");
  if (other.terms_.size() > 2) throw Beyond("a divisor of three roots");
  if (other.terms_.size() == 2) {  // (a√n + b√m)(a√n − b√m) = a²n − b²m, not zero as n != m are squarefree
    Exact conjugate = other;
    mpq_class& second = conjugate.terms_.rbegin()->second;
    second = -second;
    return (*this * conjugate) / (other * conjugate);
  }
  const auto& [n, q] = *other.terms_.begin();
  Exact inverse;
  inverse.terms_[n] = 1 / (q * n);
  return *this * inverse;
}

Exact Exact::power(const mpz_class& exponent) const {
  if (exponent < 0) return Exact(1) / power(-exponent);
  if (exponent > 100000) {
    if (is_zero() || *this == Exact(1)) return *this;
    throw Beyond("an exponent is too large");
  }
  Exact out(1), base = *this;
  for (unsigned long e = exponent.get_ui(); e > 0; e >>= 1) {
    if (e & 1) out = out * base;
    if (e > 1) base = base * base;
  }
  return out;
}

Exact Exact::sqrt() const {
  const std::optional<mpq_class> r = rational();
  if (!r) throw Beyond("a root of a root");
  if (*r < 0) throw Beyond("the root of a negative number");
  if (*r == 0) return {};
  mpz_class square, rest, num_square, num_rest;
  split_square(r->get_den(), square, rest);  // √(p/q): both parts apart, so that large squares stay possible
  split_square(r->get_num(), num_square, num_rest);
  Exact out;  // num_square√num_rest / (square√rest)
  out.terms_[num_rest] = num_square;
  Exact divisor;
  divisor.terms_[rest] = square;
  return out / divisor;
}

Exact Exact::root(unsigned long degree) const {
  if (degree == 2) return sqrt();
  const std::optional<mpq_class> r = rational();
  if (!r || degree == 0 || degree > 1000 || (*r < 0 && degree % 2 == 0))
    throw Beyond("a root that is not rational");
  mpz_class num, den;
  if (!mpz_root(num.get_mpz_t(), r->get_num_mpz_t(), degree) ||
      !mpz_root(den.get_mpz_t(), r->get_den_mpz_t(), degree))
    throw Beyond("a root that is not rational");
  return Exact(mpq_class(num, den));
}

Exact::Interval Exact::enclose(long decimals) const {
  if (decimals > 10000) throw Beyond("too many decimals");
  Interval sum{0, 0};
  for (const auto& [n, q] : terms_) {
    mpq_class lo = 1, hi = 1;
    if (n != 1) {
      const unsigned long bits =
          4 * static_cast<unsigned long>(std::max(decimals, 0L)) + 64 + mpz_sizeinbase(q.get_num_mpz_t(), 2);
      mpz_class scaled = n << (2 * bits);
      mpz_class root;
      mpz_sqrt(root.get_mpz_t(), scaled.get_mpz_t());
      const mpz_class unit = mpz_class(1) << bits;
      lo = mpq_class(root, unit);
      hi = mpq_class(root + 1, unit);
      lo.canonicalize();
      hi.canonicalize();
    }
    sum.lo += q > 0 ? mpq_class(q * lo) : mpq_class(q * hi);
    sum.hi += q > 0 ? mpq_class(q * hi) : mpq_class(q * lo);
  }
  return sum;
}

std::string Exact::text() const {
  if (terms_.empty()) return "0";
  std::string out;
  for (const auto& [n, q] : terms_) {
    if (!out.empty()) out += q > 0 ? " + " : " - ";
    const mpq_class shown = out.empty() ? q : mpq_class(abs_of(q.get_num()), q.get_den());
    if (n == 1)
      out += shown.get_str();
    else
      out += (shown == 1 ? "" : shown == -1 ? "-" : shown.get_str() + "*") + "sqrt(" + n.get_str() + ")";
    if (out.size() > 200) return out.substr(0, 200) + "...";
  }
  return out;
}

}  // namespace cohort::math
