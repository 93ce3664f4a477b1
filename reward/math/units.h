// Units: what they measure and how they convert.
#pragma once

#include <gmpxx.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "reward/math/token.h"

namespace cohort::math {

// A product of powers of base units (metre, second, kilogram, dollar …; a word that is no known unit is a base
// unit of its own) times a factor.
struct Unit {
  std::map<std::string, int> powers;
  mpq_class factor = 1;      // to the base units
  mpq_class multiplier = 1;  // of a number word before it: million
  bool known = true;         // nothing but known units
  bool empty() const { return powers.empty(); }
  // Different powers of the same known units: certainly different quantities.
  bool operator==(const Unit& o) const { return powers == o.powers; }
};

// Units that may still measure the same: degrees Celsius and Fahrenheit, years and days, pounds of money and of weight.
bool perhaps_alike(const Unit& a, const Unit& b);

// Whether a word alone names a known unit: cm, miles, degrees.
bool known_unit_word(std::string_view word);
// tokens[begin, end) as a unit, "" or "cm^2" or "square feet" or "km/h" or "million dollars". Nothing when something
// in it is none: an operator, a variable, a word that changes the number before it (or, dozen, squared).
std::optional<Unit> read_unit(const Tokens& tokens, size_t begin, size_t end);
// The same for words in brackets behind a number, "(quarters)", which change nothing: always a unit.
Unit read_remark(const Tokens& tokens, size_t begin, size_t end);
// zero … ninety.
std::optional<int> number_in_words(std::string_view word);
// Words that change the meaning of a number before them.
bool is_reserved_word(std::string_view word);

}  // namespace cohort::math
