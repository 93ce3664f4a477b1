// The reader behind answer.h: what a span of tokens is, from the outermost structure inwards.
#pragma once

#include "reward/math/answer.h"
#include "reward/math/budget.h"

namespace cohort::math {

// Reads tokens[begin, end). Every method throws Beyond for what it does not understand.
class Reader {
 public:
  explicit Reader(Tokens& tokens) : t_(tokens) {}
  Answer read(size_t b, size_t e, int depth);
  // The longest answer at the front when what follows is only words.
  Answer leading(size_t b, size_t e);

 private:
  static constexpr size_t kMaxItems = 60;  // of a list
  const Token& at(size_t i) const { return t_.list[i]; }
  void trim(size_t& b, size_t& e) const;
  // Where the answer ends before "k \in \mathbb{Z}" or "where k is an integer", and that letter; `e` for none.
  size_t without_parameter(size_t b, size_t e, std::string& parameter) const;
  bool minus_set(size_t i, size_t b, size_t e) const;
  Answer cases(size_t b, size_t e, int depth);
  Answer member(size_t b, size_t e, int depth);
  // Where the bracket at `b` closes, by depth; list.size() for never.
  size_t closes(size_t b) const;
  static bool is_close(Tok k);
  template <class Is>
  std::vector<size_t> find(size_t b, size_t e, Is&& wanted) const {
    std::vector<size_t> out;
    const uint16_t depth = at(b).depth;
    for (size_t i = b; i < e; ++i)
      if (at(i).depth == depth && wanted(at(i).kind)) out.push_back(i);
    return out;
  }
  // Parts between separators.
  std::vector<Answer> parts(size_t b, size_t e, const std::vector<size_t>& separators, int depth);
  static Answer all_of(std::vector<Answer> items);
  Answer list(size_t b, size_t e, const std::vector<size_t>& separators, int depth);

  // read_relation.cc
  bool is_name(size_t b, size_t e, std::string& name) const;
  // \angle ABC, \overline{AB}, |AB|, S_{\triangle ABC}, f_{\max}: what has a value and is not computed here.
  bool is_measure(size_t b, size_t e) const;
  // What is left of the sign is exact, what is right of it its rounding.
  Answer rounded(size_t b, size_t e, int depth);
  Answer congruence(size_t b, size_t e, int depth);
  Answer relation(size_t b, size_t e, const std::vector<size_t>& where, int depth);
  bool has_letters(const std::vector<std::pair<size_t, size_t>>& spans) const;
  static const std::string* lone_variable(const Tree& t);
  using Spans = std::vector<std::pair<size_t, size_t>>;
  std::vector<Answer> bound(const Answer& r, const Spans& spans, size_t side) const;
  // x > 2, 1 < x <= 2, x != 3 as parts of the real line; other relations stay.
  Answer region_of(Answer r, const Spans& spans) const;

  // read_set.cc
  static Answer whole_line();
  static Answer to_region(const Answer& s);
  Answer union_of(size_t b, size_t e, const std::vector<size_t>& where, int depth);
  Answer set(size_t b, size_t e, int depth);
  bool sequence(size_t b, size_t e, int depth, Answer& out);
  // Where the matrix begins that is all of an answer, but for brackets around it and a factor before it.
  size_t matrix_at(size_t& b, size_t& e) const;
  Answer matrix(size_t factor, size_t b, size_t e, int depth);
  Answer ratio(size_t b, size_t e, const std::vector<size_t>& colons, int depth);

  // read_words.cc
  // Whether words in any case stand at `b`.
  bool says(size_t b, size_t e, std::initializer_list<std::string_view> words) const;
  std::optional<Answer> in_words(size_t b, size_t e, int depth);
  std::optional<Answer> combinations(size_t b, size_t e);
  std::optional<Answer> transposed(size_t b, size_t e, int depth);
  std::optional<Answer> alternatives(size_t b, size_t e, int depth);

  // read_value.cc
  Tree tree_of(size_t b, size_t e);
  // 3 hours and 20 minutes.
  static bool adds_up(const std::vector<Answer>& items);
  static void add(Answer& to, const Answer& more);
  // A decimal alone, with its sign, or times a power of ten.
  void set_shown(Answer& a, size_t b, size_t e) const;
  // Reads the value at the front; returns where it and its unit end.
  size_t value_front(size_t b, size_t e, Answer& a);
  Answer value(size_t b, size_t e);
  size_t first_letter(size_t b, size_t e) const;
  bool has_function(size_t b, size_t e) const;
  static bool is_unit_letter(const Token& t);
  static bool ends_number(Tok k);
  std::optional<Unit> read_unit_letters(size_t b, size_t e) const;
  Tokens& t_;
};

}  // namespace cohort::math
