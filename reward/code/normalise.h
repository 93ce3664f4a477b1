// The same program, whatever its comments and blanks: what identical completions of a group are told by.
#pragma once

#include <string>
#include <string_view>

#include "reward/code/language.h"

namespace cohort::code {

// Two texts with the same result are the same program to compiler or interpreter. Where that is not certain
// (line continuations, raw strings, __LINE__, an unclosed literal …) only blanks at the very end go.
//   c       comments are one blank, runs of blanks are one, blanks at line ends and empty lines go
//   python  comments, blanks at line ends and empty lines go; indentation and everything in strings stays
std::string normalise(std::string_view program, CodeSyntax syntax);

}  // namespace cohort::code
