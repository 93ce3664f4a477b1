// One function of a C++ text, from its name to the end of its body.
#pragma once

#include <optional>
#include <string>

#include "reward/code/cpp_tokens.h"
#include "reward/code/cpp_types.h"

namespace cohort::code {

struct CppFunctionText {
  CppFunction f;
  size_t end = 0;  // the token behind it
  bool has_body = false, deleted = false, pure = false;
};

// `f`: with what stands before its result, whose type begins at token `from`; `n`: its name or the word operator; `end`: of what it is
// in; `class_name`: of its class, else "". Nothing where it has no parameters.
std::optional<CppFunctionText> read_cpp_function(const CppTokens& text, const CppFunction& f, size_t from,
                                                 size_t n, size_t end, const std::string& class_name);

}  // namespace cohort::code
