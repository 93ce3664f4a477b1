// One value: its number or expression, the digits it shows, percent, currency and unit.
#include <algorithm>

#include "reward/math/evaluate.h"
#include "reward/math/reader.h"

namespace cohort::math {

using Kind = Answer::Kind;

Tree Reader::tree_of(size_t b, size_t e) {
  Tree tree;
  trim(b, e);
  Tokens& tokens = t_;
  if (b >= e || read_expression(tokens, b, e, false, tree) != e)
    throw Beyond("an expression with something behind it");
  if (tree.loose_product) throw Beyond("a division with two readings");
  if (tree.goes_on) throw Beyond("a decimal that goes on inside an expression");
  return tree;
}

void Reader::set_shown(Answer& a, size_t b, size_t e) const {
  while (b < e && (at(b).kind == Tok::minus || at(b).kind == Tok::plus || at(b).kind == Tok::open_brace ||
                   at(b).kind == Tok::open_paren))
    ++b;
  while (b < e && (at(e - 1).kind == Tok::close_brace || at(e - 1).kind == Tok::close_paren) &&
         at(e - 1).depth <= at(b).depth) {
    if (at(e - 1).depth == at(b).depth) break;
    --e;
  }
  if (b >= e || at(b).kind != Tok::number) return;
  const Literal& l = t_.literals[at(b).index];
  if (!l.has_point || l.repeating > 0 || l.base != 10) return;
  long scale = l.exponent;
  if (e - b > 1) {
    size_t i = b + 1;
    auto whole = [&](size_t k) -> const Literal* {
      return k < e && at(k).kind == Tok::number && !t_.literals[at(k).index].has_point
                 ? &t_.literals[at(k).index]
                 : nullptr;
    };
    if (at(i).kind != Tok::times || !whole(i + 1) || whole(i + 1)->digits != "10") return;
    i += 2;
    if (i < e) {
      if (at(i).kind != Tok::caret) return;
      ++i;
      const bool braces = i < e && at(i).kind == Tok::open_brace;
      if (braces) ++i;
      const bool negative = i < e && at(i).kind == Tok::minus;
      if (negative) ++i;
      const Literal* n = whole(i);
      if (!n || n->digits.size() > 4) return;
      const long power = std::stol(n->digits);
      scale += negative ? -power : power;
      ++i;
      if (braces && i < e && at(i).kind == Tok::close_brace) ++i;
      if (i != e) return;
    } else {
      scale += 1;
    }
  }
  const size_t first = l.digits.find_first_not_of('0');
  a.shown = Answer::Shown{static_cast<long>(l.digits.size() - l.point) - scale,
                          first == std::string::npos ? 0 : static_cast<long>(l.digits.size() - first),
                          l.goes_on,
                          {}};
  if (!l.goes_on || scale != 0) return;
  // 0.333…, 1.1666…, 0.2727…: the shortest period that the last digits show three times, or twice if it is longer
  const std::string_view fraction = std::string_view(l.digits).substr(l.point);
  for (size_t period = 1; period <= fraction.size() / 2 && a.shown->repeated.empty(); ++period) {
    const size_t tail = period * (period == 1 ? 3 : 2);
    if (tail > fraction.size()) continue;
    const std::string_view end = fraction.substr(fraction.size() - tail);
    if (end.substr(period) != end.substr(0, tail - period)) continue;
    Literal repeating = l;
    repeating.goes_on = false;
    repeating.repeating = period;
    a.shown->repeated = {literal_value(repeating)};
  }
}

size_t Reader::value_front(size_t b, size_t e, Answer& a) {
  a = Answer{};
  a.kind = Kind::value;
  size_t start = b;
  bool negative_money = false;
  if (start + 1 < e && at(start).kind == Tok::minus && at(start + 1).kind == Tok::currency) {
    negative_money = true;
    ++start;
  }
  if (at(start).kind == Tok::currency) {
    a.unit.powers[std::string(at(start).text)] = 1;
    ++start;
  }
  if (start + 1 < e && at(start).kind == Tok::word && at(start + 1).kind == Tok::number &&
      (at(start).text == "USD" || at(start).text == "EUR")) {
    a.unit.powers[at(start).text == "USD" ? "dollar" : "euro"] = 1;
    ++start;
  }
  size_t end = e;
  const size_t letter = first_letter(start, e);
  if (letter < e && letter > start && is_unit_letter(at(letter)) && ends_number(at(letter - 1).kind)) {
    if (std::optional<Unit> unit = read_unit_letters(letter, e)) {
      if (at(letter).space_before) {
        end = letter;
        a.unit = *unit;
      } else if (at(letter).depth == at(start).depth) {
        Tree bare;
        Tokens copy = t_;
        if (read_expression(copy, start, letter, false, bare) == letter) {
          a.glued = unit;
          a.bare = std::move(bare);
        }
      }
    }
  }
  for (size_t i = start + 1; i + 2 < e && a.unit.empty() && end == e; ++i)  // 5\frac{\text{m}}{\text{s}}
    if (at(i).kind == Tok::frac && at(i).depth == at(start).depth && at(i + 1).kind == Tok::open_brace &&
        at(i + 2).kind == Tok::word && at(i + 2).from_text)
      if (std::optional<Unit> unit = read_unit(t_, i, e)) {
        end = i;
        a.unit = *unit;
      }
  if (start >= end) throw Beyond("a unit without a number");
  // a degree or percent sign behind everything is the answer's unit
  size_t stop = end;
  if (stop - start > 1 && at(stop - 1).kind == Tok::degree && at(stop - 1).depth == at(start).depth &&
      a.unit.empty() && !has_function(start, stop - 1)) {
    a.unit.powers["degree"] = 1;
    --stop;
  }
  if (stop - start > 2 && at(stop - 2).kind == Tok::degree && at(stop - 2).depth == at(start).depth &&
      (at(stop - 1).text == "C" || at(stop - 1).text == "F") && a.unit.empty()) {
    a.unit.powers["degree" + std::string(at(stop - 1).text)] = 1;
    stop -= 2;
  }
  Tokens second = {};
  const bool slash =
      std::any_of(t_.list.begin() + static_cast<long>(start), t_.list.begin() + static_cast<long>(stop),
                  [](const Token& t) { return t.kind == Tok::slash; });
  if (slash) second = t_;
  size_t p = read_expression(t_, start, stop, false, a.tree);
  if (a.tree.loose_product) {
    Tree tight;
    if (read_expression(second, start, stop, true, tight) != p) throw Beyond("a division with two readings");
    a.tight = std::move(tight);
  }
  size_t number_end = p;
  // a trailing percent was read as a hundredth: here it is the answer's sign
  if (a.tree.nodes.size() > 1 && a.tree.nodes.back().op == Op::percent) {
    a.tree.nodes.pop_back();
    a.percent = true;
    --number_end;
  }
  if (p < stop && at(p).kind == Tok::word && at(p).text == "percent") {
    a.percent = true;
    ++p;
  }
  set_shown(a, start, number_end);
  if ((a.tree.goes_on || (a.tight && a.tight->goes_on)) && !(a.shown && a.shown->goes_on))
    throw Beyond("a decimal that goes on inside an expression");
  if (negative_money) {
    const int32_t last = static_cast<int32_t>(a.tree.nodes.size()) - 1;
    a.tree.put(Node{.op = Op::negate, .a = last});
  }
  if (p == stop) return e == stop || end != e || stop != end ? e : p;
  // what follows may be a unit
  if (a.unit.empty() && at(p).kind == Tok::open_paren && closes(p) == stop - 1) {
    bool negative = false;
    const mpq_class* number = plain_number(a.tree, negative);
    const std::optional<int> again = stop - p == 3 ? number_in_words(at(p + 1).text) : std::nullopt;
    if (!again || !number || negative || *number != *again)  // 7 (seven)
      a.unit = read_remark(t_, p + 1, stop - 1);
    return e;
  }
  if (a.unit.empty())
    if (std::optional<Unit> unit = read_unit(t_, p, stop)) {
      a.unit = std::move(*unit);
      return e;
    }
  // or its first word, in a sentence
  if (a.unit.empty() && at(p).kind == Tok::word)
    if (std::optional<Unit> unit = read_unit(t_, p, p + 1); unit && (unit->known || unit->multiplier != 1)) {
      a.unit = std::move(*unit);
      return p + 1;
    }
  if (!a.unit.empty() && at(p).kind == Tok::word && a.unit.powers.size() == 1)  // $5 dollars, $5 million
    if (std::optional<Unit> unit = read_unit(t_, p, stop);
        unit && (unit->empty() || *unit == a.unit || !unit->known)) {
      a.unit.multiplier = unit->multiplier;
      return e;
    }
  return p;
}

bool Reader::adds_up(const std::vector<Answer>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    const Answer& a = items[i];
    if (a.kind != Kind::value || !a.name.empty() || a.tree.letters || a.tree.signs || a.tight || a.percent ||
        !a.also.empty() || !a.rounded.empty() || a.unit.empty() || !a.unit.known || a.unit.multiplier != 1)
      return false;
    if (i > 0 && (!(a.unit == items[0].unit) || a.unit.factor >= items[i - 1].unit.factor)) return false;
  }
  return items.size() > 1;
}

void Reader::add(Answer& to, const Answer& more) {
  Tree& t = to.tree;
  const int32_t sum = static_cast<int32_t>(t.nodes.size()) - 1, part = t.append(more.tree);
  const int32_t factor = t.put(mpq_class(more.unit.factor / to.unit.factor));
  const int32_t scaled = t.put(Node{.op = Op::multiply, .a = part, .b = factor});
  t.put(Node{.op = Op::add, .a = sum, .b = scaled});
  to.shown.reset();
}

Answer Reader::value(size_t b, size_t e) {
  Answer a;
  size_t p = value_front(b, e, a);
  while (p != e) {  // 3 hours 20 minutes
    Answer more;
    const size_t next = at(p).kind == Tok::number ? value_front(p, e, more) : p;
    if (next == p || !adds_up({a, more})) throw Beyond("an expression with something behind it");
    add(a, more);
    p = next;
  }
  if (!a.tree.signs) return a;
  Answer both;  // 1 ± 2
  both.kind = Kind::collection;
  both.items = {a, a};
  both.items[1].sign = -1;
  return both;
}

size_t Reader::first_letter(size_t b, size_t e) const {
  for (size_t i = b; i < e; ++i)
    if (at(i).kind == Tok::letter) return i;
  return e;
}

bool Reader::has_function(size_t b, size_t e) const {
  for (size_t i = b; i < e; ++i)
    if (at(i).kind == Tok::function) return true;
  return false;
}

bool Reader::is_unit_letter(const Token& t) {
  return t.text == "m" || t.text == "g" || t.text == "s" || t.text == "h" || t.text == "L" || t.text == "l" ||
         t.text == "Omega" || t.text == "mu";
}

bool Reader::ends_number(Tok k) {
  return k == Tok::number || k == Tok::close_brace || k == Tok::close_paren;
}

std::optional<Unit> Reader::read_unit_letters(size_t b, size_t e) const {
  for (size_t i = b; i < e; ++i) {
    const Tok k = at(i).kind;
    if (k == Tok::letter && !is_unit_letter(at(i))) return {};
    if (k != Tok::letter && k != Tok::word && k != Tok::caret && k != Tok::number && k != Tok::slash &&
        k != Tok::open_brace && k != Tok::close_brace && k != Tok::minus)
      return {};
  }
  std::optional<Unit> unit = read_unit(t_, b, e);
  if (unit && !unit->known) return {};
  return unit;
}

}  // namespace cohort::math
