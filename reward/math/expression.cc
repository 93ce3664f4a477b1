// Sums, products, powers and numbers.
#include "reward/math/parser.h"
#include "reward/math/units.h"

namespace cohort::math {

size_t Parser::run() {
  int32_t value = sum(0);
  if (is(Tok::choose) || is(Tok::over)) {
    const Op op = is(Tok::over) ? Op::divide : Op::binomial;
    ++at_;
    value = binary(op, value, sum(0));
  }
  if (value != static_cast<int32_t>(tree_.nodes.size()) - 1) throw Beyond("an expression out of order");
  return at_;
}

int32_t Parser::sum(int depth) {
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

bool Parser::starts_factor() const {
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

bool Parser::words_in_brackets() const {
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

int32_t Parser::product(int depth) {
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

int32_t Parser::signed_factor(int depth) {
  enter(depth);
  if (eat(Tok::minus)) return unary(Op::negate, signed_factor(depth + 1));
  if (eat(Tok::plus)) return signed_factor(depth + 1);
  return factor(depth + 1);
}

int32_t Parser::factor(int depth) {
  enter(depth);
  return postfix(primary(depth + 1), depth);
}

int32_t Parser::postfix(int32_t value, int depth) {
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

int32_t Parser::exponent(int depth) {
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

int32_t Parser::argument(int depth) {
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
  if (is(Tok::letter)) return name(t_.list[at_++].text);
  return primary(depth + 1);
}

int32_t Parser::first_letter() {
  Token& t = t_.list[at_];
  if (t.from_text || !splits_into_letters(t.text)) throw Beyond("a word where a number should be");
  const std::string_view letter = t.text.substr(0, 1);
  t.text.remove_prefix(1);
  if (t.text.size() == 1) t.kind = Tok::letter;
  t.space_before = false;
  return name(letter);
}

int32_t Parser::number_node() {
  const Token& t = t_.list[at_++];
  const Literal& l = t_.literals[t.index];
  if (l.commas && t.depth > 0) throw Beyond("a number or a list");  // (1,234) may be a point
  tree_.goes_on = tree_.goes_on || l.goes_on;
  return tree_.put(literal_value(l));
}

bool Parser::plain_whole(size_t n) const {
  const Token* t = peek(n);
  if (!t || t->kind != Tok::number) return false;
  const Literal& l = t_.literals[t->index];
  return !l.has_point && !l.scientific && l.base == 10;
}

int32_t Parser::number(int depth) {
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

size_t read_expression(Tokens& tokens, size_t begin, size_t end, bool tight, Tree& tree) {
  return Parser(tokens, begin, end, tight, tree).run();
}

}  // namespace cohort::math
