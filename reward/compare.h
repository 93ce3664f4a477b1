// Does a program's output equal the expected one?
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort {

enum class OutputCompare { tokens, lines, exact, floats };
inline std::vector<std::pair<OutputCompare, const char*>> enum_names(OutputCompare) {
  return {{OutputCompare::tokens, "tokens"},
          {OutputCompare::lines, "lines"},
          {OutputCompare::exact, "exact"},
          {OutputCompare::floats, "floats"}};
}

struct Tolerance {
  double absolute = 1e-6;
  double relative = 1e-6;
};

// "" when equal, else where they first differ, for a person; never quotes the expected text.
//   tokens  the same words, whatever white space is between them
//   lines   the same lines, blanks at their ends and empty lines at the end aside
//   exact   byte for byte
//   floats  as tokens, but two tokens of which at least one has a point or exponent may differ by the
//   tolerance, absolute or
//           relative; whole numbers must be equal however large; nan equals nan, inf equals inf of its sign
std::string compare_outputs(std::string_view expected, std::string_view actual, OutputCompare how,
                            Tolerance tolerance = {});

}  // namespace cohort
