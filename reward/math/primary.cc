// What an expression is made of: names, brackets, fractions, roots, functions, sums.
#include <algorithm>
#include <array>
#include <utility>

#include "reward/math/parser.h"
#include "reward/math/units.h"

namespace cohort::math {

int32_t Parser::primary(int depth) {
  enter(depth);
  const Token* t = peek();
  if (!t) throw Beyond("an expression ends too soon");
  switch (t->kind) {
    case Tok::number:
      return number(depth);
    case Tok::letter: {
      // f(x): a function or a product
      if ((t->text == "f" || t->text == "g" || t->text == "h") && is(Tok::open_paren, 1))
        throw Beyond("a function or a product");
      ++at_;
      const int32_t value = name(t->text);
      if (is(Tok::number) && t->text == "i") return binary(Op::multiply, value, number_node());  // 3+i4
      if (is(Tok::number)) throw Beyond("a letter and a number side by side");
      return value;
    }
    case Tok::word: {
      if (t->from_text || !splits_into_letters(t->text) || known_unit_word(t->text))
        throw Beyond("a word where a number should be");
      ++at_;
      // a power belongs to the last letter
      int32_t value = name(t->text.substr(0, 1));
      for (size_t i = 1; i < t->text.size(); ++i) {
        int32_t next = name(t->text.substr(i, 1));
        if (i + 1 == t->text.size()) next = postfix(next, depth);
        value = binary(Op::multiply, value, next);
      }
      if (is(Tok::number)) throw Beyond("a letter and a number side by side");
      return value;
    }
    case Tok::pi:
      ++at_;
      return tree_.put(Node{.op = Op::pi});
    case Tok::infinity:
      ++at_;
      return tree_.put(Node{.op = Op::infinity});
    case Tok::open_paren: {
      const int32_t value = group(Tok::close_paren, depth);
      if (is(Tok::number)) throw Beyond("a bracket and a number side by side");
      return value;
    }
    case Tok::open_brace:
      return group(Tok::close_brace, depth);
    case Tok::open_bracket:
      return group(Tok::close_bracket, depth);
    case Tok::open_floor:
      return unary(Op::floor, group(Tok::close_floor, depth));
    case Tok::open_ceil:
      return unary(Op::ceiling, group(Tok::close_ceil, depth));
    case Tok::bar: {
      ++at_;
      ++bars_;
      const int32_t value = sum(depth + 1);
      --bars_;
      need(Tok::bar, "a bar is not closed");
      return unary(Op::absolute, value);
    }
    case Tok::frac: {
      ++at_;
      const int32_t above = argument(depth + 1);
      return binary(Op::divide, above, argument(depth + 1));
    }
    case Tok::binomial: {
      ++at_;
      const int32_t above = argument(depth + 1);
      return binary(Op::binomial, above, argument(depth + 1));
    }
    case Tok::root: {
      ++at_;
      int32_t degree = -1;
      if (is(Tok::open_bracket)) degree = group(Tok::close_bracket, depth);
      const int32_t value = argument(depth + 1);
      if (is(Tok::number)) throw Beyond("a root and a number side by side");
      if (degree < 0) degree = tree_.put(mpq_class(2));
      return binary(Op::root, value, degree);
    }
    case Tok::function:
      return function(depth);
    case Tok::sum:
    case Tok::product:
      return series(depth);
    default:
      throw Beyond("not an expression this checker reads");
  }
}

int32_t Parser::group(Tok close, int depth) {
  ++at_;
  const int bars = std::exchange(bars_, 0);
  int32_t value = sum(depth + 1);
  if (is(Tok::choose) || is(Tok::over)) {
    const Op op = is(Tok::over) ? Op::divide : Op::binomial;
    ++at_;
    value = binary(op, value, sum(depth + 1));
  }
  bars_ = bars;
  need(close, "a bracket is not closed");
  return value;
}

int32_t Parser::name(std::string_view text) {
  if (std::find(indices_.begin(), indices_.end(), text) != indices_.end()) {
    tree_.names.emplace_back(text);
    return tree_.put(Node{.op = Op::variable, .a = static_cast<int32_t>(tree_.names.size() - 1)});
  }
  if (text == "e") return tree_.put(Node{.op = Op::euler});
  if (text == "i") return tree_.put(Node{.op = Op::imaginary});
  tree_.letters = true;
  tree_.names.emplace_back(text);
  return tree_.put(Node{.op = Op::variable, .a = static_cast<int32_t>(tree_.names.size() - 1)});
}

int32_t Parser::function_argument(int depth) {
  enter(depth);
  if (is(Tok::open_paren) || is(Tok::open_bracket) || is(Tok::open_brace) || is(Tok::bar))
    return primary(depth + 1);
  if (eat(Tok::minus)) return unary(Op::negate, function_argument(depth + 1));
  int32_t value = factor(depth + 1);
  while (starts_factor() && !is(Tok::function) && !is(Tok::sum) && !is(Tok::product) && !is(Tok::open_paren))
    value = binary(Op::multiply, value, factor(depth + 1));
  return value;
}

int32_t Parser::function(int depth) {
  const std::string_view name = t_.list[at_++].text;
  if (name == "sqrt" || name == "cbrt" || name == "root4") {
    const bool negative = eat(Tok::minus);
    int32_t value = is(Tok::number) ? number_node() : primary(depth + 1);
    if (negative) value = unary(Op::negate, value);
    const int32_t degree = tree_.put(mpq_class(name == "sqrt" ? 2 : name == "cbrt" ? 3 : 4));
    return binary(Op::root, value, degree);
  }
  if (name == "abs") return unary(Op::absolute, function_argument(depth + 1));
  if (name == "gcd" || name == "lcm" || name == "max" || name == "min") {
    const Op op = name == "gcd"   ? Op::gcd
                  : name == "lcm" ? Op::lcm
                  : name == "max" ? Op::maximum
                                  : Op::minimum;
    const bool set = eat(Tok::open_set);  // \max\{3, 5\}
    if (!set) need(Tok::open_paren, "a bracket is missing");
    int32_t value = sum(depth + 1);
    while (eat(Tok::comma)) value = binary(op, value, sum(depth + 1));
    need(set ? Tok::close_set : Tok::close_paren, "a bracket is not closed");
    return value;
  }
  static constexpr std::array<std::pair<std::string_view, Fn>, 16> names = {{{"sin", Fn::sin},
                                                                             {"cos", Fn::cos},
                                                                             {"tan", Fn::tan},
                                                                             {"cot", Fn::cot},
                                                                             {"sec", Fn::sec},
                                                                             {"csc", Fn::csc},
                                                                             {"sinh", Fn::sinh},
                                                                             {"cosh", Fn::cosh},
                                                                             {"tanh", Fn::tanh},
                                                                             {"arcsin", Fn::arcsin},
                                                                             {"arccos", Fn::arccos},
                                                                             {"arctan", Fn::arctan},
                                                                             {"log", Fn::log},
                                                                             {"ln", Fn::ln},
                                                                             {"lg", Fn::lg},
                                                                             {"exp", Fn::exp}}};
  const auto* found =
      std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == name; });
  if (found == names.end()) throw Beyond("a function this checker does not know");
  Fn fn = found->second;
  int32_t base = -1, power = -1;
  if (eat(Tok::underscore)) {
    if (fn != Fn::log) throw Beyond("a function this checker does not know");
    base = argument(depth + 1);
  }
  if (eat(Tok::caret)) {
    power = exponent(depth + 1);
    const Node n = tree_.nodes[static_cast<size_t>(power)];
    if (n.op == Op::negate) {
      const Node inner = tree_.nodes[static_cast<size_t>(n.a)];
      const bool inverse = inner.op == Op::number && tree_.constants[static_cast<size_t>(inner.a)] == 1;
      if (!inverse || fn > Fn::tan) throw Beyond("a power of a function name that has two readings");
      fn = fn == Fn::sin ? Fn::arcsin : fn == Fn::cos ? Fn::arccos : Fn::arctan;
      power = -1;
    }
  }
  const int32_t value = function_argument(depth + 1);
  int32_t applied;
  if (base >= 0) {
    applied = binary(Op::log_base, value, base);
  } else {
    if (fn == Fn::log) tree_.bare_log = true;
    applied = tree_.put(Node{.op = Op::function, .fn = fn, .a = value});
  }
  return power >= 0 ? binary(Op::power, applied, power) : applied;
}

int32_t Parser::series(int depth) {
  const Op op = t_.list[at_++].kind == Tok::sum ? Op::sum : Op::product;
  need(Tok::underscore, "a sum without a beginning");
  need(Tok::open_brace, "a sum without a beginning");
  if (!is(Tok::letter)) throw Beyond("a sum without an index");
  tree_.names.emplace_back(t_.list[at_++].text);
  const int32_t index = static_cast<int32_t>(tree_.names.size() - 1);
  need(Tok::equal, "a sum without a beginning");
  const int32_t from = sum(depth + 1);
  need(Tok::close_brace, "a sum without a beginning");
  need(Tok::caret, "a sum without an end");
  const int32_t to = argument(depth + 1);
  const int32_t first = static_cast<int32_t>(tree_.nodes.size());
  indices_.push_back(tree_.names[static_cast<size_t>(index)]);
  int32_t body = product(depth + 1);
  indices_.pop_back();
  if (body != static_cast<int32_t>(tree_.nodes.size()) - 1) throw Beyond("an expression out of order");
  return tree_.put(Node{.op = op, .a = index, .b = from, .c = to, .d = first});
}

}  // namespace cohort::math
