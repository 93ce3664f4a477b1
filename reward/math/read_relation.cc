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
  // f(2), P(A), \triangle ABC, "total area": a name without a value
  if (at(b).kind == Tok::letter && e - b <= 8 && b + 1 < e && at(b + 1).kind == Tok::open_paren &&
      closes(b + 1) == e - 1 &&
      (at(b).text == "f" || at(b).text == "g" || at(b).text == "h" || at(b).text == "P")) {
    name = "f()";
    return true;
  }
  for (size_t i = b; i < e; ++i)
    if (at(i).kind != Tok::word) return false;
  name = "words";
  return e > b && e - b <= 8;
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
  for (size_t i : where) a.relations.push_back(at(i).kind);
  for (const auto& [from, to] : spans) a.sides.push_back(tree_of(from, to));
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
