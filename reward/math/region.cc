#include "reward/math/region.h"

#include <algorithm>

#include "reward/math/evaluate.h"
#include "reward/math/values.h"

namespace cohort::math {
namespace {

using Kind = Answer::Kind;

// One end of an interval: an answer, or infinity.
struct End {
  const Answer* answer = nullptr;
  bool closed = false;
};
struct Piece {
  End low, high;
};

class Regions {
 public:
  Regions(const CompareOptions& options, Budget& budget)
      : options_(options), budget_(budget), field_(budget) {}

  // Disjoint pieces in rising order; nothing when `a` is no part of the real line.
  std::optional<std::vector<Piece>> pieces(const Answer& a) {
    std::vector<Piece> out;
    if (a.kind == Kind::region) {
      for (const Answer::Interval& v : a.intervals)
        out.push_back({{v.low.empty() ? nullptr : &v.low[0], v.low_closed},
                       {v.high.empty() ? nullptr : &v.high[0], v.high_closed}});
    } else if (a.kind == Kind::sequence && a.items.size() == 2 && a.items[0].kind == Kind::value &&
               a.items[1].kind == Kind::value) {
      out.push_back({{&a.items[0], a.open == '['}, {&a.items[1], a.close == ']'}});
    } else if (a.kind == Kind::collection && !a.items.empty() && a.items[0].kind != Kind::value) {
      return disjoint(a.items);
    } else if (a.kind == Kind::collection) {
      for (const Answer& i : a.items) {
        if (i.kind != Kind::value) return {};
        out.push_back({{&i, true}, {&i, true}});
      }
    } else if (a.kind == Kind::value) {
      out.push_back({{&a, true}, {&a, true}});
    } else {
      return {};
    }
    for (const Piece& p : out)
      for (const End* e : {&p.low, &p.high})
        if (e->answer && (e->answer->kind != Kind::value || e->answer->tree.letters ||
                          !e->answer->unit.empty() || e->answer->percent))
          return {};
    std::erase_if(out, [&](const Piece& p) { return empty(p); });
    if (out.empty() && !a.united.empty()) {  // x < 2, x > 3
      Answer united;
      united.kind = Kind::region;
      for (const Answer::Interval& v : a.united) united.intervals.push_back(v);
      kept_.push_back(std::make_unique<Answer>(std::move(united)));
      return pieces(*kept_.back());
    }
    std::sort(out.begin(), out.end(), [&](const Piece& x, const Piece& y) { return below(x.low, y.low); });
    std::vector<Piece> merged;
    for (const Piece& p : out) {
      if (!merged.empty() && touches(merged.back().high, p.low)) {
        if (above(p.high, merged.back().high)) merged.back().high = p.high;
        continue;
      }
      merged.push_back(p);
    }
    for (const Answer& x : a.excluded) {
      if (x.kind != Kind::value || x.tree.letters) return {};
      std::vector<Piece> split;
      for (const Piece& p : merged) {
        const int low = p.low.answer ? order(*p.low.answer, x) : -1,
                  high = p.high.answer ? order(*p.high.answer, x) : 1;
        if (low > 0 || high < 0) {
          split.push_back(p);
          continue;
        }
        Piece left = p, right = p;
        left.high = {&x, false};
        right.low = {&x, false};
        if (low < 0) split.push_back(left);
        if (high > 0) split.push_back(right);
      }
      merged = std::move(split);
    }
    return merged;
  }

  Equality same(const std::vector<Piece>& a, const std::vector<Piece>& b) {
    if (a.size() != b.size()) return Equality::different;
    bool certain = true;
    for (size_t i = 0; i < a.size(); ++i)
      for (bool high : {false, true}) {
        const End &x = high ? a[i].high : a[i].low, &y = high ? b[i].high : b[i].low;
        if ((x.answer == nullptr) != (y.answer == nullptr)) return Equality::different;
        if (!x.answer) continue;
        if (x.closed != y.closed) return Equality::different;
        const Equality e = compare_values(*x.answer, *y.answer, options_, budget_);
        if (e == Equality::different) return e;
        certain = certain && e == Equality::equal;
      }
    return certain ? Equality::equal : Equality::unknown;
  }

 private:
  // (-\infty, 2) and (3, \infty): all of them, as no number is in two.
  std::optional<std::vector<Piece>> disjoint(const std::vector<Answer>& items) {
    Answer all;
    all.kind = Kind::region;
    for (const Answer& i : items) {
      if (i.kind == Kind::region && i.name.empty() && i.excluded.empty() && i.united.empty()) {
        all.intervals.insert(all.intervals.end(), i.intervals.begin(), i.intervals.end());
      } else if (i.kind == Kind::sequence && i.items.size() == 2) {
        all.intervals.push_back({{i.items[0]}, {i.items[1]}, i.open == '[', i.close == ']'});
      } else {
        return {};
      }
    }
    const size_t parts = all.intervals.size();
    kept_.push_back(std::make_unique<Answer>(std::move(all)));
    const std::optional<std::vector<Piece>> out = pieces(*kept_.back());
    if (!out || out->size() != parts) return {};
    return out;
  }
  int order(const Answer& a, const Answer& b) {
    const Ratio d =
        field_.subtract(evaluate(a.tree, field_, {a.sign, true}), evaluate(b.tree, field_, {b.sign, true}));
    const std::optional<int> s = field_.sign(d);
    if (!s) throw Beyond("ends that cannot be ordered");
    return *s;
  }
  bool empty(const Piece& p) {
    if (!p.low.answer || !p.high.answer || p.low.answer == p.high.answer) return false;
    const int o = order(*p.low.answer, *p.high.answer);
    return o > 0 || (o == 0 && !(p.low.closed && p.high.closed));
  }
  bool below(const End& x, const End& y) {  // as lower ends
    if (!x.answer || !y.answer) return !x.answer && y.answer;
    const int o = x.answer == y.answer ? 0 : order(*x.answer, *y.answer);
    return o < 0 || (o == 0 && x.closed && !y.closed);
  }
  bool above(const End& x, const End& y) {  // as upper ends
    if (!x.answer || !y.answer) return !x.answer && y.answer;
    const int o = x.answer == y.answer ? 0 : order(*x.answer, *y.answer);
    return o > 0 || (o == 0 && x.closed && !y.closed);
  }
  bool touches(const End& high, const End& low) {
    if (!high.answer || !low.answer) return true;
    const int o = high.answer == low.answer ? 0 : order(*high.answer, *low.answer);
    return o > 0 || (o == 0 && (high.closed || low.closed));
  }

  const CompareOptions& options_;
  Budget& budget_;
  Field field_;
  std::vector<std::unique_ptr<Answer>> kept_;  // what pieces point into
};

}  // namespace

Equality compare_regions(const Answer& gold, const Answer& given, const CompareOptions& options,
                         Budget& budget) {
  Regions regions(options, budget);
  const std::optional<std::vector<Piece>> a = regions.pieces(gold), b = regions.pieces(given);
  if (!a || !b) return Equality::unknown;
  auto listed = [](const Answer& x) {  // intervals, or perhaps points of the plane
    return x.kind == Kind::collection && !x.items.empty() && x.items[0].kind != Kind::value;
  };
  const Equality e = regions.same(*a, *b);
  return e == Equality::different && (listed(gold) || listed(given)) ? Equality::unknown : e;
}

namespace {

// |c x + d| < r: one interval, or two for >. Rational numbers only.
std::optional<Answer> solve_size(const Answer& r, const Ratio& d, Field& field) {
  if (d.num.terms.size() > 2 || r.relations[0] == Tok::equal || r.relations[0] == Tok::not_equal) return {};
  mpq_class constant = 0, factor = 0;
  const Generator* size = nullptr;
  for (const Term& t : d.num.terms) {
    if (t.monomial.empty()) {
      constant = t.coefficient;
      continue;
    }
    size = &field.generator(t.monomial[0].generator);
    factor = t.coefficient;
    if (t.monomial.size() != 1 || size->kind != GeneratorKind::absolute || !size->squares ||
        t.monomial[0].exponent != Exponent{1, 1})
      return {};
  }
  const mpq_class radius = factor == 0 ? mpq_class(0) : mpq_class(-constant / factor);
  if (!size || radius <= 0) return {};
  mpq_class slope = 0, middle = 0;
  std::string name;
  for (const Term& t : size->arg.terms) {
    if (t.monomial.empty()) {
      middle = t.coefficient;
      continue;
    }
    const Generator& g = field.generator(t.monomial[0].generator);
    if (t.monomial.size() != 1 || g.kind != GeneratorKind::variable || !name.empty() ||
        t.monomial[0].exponent != Exponent{1, 1})
      return {};
    name = g.name;
    slope = t.coefficient;
  }
  if (name.empty()) return {};
  if (slope < 0) slope = -slope, middle = -middle;
  auto bound = [](const mpq_class& q) {
    Answer a;
    a.kind = Kind::value;
    a.tree.put(q);
    return a;
  };
  const Answer low = bound((-radius - middle) / slope), high = bound((radius - middle) / slope);
  const Tok rel = r.relations[0];
  const bool closed = rel == Tok::less_equal || rel == Tok::greater_equal;
  const bool inside = (rel == Tok::less || rel == Tok::less_equal) == (factor > 0);
  Answer out;
  out.kind = Kind::region;
  out.name = name;
  if (inside)
    out.intervals = {{{low}, {high}, closed, closed}};
  else
    out.intervals = {{{}, {low}, false, closed}, {{high}, {}, closed, false}};
  return out;
}

}  // namespace

std::optional<Answer> solve(const Answer& r, Budget& budget) {
  if (r.kind != Kind::relation || r.sides.size() != 2) return {};
  Field field(budget);
  const Ratio d = field.subtract(evaluate(r.sides[0], field), evaluate(r.sides[1], field));
  if (!d.den.is_one()) return {};
  if (std::optional<Answer> region = solve_size(r, d, field)) return region;
  std::optional<uint32_t> variable;
  mpq_class slope = 0, constant = 0;
  for (const Term& t : d.num.terms) {
    if (t.monomial.empty()) {
      constant = t.coefficient;
      continue;
    }
    const Generator& g = field.generator(t.monomial[0].generator);
    if (t.monomial.size() != 1 || g.kind != GeneratorKind::variable ||
        t.monomial[0].exponent != Exponent{1, 1} || variable)
      return {};
    variable = t.monomial[0].generator;
    slope = t.coefficient;
  }
  if (!variable) return {};
  Answer bound;
  bound.kind = Kind::value;
  bound.tree.put(mpq_class(-constant / slope));
  Answer out;
  out.name = field.generator(*variable).name;
  Tok rel = r.relations[0];
  if (rel == Tok::equal) {
    bound.name = out.name;
    return bound;
  }
  out.kind = Kind::region;
  Answer::Interval v;
  if (rel == Tok::not_equal) {
    out.intervals.push_back(v);
    out.excluded = {bound};
    return out;
  }
  const bool less = (rel == Tok::less || rel == Tok::less_equal) == (slope > 0);
  (less ? v.high : v.low) = {bound};
  (less ? v.high_closed : v.low_closed) = rel == Tok::less_equal || rel == Tok::greater_equal;
  out.intervals.push_back(std::move(v));
  return out;
}

}  // namespace cohort::math
