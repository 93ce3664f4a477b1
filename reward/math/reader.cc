#include "reward/math/reader.h"

#include <algorithm>

#include "reward/math/evaluate.h"

namespace cohort::math {
namespace {

constexpr int kMaxDepth = 20;
constexpr size_t kMaxItems = 60;
using Kind = Answer::Kind;

bool is_relation(Tok t) {
  switch (t) {
    case Tok::equal:
    case Tok::not_equal:
    case Tok::less:
    case Tok::less_equal:
    case Tok::greater:
    case Tok::greater_equal:
      return true;
    default:
      return false;
  }
}

}  // namespace

Answer Reader::read(size_t b, size_t e, int depth) {
  if (depth > kMaxDepth) throw Beyond("nested too deeply");
  trim(b, e);
  if (b >= e) throw Beyond("an empty answer");
  if (e - b >= 3 && at(b).kind == Tok::letter && at(b + 1).kind == Tok::element) {
    Answer a = read(b + 2, e, depth + 1);
    if (a.kind == Kind::sequence) a = to_region(a);
    a.name = at(b).text;
    return a;
  }
  const std::vector<size_t> commas =
      find(b, e, [](Tok t) { return t == Tok::comma || t == Tok::semicolon || t == Tok::in_words; });
  if (!commas.empty()) return list(b, e, commas, depth);
  const std::vector<size_t> relations = find(b, e, is_relation);
  if (!relations.empty()) return relation(b, e, relations, depth);
  const std::vector<size_t> unions = find(b, e, [](Tok t) { return t == Tok::cup || t == Tok::without; });
  if (!unions.empty()) return union_of(b, e, unions, depth);
  const Tok first = at(b).kind, last = at(e - 1).kind;
  if (e - b == 1 && first == Tok::reals) return whole_line();
  if (e - b == 1 && first == Tok::emptyset) {
    Answer a;
    a.kind = Kind::collection;
    return a;
  }
  if (first == Tok::begin) return matrix(b, e, depth);
  const bool whole = closes(b) == e - 1;
  if (whole && first == Tok::open_set && last == Tok::close_set) return set(b + 1, e - 1, depth);
  if (whole && (first == Tok::open_paren || first == Tok::open_bracket || first == Tok::open_angle) &&
      (last == Tok::close_paren || last == Tok::close_bracket || last == Tok::close_angle))
    if (Answer a; sequence(b, e, depth, a)) return a;
  const std::vector<size_t> colons = find(b, e, [](Tok t) { return t == Tok::colon; });
  if (!colons.empty()) return ratio(b, e, colons, depth);
  return value(b, e);
}

Answer Reader::leading(size_t b, size_t e) {
  trim(b, e);
  if (b >= e) throw Beyond("an empty answer");
  size_t end = b;
  Answer a;
  if ((at(b).kind == Tok::open_paren || at(b).kind == Tok::open_bracket || at(b).kind == Tok::open_set) &&
      closes(b) < e) {
    end = closes(b) + 1;
    a = read(b, end, 0);
  } else {
    while (end < e && at(end).kind != Tok::comma && at(end).kind != Tok::semicolon &&
           at(end).kind != Tok::colon && at(end).kind != Tok::dot)
      ++end;
    const size_t clause = end;
    if (clause < e) try {
        a = read(b, clause, 0);
      } catch (const Beyond&) {
        end = b;
      }
    else
      end = b;
    if (end == b) {
      size_t start = b;
      if (clause > b + 2 && at(b).kind == Tok::letter && at(b + 1).kind == Tok::equal) start = b + 2;
      end = value_front(start, clause, a);
      if (start != b) a.name = at(b).text;
    }
  }
  if (end == e) return a;
  for (size_t i = end; i < e; ++i)
    if (at(i).kind == Tok::number) throw Beyond("another number follows");
  const Token& next = at(end);
  const bool stop = next.kind == Tok::comma || next.kind == Tok::semicolon || next.kind == Tok::colon ||
                    next.kind == Tok::dot;
  if (stop) return a;
  const bool word = (next.kind == Tok::word && next.text.size() >= 2 && !is_reserved_word(next.text));
  if (!word || !next.space_before) throw Beyond("what follows may belong to the answer");
  return a;
}

void Reader::trim(size_t& b, size_t& e) const {
  auto ends = [](Tok t) {
    return t == Tok::dot || t == Tok::comma || t == Tok::semicolon || t == Tok::colon;
  };
  for (bool more = true; more && b < e;) {
    more = false;
    if (ends(at(e - 1).kind)) --e, more = true;
    if (b < e && (at(b).kind == Tok::approx || at(b).kind == Tok::equal || at(b).kind == Tok::colon))
      ++b, more = true;
    if (b + 1 < e && at(b).kind == Tok::open_brace && closes(b) == e - 1) ++b, --e, more = true;
  }
}

size_t Reader::closes(size_t b) const {
  for (size_t i = b + 1; i < t_.list.size(); ++i)
    if (at(i).depth <= at(b).depth)
      return at(i).depth == at(b).depth && is_close(at(i).kind) ? i : t_.list.size();
  return t_.list.size();
}

bool Reader::is_close(Tok k) {
  return k == Tok::close_paren || k == Tok::close_bracket || k == Tok::close_brace || k == Tok::close_set ||
         k == Tok::close_angle || k == Tok::close_floor || k == Tok::close_ceil || k == Tok::end;
}

Answer Reader::whole_line() {
  Answer a;
  a.kind = Kind::region;
  a.intervals.emplace_back();
  return a;
}

std::vector<Answer> Reader::parts(size_t b, size_t e, const std::vector<size_t>& separators, int depth) {
  std::vector<Answer> out;
  for (size_t i = 0, from = b; i <= separators.size(); ++i) {
    const size_t to = i < separators.size() ? separators[i] : e;
    const bool words = i < separators.size() && at(to).kind == Tok::in_words;
    if (from == to && i > 0 && (words || at(separators[i - 1]).kind != Tok::in_words)) {  // "1, and 2"
      from = to + 1;
      continue;
    }
    if (out.size() >= kMaxItems) throw Beyond("a list is too long");
    out.push_back(read(from, to, depth + 1));
    from = to + 1;
  }
  return out;
}

// x > 1 and x < 3; x != 1, 2: what satisfies all of them.
Answer Reader::all_of(std::vector<Answer> items) {
  Answer out = std::move(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    Answer& next = items[i];
    if (next.name != out.name || (next.intervals.size() != 1 && next.kind == Kind::region))
      throw Beyond("inequalities of several variables");
    if (next.kind == Kind::value) {  // x != 1, 2
      next.name.clear();
      out.excluded.push_back(std::move(next));
      continue;
    }
    Answer::Interval &v = out.intervals[0], &w = next.intervals[0];
    if ((!v.low.empty() && !w.low.empty()) || (!v.high.empty() && !w.high.empty()))
      throw Beyond("two bounds on the same side");
    if (!w.low.empty()) v.low = std::move(w.low), v.low_closed = w.low_closed;
    if (!w.high.empty()) v.high = std::move(w.high), v.high_closed = w.high_closed;
    out.excluded.insert(out.excluded.end(), next.excluded.begin(), next.excluded.end());
  }
  return out;
}

Answer Reader::list(size_t b, size_t e, const std::vector<size_t>& separators, int depth) {
  std::vector<Answer> items = parts(b, e, separators, depth);
  if (items.size() == 1) return std::move(items[0]);
  for (size_t i = 1; i < items.size(); ++i)
    if (items[i].name.empty() && !items[0].name.empty() && items[i].kind == Kind::value)
      items[i].name = items[0].name;
  // inequalities joined by words or commas: "or" unites
  const bool regions =
      std::all_of(items.begin(), items.end(), [](const Answer& a) { return a.kind == Kind::region; });
  bool any_or = false, any_and = false;
  for (size_t s : separators) {
    any_or = any_or || (at(s).kind == Tok::in_words && at(s).text == "or");
    any_and = any_and || (at(s).kind == Tok::in_words && at(s).text == "and");
  }
  for (const Answer& a : items)
    if (a.kind == Kind::text || a.kind == Kind::choice) throw Beyond("a list of words");
  const bool barred = items[0].kind == Kind::region && !items[0].excluded.empty() &&
                      std::all_of(items.begin() + 1, items.end(), [](const Answer& a) {
                        return a.kind == Kind::value || !a.excluded.empty();
                      });
  if (barred || (regions && !any_or && !items[0].name.empty())) return all_of(std::move(items));
  if (regions && any_or) {
    Answer out = std::move(items[0]);
    for (size_t i = 1; i < items.size(); ++i) {
      if (items[i].name != out.name || !items[i].excluded.empty() || !out.excluded.empty())
        throw Beyond("inequalities of several variables");
      for (Answer::Interval& v : items[i].intervals) out.intervals.push_back(std::move(v));
    }
    return out;
  }
  Answer out;
  out.kind = Kind::collection;
  out.listed = true;
  out.bare_list = !any_or && !any_and;
  const bool same =
      std::all_of(items.begin(), items.end(), [&](const Answer& a) { return a.name == items[0].name; });
  if (same) {
    out.name = items[0].name;
    for (Answer& a : items)
      if (a.kind == Kind::value) a.name.clear();
  }
  out.tight_comma = separators.size() == 1 && at(separators[0]).kind == Tok::comma && separators[0] + 1 < e &&
                    !at(separators[0] + 1).space_before && at(separators[0] + 1).kind == Tok::number &&
                    at(separators[0] - 1).kind == Tok::number;
  for (Answer& a : items) {
    if (a.kind == Kind::collection) {
      for (Answer& inner : a.items) out.items.push_back(std::move(inner));
    } else {
      out.items.push_back(std::move(a));
    }
  }
  return out;
}

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
    if (i > 0 && at(where[i - 1]).kind == Tok::without) {
      if (part.kind != Kind::collection || i != where.size()) throw Beyond("a difference of sets");
      out.excluded = part.items;
    } else {
      const Answer r = to_region(part);
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

Answer Reader::matrix(size_t b, size_t e, int depth) {
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
    if (last && from == i && in_row == 0) break;  // \\ after the last row
    if (out.items.size() >= 4 * kMaxItems) throw Beyond("a matrix is too large");
    out.items.push_back(read(from, i, depth + 1));
    ++in_row;
    from = i + 1;
    if (!row_ends) continue;
    if (out.columns == 0) out.columns = in_row;
    if (out.columns != in_row) throw Beyond("a matrix with uneven rows");
    in_row = 0;
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
