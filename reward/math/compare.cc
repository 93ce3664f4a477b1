#include "reward/math/comparison.h"

#include <algorithm>
#include <array>

#include "reward/math/evaluate.h"
#include "reward/math/region.h"
#include "reward/math/values.h"

namespace cohort::math {
namespace {

using Kind = Answer::Kind;

bool has_imaginary(const Tree& tree) {
  return std::any_of(tree.nodes.begin(), tree.nodes.end(),
                     [](const Node& n) { return n.op == Op::imaginary; });
}

Answer sorted_by_name(Answer a) {
  std::stable_sort(a.items.begin(), a.items.end(),
                   [](const Answer& x, const Answer& y) { return x.name < y.name; });
  return a;
}
// y after x, b after a, x_2 after x_1.
bool follows(const std::string& a, const std::string& b) {
  if (a.size() != b.size() || a.empty() || a.substr(0, a.size() - 1) != b.substr(0, b.size() - 1))
    return false;
  return b.back() == a.back() + 1;
}

bool is_identity(const Answer& matrix) {
  for (size_t i = 0; i < matrix.items.size(); ++i) {
    bool negative = false;
    const mpq_class* entry = plain_number(matrix.items[i].tree, negative);
    const bool diagonal = i / matrix.columns == i % matrix.columns;
    if (!entry || negative || *entry != (diagonal ? 1 : 0)) return false;
  }
  return matrix.items.size() == matrix.columns * matrix.columns;
}
// The engineers' letter: 3+4j beside 3+4i, where no other letter is and i is not.
bool only_letter(const Answer& a, std::string_view letter) {
  auto is = [&](const std::string& name) { return name == letter; };
  return a.kind == Kind::value && !a.tree.names.empty() && !a.tight && !a.glued &&
         std::all_of(a.tree.names.begin(), a.tree.names.end(), is) && !has_imaginary(a.tree);
}
Answer with_imaginary(Answer a) {
  for (Node& n : a.tree.nodes)
    if (n.op == Op::variable) n = Node{.op = Op::imaginary};
  a.tree.names.clear();
  a.tree.letters = false;
  return a;
}

Equality combine(Equality a, Equality b) {
  if (a == Equality::different || b == Equality::different) return Equality::different;
  return a == Equality::equal && b == Equality::equal ? Equality::equal : Equality::unknown;
}

}  // namespace

Equality Comparison::run(const Answer& gold, const Answer& given) {
  Equality result = Equality::unknown;
  try {
    result = answers(gold, given, 0);
  } catch (const Beyond&) {
  }
  if (result == Equality::unknown && !gold.text.empty() && gold.text == given.text) return Equality::equal;
  return result;
}

Equality Comparison::answers(const Answer& gold, const Answer& given, int depth) {
  if (depth > 12) throw Beyond("nested too deeply");
  if (gold.kind == Kind::choice) {
    if (given.kind == Kind::value && given.tree.nodes.size() == 1 && given.tree.names.size() == 1 &&
        given.tree.names[0].size() == 1 && (given.tree.names[0][0] & ~0x20) == gold.choice)
      return Equality::equal;  // c
    if (given.choice) return gold.choice == given.choice ? Equality::equal : Equality::different;
    return given.kind == Kind::value && !given.tree.letters ? Equality::unknown : texts(gold, given);
  }
  if (gold.kind == Kind::matrix && given.text == "I" && is_identity(gold)) return Equality::equal;
  if (gold.kind == Kind::text || given.kind == Kind::text || given.kind == Kind::choice)
    return texts(gold, given);
  if (is_symbol(gold.name) && is_symbol(given.name) && gold.name != given.name) {
    if (!same_function(gold, given)) return Equality::unknown;
    if (gold.name.size() == 4 && given.name.size() == 4 && gold.name[2] != given.name[2]) {  // f(x), f(t)
      const std::string from = given.name.substr(2, 1), to = gold.name.substr(2, 1);
      if (std::count(given.tree.names.begin(), given.tree.names.end(), to) > 0) return Equality::unknown;
      Answer same = given;
      same.name = gold.name;
      rename(same, from, to);
      return answers(gold, same, depth + 1);
    }
  }
  if (!gold.parameter.empty() || !given.parameter.empty()) return with_parameter(gold, given, depth);
  if (gold.opaque || given.opaque) {
    Answer x = gold, y = given;
    x.opaque = y.opaque = false;
    return answers(x, y, depth + 1) == Equality::equal ? Equality::equal : Equality::unknown;
  }
  if (!gold.rounded.empty() || !given.rounded.empty()) return with_rounded(gold, given, depth);
  if (!gold.modulus.empty() || !given.modulus.empty()) return congruences(gold, given, depth);
  if (gold.kind == Kind::value && given.kind == Kind::value) {
    auto has_i = [](const Answer& a) { return !a.tree.letters && has_imaginary(a.tree); };
    if (has_i(gold) && only_letter(given, "j"))
      return compare_values(gold, with_imaginary(given), options_, budget_);
    if (has_i(given) && only_letter(gold, "j"))
      return compare_values(with_imaginary(gold), given, options_, budget_);
    return compare_values(gold, given, options_, budget_);
  }
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

Equality Comparison::with_rounded(const Answer& gold, const Answer& given, int depth) {
  std::vector<Answer> of[2];
  for (int k = 0; k < 2; ++k) {
    const Answer& a = k == 0 ? gold : given;
    of[k].push_back(a);
    of[k][0].rounded.clear();
    if (a.rounded.empty()) continue;
    const CompareOptions any_digits{1, false};
    if (compare_values(of[k][0], a.rounded[0], any_digits, budget_) != Equality::equal)
      return Equality::unknown;
    of[k].push_back(a.rounded[0]);
  }
  const Equality exact = answers(of[0][0], of[1][0], depth + 1);
  for (const Answer& x : of[0])
    for (const Answer& y : of[1])
      if (answers(x, y, depth + 1) == Equality::equal) return Equality::equal;
  return exact;
}

Equality Comparison::congruences(const Answer& gold, const Answer& given, int depth) {
  Answer x = gold, y = given;
  x.modulus.clear(), y.modulus.clear();
  if (answers(x, y, depth + 1) == Equality::equal && (gold.modulus.empty() || given.modulus.empty()))
    return Equality::equal;
  if (gold.modulus.empty() || given.modulus.empty()) return Equality::unknown;  // 10, and 3 mod 7
  Field field(budget_);
  mpz_class numbers[4];
  const Tree* trees[4] = {&gold.tree, &given.tree, &gold.modulus[0], &given.modulus[0]};
  for (int k = 0; k < 4; ++k) {
    const Ratio r = evaluate(*trees[k], field);
    if (!r.is_rational() || r.num.rational().get_den() != 1) return Equality::unknown;
    numbers[k] = r.num.rational().get_num();
  }
  if (numbers[2] != numbers[3] || numbers[2] <= 1) return Equality::unknown;
  return (numbers[0] - numbers[1]) % numbers[2] == 0 ? Equality::equal : Equality::different;
}

Equality Comparison::with_parameter(const Answer& gold, const Answer& given, int depth) {
  Answer x = gold, y = given;
  x.parameter.clear(), y.parameter.clear();
  const std::string wanted = gold.parameter.empty() ? "k" : gold.parameter;
  for (Answer* a : {&x, &y}) {
    std::string own = (a == &x ? gold : given).parameter;
    for (const char* usual : {"k", "n", "m"})
      if (own.empty() && std::count(a->tree.names.begin(), a->tree.names.end(), usual) > 0) own = usual;
    if (own.empty() || own == wanted) continue;
    if (std::count(a->tree.names.begin(), a->tree.names.end(), wanted) > 0) return Equality::unknown;
    rename(*a, own, wanted);
  }
  return answers(x, y, depth + 1) == Equality::equal ? Equality::equal : Equality::unknown;
}

Equality Comparison::texts(const Answer& gold, const Answer& given) {
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
  auto known = [&](const std::string& w) { return std::find(truth.begin(), truth.end(), w) - truth.begin(); };
  const auto missing = [](const std::string& w) { return w == "dne" || w == "does not exist"; };
  if (missing(a) && missing(b)) return Equality::equal;
  if (known(a) < 4 && known(b) < 4 && known(a) / 2 == known(b) / 2 && a != b) return Equality::different;
  return Equality::unknown;
}

Equality Comparison::in_order(const Answer& gold, const Answer& given, int depth) {
  if (gold.items.size() != given.items.size()) return Equality::different;
  Equality all = Equality::equal;
  for (size_t i = 0; i < gold.items.size(); ++i) {
    all = combine(all, answers(gold.items[i], given.items[i], depth + 1));
    if (all == Equality::different) break;
  }
  return all;
}

Equality Comparison::as_sets(const Answer& gold, const Answer& given, int depth) {
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

Equality Comparison::collections(const Answer& gold, const Answer& given, int depth) {
  auto named = [](const Answer& a) {
    return !a.items.empty() &&
           std::all_of(a.items.begin(), a.items.end(), [](const Answer& i) { return !i.name.empty(); });
  };
  if (named(gold) && named(given)) {  // x = 1, y = 2: by name
    if (gold.items.size() != given.items.size()) return Equality::unknown;
    const Answer x = sorted_by_name(gold), y = sorted_by_name(given);
    for (size_t i = 0; i < x.items.size(); ++i)
      if (x.items[i].name != y.items[i].name || (i > 0 && x.items[i].name == x.items[i - 1].name))
        return Equality::unknown;
    return in_order(x, y, depth);
  }
  if (named(gold) != named(given) && !gold.items.empty() && !given.items.empty())
    return named(gold) ? by_names(gold, given, depth) : by_names(given, gold, depth);
  if (options_.ordered_lists && gold.bare_list && given.bare_list) return in_order(gold, given, depth);
  // A list that repeats a number is no set: then how often counts too.
  if (gold.listed && given.listed && gold.items.size() != given.items.size()) {
    const Equality sets = as_sets(gold, given, depth);
    return sets == Equality::equal ? Equality::unknown : sets;
  }
  const Equality sets = as_sets(gold, given, depth);
  if (sets == Equality::equal && gold.listed && given.listed && !as_often(gold, given, depth))
    return Equality::unknown;
  return sets;
}

bool Comparison::as_often(const Answer& gold, const Answer& given, int depth) {
  auto times = [&](const Answer& item, const Answer& of) {
    budget_.spend(static_cast<int64_t>(20 * of.items.size()));
    return std::count_if(of.items.begin(), of.items.end(), [&](const Answer& other) {
      return answers(item, other, depth + 1) == Equality::equal;
    });
  };
  return std::all_of(gold.items.begin(), gold.items.end(),
                     [&](const Answer& item) { return times(item, gold) == times(item, given); });
}

Equality Comparison::by_names(const Answer& named, const Answer& others, int depth) {
  // x, y, z and a, b have an order of their own; beside other names what is written first comes first
  const Answer sorted = sorted_by_name(named);
  bool in_sequence = true;
  for (size_t i = 1; i < sorted.items.size(); ++i)
    in_sequence = in_sequence && follows(sorted.items[i - 1].name, sorted.items[i].name);
  return in_order(in_sequence ? sorted : named, others, depth) == Equality::equal ? Equality::equal
                                                                                  : Equality::unknown;
}

Equality Comparison::said_twice(const Answer& both, const Answer& other, bool gold_is_other, int depth) {
  const CompareOptions any_digits{1, false};
  const Answer &x = both.items[0], &y = both.items[1];
  if (x.kind != Kind::value || y.kind != Kind::value ||
      compare_values(x, y, any_digits, budget_) != Equality::equal)
    return Equality::unknown;
  // of two decimals the longer one
  const bool first = !x.shown || (y.shown && x.shown->decimals >= y.shown->decimals);
  const Answer& exact = first ? x : y;
  const Equality e = gold_is_other ? answers(other, exact, depth + 1) : answers(exact, other, depth + 1);
  return e == Equality::equal ? e : Equality::unknown;
}

Equality Comparison::sequences(const Answer& gold, const Answer& given, int depth) {
  const Equality items = in_order(gold, given, depth);
  if (items != Equality::equal || (gold.open == given.open && gold.close == given.close)) return items;
  // (1, 2) and [1, 2]: different intervals, or a point written two ways
  if (gold.items.size() == 2 && gold.items[0].kind == Kind::value && gold.items[1].kind == Kind::value) {
    Field field(budget_);
    const Ratio difference =
        field.subtract(evaluate(gold.items[1].tree, field), evaluate(gold.items[0].tree, field));
    if (field.sign(difference) == 1) return Equality::different;
  }
  return gold.items.size() > 2 ? Equality::equal : Equality::unknown;  // a vector in either kind of brackets
}

Equality Comparison::ratios(const Answer& gold, const Answer& given) {
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

Equality Comparison::as_quotient(const Answer& ratio, const Answer& value) {
  if (value.tree.letters || !value.unit.empty()) return Equality::unknown;
  Field field(budget_);
  const Ratio quotient =
      field.divide(evaluate(ratio.items[0].tree, field), evaluate(ratio.items[1].tree, field));
  return field.equal(quotient, evaluate(value.tree, field)) == Truth::yes ? Equality::equal
                                                                          : Equality::unknown;
}

Equality Comparison::unlike(const Answer& gold, const Answer& given, int depth) {
  const Answer* pair[2] = {&gold, &given};
  for (int k = 0; k < 2; ++k) {
    const Answer &a = *pair[k], &b = *pair[1 - k];
    if (a.kind == Kind::collection && b.kind == Kind::value) {
      if (a.tight_comma) return Equality::unknown;
      if (a.items.empty() && b.tree.letters)  // \phi for \emptyset
        return k == 0 && (b.text == "phi" || b.text == "varphi") ? Equality::equal : Equality::unknown;
      if (a.items.size() == 1)
        return k == 0 ? answers(a.items[0], b, depth + 1) : answers(b, a.items[0], depth + 1);
      if (a.listed && a.any_or && a.items.size() == 2)
        if (const Equality e = said_twice(a, b, k == 1, depth); e == Equality::equal) return e;
      // {1, 1} is {1}: different only when one of its items is
      Answer one;
      one.kind = Kind::collection;
      one.items = {b};
      const Equality e = as_sets(a, one, depth);
      return e == Equality::different ? e : Equality::unknown;
    }
    if (a.kind == Kind::ratio && b.kind == Kind::value && a.items.size() == 2)
      return a.listed ? Equality::unknown : as_quotient(a, b);
    if (a.kind == Kind::collection && b.kind == Kind::sequence) {
      // {1, 2} or 1, 2 beside (1, 2): the same things, but is their order meant?
      Answer set = b;
      set.kind = Kind::collection;
      if (as_sets(a, set, depth) == Equality::different) return Equality::different;
      const bool by_name = std::all_of(a.items.begin(), a.items.end(),
                                       [](const Answer& i) { return !i.name.empty(); });  // x = 1 and y = 2
      if (by_name) return by_names(a, b, depth);
      return a.bare_list && in_order(a, b, depth) == Equality::equal ? Equality::equal : Equality::unknown;
    }
    if (a.kind == Kind::matrix && b.kind == Kind::sequence && a.columns == 1)  // a vector as a point
      return in_order(a, b, depth) == Equality::equal ? Equality::equal : Equality::unknown;
    if (a.kind == Kind::sequence && b.kind == Kind::value)
      return b.tree.letters ? Equality::unknown : Equality::different;
    if (a.kind == Kind::matrix && b.kind == Kind::value)
      return b.tree.letters ? Equality::unknown : Equality::different;
  }
  return Equality::unknown;
}

Equality compare(const Answer& gold, const Answer& given, const CompareOptions& options, Budget& budget) {
  return Comparison(options, budget).run(gold, given);
}

}  // namespace cohort::math
