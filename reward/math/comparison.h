// The comparison behind compare() of compare.h, by kinds of answers.
#pragma once

#include "reward/math/compare.h"
#include "reward/math/field.h"

namespace cohort::math {

class Comparison {
 public:
  Comparison(const CompareOptions& options, Budget& budget) : options_(options), budget_(budget) {}

  Equality run(const Answer& gold, const Answer& given);

 private:
  Equality answers(const Answer& gold, const Answer& given, int depth);

  // "10/3 \approx 3.33": either may be meant, as long as the second is the first one rounded.
  Equality with_rounded(const Answer& gold, const Answer& given, int depth);
  Equality congruences(const Answer& gold, const Answer& given, int depth);

  // "2k\pi, k \in \mathbb{Z}": the letter does not matter; another expression may still give the same set.
  Equality with_parameter(const Answer& gold, const Answer& given, int depth);

  static bool is_symbol(const std::string& name) { return !name.empty() && name != "words" && name != "f()"; }
  static bool same_function(const Answer& a, const Answer& b) {  // y = x+1, f(x) = x+1
    auto function = [](const std::string& n) {
      return n == "y" || n == "f" || (n.size() == 4 && n[1] == '(');
    };
    return function(a.name) && function(b.name);
  }

  Equality texts(const Answer& gold, const Answer& given);
  Equality in_order(const Answer& gold, const Answer& given, int depth);

  // As sets: each item of one side has an equal one on the other.
  Equality as_sets(const Answer& gold, const Answer& given, int depth);
  Equality collections(const Answer& gold, const Answer& given, int depth);
  // Of two lists that are equal as sets: whether each item is as often in the one as in the other.
  bool as_often(const Answer& gold, const Answer& given, int depth);
  // x = 1, y = 2 beside (1, 2).
  Equality by_names(const Answer& named, const Answer& others, int depth);
  // "2/3 or 0.667": the exact value and its rounding beside another value.
  Equality said_twice(const Answer& both, const Answer& other, bool gold_is_other, int depth);
  Equality sequences(const Answer& gold, const Answer& given, int depth);
  Equality ratios(const Answer& gold, const Answer& given);

  // compare_relation.cc
  // lhs - rhs of an equation or inequality with two sides.
  Ratio difference(const Answer& a, Field& field);

  // Are two equations (or inequalities) the same up to a constant factor?
  Equality relations(const Answer& gold, const Answer& given);
  // "a+b = 7", "\sin A = 1/2" beside 7 or 1/2: what was asked for is the left side, or the answer would be another.
  Equality stated(const Answer& gold, const Answer& given);
  static Answer value_of(const Tree& tree);
  Equality answers_solved(const Answer& gold, const Answer& given);
  static bool linear(const Ratio& a, const Field& field);
  Equality chains(const Answer& gold, const Answer& given);

  // 5:3 beside 5/3; 3/5 may be the same ratio, the other way round.
  Equality as_quotient(const Answer& ratio, const Answer& value);

  // Things of different kinds.
  Equality unlike(const Answer& gold, const Answer& given, int depth);

  const CompareOptions& options_;
  Budget& budget_;
};

}  // namespace cohort::math
