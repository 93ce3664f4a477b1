// Things in brackets: sets, intervals and their unions, tuples, matrices; ratios.
#include <algorithm>

#include "reward/math/evaluate.h"
#include "reward/math/reader.h"

namespace cohort::math {

using Kind = Answer::Kind;

Answer Reader::whole_line() {
  Answer a;
  a.kind = Kind::region;
  a.intervals.emplace_back();
  return a;
}

Answer Reader::to_region(const Answer& s) {
  if (s.kind == Kind::region) return s;
  Answer out;
  out.kind = Kind::region;
  out.name = s.name;
  if (s.kind == Kind::sequence && s.items.size() == 2 && s.items[0].kind == Kind::value &&
      s.items[1].kind == Kind::value) {
    Answer::Interval v;
    v.low_closed = s.open == '[';
    v.high_closed = s.close == ']';
    if (infinite_sign(s.items[0].tree) == 0) v.low = {s.items[0]};
    if (infinite_sign(s.items[1].tree) == 0) v.high = {s.items[1]};
    out.intervals.push_back(std::move(v));
    return out;
  }
  if (s.kind == Kind::collection) {
    for (const Answer& a : s.items) {
      if (a.kind != Kind::value) throw Beyond("not a part of the real line");
      Answer::Interval v;
      v.low = v.high = {a};
      v.low_closed = v.high_closed = true;
      out.intervals.push_back(std::move(v));
    }
    return out;
  }
  throw Beyond("not a part of the real line");
}

Answer Reader::union_of(size_t b, size_t e, const std::vector<size_t>& where, int depth) {
  Answer out;
  out.kind = Kind::region;
  for (size_t i = 0, from = b; i <= where.size(); ++i) {
    const size_t to = i < where.size() ? where[i] : e;
    const Answer part = read(from, to, depth + 1);
    if (i > 0 && at(where[i - 1]).kind != Tok::cup) {
      if (i != where.size()) throw Beyond("a difference of sets");
      if (part.kind == Kind::collection) {
        out.excluded = part.items;
      } else {  // \mathbb{R} without [2, 3]
        const Answer r = to_region(part);
        const bool line =
            out.intervals.size() == 1 && out.intervals[0].low.empty() && out.intervals[0].high.empty();
        if (!line || r.intervals.size() != 1 || !r.excluded.empty()) throw Beyond("a difference of sets");
        const Answer::Interval& v = r.intervals[0];
        out.intervals.clear();
        if (!v.low.empty()) out.intervals.push_back({.high = v.low, .high_closed = !v.low_closed});
        if (!v.high.empty()) out.intervals.push_back({.low = v.high, .low_closed = !v.high_closed});
      }
    } else {
      const Answer r = to_region(part);
      if (!r.name.empty() && !out.name.empty() && r.name != out.name)
        throw Beyond("inequalities of several variables");
      if (out.name.empty()) out.name = r.name;
      out.intervals.insert(out.intervals.end(), r.intervals.begin(), r.intervals.end());
    }
    from = to + 1;
  }
  return out;
}

Answer Reader::set(size_t b, size_t e, int depth) {
  Answer out;
  out.kind = Kind::collection;
  if (b >= e) return out;
  const std::vector<size_t> bars = find(b, e, [](Tok t) { return t == Tok::bar || t == Tok::colon; });
  if (bars.size() == 1 && bars[0] + 1 < e && at(b).kind == Tok::letter) {  // {x | x > 2}
    Answer r = read(bars[0] + 1, e, depth + 1);
    if (r.kind != Kind::region || r.name != at(b).text) throw Beyond("a set by a condition");
    return r;
  }
  const std::vector<size_t> commas = find(b, e, [](Tok t) { return t == Tok::comma || t == Tok::semicolon; });
  out.items = parts(b, e, commas, depth);
  return out;
}

bool Reader::sequence(size_t b, size_t e, int depth, Answer& out) {
  if (b + 1 >= e - 1) return false;
  const std::vector<size_t> commas =
      find(b + 1, e - 1, [](Tok t) { return t == Tok::comma || t == Tok::semicolon; });
  if (commas.empty()) return false;
  out.kind = Kind::sequence;
  out.open = at(b).kind == Tok::open_bracket ? '[' : '(';
  out.close = at(e - 1).kind == Tok::close_bracket ? ']' : ')';
  out.items = parts(b + 1, e - 1, commas, depth);
  const bool mixed = (out.open == '[') != (out.close == ']');
  bool infinite = false;
  for (const Answer& a : out.items)
    infinite = infinite || (a.kind == Kind::value && infinite_sign(a.tree) != 0);
  if (out.items.size() == 2 && (mixed || infinite))
    out = to_region(out);
  else if (mixed)
    throw Beyond("brackets that do not match");
  return true;
}

size_t Reader::matrix_at(size_t& b, size_t& e) const {
  size_t begin = b;
  while (begin < e && at(begin).kind != Tok::begin) ++begin;
  if (begin == e || at(begin).depth == at(b).depth) return begin;
  const bool wrapped = begin == b + 1 && closes(b) == e - 1 && closes(begin) == e - 2 &&
                       (at(b).kind == Tok::open_paren || at(b).kind == Tok::open_bracket);
  if (!wrapped) return e;
  ++b, --e;
  return begin;
}

Answer Reader::matrix(size_t factor, size_t b, size_t e, int depth) {
  const std::string_view env = at(b).text;
  if (closes(b) != e - 1 || !env.ends_with("matrix") || env.starts_with("v") || env.starts_with("V")) {
    if (env != "array" || closes(b) != e - 1) throw Beyond("an environment this checker does not read");
  }
  Answer out;
  out.kind = Kind::matrix;
  if (b + 1 >= e - 1) throw Beyond("an empty matrix");
  const uint16_t depth_in = at(b + 1).depth;
  size_t from = b + 1, in_row = 0;
  for (size_t i = b + 1; i < e; ++i) {
    const bool last = i == e - 1;
    if (!last && (at(i).depth != depth_in || (at(i).kind != Tok::ampersand && at(i).kind != Tok::new_row)))
      continue;
    const bool row_ends = last || at(i).kind == Tok::new_row;
    if (row_ends && from == i && in_row == 0) {  // \\ after the last row, or twice
      from = i + 1;
      continue;
    }
    if (out.items.size() >= 4 * kMaxItems) throw Beyond("a matrix is too large");
    out.items.push_back(read(from, i, depth + 1));
    ++in_row;
    from = i + 1;
    if (!row_ends) continue;
    if (out.columns == 0) out.columns = in_row;
    if (out.columns != in_row) throw Beyond("a matrix with uneven rows");
    in_row = 0;
  }
  if (out.items.empty()) throw Beyond("an empty matrix");
  if (factor == b) return out;
  size_t end = b;
  if (at(end - 1).kind == Tok::times) --end;
  const Tree times = tree_of(factor, end);
  for (Answer& a : out.items) {
    if (a.kind != Kind::value || !a.unit.empty() || a.tight || a.percent || !a.also.empty())
      throw Beyond("a factor before a matrix of things");
    const int32_t entry = static_cast<int32_t>(a.tree.nodes.size()) - 1;
    const int32_t by = a.tree.append(times);
    a.tree.put(Node{.op = Op::multiply, .a = entry, .b = by});
    a.shown.reset();
  }
  return out;
}

Answer Reader::ratio(size_t b, size_t e, const std::vector<size_t>& colons, int depth) {
  Answer out;
  out.kind = Kind::ratio;
  for (size_t i = 0, from = b; i <= colons.size(); ++i) {
    const size_t to = i < colons.size() ? colons[i] : e;
    out.items.push_back(read(from, to, depth + 1));
    if (out.items.back().kind != Kind::value) throw Beyond("a ratio of things");
    // 4:30 may be a time
    if (i > 0 && to == from + 1 && at(from).kind == Tok::number &&
        t_.literals[at(from).index].digits.size() == 2)
      out.listed = true;
    from = to + 1;
  }
  return out;
}

}  // namespace cohort::math
