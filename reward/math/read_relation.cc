// Equations, inequalities and what they name.
#include <algorithm>

#include "reward/math/evaluate.h"
#include "reward/math/reader.h"

namespace cohort::math {

using Kind = Answer::Kind;

bool Reader::is_name(size_t b, size_t e, std::string& name) const {
  if (b >= e) return false;
  if (e == b + 1 && (at(b).kind == Tok::letter || (at(b).kind == Tok::word && at(b).text.size() <= 20))) {
    if (at(b).text == "e" || at(b).text == "i") return false;
    name = at(b).text;
    return true;
  }
  if (e == b + 4 && at(b).kind == Tok::letter && at(b + 1).kind == Tok::open_paren &&
      at(b + 2).kind == Tok::letter && at(b + 3).kind == Tok::close_paren) {  // f(x)
    name = std::string(at(b).text) + "(" + std::string(at(b + 2).text) + ")";
    return true;
  }
  if (at(b).kind == Tok::open_paren && closes(b) == e - 1 && e - b <= 12) {  // (x, y)
    name = "(";
    for (size_t i = b + 1; i + 1 < e; ++i) {
      if (at(i).kind != ((i - b) % 2 ? Tok::letter : Tok::comma)) return false;
      name += (i - b) % 2 ? at(i).text : std::string_view(",");
    }
    name += ")";
    return e - b >= 5 && (e - b) % 2 == 1;
  }
  // f(2), P(A), \triangle ABC, "total area": a name without a value
  if (at(b).kind == Tok::letter && e - b <= 8 && b + 1 < e && at(b + 1).kind == Tok::open_paren &&
      closes(b + 1) == e - 1 &&
      (at(b).text == "f" || at(b).text == "g" || at(b).text == "h" || at(b).text == "P")) {
    name = "f()";
    return true;
  }
  name = "words";
  if (is_measure(b, e)) return true;
  for (size_t i = b; i < e; ++i)
    if (at(i).kind != Tok::word) return false;
  return e > b && e - b <= 8;
}

bool Reader::is_measure(size_t b, size_t e) const {
  auto capitals = [&](size_t i) {
    const std::string_view w = at(i).text;
    return (at(i).kind == Tok::word && w.size() >= 2 && w.size() <= 8) &&
           std::all_of(w.begin(), w.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  };
  bool found = false, extreme = false;
  for (size_t i = b; i < e; ++i) {
    const Token& t = at(i);
    switch (t.kind) {
      case Tok::other:
        if (t.text.size() < 3) return false;
        found = true;
        break;
      case Tok::overline:
        found = true;
        break;
      case Tok::function:
        if (t.text != "max" && t.text != "min") return false;
        found = extreme = true;
        break;
      case Tok::bar:  // |AB|
      case Tok::open_bracket:
      case Tok::close_bracket:
        if (e - b != 3 || !capitals(b + 1) || is_close(at(b).kind)) return false;
        found = true;
        break;
      case Tok::open_paren:
      case Tok::close_paren:
        if (!extreme) return false;
        break;
      case Tok::letter:
      case Tok::word:
      case Tok::open_brace:
      case Tok::close_brace:
      case Tok::underscore:
      case Tok::prime:
        break;
      default:
        return false;
    }
  }
  return found && e - b <= 16;
}

Answer Reader::rounded(size_t b, size_t e, int depth) {
  const std::vector<size_t> about = find(b, e, [](Tok t) { return t == Tok::approx; });
  if (about.size() > 1) throw Beyond("rounded twice");
  std::string name;
  if (is_name(b, about[0], name)) {
    Answer a = read(about[0] + 1, e, depth + 1);
    a.name = name;
    return a;
  }
  Answer a = read(b, about[0], depth + 1), r = read(about[0] + 1, e, depth + 1);
  if (a.kind != Kind::value || r.kind != Kind::value || !a.rounded.empty()) throw Beyond("about something");
  a.rounded = {std::move(r)};
  return a;
}

Answer Reader::congruence(size_t b, size_t e, int depth) {
  size_t m = b;
  while (m < e && at(m).kind != Tok::modulo) ++m;
  const bool brackets = m > b && at(m - 1).kind == Tok::open_paren;
  if (brackets && closes(m - 1) != e - 1) throw Beyond("a modulus inside an expression");
  Answer a = read(b, brackets ? m - 1 : m, depth + 1);
  if (a.kind != Kind::value || !a.modulus.empty()) throw Beyond("a modulus of something");
  a.modulus = {tree_of(m + 1, brackets ? e - 1 : e)};
  return a;
}

Answer Reader::relation(size_t b, size_t e, const std::vector<size_t>& where, int depth) {
  const bool all_equal =
      std::all_of(where.begin(), where.end(), [&](size_t i) { return at(i).kind == Tok::equal; });
  std::vector<std::pair<size_t, size_t>> spans;
  for (size_t i = 0, from = b; i <= where.size(); ++i) {
    const size_t to = i < where.size() ? where[i] : e;
    spans.emplace_back(from, to);
    from = to + 1;
  }
  if (spans.size() > 12) throw Beyond("a chain is too long");
  std::string name;
  if (all_equal) {
    std::vector<std::string> names;
    size_t first = 0;
    while (first + 1 < spans.size() && is_name(spans[first].first, spans[first].second, name))
      names.push_back(name), ++first;
    if (first == 0 && spans.size() == 2 && is_name(spans[1].first, spans[1].second, name) &&
        name.size() <= 4) {
      Answer swapped = read(spans[0].first, spans[0].second, depth + 1);
      swapped.name = name;
      return swapped;
    }
    if (first > 0 || !has_letters(spans)) {
      Answer a = read(spans.back().first, spans.back().second, depth + 1);
      if (a.kind != Kind::value && spans.size() - first > 1) throw Beyond("an equation between things");
      for (size_t i = first; i + 1 < spans.size(); ++i)
        a.also.push_back(tree_of(spans[i].first, spans[i].second));
      if (first == 1) a.name = names[0];
      return a;
    }
  }
  Answer a;
  a.kind = Kind::relation;
  if (all_equal && !has_letters({spans.back()})) try {
      a.stated = {read(spans.back().first, spans.back().second, depth + 1)};
      if (a.stated[0].kind != Kind::value) a.stated.clear();
    } catch (const Beyond&) {
    }
  for (size_t i : where) a.relations.push_back(at(i).kind);
  try {
    for (const auto& [from, to] : spans) a.sides.push_back(tree_of(from, to));
  } catch (const Beyond&) {  // f(2) + f(3) = 7
    if (a.stated.empty() || spans.size() != 2) throw;
    Answer value = std::move(a.stated[0]);
    value.opaque = true;
    return value;
  }
  return region_of(std::move(a), spans);
}

bool Reader::has_letters(const std::vector<std::pair<size_t, size_t>>& spans) const {
  for (const auto& [from, to] : spans)
    for (size_t i = from; i < to; ++i)
      if (at(i).kind == Tok::word && !at(i).from_text && splits_into_letters(at(i).text) &&
          !known_unit_word(at(i).text))
        return true;
      else if (at(i).kind == Tok::letter && at(i).text != "e" && at(i).text != "i")
        return true;
  return false;
}

const std::string* Reader::lone_variable(const Tree& t) {
  return t.nodes.size() == 1 && t.nodes[0].op == Op::variable ? &t.names[0] : nullptr;
}

std::vector<Answer> Reader::bound(const Answer& r, const Spans& spans, size_t side) const {
  if (infinite_sign(r.sides[side]) != 0) return {};
  Answer a;
  a.kind = Kind::value;
  a.tree = r.sides[side];
  set_shown(a, spans[side].first, spans[side].second);
  return {a};
}

Answer Reader::region_of(Answer r, const Spans& spans) const {
  auto up = [](Tok t) { return t == Tok::less || t == Tok::less_equal; };
  auto closed = [](Tok t) { return t == Tok::less_equal || t == Tok::greater_equal; };
  Answer out;
  out.kind = Kind::region;
  Answer::Interval v;
  if (r.sides.size() == 2) {
    const std::string *left = lone_variable(r.sides[0]), *right = lone_variable(r.sides[1]);
    const Tree& other = left ? r.sides[1] : r.sides[0];
    const Tok rel = r.relations[0];
    if ((!left && !right) || other.letters) return r;
    out.name = left ? *left : *right;
    if (rel == Tok::not_equal) {
      out.intervals.emplace_back();
      out.excluded = bound(r, spans, left ? 1 : 0);
      return out;
    }
    if (rel == Tok::equal) return r;
    const bool below = up(rel) == (left != nullptr);  // the variable is below the other side
    (below ? v.high : v.low) = bound(r, spans, left ? 1 : 0);
    (below ? v.high_closed : v.low_closed) = closed(rel);
  } else if (r.sides.size() == 3) {
    const std::string* middle = lone_variable(r.sides[1]);
    if (!middle || r.sides[0].letters || r.sides[2].letters) return r;
    const Tok first = r.relations[0], second = r.relations[1];
    if (first == Tok::equal || second == Tok::equal || first == Tok::not_equal || second == Tok::not_equal ||
        up(first) != up(second))
      return r;
    out.name = *middle;
    const bool rising = up(first);
    v.low = bound(r, spans, rising ? 0 : 2);
    v.high = bound(r, spans, rising ? 2 : 0);
    v.low_closed = closed(rising ? first : second);
    v.high_closed = closed(rising ? second : first);
  } else {
    return r;
  }
  out.intervals.push_back(std::move(v));
  return out;
}

}  // namespace cohort::math
