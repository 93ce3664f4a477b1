#include "reward/math/values.h"

#include <vector>

#include "reward/math/evaluate.h"

namespace cohort::math {
namespace {

mpq_class power_of_ten(long n) {
  mpz_class out;
  mpz_ui_pow_ui(out.get_mpz_t(), 10, static_cast<unsigned long>(n < 0 ? -n : n));
  return n < 0 ? mpq_class(1, out) : mpq_class(out);
}

// A number or expression with everything that scales it applied.
struct Side {
  const Tree* tree = nullptr;
  int sign = 1;
  mpq_class factor = 1;
  bool in_pi = false;  // degrees as radians: times pi, and `factor` holds the 1/180
  std::optional<Answer::Shown> shown;
};

// The decimal rule on exact rationals.
bool rounds(const mpq_class& decimal, const Answer::Shown& shown, const mpq_class& exact) {
  const mpq_class ulp = power_of_ten(-shown.decimals), e = exact - decimal;
  if (abs(e) * 2 <= ulp) return true;
  return (decimal >= 0 && e >= 0 && e < ulp) || (decimal <= 0 && e <= 0 && -e < ulp);
}

bool usable(const std::optional<Answer::Shown>& shown, int digits) {
  return shown && shown->significant >= digits && shown->decimals <= 10000 && shown->decimals >= -10000;
}

bool goes_on(const Side& s) {
  return s.shown && s.shown->goes_on;
}
mpq_class repeated(const mpq_class& decimal, const Answer::Shown& shown) {
  return decimal < 0 ? -shown.repeated[0] : shown.repeated[0];
}
// 0.333… beside 0.333333…: the same only as repeating decimals.
Equality both_go_on(const mpq_class& x, const Answer::Shown& of_x, const mpq_class& y,
                    const Answer::Shown& of_y) {
  const bool same =
      !of_x.repeated.empty() && !of_y.repeated.empty() && repeated(x, of_x) == repeated(y, of_y);
  const mpq_class ulp = power_of_ten(-std::min(of_x.decimals, of_y.decimals));
  return same ? Equality::equal : abs(x - y) >= ulp ? Equality::different : Equality::unknown;
}

class Values {
 public:
  Values(const CompareOptions& options, Budget& budget) : options_(options), budget_(budget) {}

  // The same number written two ways: no Field needed.
  std::optional<Equality> plain(const Side& gold, const Side& given) {
    bool minus_a, minus_b;
    const mpq_class* a = plain_number(*gold.tree, minus_a);
    const mpq_class* b = plain_number(*given.tree, minus_b);
    if (!a || !b || gold.in_pi || given.in_pi) return {};
    const mpq_class x = (minus_a ? -*a : *a) * gold.factor, y = (minus_b ? -*b : *b) * given.factor;
    if (goes_on(gold) || goes_on(given))
      return goes_on(gold) && goes_on(given) ? both_go_on(x, *gold.shown, y, *given.shown)
             : goes_on(gold)                 ? on(x, *gold.shown, y)
                                             : on(y, *given.shown, x);
    if (x == y) return Equality::equal;
    if (usable(given.shown, options_.decimal_digits) && rounds(y, *given.shown, x)) return Equality::equal;
    if (usable(gold.shown, options_.decimal_digits) && rounds(x, *gold.shown, y)) return Equality::equal;
    return Equality::different;
  }

  Equality both(const Side& gold, const Side& given) {
    if (const int a = infinite_sign(*gold.tree), b = infinite_sign(*given.tree); a != 0 || b != 0) {
      if (a != 0 && b != 0) return a * gold.sign == b * given.sign ? Equality::equal : Equality::different;
      const Tree& other = a != 0 ? *given.tree : *gold.tree;
      return other.letters ? Equality::unknown : Equality::different;
    }
    if (const std::optional<Equality> e = plain(gold, given)) return *e;
    if (!gold.tree->bare_log && !given.tree->bare_log) return expressions(gold, given, true);
    // A bare \log is the one to base ten where that makes them equal; they are different only if they are for
    // every base.
    const Equality any = expressions(gold, given, false);
    if (any != Equality::unknown) return any;
    return expressions(gold, given, true) == Equality::equal ? Equality::equal : Equality::unknown;
  }

 private:
  // A decimal that goes on beside an exact number: its digits must be that number's first ones, and enough of
  // them or all that it has.
  Equality on(const mpq_class& decimal, const Answer::Shown& shown, const mpq_class& exact) const {
    const mpq_class e = decimal < 0 ? mpq_class(decimal - exact) : mpq_class(exact - decimal);
    if (e < 0 || e >= power_of_ten(-shown.decimals)) {
      const bool rounded = abs(e) * 2 <= power_of_ten(-shown.decimals);
      return rounded ? Equality::unknown : Equality::different;
    }
    const bool same = !shown.repeated.empty() && repeated(decimal, shown) == exact;
    return same || shown.significant >= options_.decimal_digits ? Equality::equal : Equality::unknown;
  }

  Ratio value(const Side& side, Field& field, bool common_log) {
    Ratio v = evaluate(*side.tree, field, {side.sign, common_log});
    if (side.factor != 1) v = field.multiply(v, field.number(side.factor));
    if (side.in_pi) v = field.multiply(v, field.pi());
    return v;
  }

  Equality expressions(const Side& gold, const Side& given, bool common_log) {
    Field field(budget_);
    const Ratio a = value(gold, field, common_log), b = value(given, field, common_log);
    const Truth same = field.equal(a, b);
    if (same == Truth::yes) return Equality::equal;
    bool undecided = same == Truth::unknown;
    if (goes_on(gold) || goes_on(given)) {
      const bool first = goes_on(gold);
      const Ratio &d = first ? a : b, &exact = first ? b : a;
      const Answer::Shown& shown = first ? *gold.shown : *given.shown;
      if (!d.is_rational() || (first && goes_on(given))) return Equality::unknown;
      if (exact.is_rational()) return on(d.num.rational(), shown, exact.num.rational());
      if (!field.is_constant(exact)) return Equality::unknown;
      const Truth t = shows(d.num.rational(), shown, exact, field);
      return t == Truth::no                                                    ? Equality::different
             : t == Truth::yes && shown.significant >= options_.decimal_digits ? Equality::equal
                                                                               : Equality::unknown;
    }
    auto close = [&](const Side& decimal, const Ratio& d, const Ratio& exact) {
      if (!usable(decimal.shown, options_.decimal_digits) || !d.is_rational() || !field.is_constant(exact))
        return false;
      const Truth t = shows(d.num.rational(), *decimal.shown, exact, field);
      undecided = undecided || t == Truth::unknown;
      return t == Truth::yes;
    };
    if (close(given, b, a) || close(gold, a, b)) return Equality::equal;
    return undecided ? Equality::unknown : Equality::different;
  }

  const CompareOptions& options_;
  Budget& budget_;
};

// The readings of one side: its tree, and the one where a/bc divides by bc.
std::vector<Side> readings(const Answer& a, const Tree& tree, bool original) {
  if (tree.goes_on && a.unit.multiplier != 1) throw Beyond("a decimal that goes on in another unit");
  std::vector<Side> out;
  out.push_back({&tree, a.sign, a.unit.multiplier, false, a.unit.multiplier == 1 ? a.shown : std::nullopt});
  if (original && a.tight) {
    out.push_back(out[0]);
    out[1].tree = &*a.tight;
  }
  return out;
}

Side scaled(Side s, const mpq_class& factor) {
  if (factor == 1) return s;
  if (goes_on(s)) throw Beyond("a decimal that goes on in another unit");
  s.factor *= factor;
  if (s.shown) {
    if (factor == mpq_class(1, 100))
      s.shown->decimals += 2;
    else
      s.shown.reset();
  }
  return s;
}

bool is_angle(const Unit& u, const char* base) {
  return u.powers.size() == 1 && u.powers.begin()->first == base && u.powers.begin()->second == 1;
}

Equality with_units(const Answer& gold, const Side& x, const Unit& unit_x, const Answer& given, const Side& y,
                    const Unit& unit_y, Values& values) {
  if (!unit_x.empty() && !unit_y.empty()) {
    if (unit_x == unit_y) {
      // in the gold answer's unit
      const mpq_class factor = unit_y.factor / unit_x.factor;
      return values.both(x, scaled(y, factor));
    }
    const bool degrees = is_angle(unit_x, "degree"), radians = is_angle(unit_x, "radian");
    if (degrees && is_angle(unit_y, "radian")) {
      Side converted = scaled(x, mpq_class(1, 180));
      converted.in_pi = true, converted.shown.reset();
      return values.both(converted, y);
    }
    if (radians && is_angle(unit_y, "degree")) {
      Side converted = scaled(y, mpq_class(1, 180));
      converted.in_pi = true, converted.shown.reset();
      return values.both(x, converted);
    }
    return unit_x.known && unit_y.known && !perhaps_alike(unit_x, unit_y) ? Equality::different
                                                                          : Equality::unknown;
  }
  // 30% beside 30 degrees
  if ((gold.percent && !unit_y.empty()) || (given.percent && !unit_x.empty())) return Equality::unknown;
  Equality e = values.both(x, y);
  if (e == Equality::equal) return e;
  for (int k = 0; k < 2; ++k) {  // 90° is pi/2
    if (!is_angle(k == 0 ? unit_x : unit_y, "degree") || !(k == 0 ? unit_y : unit_x).empty()) continue;
    Side converted = scaled(k == 0 ? x : y, mpq_class(1, 180));
    converted.in_pi = true, converted.shown.reset();
    const Equality turned = k == 0 ? values.both(converted, y) : values.both(x, converted);
    if (turned == Equality::equal) return turned;
    if (turned == Equality::unknown) e = turned;
  }
  if (gold.percent != given.percent) {
    const mpq_class hundredth(1, 100);
    const Equality as_part =
        values.both(gold.percent ? scaled(x, hundredth) : x, given.percent ? scaled(y, hundredth) : y);
    if (as_part == Equality::equal) return as_part;
    if (as_part == Equality::unknown) e = as_part;
  }
  return e;
}

}  // namespace

Truth shows(const mpq_class& decimal, const Answer::Shown& shown, const Ratio& exact, Field& field) {
  if (exact.is_rational()) return rounds(decimal, shown, exact.num.rational()) ? Truth::yes : Truth::no;
  const Truth real = field.is_real(exact);
  if (real != Truth::yes) return real;
  // y = (exact - decimal)/ulp
  const mpq_class ulp = power_of_ten(-shown.decimals);
  const Ratio y = field.multiply(field.subtract(exact, field.number(decimal)), field.number(1 / ulp));
  const long digits = static_cast<long>(mpz_sizeinbase(decimal.get_num_mpz_t(), 2));
  for (long precision = 128 + digits; precision <= kMaxBallBits; precision *= 4) {
    const Ball ball = field.enclose(y, precision);
    if (!acb_is_finite(ball.get())) return Truth::unknown;
    Ball bound;
    auto compare_to = [&](const mpq_class& q) {  // -1 below, 1 above, 0 not certain
      const FlintRational f(q);
      arb_set_fmpq(bound.real(), f.get(), precision);
      return arb_lt(ball.real(), bound.real()) ? -1 : arb_gt(ball.real(), bound.real()) ? 1 : 0;
    };
    const int low = compare_to(mpq_class(-1, 2)), high = compare_to(mpq_class(1, 2));
    if (low == 1 && high == -1) return Truth::yes;
    const int zero = compare_to(0), up = compare_to(1), down = compare_to(-1);
    if (decimal >= 0 && zero == 1 && up == -1) return Truth::yes;
    if (decimal <= 0 && zero == -1 && down == 1) return Truth::yes;
    const bool far_up = high == 1 && (decimal < 0 || up == 1);
    const bool far_down = low == -1 && (decimal > 0 || down == -1);
    if (far_up || far_down) return Truth::no;
  }
  return Truth::unknown;
}

Equality compare_values(const Answer& gold, const Answer& given, const CompareOptions& options,
                        Budget& budget) {
  Values values(options, budget);
  // "2+3=5" states 5 only when it does
  for (const Answer* a : {&gold, &given})
    for (const Tree& other : a->also) {
      const Side x{.tree = &a->tree, .shown = a->shown}, y{.tree = &other};
      if (values.both(x, y) != Equality::equal) return Equality::unknown;
    }
  // "5m" is a product unless the other side has a unit; beside a bare number it is either
  bool seen[3] = {false, false, false};
  auto note = [&](Equality e) { seen[static_cast<int>(e)] = true; };
  const bool unit_gold = gold.glued && !given.unit.empty(), unit_given = given.glued && !gold.unit.empty();
  for (const Side& x : readings(gold, unit_gold ? gold.bare : gold.tree, !unit_gold))
    for (const Side& y : readings(given, unit_given ? given.bare : given.tree, !unit_given))
      note(with_units(gold, x, unit_gold ? *gold.glued : gold.unit, given, y,
                      unit_given ? *given.glued : given.unit, values));
  auto bare_number = [](const Answer& a) { return !a.tree.letters && a.unit.empty() && !a.glued; };
  if (gold.glued && bare_number(given))
    note(values.both(readings(gold, gold.bare, false)[0], readings(given, given.tree, false)[0]));
  if (given.glued && bare_number(gold))
    note(values.both(readings(gold, gold.tree, false)[0], readings(given, given.bare, false)[0]));
  if (seen[2] || (seen[0] && seen[1])) return Equality::unknown;
  return seen[0] ? Equality::equal : Equality::different;
}

}  // namespace cohort::math
