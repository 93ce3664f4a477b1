#include "reward/code/c_tokens.h"

#include <algorithm>

namespace cohort::code {
namespace {

bool starts_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool in_word(char c) {
  return starts_word(c) || (c >= '0' && c <= '9');
}
bool blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v';
}

Token next_token(std::string_view text, size_t at) {
  auto until = [&](std::string_view what, size_t from) {
    const size_t end = text.find(what, from);
    return end == text.npos ? text.size() : end + what.size();
  };
  const char c = text[at];
  if (blank(c)) {
    size_t end = at;
    while (end < text.size() && blank(text[end])) ++end;
    return {Token::skipped, at, end};
  }
  if (text.substr(at).starts_with("//"))
    return {Token::skipped, at, std::min(text.find('\n', at), text.size())};
  if (text.substr(at).starts_with("/*")) return {Token::skipped, at, until("*/", at + 2)};
  if (in_word(c)) {
    size_t end = at;
    while (end < text.size() &&
           (in_word(text[end]) || (c >= '0' && c <= '9' && (text[end] == '.' || text[end] == '\''))))
      ++end;
    if (end < text.size() && text[end] == '"' && text[end - 1] == 'R' && end - at <= 3) {  // R"x(…)x"
      const size_t open = text.find('(', end);
      if (open == text.npos) return {Token::literal, at, text.size()};
      return {Token::literal, at,
              until(")" + std::string(text.substr(end + 1, open - end - 1)) + "\"", open)};
    }
    return {Token::word, at, end};
  }
  if (c == '"' || c == '\'') {
    size_t end = at + 1;
    while (end < text.size() && text[end] != c && text[end] != '\n') end += text[end] == '\\' ? 2 : 1;
    return {Token::literal, at, std::min(end + 1, text.size())};
  }
  return {Token::other, at, at + 1};
}

}  // namespace

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> all;
  for (size_t at = 0; at < text.size(); at = all.back().end) all.push_back(next_token(text, at));
  return all;
}

std::string_view of(std::string_view text, const Token& token) {
  return text.substr(token.begin, token.end - token.begin);
}

std::vector<size_t> behind_brackets(std::string_view text, const std::vector<Token>& all) {
  std::vector<size_t> behind(all.size(), all.size()), open;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].kind != Token::other) continue;
    const char c = text[all[i].begin];
    if (c == '(' || c == '[' || c == '{') open.push_back(i);
    if ((c == ')' || c == ']' || c == '}') && !open.empty()) {
      behind[open.back()] = i + 1;
      open.pop_back();
    }
  }
  return behind;
}

size_t skip(const std::vector<Token>& all, size_t i) {
  while (i < all.size() && all[i].kind == Token::skipped) ++i;
  return i;
}

bool mentions(std::string_view text, std::string_view word) {
  for (const Token& token : tokens_of(text))
    if (token.kind == Token::word && of(text, token) == word) return true;
  return false;
}

bool defines_function(std::string_view text, const std::vector<Token>& all, const std::vector<size_t>& behind,
                      size_t i) {
  const size_t open = skip(all, i + 1);
  if (open == all.size() || text[all[open].begin] != '(') return false;
  const size_t body = skip(all, behind[open]);
  const std::string_view next = body < all.size() ? of(text, all[body]) : "";
  for (const char* start : {"{", "const", "noexcept", "__attribute__"})
    if (next == start) return true;
  return next == "-" && text.substr(all[body].begin).starts_with("->");
}

std::string without_main(std::string_view text) {
  const std::vector<Token> all = tokens_of(text);
  const std::vector<size_t> behind = behind_brackets(text, all);
  std::string out;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string_view word = of(text, all[i]);
    out += word == "main" && defines_function(text, all, behind, i) ? "solution_main" : word;
  }
  return out;
}

std::string replaced(std::string_view text, std::string_view what, std::string_view by) {
  std::string out(text);
  for (size_t at = 0; (at = out.find(what, at)) != out.npos; at += by.size())
    out.replace(at, what.size(), by);
  return out;
}

}  // namespace cohort::code
