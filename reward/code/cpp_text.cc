#include "reward/code/cpp_text.h"

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

bool balanced(std::string_view text) {
  int depth = 0;
  for (char c : text) {
    depth += (c == '(') - (c == ')');
    if (depth < 0) return false;
  }
  return depth == 0;
}

}  // namespace

bool is_identifier(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return isalnum(c) || c == '_'; });
}

bool is_literal(std::string_view text) {
  for (const Token& token : tokens_of(text)) {
    const std::string_view t = of(text, token);
    if (token.kind == Token::skipped) {
      if (t.find('/') != t.npos) return false;
      continue;
    }
    if (token.kind == Token::literal) {
      if (t.size() < 2 || (t[0] != '"' && t[0] != '\'') || t.back() != t[0] || t.find('\n') != t.npos)
        return false;
      for (unsigned char c : t)
        if (c < 32) return false;
      continue;
    }
    if (token.kind == Token::word) {
      bool known = t[0] >= '0' && t[0] <= '9';
      for (const char* w :
           {"true", "false", "nullptr", "NULL", "INT_MAX", "INT_MIN", "LLONG_MAX", "LLONG_MIN"})
        known = known || t == w;
      if (!known) return false;
    } else if (std::string_view("-+{}").find(t) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

bool is_plain_word(std::string_view text) {
  constexpr const char* kWords[] = {
      "const", "unsigned", "signed", "int", "long", "short", "char", "bool", "float", "double", "void",
      "wchar_t", "char8_t", "char16_t", "char32_t", "__int128", "nullptr_t", "std", "__cxx11", "basic_string",
      "string", "basic_string_view", "vector", "list", "forward_list", "deque", "set", "multiset",
      "unordered_set", "unordered_multiset", "map", "multimap", "unordered_map", "unordered_multimap", "pair",
      "tuple", "optional", "array", "stack", "queue", "priority_queue", "variant", "monostate", "complex",
      "bitset", "function", "unique_ptr", "shared_ptr", "basic_ostream",
      // as a compiler writes what is left to its default
      "char_traits", "allocator", "less", "greater", "hash", "equal_to", "default_delete"};
  return (text[0] >= '0' && text[0] <= '9') ||
         std::find(std::begin(kWords), std::end(kWords), text) != std::end(kWords);
}

bool decides_tests(std::string_view name) {
  for (const char* c :
       {"assert", "strcmp", "strncmp", "strcasecmp", "strncasecmp", "memcmp", "bcmp", "wcscmp", "wmemcmp",
        "strlen", "fabs", "fabsf", "fabsl", "abs", "labs", "llabs", "isnan", "fmin", "fmax"})
    if (name == c) return true;
  return false;
}

std::vector<std::string> split(std::string_view list) {
  std::vector<std::string> parts;
  std::string_view rest = trim(list);
  while (!rest.empty()) {
    size_t end = 0;
    for (int depth = 0; end < rest.size() && (depth > 0 || rest[end] != ','); ++end)
      depth += (std::string_view("<([").find(rest[end]) != std::string_view::npos) -
               (std::string_view(">)]").find(rest[end]) != std::string_view::npos);
    parts.emplace_back(trim(rest.substr(0, end)));
    rest = trim(rest.substr(std::min(rest.size(), end + 1)));
  }
  return parts;
}

std::string in_brackets(const std::string& type) {
  return type.find_first_of("([") == type.npos ? type : "std::type_identity_t<" + type + ">";
}

std::optional<CppShape> read_shape(std::string_view text) {
  CppShape shape;
  const size_t values = text.find("; auto ...V = {");
  if (values == text.npos) return {};
  std::string_view type = trim(text.substr(0, values));
  const std::string_view rest = text.substr(values + 15);
  const size_t close = rest.find('}');
  if (close == rest.npos) return {};
  shape.values = split(rest.substr(0, close));
  const size_t list = type.find("types<");
  if (list != type.npos && type.ends_with('>') && (list == 0 || type[list - 1] == ':') &&
      type.substr(0, list).find('<') == type.npos && type.substr(0, list).find(' ') == type.npos) {
    shape.parameters = split(type.substr(list + 6, type.size() - list - 7));
    return shape;
  }
  if (!type.ends_with(')')) return {};
  int depth = 0;
  size_t open = type.size();
  while (open > 0) {
    --open;
    depth += (type[open] == ')') - (type[open] == '(');
    if (depth == 0) break;
  }
  shape.result = trim(type.substr(0, open));
  shape.parameters = split(type.substr(open + 1, type.size() - open - 2));
  if (shape.parameters.size() == 1 && shape.parameters[0] == "void") shape.parameters.clear();
  if (shape.result.empty() || !balanced(shape.result)) return {};
  return shape;
}

}  // namespace cohort::code
