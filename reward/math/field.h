// The arithmetic of one comparison: its generators and the operations on values built from them. Both answers are
// read into one Field, so that sin(x) in one and in the other are the same generator. Not for two threads.
//
// Variables are real; an identity between values with variables is one of functions where both are defined. What was
// under an even root, a logarithm, an arc sine or a fraction stays remembered when that is simplified away: (\sqrt{x})^2 is x, and says
// nothing for x < 0.
// Every operation throws Beyond for what is undefined, not covered or over the budget.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/budget.h"
#include "reward/math/flint.h"
#include "reward/math/poly.h"

namespace cohort::math {

enum class GeneratorKind : uint8_t {
  prime,      // n, with exponents in (0,1): the positive real root
  imaginary,  // i
  pi,
  euler,     // e
  log_base,  // the natural logarithm of the base that a bare \log has
  variable,
  root,         // arg, with exponents in (0,1): principal root; of a real function the real root
  absolute,     // |arg|, exponent below 2 where arg is real
  exponential,  // exp(arg), exponent q stands for exp(q*arg)
  log_prime,    // ln n
  logarithm,    // principal ln(arg)
  cosine_pi,    // cos(pi*q), 0 < q < 1/2
  arctangent,
  arcsine,
  factorial,  // Gamma(arg+1)
  floor,
};

struct Generator {
  GeneratorKind kind;
  mpz_class n;  // prime, log_prime
  mpq_class q;  // cosine_pi
  Poly arg;
  Poly arg_den;            // of logarithm, exponential, arctangent, arcsine, factorial, floor
  std::string name;        // variable
  bool constant = true;    // no variable below
  bool algebraic = false;  // an algebraic number
  bool integral = false;   // a variable that only takes whole values: n, k, m, …
  bool squares = true;     // of absolute: |arg|^2 is arg^2
};

enum class Truth { yes, no, unknown };

// A value for each variable, by generator; the value of log_base.
struct Point {
  int index = 0;
  bool common_log = true;
};

class Field {
 public:
  explicit Field(Budget& budget) : budget_(budget) {}
  Field(const Field&) = delete;
  Field& operator=(const Field&) = delete;

  Budget& budget() { return budget_; }
  const Generator& generator(uint32_t id) const { return *generators_[id]; }
  size_t generators() const { return generators_.size(); }

  // Leaves.
  Ratio number(const mpq_class& q) const;
  Ratio imaginary();
  Ratio pi();
  Ratio euler();
  Ratio log_base();
  Ratio variable(std::string_view name);

  // Polynomials.
  Poly add(const Poly& a, const Poly& b);
  Poly negate(Poly a) const;
  Poly multiply(const Poly& a, const Poly& b);
  Poly scale(Poly a, const mpq_class& c);
  Poly power(const Poly& a, unsigned long n);

  // Values.
  Ratio add(const Ratio& a, const Ratio& b);
  Ratio subtract(const Ratio& a, const Ratio& b);
  Ratio negate(Ratio a) const;
  Ratio multiply(const Ratio& a, const Ratio& b);
  Ratio divide(const Ratio& a, const Ratio& b);
  Ratio power(const Ratio& base, const Ratio& exponent);
  Ratio whole_power(const Ratio& base, const mpz_class& n);
  // \sqrt[k]{a}: the real root where there is one, else the principal one.
  Ratio root(const Ratio& a, unsigned long k);
  Ratio exp(const Ratio& a);
  Ratio log(const Ratio& a);
  Ratio absolute(const Ratio& a);
  Ratio cos(const Ratio& a);
  Ratio sin(const Ratio& a);
  Ratio arctan(const Ratio& a);
  Ratio arcsin(const Ratio& a);
  Ratio factorial(const Ratio& a);
  Ratio binomial(const Ratio& n, const Ratio& k);
  Ratio floor(const Ratio& a);
  Ratio cos_pi(const mpq_class& q);  // cos(q*pi)

  // Decisions (zero.cc). `yes` and `no` are certified.
  Truth is_zero(const Poly& a);
  Truth equal(const Ratio& a, const Ratio& b);
  // -1, 0, 1 of a real constant; nothing when that cannot be certified.
  std::optional<int> sign(const Ratio& a);
  // Whether a constant is certainly a real number.
  Truth is_real(const Ratio& a);
  bool is_constant(const Poly& a) const;
  bool is_constant(const Ratio& a) const { return is_constant(a.num) && is_constant(a.den); }

  // Enclosures (enclose.cc). Not finite when the value is not defined over the reals at this point.
  Ball enclose(const Poly& a, long precision, const Point& point = {});
  Ball enclose(const Ratio& a, long precision, const Point& point = {});

  std::string text(const Ratio& a) const;

 private:
  // Remembers that what is being built is only defined where the function `a` is not negative, or not zero.
  enum class Need : uint8_t { not_negative, not_zero };
  void need(const Ratio& a, Need what = Need::not_negative);
  bool defined_at(const Point& point, long precision);
  uint32_t add_generator(Generator g);
  uint32_t fixed(GeneratorKind kind);
  uint32_t of_number(GeneratorKind kind, const mpz_class& n);
  uint32_t of_value(GeneratorKind kind, const Ratio& arg);
  Poly single(uint32_t generator, Exponent e, const mpq_class& coefficient = 1) const;
  Ratio as_ratio(Poly num) const;
  void check(const mpq_class& q) const;
  void check(const Poly& a) const;
  // c * a^e with the rules of that generator; `factor` collects what became a polynomial.
  void settle(uint32_t generator, Exponent e, Monomial& monomial, mpq_class& coefficient,
              std::optional<Poly>& factor);
  void multiply_terms(const Term& a, const Term& b, std::map<Monomial, mpq_class>& out);
  Ratio invert(const Poly& a);
  bool surely_nonzero(const Term& t) const;
  bool surely_positive(uint32_t generator) const;  // a positive real constant or function
  bool positive_constant(const Poly& a);
  Ratio root_of_rational(const mpq_class& q, unsigned long k);  // q > 0
  Ratio root_of_term(const Term& t, unsigned long k);
  Ratio root_of_poly(const Poly& a, unsigned long k);
  Ratio opaque_root(const Poly& a, unsigned long k);
  Ratio log_of_rational(const mpq_class& q);  // q > 0
  Ratio log_of_poly(const Poly& a);
  Ratio inverse_circular(GeneratorKind kind, const Ratio& a);
  std::optional<mpq_class> guess_angle(GeneratorKind kind, const Ratio& a);
  // a = content * rest, rest primitive with integer coefficients.
  Poly primitive(const Poly& a, mpq_class& content);
  std::optional<Poly> conjugate(const Poly& a);
  bool surely_real(const Ratio& a);  // a constant, or a function of real variables, where it is defined
  bool perhaps_complex(const Poly& a) const;
  Ratio size_of_factor(const Factor& f);
  Truth algebraic_zero(const Poly& a);
  struct Bound;
  bool add_bound(uint32_t generator, Bound& bound, int depth);
  double bound_power(const Factor& f) const;
  Ball enclose_generator(uint32_t id, Exponent e, long precision, const Point& point);

  Budget& budget_;
  std::vector<std::unique_ptr<Generator>> generators_;
  std::vector<std::pair<Ratio, Need>> needed_;
  struct Cached {
    long precision = 0;
    int point = 0;
    bool common_log = true;
    Ball value;
  };
  std::vector<Cached> cache_;  // by generator, exponent 1
};

}  // namespace cohort::math
