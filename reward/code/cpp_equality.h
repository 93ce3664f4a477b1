// The `==` of a program's own class: its word, which must not decide alone whether tests pass.
#pragma once

#include <string>

#include "reward/code/cpp_types.h"

namespace cohort::code {

// Its own == or != of two of its objects, or null.
const CppFunction* equality_of(const CppDeclarations& found, const CppClass& c);

// "a.x == b.x && …" of all fields, where the text of its own == compares these and nothing else: the tests may do so themselves. Else "".
std::string fieldwise_equal(const CppDeclarations& found, const CppClass& c);

}  // namespace cohort::code
