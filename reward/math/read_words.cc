// Answers with words around them, and what is written in more than one way: "There are 7 ways", "all real numbers
// except 2", "5 to 3", C(10, 3), (1, 2)^T.
#include <algorithm>
#include <array>

#include "reward/math/reader.h"

namespace cohort::math {

using Kind = Answer::Kind;

bool Reader::says(size_t b, size_t e, std::initializer_list<std::string_view> words) const {
  if (b + words.size() > e) return false;
  for (std::string_view word : words) {
    const Token& t = at(b++);
    if (t.kind != Tok::word || t.text.size() != word.size()) return false;
    for (size_t i = 0; i < word.size(); ++i)
      if ((t.text[i] | 0x20) != word[i]) return false;
  }
  return true;
}

std::optional<Answer> Reader::in_words(size_t b, size_t e, int depth) {
  if (depth == 0 && says(b, e, {"answer"}) && b + 2 < e && at(b + 1).kind == Tok::colon)
    return read(b + 2, e, depth + 1);
  if (depth == 0 && at(b).kind == Tok::open_brace && says(b + 1, e, {"answer"}) && b + 4 < e &&
      at(b + 2).kind == Tok::colon && at(b + 3).kind == Tok::close_brace)  // \textbf{Answer: }7
    return read(b + 4, e, depth + 1);
  for (std::string_view verb : {"are", "is"})
    if (depth == 0 && says(b, e, {"there", verb}) && b + 2 < e && at(b + 2).kind == Tok::number)
      return value(b + 2, e);
  if (depth == 0 && b + 2 < e && at(b).kind == Tok::letter && says(b + 1, e, {"is"})) {  // k is 7
    std::string name;
    if (!is_name(b, b + 1, name)) return {};
    Answer a = read(b + 2, e, depth + 1);
    a.name = name;
    return a;
  }
  if (says(b, e, {"all", "real", "numbers", "except"}) && b + 4 < e) {
    const Answer without = read(b + 4, e, depth + 1);
    Answer a = whole_line();
    if (without.kind == Kind::collection)
      a.excluded = without.items;
    else
      a.excluded = {without};
    return a;
  }
  if (e - b == 3 && at(b).kind == Tok::number && says(b + 1, e, {"to"}) && at(b + 2).kind == Tok::number) {
    Answer a;
    a.kind = Kind::ratio;
    a.listed = true;  // perhaps a range
    a.items = {value(b, b + 1), value(b + 2, e)};
    return a;
  }
  return {};
}

std::optional<Answer> Reader::combinations(size_t b, size_t e) {
  if (e - b != 6 || at(b).text != "C" || at(b + 1).kind != Tok::open_paren || at(b + 2).kind != Tok::number ||
      at(b + 3).kind != Tok::comma || at(b + 4).kind != Tok::number || at(b + 5).kind != Tok::close_paren)
    return {};
  Answer a;
  a.kind = Kind::value;
  const int32_t above = a.tree.put(literal_value(t_.literals[at(b + 2).index]));
  const int32_t below = a.tree.put(literal_value(t_.literals[at(b + 4).index]));
  a.tree.put(Node{.op = Op::binomial, .a = above, .b = below});
  a.opaque = true;  // or a point that is called C
  return a;
}

std::optional<Answer> Reader::transposed(size_t b, size_t e, int depth) {
  auto mark = [&](size_t i) { return at(i).text == "T" || at(i).text == "top"; };
  const size_t close = closes(b);
  const bool bare = close + 3 == e && mark(e - 1);
  const bool braces = close + 5 == e && at(e - 3).kind == Tok::open_brace && mark(e - 2);
  if (close >= e || (!bare && !braces) || at(close + 1).kind != Tok::caret) return {};
  const Answer a = read(b, close + 1, depth + 1);
  Answer out;
  out.kind = Kind::matrix;
  if (a.kind == Kind::sequence) {
    out.columns = 1;
    out.items = a.items;
    return out;
  }
  if (a.kind != Kind::matrix) throw Beyond("a transposed thing");
  const size_t rows = a.items.size() / a.columns;
  out.columns = rows;
  for (size_t column = 0; column < a.columns; ++column)
    for (size_t row = 0; row < rows; ++row) out.items.push_back(a.items[row * a.columns + column]);
  return out;
}

// "x = 1, y = 2 or x = 2, y = 1": a set of what each part says.
std::optional<Answer> Reader::alternatives(size_t b, size_t e, int depth) {
  const std::vector<size_t> commas = find(b, e, [](Tok t) { return t == Tok::comma || t == Tok::semicolon; });
  const std::vector<size_t> words = find(b, e, [](Tok t) { return t == Tok::in_words; });
  if (commas.empty() || words.empty() ||
      std::any_of(words.begin(), words.end(), [&](size_t i) { return at(i).text != "or" || i + 1 == e; }))
    return {};
  Answer out;
  out.kind = Kind::collection;
  size_t from = b;
  for (size_t i = 0; i <= words.size(); ++i) {
    size_t to = i < words.size() ? words[i] : e;
    const size_t next = to + 1;
    while (to > from && at(to - 1).kind == Tok::comma) --to;
    const bool list = std::any_of(commas.begin(), commas.end(), [&](size_t c) { return c > from && c < to; });
    if (!list) return {};
    Answer part = read(from, to, depth + 1);
    const bool named = std::all_of(part.items.begin(), part.items.end(),
                                   [](const Answer& a) { return !a.name.empty() && a.kind == Kind::value; });
    if (part.kind != Kind::collection || !named) return {};
    out.items.push_back(std::move(part));
    from = next;
  }
  return out;
}

}  // namespace cohort::math
