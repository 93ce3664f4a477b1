// Numbers as they stand in a text: thousands, decimals, repeating ones, exponents, bases.
#include <algorithm>

#include "reward/math/budget.h"
#include "reward/math/commands.h"
#include "reward/math/lexer.h"

namespace cohort::math {

unsigned Lexer::base_at(size_t& at) const {
  if (at >= text_.size() || text_[at] != '_') return 0;
  size_t p = at + 1;
  const bool braces = p < text_.size() && text_[p] == '{';
  if (braces) ++p;
  std::string word;
  if (braces && text_.substr(p).starts_with("\\text{")) {
    const size_t close = text_.find('}', p);
    if (close == std::string_view::npos) return 0;
    word = text_.substr(p + 6, std::min<size_t>(close - p - 6, 10));
    p = close + 1;
  } else {
    while (p < text_.size() && word.size() < 10 && (is_digit(text_[p]) || (braces && is_alpha(text_[p]))))
      word += text_[p++];
  }
  if (braces && (p >= text_.size() || text_[p++] != '}')) return 0;
  unsigned base = base_word(word);
  if (base == 0 && !word.empty() && word.size() <= 2 && std::all_of(word.begin(), word.end(), is_digit))
    base = static_cast<unsigned>(std::stoul(word));
  if (base < 2 || base > 36) return 0;
  at = p;
  return base;
}

bool Lexer::based(size_t begin) {
  size_t end = begin;
  bool fits = true;
  while (end < text_.size() && (is_digit(text_[end]) || is_alpha(text_[end])))
    fits = fits && !(text_[end] >= 'a'), ++end;
  if (!fits || end - begin < 2) return false;
  size_t after = end;
  const unsigned base = base_at(after);
  if (base <= 10) return false;
  Literal l;
  l.digits = text_.substr(begin, end - begin);
  l.point = l.digits.size();
  l.base = base;
  push(std::move(l), begin);
  at_ = after;
  return true;
}

void Lexer::push(Literal l, size_t begin) {
  Token& t = emit(Tok::number, text_.substr(begin, 1));
  t.index = static_cast<uint32_t>(out_.literals.size());
  out_.literals.push_back(std::move(l));
}

bool Lexer::three_digits(size_t n) const {
  return is_digit(peek(n)) && is_digit(peek(n + 1)) && is_digit(peek(n + 2)) && !is_digit(peek(n + 3));
}

void Lexer::number() {
  const size_t begin = at_;
  if (based(begin)) return;
  Literal l;
  while (is_digit(peek())) l.digits += text_[at_++];
  if (!l.digits.empty() && l.digits.size() <= 3)
    for (bool more = true; more;) {
      more = false;
      for (std::string_view mark : {",\\!", "{,}", "\\,", ","})
        if (!more && starts(mark) && three_digits(mark.size())) {
          l.commas = l.commas || mark == ",";
          l.digits.append(text_.substr(at_ + mark.size(), 3));
          at_ += mark.size() + 3;
          more = true;
        }
    }
  l.point = l.digits.size();
  if (peek() == '.') {
    size_t p = at_ + 1;
    while (p < text_.size() && is_digit(text_[p])) l.digits += text_[p++];
    std::string_view rest = text_.substr(p);
    std::string_view mark = rest.starts_with("\\overline{") ? "\\overline{"
                            : rest.starts_with("\\bar{")    ? "\\bar{"
                            : rest.starts_with("\\dot{")    ? "\\dot{"
                            : rest.starts_with("(")         ? "("
                                                            : "";
    if (!mark.empty()) {
      size_t q = p + mark.size();
      while (q < text_.size() && is_digit(text_[q])) ++q;
      const char end = mark == "(" ? ')' : '}';
      const size_t n = q - p - mark.size();
      if (n > 0 && q < text_.size() && text_[q] == end) {
        l.digits.append(text_.substr(p + mark.size(), n));
        l.repeating = n;
        p = q + 1;
      }
    }
    l.has_point = l.digits.size() > l.point;
    if (l.has_point) at_ = p;
    if (l.has_point && peek() == '.' && (is_digit(peek(1)) || peek(1) == '.'))
      l.spelled = false;  // 1.2.3, 0.33...
  }
  if (l.repeating == 0 && (peek() == 'e' || peek() == 'E')) {
    const size_t n = peek(1) == '+' || peek(1) == '-' ? 2 : 1;
    if (is_digit(peek(n))) {
      const bool negative = peek(1) == '-';
      for (at_ += n; is_digit(peek()); ++at_)
        if ((l.exponent = l.exponent * 10 + (peek() - '0')) > 1000000) l.exponent = 1000000;
      if (negative) l.exponent = -l.exponent;
      l.scientific = true;
    }
  }
  if (!l.scientific && l.repeating == 0) {
    size_t after = at_;
    if (const unsigned base = base_at(after)) {
      l.base = base;
      at_ = after;
    }
  }
  if (l.digits.size() > kMaxDigits) l.spelled = false;
  push(std::move(l), begin);
}

}  // namespace cohort::math
