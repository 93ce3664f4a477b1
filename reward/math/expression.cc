// The expression parser: recursive descent over tokens, its depth limited.
#include <algorithm>
#include <array>
#include <utility>

#include "reward/math/budget.h"
#include "reward/math/tree.h"
#include "reward/math/units.h"

namespace cohort::math {
namespace {

constexpr int kMaxDepth = 80;
class Parser {
 public:
  Parser(Tokens& tokens, size_t begin, size_t end, bool tight, Tree& tree)
      : t_(tokens), at_(begin), end_(end), tight_(tight), tree_(tree) {}

  size_t run() {
    int32_t value = sum(0);
    if (is(Tok::choose)) {
      ++at_;
      const int32_t below = sum(0);
      value = tree_.put(Node{.op = Op::binomial, .a = value, .b = below});
    }
    if (value != static_cast<int32_t>(tree_.nodes.size()) - 1) throw Beyond("an expression out of order");
    return at_;
  }

 private:
  const Token* peek(size_t n = 0) const { return at_ + n < end_ ? &t_.list[at_ + n] : nullptr; }
  bool is(Tok kind, size_t n = 0) const { return at_ + n < end_ && t_.list[at_ + n].kind == kind; }
  bool eat(Tok kind) {
    if (!is(kind)) return false;
    ++at_;
    return true;
  }
  void need(Tok kind, const char* what) {
    if (!eat(kind)) throw Beyond(what);
  }
  int32_t binary(Op op, int32_t a, int32_t b) { return tree_.put(Node{.op = op, .a = a, .b = b}); }
  int32_t unary(Op op, int32_t a) { return tree_.put(Node{.op = op, .a = a}); }
  void enter(int depth) const {
    if (depth > kMaxDepth) throw Beyond("nested too deeply");
  }

  int32_t sum(int depth) {
    enter(depth);
    int32_t total = -1;
    for (;;) {
      Op op = Op::add;
      if (is(Tok::plus))
        ++at_;
      else if (is(Tok::minus))
        ++at_, op = Op::subtract;
      else if (is(Tok::plus_minus))
        ++at_, op = Op::plus_minus, tree_.signs = true;
      else if (is(Tok::minus_plus))
        ++at_, op = Op::minus_plus, tree_.signs = true;
      else if (total >= 0)
        return total;
      const int32_t next = product(depth + 1);
      if (total >= 0)
        total = binary(op, total, next);
      else if (op == Op::add)
        total = next;
      else if (op == Op::subtract)
        total = unary(Op::negate, next);
      else
        total = binary(op, tree_.put(mpq_class(0)), next);
    }
  }

  bool starts_factor() const {
    const Token* t = peek();
    if (!t) return false;
    switch (t->kind) {
      case Tok::letter:
      case Tok::pi:
      case Tok::open_paren:
        return !words_in_brackets();
      case Tok::open_brace:
      case Tok::open_bracket:
      case Tok::function:
      case Tok::frac:
      case Tok::root:
      case Tok::binomial:
      case Tok::sum:
      case Tok::product:
      case Tok::open_floor:
      case Tok::open_ceil:
        return true;
      case Tok::number:
        return at_ > 0 && t_.list[at_ - 1].kind == Tok::bang;  // 5!47!
      case Tok::bar:
        return bars_ == 0;
      case Tok::word:
        return !t->from_text && !t->space_before && splits_into_letters(t->text) && !known_unit_word(t->text);
      default:
        return false;
    }
  }

  // 9 (red apples), 4 (m): a unit, no factor.
  bool words_in_brackets() const {
    size_t i = at_ + 1;
    bool words = false;
    for (; i < end_; ++i) {
      const Token& t = t_.list[i];
      if (t.kind == Tok::word)
        words = words || t.from_text || !splits_into_letters(t.text) || known_unit_word(t.text);
      else if (t.kind == Tok::letter && i == at_ + 1 && is(Tok::close_paren, 2) && peek()->space_before)
        words = words || t.text == "m" || t.text == "g" || t.text == "s" || t.text == "h" || t.text == "L";
      else if (t.kind != Tok::minus && t.kind != Tok::dot && t.kind != Tok::in_words && t.kind != Tok::letter)
        break;
    }
    return words && i < end_ && t_.list[i].kind == Tok::close_paren;
  }

  int32_t product(int depth) {
    enter(depth);
    int32_t total = signed_factor(depth + 1);
    bool divided = false;  // the last operator was a slash between plain operands
    for (;;) {
      if (eat(Tok::times)) {
        total = binary(Op::multiply, total, signed_factor(depth + 1));
        divided = false;
      } else if (eat(Tok::slash)) {
        int32_t below = signed_factor(depth + 1);
        if (tight_)
          while (starts_factor()) below = binary(Op::multiply, below, factor(depth + 1));
        total = binary(Op::divide, total, below);
        divided = true;
      } else if (starts_factor()) {
        if (divided) tree_.loose_product = true;
        total = binary(Op::multiply, total, factor(depth + 1));
      } else {
        return total;
      }
    }
  }

  int32_t signed_factor(int depth) {
    enter(depth);
    if (eat(Tok::minus)) return unary(Op::negate, signed_factor(depth + 1));
    if (eat(Tok::plus)) return signed_factor(depth + 1);
    return factor(depth + 1);
  }

  // A primary with its postfixes.
  int32_t factor(int depth) {
    enter(depth);
    return postfix(primary(depth + 1), depth);
  }
  int32_t postfix(int32_t value, int depth) {
    for (;;) {
      if (is(Tok::caret)) {
        ++at_;
        value = binary(Op::power, value, exponent(depth + 1));
      } else if (is(Tok::bang)) {
        ++at_;
        if (is(Tok::bang)) throw Beyond("a double factorial");
        value = unary(Op::factorial, value);
      } else if (is(Tok::degree)) {
        ++at_;
        value = unary(Op::degree, value);
      } else if (is(Tok::percent)) {
        ++at_;
        value = unary(Op::percent, value);
      } else if (is(Tok::prime) || is(Tok::underscore)) {
        throw Beyond("a name this checker does not read");
      } else {
        return value;
      }
    }
  }

  int32_t exponent(int depth) {
    enter(depth);
    if (eat(Tok::minus)) return unary(Op::negate, exponent(depth + 1));
    int32_t e;
    if (is(Tok::number))
      e = number_node();
    else if (is(Tok::word))
      e = first_letter();
    else
      e = primary(depth + 1);
    if (eat(Tok::caret)) return binary(Op::power, e, exponent(depth + 1));
    return e;
  }

  // {…}, or as LaTeX has it one digit or letter.
  int32_t argument(int depth) {
    enter(depth);
    if (is(Tok::number)) {
      Literal& l = t_.literals[peek()->index];
      if (l.digits.size() > 1 && l.point > 0 && l.base == 10 && !l.commas) {
        if (l.has_point || l.scientific) throw Beyond("an argument that cannot be read");
        const int digit = l.digits[0] - '0';
        l.digits.erase(0, 1);
        --l.point;
        return tree_.put(mpq_class(digit));
      }
      return number_node();
    }
    if (is(Tok::word)) return first_letter();
    return primary(depth + 1);
  }
  // Of "xy" where LaTeX takes one letter.
  int32_t first_letter() {
    Token& t = t_.list[at_];
    if (t.from_text || !splits_into_letters(t.text)) throw Beyond("a word where a number should be");
    const std::string_view letter = t.text.substr(0, 1);
    t.text.remove_prefix(1);
    if (t.text.size() == 1) t.kind = Tok::letter;
    t.space_before = false;
    return name(letter);
  }

  int32_t number_node() {
    const Token& t = t_.list[at_++];
    const Literal& l = t_.literals[t.index];
    if (l.commas && t.depth > 0) throw Beyond("a number or a list");  // (1,234) may be a point
    return tree_.put(literal_value(l));
  }

  bool plain_whole(size_t n) const {
    const Token* t = peek(n);
    if (!t || t->kind != Tok::number) return false;
    const Literal& l = t_.literals[t->index];
    return !l.has_point && !l.scientific && l.base == 10;
  }

  // 2\frac{1}{2}, 2 1/2: a mixed number.
  int32_t number(int depth) {
    const bool whole = plain_whole(0);
    const int32_t value = number_node();
    if (!whole) return value;
    const bool braced = is(Tok::open_brace) && is(Tok::frac, 1);
    if (is(Tok::frac) || braced) {
      const int32_t part = primary(depth + 1);
      const Node n = tree_.nodes[static_cast<size_t>(part)];
      if (n.op != Op::divide) return binary(Op::multiply, value, part);
      const Node& a = tree_.nodes[static_cast<size_t>(n.a)];
      const Node& b = tree_.nodes[static_cast<size_t>(n.b)];
      if (a.op != Op::number || b.op != Op::number) return binary(Op::multiply, value, part);
      const mpq_class &x = tree_.constants[static_cast<size_t>(a.a)],
                      &y = tree_.constants[static_cast<size_t>(b.a)];
      // beside anything but a proper fraction it may be meant as a product: not ours to guess
      if (x <= 0 || y <= 0 || x >= y) throw Beyond("a mixed number or a product");
      return binary(Op::add, value, part);
    }
    if (plain_whole(0)) {
      if (!peek()->space_before || !is(Tok::slash, 1) || !plain_whole(2))
        throw Beyond("two numbers side by side");
      const int32_t above = number_node();
      ++at_;
      const int32_t below = number_node();
      const mpq_class& x = tree_.constants[tree_.constants.size() - 2];
      const mpq_class& y = tree_.constants.back();
      if (x <= 0 || y <= 0 || x >= y) throw Beyond("two numbers side by side");
      return binary(Op::add, value, binary(Op::divide, above, below));
    }
    if (is(Tok::number)) throw Beyond("two numbers side by side");
    return value;
  }

  int32_t name(std::string_view text) {
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

  int32_t group(Tok close, int depth) {
    ++at_;
    const int bars = std::exchange(bars_, 0);
    int32_t value = sum(depth + 1);
    if (eat(Tok::choose)) value = binary(Op::binomial, value, sum(depth + 1));
    bars_ = bars;
    need(close, "a bracket is not closed");
    return value;
  }

  int32_t primary(int depth) {
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

  // What a function name without brackets is applied to: the factors up to the next operator or function.
  int32_t function_argument(int depth) {
    enter(depth);
    if (is(Tok::open_paren) || is(Tok::open_bracket) || is(Tok::open_brace) || is(Tok::bar))
      return primary(depth + 1);
    if (eat(Tok::minus)) return unary(Op::negate, function_argument(depth + 1));
    int32_t value = factor(depth + 1);
    while (starts_factor() && !is(Tok::function) && !is(Tok::sum) && !is(Tok::product) &&
           !is(Tok::open_paren))
      value = binary(Op::multiply, value, factor(depth + 1));
    return value;
  }

  int32_t function(int depth) {
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
      need(Tok::open_paren, "a bracket is missing");
      int32_t value = sum(depth + 1);
      while (eat(Tok::comma)) value = binary(op, value, sum(depth + 1));
      need(Tok::close_paren, "a bracket is not closed");
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

  int32_t series(int depth) {
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

  Tokens& t_;
  size_t at_;
  const size_t end_;
  const bool tight_;
  Tree& tree_;
  int bars_ = 0;
  std::vector<std::string> indices_;  // of the sums around: no free variables
};

}  // namespace

size_t read_expression(Tokens& tokens, size_t begin, size_t end, bool tight, Tree& tree) {
  return Parser(tokens, begin, end, tight, tree).run();
}

}  // namespace cohort::math
