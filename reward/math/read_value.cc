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
                          first == std::string::npos ? 0 : static_cast<long>(l.digits.size() - first)};
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
  if (start >= end) throw Beyond("a unit without a number");
  // a degree or percent sign behind everything is the answer's unit
  size_t stop = end;
  if (stop - start > 1 && at(stop - 1).kind == Tok::degree && at(stop - 1).depth == at(start).depth &&
      a.unit.empty() && !has_function(start, stop - 1)) {
    a.unit.powers["degree"] = 1;
    --stop;
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
  if (negative_money) {
    const int32_t last = static_cast<int32_t>(a.tree.nodes.size()) - 1;
    a.tree.put(Node{.op = Op::negate, .a = last});
  }
  if (p == stop) return e == stop || end != e || stop != end ? e : p;
  // what follows may be a unit
  if (a.unit.empty() && at(p).kind == Tok::open_paren && closes(p) == stop - 1) {
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

Answer Reader::value(size_t b, size_t e) {
  Answer a;
  if (value_front(b, e, a) != e) throw Beyond("an expression with something behind it");
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
  return t.text == "m" || t.text == "g" || t.text == "s" || t.text == "h" || t.text == "L" || t.text == "l";
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
