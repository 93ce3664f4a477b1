// From bytes to tokens: LaTeX commands, Unicode signs and digits, plain text. One pass, any bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::math {

enum class Tok : uint8_t {
  number,    // `index`: a literal
  letter,    // one letter, Greek letter or subscripted name: `text`
  word,      // several letters outside LaTeX commands, or anything inside \text
  function,  // sin, log, sqrt …: `text`
  infinity,
  pi,
  emptyset,
  reals,
  naturals,
  integers,
  rationals,
  plus,
  minus,
  plus_minus,
  minus_plus,
  times,
  slash,
  caret,
  underscore,
  bang,
  percent,
  degree,
  prime,
  open_paren,
  close_paren,
  open_bracket,
  close_bracket,
  open_brace,
  close_brace,
  open_set,
  close_set,
  open_floor,
  close_floor,
  open_ceil,
  close_ceil,
  open_angle,
  close_angle,
  bar,
  comma,
  semicolon,
  colon,
  dot,
  ampersand,
  new_row,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  approx,
  modulo,  // mod, \pmod, \bmod
  dots,    // \ldots, … : a list or a decimal that goes on
  element,
  in_words,  // in_words: or, and
  cup,
  cap,
  without,
  frac,
  root,
  binomial,
  choose,
  over,
  sum,
  product,
  overline,
  begin,
  end,
  currency,
  other,  // nothing this checker reads
};

// A number as written: digits[0, point) . digits[point, size) (repeating from the end) * 10^exponent
struct Literal {
  std::string digits;
  size_t point = 0;
  bool has_point = false;
  size_t repeating = 0;  // the last so many digits repeat for ever
  long exponent = 0;
  bool scientific = false;
  bool goes_on = false;  // 0.333…
  bool commas = false;   // thousands separated by plain commas
  unsigned base = 10;
  bool spelled = true;  // an honest literal: false for one too long or malformed
};

struct Token {
  Tok kind = Tok::other;
  bool space_before = false;
  bool from_text = false;  // inside \text{…}
  uint16_t depth = 0;      // of brackets of every kind around it
  uint32_t index = 0;
  std::string_view text;  // into the input, or static
};

struct Tokens {
  std::vector<Token> list;
  std::vector<Literal> literals;
  std::vector<std::shared_ptr<const std::string>>
      names;  // what `text` views where the input spells it otherwise
};

// Throws Beyond for more than kMaxTokens. The result views `text`.
inline constexpr size_t kMaxTokens = 1500;
Tokens tokenize(std::string_view text);
// Full-width forms and the digits of other scripts as ASCII, Unicode mathematics as LaTeX. ASCII stays as it is.
std::string fold_unicode(std::string_view text);
// Only the digits.
std::string fold_digits(std::string_view text);
inline bool is_ascii(std::string_view text) {
  for (char c : text)
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  return true;
}

bool is_digit(char c);
bool is_alpha(char c);

}  // namespace cohort::math
