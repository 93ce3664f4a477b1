// Whether two numbers or expressions, with their units and the digits they show, are the same.
#pragma once

#include "reward/math/compare.h"
#include "reward/math/field.h"

namespace cohort::math {

// Both of kind value. May throw Beyond.
Equality compare_values(const Answer& gold, const Answer& given, const CompareOptions& options,
                        Budget& budget);

// Is `decimal`, showing these digits, a correct rounding or truncation of the real constant `exact`?
Truth shows(const mpq_class& decimal, const Answer::Shown& shown, const Ratio& exact, Field& field);

}  // namespace cohort::math
