// Numbers as written, and which letters are one name or several.
#include <algorithm>
#include <array>

#include "reward/math/budget.h"
#include "reward/math/tree.h"

namespace cohort::math {
namespace {

constexpr long kMaxLiteralExponent = 10000;

mpz_class power_of(unsigned long base, unsigned long n) {
  mpz_class out;
  mpz_ui_pow_ui(out.get_mpz_t(), base, n);
  return out;
}

}  // namespace

int32_t Tree::append(const Tree& t) {
  const int32_t node = static_cast<int32_t>(nodes.size()), constant = static_cast<int32_t>(constants.size()),
                name = static_cast<int32_t>(names.size());
  for (Node n : t.nodes) {
    const bool series = n.op == Op::sum || n.op == Op::product;
    if (n.a >= 0) n.a += n.op == Op::number ? constant : n.op == Op::variable || series ? name : node;
    if (n.b >= 0) n.b += node;
    if (n.c >= 0) n.c += node;
    if (n.d >= 0) n.d += node;
    nodes.push_back(n);
  }
  constants.insert(constants.end(), t.constants.begin(), t.constants.end());
  names.insert(names.end(), t.names.begin(), t.names.end());
  bare_log = bare_log || t.bare_log;
  loose_product = loose_product || t.loose_product;
  goes_on = goes_on || t.goes_on;
  signs = signs || t.signs;
  letters = letters || t.letters;
  return static_cast<int32_t>(nodes.size()) - 1;
}

bool splits_into_letters(std::string_view word) {
  if (word.size() < 2 || word.size() > 3) return false;
  static constexpr std::array<std::string_view, 9> with_i = {"ix", "iy", "iz", "yi", "zi",
                                                             "bi", "ib", "ci", "ia"};
  if (std::find(with_i.begin(), with_i.end(), word) != with_i.end()) return true;
  return std::all_of(word.begin(), word.end(), [](char c) {
    return std::string_view("abcekmnpqrstuvwxyz").find(c) != std::string_view::npos;
  });
}

mpq_class literal_value(const Literal& l) {
  if (!l.spelled || l.digits.size() > kMaxDigits) throw Beyond("a number is too long");
  if (l.digits.empty()) throw Beyond("a number without digits");
  if (l.base != 10) {
    if (l.has_point || l.scientific) throw Beyond("a broken number in another base");
    if (l.digits.size() > 1000) throw Beyond("a number is too long");
    for (char c : l.digits) {
      const unsigned digit =
          is_digit(c) ? static_cast<unsigned>(c - '0') : static_cast<unsigned>(c - 'A' + 10);
      if (digit >= l.base) throw Beyond("a digit that its base does not have");
    }
    return mpq_class(mpz_class(l.digits, static_cast<int>(l.base)));
  }
  if (l.exponent > kMaxLiteralExponent || l.exponent < -kMaxLiteralExponent)
    throw Beyond("an exponent is too large");
  const size_t fraction = l.digits.size() - l.point;
  if (fraction == 0 && l.exponent == 0 && l.digits.size() <= 18) return mpq_class(std::stol(l.digits));
  mpz_class all(l.digits, 10);
  mpq_class value;
  if (l.repeating > 0) {
    const mpz_class head(
        l.digits.size() > l.repeating ? l.digits.substr(0, l.digits.size() - l.repeating) : "0", 10);
    value = mpq_class(all - head, power_of(10, fraction - l.repeating) * (power_of(10, l.repeating) - 1));
  } else {
    value = mpq_class(all, power_of(10, fraction));
  }
  value.canonicalize();
  if (l.exponent > 0) value *= power_of(10, static_cast<unsigned long>(l.exponent));
  if (l.exponent < 0) value /= power_of(10, static_cast<unsigned long>(-l.exponent));
  return value;
}

}  // namespace cohort::math
