#include "reward/math/compare.h"

#include <algorithm>
#include <array>

#include "reward/math/evaluate.h"
#include "reward/math/region.h"
#include "reward/math/values.h"

namespace cohort::math {
namespace {

using Kind = Answer::Kind;

Equality combine(Equality a, Equality b) {
  if (a == Equality::different || b == Equality::different) return Equality::different;
  return a == Equality::equal && b == Equality::equal ? Equality::equal : Equality::unknown;
}

class Comparison {
 public:
  Comparison(const CompareOptions& options, Budget& budget) : options_(options), budget_(budget) {}

  Equality run(const Answer& gold, const Answer& given) {
    Equality result = Equality::unknown;
    try {
      result = answers(gold, given, 0);
    } catch (const Beyond&) {
    }
    if (result == Equality::unknown && !gold.text.empty() && gold.text == given.text) return Equality::equal;
    return result;
  }

 private:
  Equality answers(const Answer& gold, const Answer& given, int depth) {
    if (depth > 12) throw Beyond("nested too deeply");
    if (gold.kind == Kind::choice) {
      if (given.choice) return gold.choice == given.choice ? Equality::equal : Equality::different;
      return given.kind == Kind::value && !given.tree.letters ? Equality::unknown : texts(gold, given);
    }
    if (gold.kind == Kind::text || given.kind == Kind::text || given.kind == Kind::choice)
      return texts(gold, given);
    if (is_symbol(gold.name) && is_symbol(given.name) && gold.name != given.name &&
        !same_function(gold, given))
      return Equality::unknown;
    if (gold.kind == Kind::value && given.kind == Kind::value)
      return compare_values(gold, given, options_, budget_);
    if (gold.kind == Kind::relation || given.kind == Kind::relation) return relations(gold, given);
    if (gold.kind == Kind::region || given.kind == Kind::region)
      return compare_regions(gold, given, options_, budget_);
    if (gold.kind == given.kind) switch (gold.kind) {
        case Kind::sequence:
          return sequences(gold, given, depth);
        case Kind::collection:
          return collections(gold, given, depth);
        case Kind::matrix:
          if (gold.columns != given.columns) return Equality::different;
          return in_order(gold, given, depth);
        case Kind::ratio:
          return ratios(gold, given);
        default:
          return Equality::unknown;
      }
    return unlike(gold, given, depth);
  }

  static bool is_symbol(const std::string& name) { return !name.empty() && name != "words" && name != "f()"; }
  static bool same_function(const Answer& a, const Answer& b) {  // y = x+1, f(x) = x+1
    auto function = [](const std::string& n) { return n == "y" || (n.size() == 4 && n[1] == '('); };
    return function(a.name) && function(b.name);
  }

  Equality texts(const Answer& gold, const Answer& given) {
    if (gold.text == given.text) return Equality::equal;
    auto lower = [](std::string text) {
      for (char& c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
      return text;
    };
    const std::string a = lower(gold.text), b = lower(given.text);
    // case only counts in letters that stand for something
    if (a == b && a.size() > 2 && gold.kind == Kind::text && given.kind == Kind::text) return Equality::equal;
    constexpr std::array<std::string_view, 4> truth = {"yes", "no", "true", "false"};
    auto known = [&](const std::string& w) {
      return std::find(truth.begin(), truth.end(), w) - truth.begin();
    };
    if (known(a) < 4 && known(b) < 4 && known(a) / 2 == known(b) / 2 && a != b) return Equality::different;
    return Equality::unknown;
  }

  Equality in_order(const Answer& gold, const Answer& given, int depth) {
    if (gold.items.size() != given.items.size()) return Equality::different;
    Equality all = Equality::equal;
    for (size_t i = 0; i < gold.items.size(); ++i) {
      all = combine(all, answers(gold.items[i], given.items[i], depth + 1));
      if (all == Equality::different) break;
    }
    return all;
  }

  // As sets: each item of one side has an equal one on the other.
  Equality as_sets(const Answer& gold, const Answer& given, int depth) {
    Equality all = Equality::equal;
    auto covered = [&](const Answer& a, const Answer& b, bool swap) {
      for (const Answer& x : a.items) {
        Equality best = Equality::different;
        for (const Answer& y : b.items) {
          budget_.spend(20);
          const Equality e = swap ? answers(y, x, depth + 1) : answers(x, y, depth + 1);
          if (e == Equality::equal) best = e;
          if (e == Equality::unknown && best == Equality::different) best = e;
          if (best == Equality::equal) break;
        }
        all = combine(all, best);
        if (all == Equality::different) return;
      }
    };
    covered(gold, given, false);
    if (all != Equality::different) covered(given, gold, true);
    return all;
  }

  Equality collections(const Answer& gold, const Answer& given, int depth) {
    auto named = [](const Answer& a) {
      return !a.items.empty() &&
             std::all_of(a.items.begin(), a.items.end(), [](const Answer& i) { return !i.name.empty(); });
    };
    if (named(gold) && named(given)) {  // x = 1, y = 2: by name
      if (gold.items.size() != given.items.size()) return Equality::unknown;
      Equality all = Equality::equal;
      for (const Answer& g : gold.items) {
        const auto it = std::find_if(given.items.begin(), given.items.end(),
                                     [&](const Answer& i) { return i.name == g.name; });
        if (it == given.items.end()) return Equality::unknown;
        all = combine(all, answers(g, *it, depth + 1));
      }
      return all;
    }
    if (named(gold) != named(given) && !gold.items.empty() && !given.items.empty())
      return in_order(gold, given, depth) == Equality::equal ? Equality::equal : Equality::unknown;
    if (options_.ordered_lists && gold.bare_list && given.bare_list) return in_order(gold, given, depth);
    // A list that repeats a number is no set: then how often counts too.
    if (gold.listed && given.listed && gold.items.size() != given.items.size()) {
      const Equality sets = as_sets(gold, given, depth);
      return sets == Equality::equal ? Equality::unknown : sets;
    }
    return as_sets(gold, given, depth);
  }

  Equality sequences(const Answer& gold, const Answer& given, int depth) {
    const Equality items = in_order(gold, given, depth);
    if (items != Equality::equal || (gold.open == given.open && gold.close == given.close)) return items;
    // (1, 2) and [1, 2]: different intervals, or a point written two ways
    if (gold.items.size() == 2 && gold.items[0].kind == Kind::value && gold.items[1].kind == Kind::value) {
      Field field(budget_);
      const Ratio difference =
          field.subtract(evaluate(gold.items[1].tree, field), evaluate(gold.items[0].tree, field));
      if (field.sign(difference) == 1) return Equality::different;
    }
    return Equality::unknown;
  }

  Equality ratios(const Answer& gold, const Answer& given) {
    if (gold.items.size() != given.items.size()) return Equality::different;
    Field field(budget_);
    Truth all = Truth::yes;
    const Ratio a = evaluate(gold.items[0].tree, field), b = evaluate(given.items[0].tree, field);
    bool same = field.equal(a, b) == Truth::yes;
    for (size_t i = 1; i < gold.items.size(); ++i) {
      const Ratio c = evaluate(gold.items[i].tree, field), d = evaluate(given.items[i].tree, field);
      const Truth t = field.equal(field.multiply(a, d), field.multiply(b, c));
      same = same && field.equal(c, d) == Truth::yes;
      if (t != Truth::yes && all != Truth::no) all = t;
    }
    if (same) return Equality::equal;
    if (all == Truth::yes)
      return gold.listed || given.listed ? Equality::unknown : Equality::equal;  // 4:30 is no 8:60
    return all == Truth::no ? Equality::different : Equality::unknown;
  }

  // lhs - rhs of an equation or inequality with two sides.
  Ratio difference(const Answer& a, Field& field) {
    if (a.kind == Kind::value) {  // y = 2x + 1
      const std::string name = a.name.size() == 4 && a.name[1] == '(' ? "y" : a.name;
      return field.subtract(field.variable(name), evaluate(a.tree, field));
    }
    return field.subtract(evaluate(a.sides[0], field), evaluate(a.sides[1], field));
  }

  // Are two equations (or inequalities) the same up to a constant factor?
  Equality relations(const Answer& gold, const Answer& given) {
    auto as_relation = [](const Answer& a) {
      return a.kind == Kind::relation || (a.kind == Kind::value && !a.name.empty());
    };
    if (gold.kind == Kind::relation)
      if (const std::optional<Answer> r = solve(gold, budget_)) return answers_solved(*r, given);
    if (given.kind == Kind::relation)
      if (const std::optional<Answer> r = solve(given, budget_)) return answers_solved(gold, *r);
    if (!as_relation(gold) || !as_relation(given)) {
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
    if (gold.kind == Kind::value && given.kind == Kind::value && r == Tok::equal)
      return compare_values(gold, given, options_, budget_);
    return Equality::unknown;
  }
  Equality answers_solved(const Answer& gold, const Answer& given) {
    if (gold.kind == Kind::relation && given.kind == Kind::relation) return Equality::unknown;
    return answers(gold, given, 1);
  }
  static bool linear(const Ratio& a, const Field& field) {
    if (!a.den.is_one()) return false;
    for (const Term& t : a.num.terms) {
      if (t.monomial.size() > 1) return false;
      if (t.monomial.size() == 1 &&
          (field.generator(t.monomial[0].generator).kind != GeneratorKind::variable ||
           t.monomial[0].exponent != Exponent{1, 1}))
        return false;
    }
    return true;
  }
  Equality chains(const Answer& gold, const Answer& given) {
    if (gold.kind != Kind::relation || given.kind != Kind::relation || gold.relations != given.relations)
      return Equality::unknown;
    Field field(budget_);
    for (size_t i = 0; i < gold.sides.size(); ++i)
      if (field.equal(evaluate(gold.sides[i], field), evaluate(given.sides[i], field)) != Truth::yes)
        return Equality::unknown;
    return Equality::equal;
  }

  // Things of different kinds.
  Equality unlike(const Answer& gold, const Answer& given, int depth) {
    const Answer* pair[2] = {&gold, &given};
    for (int k = 0; k < 2; ++k) {
      const Answer &a = *pair[k], &b = *pair[1 - k];
      if (a.kind == Kind::collection && b.kind == Kind::value) {
        if (a.tight_comma) return Equality::unknown;
        if (a.items.size() == 1)
          return k == 0 ? answers(a.items[0], b, depth + 1) : answers(b, a.items[0], depth + 1);
        // {1, 1} is {1}: different only when one of its items is
        Answer one;
        one.kind = Kind::collection;
        one.items = {b};
        const Equality e = as_sets(a, one, depth);
        return e == Equality::different ? e : Equality::unknown;
      }
      if (a.kind == Kind::ratio && b.kind == Kind::value && a.items.size() == 2)
        return Equality::unknown;  // 3:2, 3/2
      if (a.kind == Kind::collection && b.kind == Kind::sequence) {
        // {1, 2} or 1, 2 beside (1, 2): the same things, but is their order meant?
        Answer set = b;
        set.kind = Kind::collection;
        if (as_sets(a, set, depth) == Equality::different) return Equality::different;
        if (a.bare_list && in_order(a, b, depth) == Equality::equal) return Equality::equal;
        return Equality::unknown;
      }
      if (a.kind == Kind::sequence && b.kind == Kind::value)
        return b.tree.letters ? Equality::unknown : Equality::different;
      if (a.kind == Kind::matrix && b.kind == Kind::value)
        return b.tree.letters ? Equality::unknown : Equality::different;
    }
    return Equality::unknown;
  }

  const CompareOptions& options_;
  Budget& budget_;
};

}  // namespace

Equality compare(const Answer& gold, const Answer& given, const CompareOptions& options, Budget& budget) {
  return Comparison(options, budget).run(gold, given);
}

}  // namespace cohort::math
