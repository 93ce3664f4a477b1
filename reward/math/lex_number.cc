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
  if (text_.substr(p).starts_with("\\text{")) {
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

unsigned Lexer::base_in_words(size_t& at) const {
  size_t p = at;
  auto skip = [&](std::string_view what) {
    while (p < text_.size() && text_[p] == ' ') ++p;
    const bool there = text_.substr(p).starts_with(what);
    if (there) p += what.size();
    return there;
  };
  const bool braces = skip("\\text{"), brackets = skip("(");
  if (!skip("base")) return 0;
  bool closed = braces && skip("}");
  skip("");
  const size_t digits = p;
  while (p < text_.size() && is_digit(text_[p])) ++p;
  if (p == digits || p - digits > 2) return 0;
  const unsigned base = static_cast<unsigned>(std::stoul(std::string(text_.substr(digits, p - digits))));
  if (brackets && !skip(")")) return 0;
  closed = closed || (braces && skip("}"));
  if (braces != closed || base < 2 || base > 36) return 0;
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

bool Lexer::based_in_brackets() {
  size_t end = at_;
  while (end < text_.size() && (is_digit(text_[end]) || (text_[end] >= 'A' && text_[end] <= 'Z'))) ++end;
  if (end == at_ || !text_.substr(end).starts_with(")_")) return false;
  size_t after = end + 1;
  Literal l;
  l.base = base_at(after);
  if (l.base == 0) return false;
  l.digits = text_.substr(at_, end - at_);
  l.point = l.digits.size();
  push(std::move(l), at_);
  at_ = after;
  return true;
}

bool Lexer::times_ten() const {
  if (out_.list.empty() || out_.list.back().kind != Tok::number) return false;
  const size_t ten = text_.find_first_not_of(' ', at_);
  return ten != std::string_view::npos && text_.substr(ten).starts_with("10^");
}

std::string_view Lexer::whole_number(size_t& at) const {
  size_t begin = at, end = at;
  const bool braces = at < text_.size() && text_[at] == '{';
  if (braces) ++begin, ++end;
  while (end < text_.size() && is_digit(text_[end]) && (braces ? end - begin < 8 : end == begin)) ++end;
  if (end == begin || (braces && (end >= text_.size() || text_[end] != '}'))) return {};
  at = braces ? end + 1 : end;
  return text_.substr(begin, end - begin);
}

bool Lexer::combinations(char name, size_t at) {
  if (name != 0 && name != 'C' && name != 'A' && name != 'P') return false;
  ++at;
  const std::string_view above = whole_number(at);
  if (above.empty() || at >= text_.size()) return false;
  if (name == 0) {
    if (!text_.substr(at).starts_with("C_")) return false;
    at += 2;
  } else if (text_[at++] != '^') {
    return false;
  }
  const std::string_view below = whole_number(at);
  if (below.empty() ||
      (name != 'A' && name != 'P' && std::stoul(std::string(below)) > std::stoul(std::string(above))))
    return false;
  if (name == 'A' || name == 'P') {  // arrangements in some countries' books
    emit(Tok::other, "arrangements");
  } else {
    emit(Tok::binomial);
    for (std::string_view part : {above, below}) {
      open(Tok::open_brace);
      Literal l;
      l.digits = part;
      l.point = part.size();
      push(std::move(l), at_);
      close(Tok::close_brace);
    }
  }
  at_ = at;
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
      for (std::string_view mark : {",\\!", "{,}", "\\,", ",", " "})
        if (!more && starts(mark) && three_digits(mark.size()) &&
            !(mark == " " && peek(4) == '/')) {  // 14 916, but not 3 100/200
          l.commas = l.commas || mark == "," || mark == " ";
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
    if (mark.empty())  // \overline3
      for (std::string_view bare : {"\\overline", "\\bar", "\\dot"})
        if (rest.starts_with(bare) && rest.size() > bare.size() && is_digit(rest[bare.size()])) {
          l.digits += rest[bare.size()];
          l.repeating = 1;
          p += bare.size() + 1;
        }
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
    if (l.has_point) {
      for (std::string_view mark : {"...", "\\ldots", "\\dots", "\\cdots"})
        if (!l.goes_on && l.repeating == 0 && starts(mark)) {
          l.goes_on = true;
          at_ += mark.size();
        }
      if (peek() == '.' && (is_digit(peek(1)) || peek(1) == '.')) l.spelled = false;  // 1.2.3
    }
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
    unsigned base = base_at(after);
    if (base == 0 && !l.has_point) base = base_in_words(after);
    if (base != 0) {
      l.base = base;
      at_ = after;
    }
  }
  if (l.digits.size() > kMaxDigits) l.spelled = false;
  push(std::move(l), begin);
}

}  // namespace cohort::math
