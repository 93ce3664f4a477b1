#include "reward/code/cpp_items.h"

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_text.h"

namespace cohort::code {

CppItems::CppItems(std::string_view program_text, std::string_view tests_text, std::string drawn)
    : program(program_text),
      tests(tests_text),
      word(std::move(drawn)),
      ours("cohort_" + word),
      found(read_declarations(program)) {
  for (const Token& token : tokens_of(tests))
    if (token.kind == Token::word) words_.emplace(of(tests, token));
  const CppDeclarations own = read_declarations(tests);
  for (const CppFunction& f : own.functions) own_words.insert(f.name);
  for (const CppClass& c : own.classes) own_words.insert(c.name);
  for (const CppNames& a : own.aliases) own_words.insert(a.name);
  for (const CppNames& v : own.variables) own_words.insert(v.name);
  for (const CppEnum& e : own.enums) own_words.insert(e.name);
  for (const auto& [name, value] : own.macros) own_words.insert(name);
}

bool has_literal_defaults(const CppFunction& f) {
  return std::all_of(f.parameters.begin(), f.parameters.end(),
                     [](const CppParameter& p) { return is_literal(p.fallback); });
}

std::string without_std(std::string name) {
  if (name.starts_with("::")) name = name.substr(2);
  return name.starts_with("std::") ? name.substr(5) : name;
}

bool is_standard_exception(const std::string& base) {
  constexpr const char* kBases[] = {"exception",      "runtime_error",  "logic_error",  "invalid_argument",
                                    "out_of_range",   "domain_error",   "length_error", "range_error",
                                    "overflow_error", "underflow_error"};
  return std::find(std::begin(kBases), std::end(kBases), without_std(base)) != std::end(kBases);
}

}  // namespace cohort::code
