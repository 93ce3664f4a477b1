// Spelling: the many ways to write one answer brought to one, units, and words that are no units.
#pragma once

#include <gmpxx.h>

#include <optional>
#include <string>
#include <string_view>

namespace cohort::math {

std::string_view trim_blank(std::string_view text);

// LaTeX spacing, \left, \right, dollar signs and surrounding marks gone; \dfrac as \frac; × \times \cdot as
// *; ÷ as /; minus signs as -; {,} and 1\,000 as a comma; full-width digits as digits; a full stop at the end
// gone; single spaces.
std::string simplify(std::string_view text);

// What follows a number: "" (none), "cm", "square feet", "\text{ dollars}", "^\circ", "million".
struct Unit {
  std::string name;      // canonical: lower case, singular, "cm^2"
  mpq_class factor = 1;  // of a number word: million
};
// Nothing when `text` is not wholly a unit: an operator, a variable, a reserved word.
std::optional<Unit> read_unit(std::string_view text);

// Words that change the meaning of a number before them: or, and, dozen, squared …
bool is_reserved_word(std::string_view word);

struct UnitScale {
  int dimension = 0;  // length, area, volume, mass, time …
  mpq_class factor;   // in the dimension's own base unit
};
std::optional<UnitScale> known_unit(const std::string& name);

}  // namespace cohort::math
