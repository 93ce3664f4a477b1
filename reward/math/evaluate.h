// From an expression to its value.
#pragma once

#include "reward/math/field.h"
#include "reward/math/tree.h"

namespace cohort::math {

struct Evaluation {
  int sign = 1;            // ± as + or as -
  bool common_log = true;  // a bare \log as the one to base ten; else to a base that is not known
};

// Throws Beyond for what is undefined, not covered or over the budget.
Ratio evaluate(const Tree& tree, Field& field, const Evaluation& how = {});

// The value when the tree is one literal, perhaps negated: the common case, without any Field.
const mpq_class* plain_number(const Tree& tree, bool& negative);

// Infinity, -infinity: ±1; 0 for anything else.
int infinite_sign(const Tree& tree);

}  // namespace cohort::math
