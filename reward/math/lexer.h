// The lexer behind tokenize() of token.h. One pass, any bytes.
#pragma once

#include "reward/math/token.h"

namespace cohort::math {

class Lexer {
 public:
  Lexer(std::string_view text, Tokens& out) : text_(text), out_(out) {}

  void run(bool in_text, int nesting);
  uint16_t depth = 0;

 private:
  char peek(size_t n = 0) const { return at_ + n < text_.size() ? text_[at_ + n] : '\0'; }
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  Token& emit(Tok kind, std::string_view text = {});
  void open(Tok kind);
  void close(Tok kind);
  void step(int nesting);
  void caret();
  void letters();
  bool unites() const;
  // "_3", "_{12}", "_n" after a letter: part of the name, spelled one way.
  void letter(std::string_view name);

  // lex_number.cc
  void number();
  // A base after the digits that end at `at`: _2 _{16} _{\text{two}}. 0 for none; moves `at` behind it.
  unsigned base_at(size_t& at) const;
  // "base 2", "\text{ (base 2)}" behind digits. 0 for none; moves `at` behind it.
  unsigned base_in_words(size_t& at) const;
  // 1A_{16}: digits and capitals in a base above ten.
  bool based(size_t begin);
  // (1011)_2, behind its opening bracket.
  bool based_in_brackets();
  // 1.5x10^3, behind the x.
  bool times_ten() const;
  // From "_" on: C_{10}^3 with `name` C, _{10}C_3 with none; A_5^2 and P_5^2 are read, as nothing known.
  bool combinations(char name, size_t at);
  // {12} or 1 at `at`, which moves behind it; nothing else.
  std::string_view whole_number(size_t& at) const;
  bool three_digits(size_t n) const;
  void push(Literal l, size_t begin);

  // lex_command.cc
  void command(int nesting);
  void sign();
  void environment(bool begins);
  void group_of_text(std::string_view name, int nesting);

  const std::string_view text_;
  Tokens& out_;
  size_t at_ = 0;
  bool space_ = false;
  bool in_text_ = false;
};

}  // namespace cohort::math
