// The tokens of a C++ text without blanks, comments and its preprocessor's lines, by their numbers: what readers of it walk along.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reward/code/c_tokens.h"

namespace cohort::code {

class CppTokens {
 public:
  explicit CppTokens(std::string_view text);

  // Of #define lines; those with parameters have the value "(".
  std::vector<std::pair<std::string, std::string>> macros;

  size_t size() const { return t_.size(); }
  std::string_view at(size_t i) const { return i < t_.size() ? of(text_, t_[i]) : std::string_view(); }
  bool is(size_t i, std::string_view what) const { return at(i) == what; }
  // A word that is no number.
  bool word(size_t i) const {
    return i < t_.size() && t_[i].kind == Token::word && !(at(i)[0] >= '0' && at(i)[0] <= '9');
  }
  bool literal(size_t i) const { return i < t_.size() && t_[i].kind == Token::literal; }
  // "::", "[["
  bool twice(size_t i, char c) const {
    return i + 1 < t_.size() && at(i)[0] == c && at(i + 1)[0] == c && t_[i].end == t_[i + 1].begin;
  }
  // The text from one to before another.
  std::string words(size_t from, size_t end) const {
    return from < end ? std::string(text_.substr(t_[from].begin, t_[end - 1].end - t_[from].begin)) : "";
  }

  bool opens(size_t i) const { return is(i, "(") || is(i, "[") || is(i, "{"); }
  // The token behind the bracket that `open` opens, or the end. Of one that opens none: behind the next bracket that is whole.
  size_t behind(size_t open) const { return opens(open) ? behind_[open] : behind_next(open); }
  // behind the > of the < at `i`, or `i` where it is none of a template's
  size_t behind_angle(size_t i) const;
  size_t behind_semicolon(size_t i, size_t end) const;
  // Behind a declaration's ; or body.
  size_t behind_function(size_t i, size_t end) const;
  // Whether a { comes before ; ( = : `struct X* f() {` has none.
  bool has_body(size_t i, size_t end) const;

 private:
  size_t behind_next(size_t i) const;
  size_t directive(const std::vector<Token>& all, size_t i);

  const std::string_view text_;
  std::vector<Token> t_;
  std::vector<size_t> behind_;  // of each bracket that opens
};

}  // namespace cohort::code
