#include "reward/math/evaluate.h"

namespace cohort::math {
namespace {

constexpr long kMaxSeries = 10000;
constexpr int kMaxSumDegree = 8;

class Evaluator {
 public:
  Evaluator(const Tree& tree, Field& field, const Evaluation& how)
      : tree_(tree), field_(field), how_(how), values_(tree.nodes.size()), bound_(tree.names.size()) {}

  Ratio run() {
    range(0, static_cast<int32_t>(tree_.nodes.size()));
    return std::move(values_.back());
  }

 private:
  void range(int32_t begin, int32_t end) {
    field_.budget().spend(1 + (end - begin) / 8);
    // where the bodies of sums lie: they are computed when their sum is
    std::vector<int32_t> owner(static_cast<size_t>(end - begin), -1);
    for (int32_t i = end - 1; i >= begin; --i) {
      const Node& n = tree_.nodes[static_cast<size_t>(i)];
      if ((n.op != Op::sum && n.op != Op::product) || owner[static_cast<size_t>(i - begin)] >= 0) continue;
      for (int32_t k = n.d; k < i; ++k) owner[static_cast<size_t>(k - begin)] = i;
    }
    for (int32_t i = begin; i < end; ++i)
      if (owner[static_cast<size_t>(i - begin)] < 0) values_[static_cast<size_t>(i)] = node(i);
  }

  const Ratio& value(int32_t i) const { return values_[static_cast<size_t>(i)]; }
  mpz_class whole(const Ratio& a, const char* what) const {
    if (!a.is_rational() || a.num.rational().get_den() != 1) throw Beyond(what);
    return a.num.rational().get_num();
  }

  Ratio node(int32_t i) {
    const Node& n = tree_.nodes[static_cast<size_t>(i)];
    field_.budget().spend(1);
    switch (n.op) {
      case Op::number:
        return field_.number(tree_.constants[static_cast<size_t>(n.a)]);
      case Op::imaginary:
        return field_.imaginary();
      case Op::pi:
        return field_.pi();
      case Op::euler:
        return field_.euler();
      case Op::infinity:
        throw Beyond("infinity inside an expression");
      case Op::variable: {
        const std::string& name = tree_.names[static_cast<size_t>(n.a)];
        for (size_t k = bound_.size(); k-- > 0;)  // the innermost sum's first
          if (bound_[k] && tree_.names[k] == name) return *bound_[k];
        return field_.variable(name);
      }
      case Op::add:
        return field_.add(value(n.a), value(n.b));
      case Op::subtract:
        return field_.subtract(value(n.a), value(n.b));
      case Op::plus_minus:
      case Op::minus_plus:
        return (how_.sign > 0) == (n.op == Op::plus_minus) ? field_.add(value(n.a), value(n.b))
                                                           : field_.subtract(value(n.a), value(n.b));
      case Op::multiply:
        return field_.multiply(value(n.a), value(n.b));
      case Op::divide:
        return field_.divide(value(n.a), value(n.b));
      case Op::power:
        return field_.power(value(n.a), value(n.b));
      case Op::negate:
        return field_.negate(value(n.a));
      case Op::factorial:
        return field_.factorial(value(n.a));
      case Op::degree:
        return field_.multiply(value(n.a), field_.multiply(field_.number(mpq_class(1, 180)), field_.pi()));
      case Op::percent:
        return field_.multiply(value(n.a), field_.number(mpq_class(1, 100)));
      case Op::absolute:
        return field_.absolute(value(n.a));
      case Op::floor:
        return field_.floor(value(n.a));
      case Op::ceiling:
        return field_.negate(field_.floor(field_.negate(value(n.a))));
      case Op::root: {
        const mpz_class k = whole(value(n.b), "the degree of a root cannot be read");
        if (k < 2 || !k.fits_ulong_p()) throw Beyond("the degree of a root cannot be read");
        return field_.root(value(n.a), k.get_ui());
      }
      case Op::log_base: {
        const Ratio base = field_.log(value(n.b));
        if (base.num.is_zero()) throw Beyond("a logarithm to base one");
        return field_.divide(field_.log(value(n.a)), base);
      }
      case Op::binomial:
        return field_.binomial(value(n.a), value(n.b));
      case Op::gcd:
      case Op::lcm: {
        const mpz_class a = whole(value(n.a), "a divisor of what is not whole");
        const mpz_class b = whole(value(n.b), "a divisor of what is not whole");
        field_.budget().spend(static_cast<int64_t>(mpz_sizeinbase(a.get_mpz_t(), 2) / 64 + 1));
        return field_.number(n.op == Op::gcd ? mpz_class(gcd(a, b)) : mpz_class(lcm(a, b)));
      }
      case Op::maximum:
      case Op::minimum: {
        const std::optional<int> s = field_.sign(field_.subtract(value(n.a), value(n.b)));
        if (!s) throw Beyond("a largest of what cannot be ordered");
        return (*s >= 0) == (n.op == Op::maximum) ? value(n.a) : value(n.b);
      }
      case Op::function:
        return function(n.fn, value(n.a));
      case Op::sum:
      case Op::product:
        return series(i, n);
    }
    throw Beyond("an expression that cannot be evaluated");
  }

  Ratio function(Fn fn, const Ratio& x) {
    Field& f = field_;
    switch (fn) {
      case Fn::sin:
        return f.sin(x);
      case Fn::cos:
        return f.cos(x);
      case Fn::tan:
        return f.divide(f.sin(x), f.cos(x));
      case Fn::cot:
        return f.divide(f.cos(x), f.sin(x));
      case Fn::sec:
        return f.divide(f.number(1), f.cos(x));
      case Fn::csc:
        return f.divide(f.number(1), f.sin(x));
      case Fn::sinh:
      case Fn::cosh:
      case Fn::tanh: {
        const Ratio up = f.exp(x), down = f.exp(f.negate(x));
        if (fn == Fn::tanh) return f.divide(f.subtract(up, down), f.add(up, down));
        const Ratio both = fn == Fn::sinh ? f.subtract(up, down) : f.add(up, down);
        return f.multiply(f.number(mpq_class(1, 2)), both);
      }
      case Fn::arcsin:
        return f.arcsin(x);
      case Fn::arccos:
        return f.subtract(f.multiply(f.number(mpq_class(1, 2)), f.pi()), f.arcsin(x));
      case Fn::arctan:
        return f.arctan(x);
      case Fn::log:
        return f.divide(f.log(x), how_.common_log ? f.log(f.number(10)) : f.log_base());
      case Fn::lg:
        return f.divide(f.log(x), f.log(f.number(10)));
      case Fn::ln:
        return f.log(x);
      case Fn::exp:
        return f.exp(x);
    }
    throw Beyond("a function this checker does not know");
  }

  // The body of the sum or product at node `at`, with this index.
  Ratio body(int32_t at, const Node& n, const Ratio& index) {
    bound_[static_cast<size_t>(n.a)] = index;
    range(n.d, at);
    bound_[static_cast<size_t>(n.a)].reset();
    return value(at - 1);
  }

  // \sum_{k=from}^{n} with n a variable, for n >= from - 1: Newton's formula where a difference of f vanishes (f is a
  // polynomial in k), the geometric one where f(k+1)/f(k) is the same for all k.
  Ratio sum_to_variable(int32_t at, const Node& n) {
    Field& f = field_;
    const Ratio from = f.number(mpq_class(whole(value(n.b), "a sum with a bound that is not a number")));
    const Ratio count = f.add(f.subtract(value(n.c), from), f.number(1));
    const Ratio k = f.variable("index of a sum");
    std::vector<Ratio> differences = {body(at, n, k)};  // of order 0, 1, …, backwards from k + i
    std::vector<Ratio> first;                           // f(k), f(k+1), f(k+2)
    int degree = -1;
    for (int i = 0; degree < 0; ++i) {
      if (i > kMaxSumDegree) throw Beyond("a sum without a closed form here");
      const Ratio next = i == 0 ? differences[0] : body(at, n, f.add(k, f.number(i)));
      if (i < 3) first.push_back(next);
      std::vector<Ratio> row = {next};
      for (size_t j = 0; i > 0 && j < differences.size(); ++j)
        row.push_back(f.subtract(row[j], differences[j]));
      differences = std::move(row);
      if (differences.back().num.is_zero()) degree = i - 1;
      if (i == 2) {
        const Ratio factor = f.divide(first[1], first[0]);
        if (f.subtract(factor, f.divide(first[2], first[1])).num.is_zero())
          return geometric(at, n, from, count);
      }
    }
    Ratio total = f.number(0);
    std::vector<Ratio> values;
    for (int j = 0; j <= degree; ++j) {
      values.push_back(body(at, n, f.add(from, f.number(j))));
      Ratio difference = f.number(0);  // of order j at `from`
      for (int i = 0; i <= j; ++i) {
        mpz_class times;
        mpz_bin_uiui(times.get_mpz_t(), static_cast<unsigned long>(j), static_cast<unsigned long>(i));
        if ((j - i) % 2 == 1) times = -times;
        difference =
            f.add(difference, f.multiply(f.number(mpq_class(times)), values[static_cast<size_t>(i)]));
      }
      total = f.add(total, f.multiply(difference, f.binomial(count, f.number(j + 1))));
    }
    return total;
  }

  Ratio geometric(int32_t at, const Node& n, const Ratio& from, const Ratio& count) {
    Field& f = field_;
    const Ratio first = body(at, n, from), one = f.number(1);
    const Ratio factor = f.divide(body(at, n, f.add(from, one)), first);
    return f.multiply(first, f.divide(f.subtract(f.power(factor, count), one), f.subtract(factor, one)));
  }

  Ratio series(int32_t at, const Node& n) {
    if (n.op == Op::sum && !field_.is_constant(value(n.c))) return sum_to_variable(at, n);
    const mpz_class from = whole(value(n.b), "a sum with a bound that is not a number");
    const mpz_class to = whole(value(n.c), "a sum with a bound that is not a number");
    if (to - from > kMaxSeries) throw Beyond("a sum of too many terms");
    Ratio total = field_.number(n.op == Op::sum ? 0 : 1);
    for (mpz_class k = from; k <= to; ++k) {
      const Ratio next = body(at, n, field_.number(mpq_class(k)));
      total = n.op == Op::sum ? field_.add(total, next) : field_.multiply(total, next);
    }
    return total;
  }

  const Tree& tree_;
  Field& field_;
  const Evaluation how_;
  std::vector<Ratio> values_;
  std::vector<std::optional<Ratio>> bound_;  // by name: the index of the sum being computed
};

}  // namespace

Ratio evaluate(const Tree& tree, Field& field, const Evaluation& how) {
  if (tree.nodes.empty()) throw Beyond("an empty expression");
  return Evaluator(tree, field, how).run();
}

const mpq_class* plain_number(const Tree& tree, bool& negative) {
  negative = false;
  if (tree.nodes.empty() || tree.nodes[0].op != Op::number) return nullptr;
  if (tree.nodes.size() == 2 && tree.nodes[1].op == Op::negate)
    negative = true;
  else if (tree.nodes.size() != 1)
    return nullptr;
  return &tree.constants[0];
}

int infinite_sign(const Tree& tree) {
  if (tree.nodes.empty() || tree.nodes[0].op != Op::infinity) return 0;
  if (tree.nodes.size() == 1) return 1;
  return tree.nodes.size() == 2 && tree.nodes[1].op == Op::negate ? -1 : 0;
}

}  // namespace cohort::math
