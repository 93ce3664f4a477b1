// C scripts of assertions apart from the program, as cpp_apart.h does for C++, where all functions that the tests call have
// numbers and C strings for parameters and results. C's other pointers say neither how much they point to nor who owns it.
//
// The types are read from the definitions' text; in the program's own binary the compiler has to agree (_Generic), else it
// does not compile and the tests do not run apart.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code/cpp_apart.h"

namespace cohort::code {

struct CFunction {
  std::string name, result;  // as C writes them: "unsigned long", "const char *"
  std::vector<std::string> parameters;
};
// The definition whose name is the token `name` of a text; nothing where a type is another.
std::optional<CFunction> plain_function(std::string_view text, const std::vector<Token>& all, size_t name);

// As CppApart::run. `word`: letters and digits that no program can know.
ApartOutcome run_c_apart(const Toolchain& toolchain, std::string_view program, const TestSet& set,
                         std::string_view tests, const std::string& word, const sandbox::Limits& limits,
                         const std::atomic<bool>& cancelled);

}  // namespace cohort::code
