// Equations and inequalities beside each other, and beside what they state.
#include <algorithm>

#include "reward/math/comparison.h"
#include "reward/math/evaluate.h"
#include "reward/math/region.h"

namespace cohort::math {

using Kind = Answer::Kind;

Ratio Comparison::difference(const Answer& a, Field& field) {
  if (a.kind == Kind::value) {  // y = 2x + 1
    const std::string name = a.name.size() == 4 && a.name[1] == '(' ? "y" : a.name;
    return field.subtract(field.variable(name), evaluate(a.tree, field));
  }
  return field.subtract(evaluate(a.sides[0], field), evaluate(a.sides[1], field));
}

Equality Comparison::relations(const Answer& gold, const Answer& given) {
  auto as_relation = [](const Answer& a) {
    return a.kind == Kind::relation || (a.kind == Kind::value && !a.name.empty());
  };
  if (gold.kind == Kind::relation)
    if (const std::optional<Answer> r = solve(gold, budget_)) return answers_solved(*r, given);
  if (given.kind == Kind::relation)
    if (const std::optional<Answer> r = solve(given, budget_)) return answers_solved(gold, *r);
  if (!as_relation(gold) || !as_relation(given)) {
    if (given.kind == Kind::relation && gold.kind == Kind::value && !gold.tree.letters)
      return stated(gold, given);
    // an expression is no equation; "x^2 = 4" may be meant by "2, -2"
    return Equality::unknown;
  }
  const bool simple = (gold.kind == Kind::value || gold.sides.size() == 2) &&
                      (given.kind == Kind::value || given.sides.size() == 2);
  if (!simple) return chains(gold, given);
  const Tok r = gold.kind == Kind::value ? Tok::equal : gold.relations[0];
  const Tok s = given.kind == Kind::value ? Tok::equal : given.relations[0];
  Field field(budget_);
  const Ratio a = difference(gold, field), b = difference(given, field);
  if (field.is_zero(a.num) != Truth::no || field.is_zero(b.num) != Truth::no) return Equality::unknown;
  const Ratio quotient = field.divide(a, b);
  const bool constant = field.is_constant(quotient);
  auto direction = [](Tok t) {
    return t == Tok::less || t == Tok::less_equal ? -1 : t == Tok::equal || t == Tok::not_equal ? 0 : 1;
  };
  auto strict = [](Tok t) { return t == Tok::less || t == Tok::greater; };
  // a/b constant though it does not look so: its value at one point decides
  std::optional<Ratio> factor;
  if (constant) {
    factor = quotient;
  } else {
    for (const Term& t : a.num.terms)
      if (!t.monomial.empty() && !factor)
        for (const Term& u : b.num.terms)
          if (u.monomial == t.monomial) {
            const Ratio guess = field.number(t.coefficient / u.coefficient);
            if (field.equal(a, field.multiply(guess, b)) == Truth::yes) factor = guess;
            break;
          }
  }
  if (factor) {
    if (direction(r) == 0) return r == s ? Equality::equal : Equality::different;
    const std::optional<int> sign = field.sign(*factor);
    if (!sign || direction(s) == 0) return direction(s) == 0 ? Equality::different : Equality::unknown;
    return strict(r) == strict(s) && direction(r) == direction(s) * *sign ? Equality::equal
                                                                          : Equality::different;
  }
  // two lines or planes that are not multiples of each other are different sets
  if (linear(a, field) && linear(b, field)) return Equality::different;
  return Equality::unknown;
}

Equality Comparison::stated(const Answer& gold, const Answer& given) {
  if (given.stated.empty()) return Equality::unknown;
  bool several = false;
  for (const Tree& side : given.sides) {
    if (!side.letters) {
      if (answers(given.stated[0], value_of(side), 1) != Equality::equal) return Equality::unknown;
      continue;
    }
    const Node& top = side.nodes.back();
    // of an angle; \sin x = 1/2 may be the equation whose solutions were asked for
    const std::string& name = side.names[0];
    const bool angle = top.op == Op::function && top.fn <= Fn::csc && (name.size() > 2 || name[0] <= 'Z');
    const bool plain =
        side.constants.empty() &&
        std::none_of(side.nodes.begin(), side.nodes.end(), [](const Node& n) { return n.op == Op::power; });
    if (!angle && !plain) return Equality::unknown;
    for (const std::string& other : side.names) several = several || other != name;
    several = several || angle;
  }
  if (!several || answers(gold, given.stated[0], 1) != Equality::equal) return Equality::unknown;
  return Equality::equal;
}

Answer Comparison::value_of(const Tree& tree) {
  Answer a;
  a.kind = Kind::value;
  a.tree = tree;
  return a;
}

Equality Comparison::answers_solved(const Answer& gold, const Answer& given) {
  if (gold.kind == Kind::relation && given.kind == Kind::relation) return Equality::unknown;
  return answers(gold, given, 1);
}

bool Comparison::linear(const Ratio& a, const Field& field) {
  if (!a.den.is_one()) return false;
  for (const Term& t : a.num.terms) {
    if (t.monomial.size() > 1) return false;
    if (t.monomial.size() == 1 && (field.generator(t.monomial[0].generator).kind != GeneratorKind::variable ||
                                   t.monomial[0].exponent != Exponent{1, 1}))
      return false;
  }
  return true;
}

Equality Comparison::chains(const Answer& gold, const Answer& given) {
  if (gold.kind != Kind::relation || given.kind != Kind::relation || gold.relations != given.relations)
    return Equality::unknown;
  Field field(budget_);
  for (size_t i = 0; i < gold.sides.size(); ++i)
    if (field.equal(evaluate(gold.sides[i], field), evaluate(given.sides[i], field)) != Truth::yes)
      return Equality::unknown;
  return Equality::equal;
}

}  // namespace cohort::math
