// Whether two answers state the same.
#pragma once

#include "reward/math/answer.h"
#include "reward/math/budget.h"

namespace cohort::math {

enum class Equality { equal, different, unknown };

struct CompareOptions {
  int decimal_digits = 4;
  bool ordered_lists = false;  // "1, 2" without brackets: the order counts
};

// Exact equality, except that a decimal equals an exact value when it is its correct rounding or truncation
// to the digits shown and shows at least `decimal_digits` significant ones. A unit or percent sign that only
// one side has is dropped (an angle in degrees is also tried in radians); known units are converted; unlike
// unknown ones leave it unknown. `equal` and `different` are certified, everything else is unknown; also what
// `budget`, which several comparisons may share, cannot pay for.
Equality compare(const Answer& gold, const Answer& given, const CompareOptions& options, Budget& budget);

}  // namespace cohort::math
