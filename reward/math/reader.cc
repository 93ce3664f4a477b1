#include "reward/math/reader.h"

#include <algorithm>

#include "reward/math/evaluate.h"

namespace cohort::math {
namespace {

constexpr int kMaxDepth = 20;

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
  if (std::string parameter; depth == 0 && (e = without_parameter(b, e, parameter), !parameter.empty())) {
    Answer a = read(b, e, depth + 1);
    a.parameter = parameter;
    return a;
  }
  if (at(b).kind == Tok::word || (b + 2 < e && at(b + 1).kind == Tok::word))
    if (std::optional<Answer> a = in_words(b, e, depth)) return std::move(*a);
  if (at(b).kind == Tok::letter)
    if (std::optional<Answer> a = combinations(b, e)) return std::move(*a);
  bool comma = false, element = false, about = false, modulo = false, related = false, equal = false,
       united = false, colon = false;
  for (size_t i = b; i < e; ++i) {
    if (at(i).depth != at(b).depth) continue;
    const Tok k = at(i).kind;
    comma = comma || k == Tok::comma || k == Tok::semicolon || k == Tok::in_words;
    element = element || k == Tok::element;
    about = about || k == Tok::approx;
    modulo =
        modulo || k == Tok::modulo || (k == Tok::open_paren && i + 1 < e && at(i + 1).kind == Tok::modulo);
    related = related || is_relation(k);
    equal = equal || k == Tok::equal;
    united = united || k == Tok::cup || k == Tok::without || minus_set(i, b, e);
    colon = colon || k == Tok::colon;
  }
  if (comma)
    if (std::optional<Answer> a = alternatives(b, e, depth)) return std::move(*a);
  if (comma)
    return list(
        b, e, find(b, e, [](Tok t) { return t == Tok::comma || t == Tok::semicolon || t == Tok::in_words; }),
        depth);
  if (colon && at(b).kind == Tok::letter && at(b + 1).kind == Tok::colon && related)  // {x: x > 5}
    return set(b, e, depth);
  if (element) return member(b, e, depth);
  if (about) return rounded(b, e, depth);
  if (modulo) return congruence(b, e, depth);
  if (related && (equal || !united)) return relation(b, e, find(b, e, is_relation), depth);
  if (united) {  // also x < 2 \cup x > 3
    std::vector<size_t> unions = find(b, e, [](Tok t) { return t == Tok::cup || t == Tok::without; });
    if (minus_set(b + 1, b, e)) unions.insert(unions.begin(), b + 1);
    return union_of(b, e, unions, depth);
  }
  const Tok first = at(b).kind, last = at(e - 1).kind;
  if (e - b == 1 && first == Tok::reals) return whole_line();
  if (e - b == 1 && first == Tok::emptyset) {
    Answer a;
    a.kind = Kind::collection;
    return a;
  }
  if (first == Tok::begin && at(b).text == "cases" && closes(b) == e - 1) return cases(b + 1, e - 1, depth);
  if (std::optional<Answer> a = transposed(b, e, depth)) return std::move(*a);
  if (const size_t begin = matrix_at(b, e); begin < e) return matrix(b, begin, e, depth);
  const bool whole = closes(b) == e - 1;
  if (whole && first == Tok::open_set && last == Tok::close_set) return set(b + 1, e - 1, depth);
  if (whole && (first == Tok::open_paren || first == Tok::open_bracket || first == Tok::open_angle) &&
      (last == Tok::close_paren || last == Tok::close_bracket || last == Tok::close_angle))
    if (Answer a; sequence(b, e, depth, a)) return a;
  if (colon) return ratio(b, e, find(b, e, [](Tok t) { return t == Tok::colon; }), depth);
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
    return t == Tok::dot || t == Tok::comma || t == Tok::semicolon || t == Tok::colon || t == Tok::new_row;
  };
  for (bool more = true; more && b < e;) {
    more = false;
    if (ends(at(e - 1).kind)) --e, more = true;
    if (b < e && (at(b).kind == Tok::approx || at(b).kind == Tok::equal || at(b).kind == Tok::colon))
      ++b, more = true;
    if (b + 1 < e && at(b).kind == Tok::open_brace && closes(b) == e - 1) ++b, --e, more = true;
  }
}

// \mathbb{R} - \{2\}
bool Reader::minus_set(size_t i, size_t b, size_t e) const {
  return i == b + 1 && i + 1 < e && at(i).kind == Tok::minus && at(b).kind == Tok::reals &&
         at(i + 1).kind == Tok::open_set;
}

size_t Reader::without_parameter(size_t b, size_t e, std::string& parameter) const {
  auto whole = [](std::string_view w) { return w == "integer" || w == "integers"; };
  auto word = [&](size_t i) { return at(i).kind == Tok::word || at(i).kind == Tok::in_words; };
  auto name = [&](size_t i) {
    return at(i).kind == Tok::letter ||
           (at(i).kind == Tok::word && at(i).text.size() == 1 && at(i).text != "a");
  };
  if (e - b < 4) return e;
  const size_t last = e - 1 - (at(e - 1).kind == Tok::close_paren ? 1 : 0);
  size_t cut = last + 1;
  std::string found;
  if (at(last).kind == Tok::integers && at(last - 1).kind == Tok::element &&
      at(last - 2).kind == Tok::letter) {
    cut = last - 2;
    found = at(cut).text;
  } else if (at(last).kind == Tok::word && whole(at(last).text)) {
    for (cut = last; cut > b && (name(cut - 1) || word(cut - 1)); --cut)
      if (name(cut - 1)) {
        if (!found.empty()) break;
        found = at(cut - 1).text;
      }
  } else {
    return e;
  }
  if (found.empty()) return e;
  if (last + 1 < e) {  // (k \in \mathbb{Z})
    if (cut == b || at(cut - 1).kind != Tok::open_paren) return e;
    --cut;
  }
  const size_t condition = cut;
  while (cut > b && (word(cut - 1) || at(cut - 1).kind == Tok::comma || at(cut - 1).kind == Tok::semicolon))
    --cut;
  if (cut <= b || (cut == condition && !word(cut) && last + 1 == e)) return e;
  parameter = found;
  return cut;
}

Answer Reader::member(size_t b, size_t e, int depth) {
  const std::vector<size_t> in = find(b, e, [](Tok t) { return t == Tok::element; });
  std::string name;
  if (in.size() > 1 || !is_name(b, in[0], name)) throw Beyond("an element of something");
  Answer a = read(in[0] + 1, e, depth + 1);
  if (a.kind == Kind::sequence) a = to_region(a);
  a.name = name;
  return a;
}

// Equations one below the other. With conditions beside them it is a function in pieces, which is not read.
Answer Reader::cases(size_t b, size_t e, int depth) {
  if (b >= e) throw Beyond("an empty answer");
  for (size_t i = b; i < e; ++i)
    if (at(i).depth == at(b).depth && (at(i).kind == Tok::comma || at(i).kind == Tok::ampersand))
      throw Beyond("a function in pieces");
  if (at(e - 1).kind == Tok::new_row) --e;
  return list(b, e, find(b, e, [](Tok t) { return t == Tok::new_row; }), depth);
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
  if (any_and && !any_or && adds_up(items)) {
    for (size_t i = 1; i < items.size(); ++i) add(items[0], items[i]);
    return std::move(items[0]);
  }
  const bool barred = items[0].kind == Kind::region && !items[0].excluded.empty() &&
                      std::all_of(items.begin() + 1, items.end(), [](const Answer& a) {
                        return a.kind == Kind::value || !a.excluded.empty();
                      });
  if (barred || (regions && !any_or && !items[0].name.empty())) {
    std::vector<Answer::Interval> united;
    if (!any_and && regions)
      for (const Answer& a : items) united.insert(united.end(), a.intervals.begin(), a.intervals.end());
    Answer all = all_of(std::move(items));
    all.united = std::move(united);
    return all;
  }
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
  out.any_or = any_or;
  const bool same =
      std::all_of(items.begin(), items.end(), [&](const Answer& a) { return a.name == items[0].name; });
  if (same) {
    out.name = items[0].name;
    for (Answer& a : items)
      if (a.kind != Kind::region) a.name.clear();
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

}  // namespace cohort::math
