// Parts of the real line: intervals, unions, inequalities.
#pragma once

#include "reward/math/compare.h"

namespace cohort::math {

// At least one is a region; the other may be a sequence of two (an interval), a collection of numbers or a value.
// May throw Beyond.
Equality compare_regions(const Answer& gold, const Answer& given, const CompareOptions& options,
                         Budget& budget);

// A linear relation in one variable as a region or, for an equation, as a value with a name; nothing for others.
std::optional<Answer> solve(const Answer& relation, Budget& budget);

}  // namespace cohort::math
