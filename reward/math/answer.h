// An answer as it stands in a text or a \boxed{}: read into what kind of thing it is, and whether two state the
// same.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/tree.h"
#include "reward/math/units.h"

namespace cohort::math {

struct Answer {
  enum class Kind {
    value,       // a number or an expression in free variables
    sequence,    // ordered, in brackets: a point, a vector, perhaps an interval
    collection,  // without order: {1, 2}; 1, 2; 1 or 2; 1 ± 2
    region,      // intervals and points of the real line
    matrix,
    relation,  // equations and inequalities between expressions
    ratio,     // 3:2
    choice,    // A … J
    text,
  };
  Kind kind = Kind::text;

  // value
  Tree tree;
  std::optional<Tree> tight;  // the other reading of a/bc
  int sign = 1;               // which of ± this is
  // A decimal literal standing alone: digits after the point (negative with an exponent) and significant
  // digits shown.
  struct Shown {
    long decimals = 0;
    long significant = 0;
    bool goes_on = false;             // 0.333…
    std::vector<mpq_class> repeated;  // and what it is should its last digits repeat for ever
  };
  std::optional<Shown> shown;
  bool percent = false;
  Unit unit;
  std::optional<Unit>
      glued;  // "5m": with this unit, the value is `bare`; or a product, and then it is `tree`
  Tree bare;
  std::vector<Tree> also;       // "2+3=5": must have the same value
  std::vector<Answer> rounded;  // "10/3 \approx 3.33": what is behind the sign
  std::vector<Tree> modulus;    // 3 \pmod 7

  // "x" in x = 5, x > 2, x in [1, 2]; "" for none.
  std::string name;
  // "f(2)+f(3) = 7": what stands before the sign is not read. Another value is not certainly a wrong one.
  bool opaque = false;
  // k in "2k\pi, k \in \mathbb{Z}"
  std::string parameter;

  // sequence, collection, ratio, matrix (row by row)
  std::vector<Answer> items;
  char open = 0, close = 0;
  size_t columns = 0;
  bool listed = false;       // a collection of bare commas
  bool tight_comma = false;  // "1,2": perhaps a decimal comma
  bool bare_list = false;    // no brackets at all, and no words
  bool any_or = false;       // "1 or 2"

  // region: a union of intervals without some points; nothing in `low` or `high` means infinity
  struct Interval {
    std::vector<Answer> low, high;
    bool low_closed = false, high_closed = false;
  };
  std::vector<Interval> intervals;
  std::vector<Answer> excluded;
  std::vector<Interval> united;  // "x < 2, x > 3": what it is when no number is in all intervals

  // relation
  std::vector<Tree> sides;
  std::vector<Tok> relations;
  std::vector<Answer> stated;  // "x+y = 7": the last side when it is a constant

  // choice, and beside a text or value when it begins with one: "B) seven"
  char choice = 0;

  std::string text;  // canonical spelling of the whole
};

// Variable `from` becomes `to`, in everything.
void rename(Answer& a, const std::string& from, const std::string& to);

// Nothing only for what is empty or too long; what is not understood is a text. Bounded in time and stack for
// any bytes.
std::optional<Answer> read_answer(std::string_view text);
// The same for a sentence's beginning: "18 because …", "(1, 2), which …".
std::optional<Answer> read_leading_answer(std::string_view text);

}  // namespace cohort::math
