// Does a program's output equal the expected one?
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "transport/base/enum_names.h"

namespace cohort {

enum class OutputCompare { tokens, lines, unordered_lines, exact, floats };
inline EnumNames<OutputCompare> enum_names(OutputCompare) {
  return {{OutputCompare::tokens, "tokens"},
          {OutputCompare::lines, "lines"},
          {OutputCompare::unordered_lines, "unordered_lines"},
          {OutputCompare::exact, "exact"},
          {OutputCompare::floats, "floats"}};
}

struct Tolerance {
  double absolute = 1e-6;
  double relative = 1e-6;
};

// Two numbers as written, by value. Whole numbers must be equal, however many digits they have. A whole number and
// one with a point or exponent may differ by the absolute tolerance only (1000000006.0 is not 1000000007); two of
// the latter by the absolute or the relative one, relative to `expected`. nan equals nan, inf equals inf of its sign.
// False for what is no number.
bool same_number(std::string_view expected, std::string_view actual, Tolerance tolerance);

// "" when equal, else where they first differ, for a person; never quotes the expected text. Too short, too long
// and empty are differences.
//   tokens           the same words, whatever white space is between them
//   lines            the same lines, blanks at their ends and empty lines at the end aside
//   unordered_lines  the same lines as often, in any order
//   exact            byte for byte
//   floats           as tokens, but two numbers are compared by same_number
std::string compare_outputs(std::string_view expected, std::string_view actual, OutputCompare how,
                            Tolerance tolerance = {});

}  // namespace cohort
