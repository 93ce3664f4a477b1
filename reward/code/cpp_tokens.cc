#include "reward/code/cpp_tokens.h"

#include "reward/record.h"

namespace cohort::code {

CppTokens::CppTokens(std::string_view text) : text_(text) {
  const std::vector<Token> all = tokens_of(text);
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].kind == Token::skipped) continue;
    if (of(text, all[i]) == "#")
      i = directive(all, i);
    else
      t_.push_back(all[i]);
  }
  behind_ = behind_brackets(text_, t_);
}

size_t CppTokens::directive(const std::vector<Token>& all, size_t i) {
  const size_t line = all[i].begin;
  size_t end = line;
  while (end < text_.size() && (text_[end] != '\n' || text_[end - 1] == '\\')) ++end;
  std::string_view rest = trim(text_.substr(line + 1, end - line - 1));
  if (rest.starts_with("define")) {
    rest = trim(rest.substr(6));
    size_t n = 0;
    while (n < rest.size() && (isalnum(static_cast<unsigned char>(rest[n])) || rest[n] == '_')) ++n;
    const bool call = n < rest.size() && rest[n] == '(';
    macros.emplace_back(rest.substr(0, n), call ? "(" : std::string(trim(rest.substr(n))));
  }
  while (i + 1 < all.size() && all[i + 1].begin < end) ++i;
  return i;
}

size_t CppTokens::behind_next(size_t i) const {
  int depth = 0;
  for (; i < t_.size(); ++i) {
    if (opens(i)) ++depth;
    if ((is(i, ")") || is(i, "]") || is(i, "}")) && --depth == 0) return i + 1;
  }
  return t_.size();
}

size_t CppTokens::behind_angle(size_t i) const {
  constexpr size_t kLongest = 500;  // tokens: else a text of `a<a<a<…` is read again from each of them
  int depth = 0;
  for (size_t k = i, steps = 0; k < t_.size() && steps < kLongest; ++k, ++steps) {
    if (is(k, "<")) ++depth;
    if (is(k, ">") && !(k > 0 && is(k - 1, "-")) && --depth == 0) return k + 1;
    if (opens(k)) k = behind(k) - 1;
    if (is(k, ";") || is(k, "}")) return i;
  }
  return i;
}

size_t CppTokens::behind_semicolon(size_t i, size_t end) const {
  for (; i < end; ++i) {
    if (is(i, ";")) return i + 1;
    if (opens(i)) i = behind(i) - 1;
  }
  return end;
}

size_t CppTokens::behind_function(size_t i, size_t end) const {
  for (; i < end; ++i) {
    if (is(i, ";")) return i + 1;
    if (is(i, "{")) return behind(i);
    if (is(i, "(") || is(i, "[")) i = behind(i) - 1;
  }
  return end;
}

bool CppTokens::has_body(size_t i, size_t end) const {
  for (; i < end; ++i) {
    if (is(i, "{")) return true;
    if (is(i, "<")) {
      const size_t angle = behind_angle(i);
      if (angle > i) i = angle - 1;
    }
    if (is(i, ";") || is(i, "=") || is(i, "*") || is(i, "&")) return false;
    if (is(i, "(")) {
      if (i == 0 || !is(i - 1, "__attribute__")) return false;
      i = behind(i) - 1;
    }
    if (is(i, "[")) i = behind(i) - 1;
  }
  return false;
}

}  // namespace cohort::code
