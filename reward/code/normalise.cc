#include "reward/code/normalise.h"

#include <optional>

#include "reward/record.h"

namespace cohort::code {
namespace {

bool blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

bool word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

void end_line(std::string& out) {
  while (!out.empty() && blank(out.back())) out.pop_back();
  if (!out.empty() && out.back() != '\n') out += '\n';
}

// Copies the literal that begins at `at` (its quote), up to the unescaped `close`; false when it does not end.
bool copy_literal(std::string_view text, size_t& at, std::string_view close, bool lines, std::string& out) {
  const size_t begin = at;
  for (at += close.size(); at < text.size();) {
    if (text[at] == '\\' && at + 1 < text.size()) {
      at += 2;
    } else if (text.substr(at).starts_with(close)) {
      at += close.size();
      out.append(text.substr(begin, at - begin));
      return true;
    } else if (text[at] == '\n' && !lines) {
      return false;
    } else {
      ++at;
    }
  }
  return false;
}

std::optional<std::string> normalise_c(std::string_view text) {
  for (const char* odd : {"\\\n", "\\\r", "R\"", "__LINE__", "source_location", "?\?", "line"})
    if (std::string_view(odd) == "line" ? text.find("#line") != text.npos || text.find("# line") != text.npos
                                        : text.find(odd) != text.npos)
      return {};
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      // 1'000'000 in C++: a quote after a digit or letter parts digits, unless it is a prefix (u8'x', L'x')
      if (c == '\'' && !out.empty() && word(out.back()) && at + 1 < text.size() && word(text[at + 1]) &&
          (at + 2 >= text.size() || text[at + 2] != '\'')) {
        out += c, ++at;
        continue;
      }
      if (!copy_literal(text, at, text.substr(at, 1), false, out)) return {};
    } else if (text.substr(at).starts_with("//")) {
      at = std::min(text.find('\n', at), text.size());
    } else if (text.substr(at).starts_with("/*")) {
      const size_t end = text.find("*/", at + 2);
      if (end == text.npos) return {};
      // a comment over lines is one blank: a directive goes on after it
      if (!out.empty() && !blank(out.back()) && out.back() != '\n') out += ' ';
      at = end + 2;
    } else if (c == '\n') {
      end_line(out), ++at;
    } else if (blank(c)) {
      if (!out.empty() && out.back() != ' ' && out.back() != '\n') out += ' ';
      ++at;
    } else {
      out += c, ++at;
    }
  }
  end_line(out);
  return out;
}

std::optional<std::string> normalise_python(std::string_view text) {
  if (text.find("\\\n") != text.npos || text.find("\\\r") != text.npos || text.find('\r') != text.npos ||
      text.find('\f') != text.npos || text.find("coding") != text.npos ||
      text.find("__file__") != text.npos || text.find("lineno") != text.npos)
    return {};
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      // of an f-string's nested quotes only the outer ones count here: before 3.12 they must differ, after it
      // "{"x"}" reads as two literals and a name, which leaves all of it in place as well
      const std::string_view three = text.substr(at, 3);
      const bool triple = three == "\"\"\"" || three == "'''";
      if (!copy_literal(text, at, triple ? three : text.substr(at, 1), triple, out)) return {};
    } else if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
    } else if (c == '\n') {
      while (!out.empty() && blank(out.back())) out.pop_back();
      if (!out.empty() && out.back() != '\n') out += '\n';
      ++at;
    } else {
      out += c, ++at;
    }
  }
  end_line(out);
  return out;
}

}  // namespace

std::string normalise(std::string_view program, CodeSyntax syntax) {
  std::optional<std::string> text;
  if (syntax == CodeSyntax::c) text = normalise_c(program);
  if (syntax == CodeSyntax::python) text = normalise_python(program);
  if (text) return *text;
  while (!program.empty() && (blank(program.back()) || program.back() == '\n')) program.remove_suffix(1);
  return std::string(program);
}

}  // namespace cohort::code
