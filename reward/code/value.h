// A value as a call takes and gives it: JSON that forgets nothing. Whole numbers keep all their digits.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reward/compare.h"

namespace cohort::code {

struct Value {
  enum class Kind { null, boolean, integer, real, text, list, object };
  Kind kind = Kind::null;
  bool boolean = false;
  std::string text;  // of a text; of a number its digits as written
  double real = 0;   // of a real; of an integer the nearest double
  std::vector<Value> items;
  std::vector<std::pair<std::string, Value>> fields;

  const Value* find(std::string_view key) const;
  bool is_text() const { return kind == Kind::text; }
  bool is_list() const { return kind == Kind::list; }
};

// Throws InfraError when it is not one JSON document, or nested more than 500 deep.
Value parse_value(std::string_view json);
std::string write_value(const Value& value);  // JSON, ASCII only, on one line

// Python's ==, but reals within the tolerance, NaN equal to NaN, and a tuple equal to the list of its items (JSON
// has no tuples). `got` is tagged as the harness sends it (harness.h); `expected` is plain JSON.
// "" when equal, else where they first differ, for a person; never quotes the expected value.
std::string compare_values(const Value& expected, const Value& got, Tolerance tolerance);

}  // namespace cohort::code
