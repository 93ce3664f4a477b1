#include "reward/math/answer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "reward/math/lexical.h"

namespace cohort::math {
namespace {

constexpr int kMaxDepth = 60;
constexpr size_t kMaxText = 4000;
constexpr size_t kMaxDigits = 5000;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alpha(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

mpz_class power_of_ten(unsigned long n) {
  mpz_class out;
  mpz_ui_pow_ui(out.get_mpz_t(), 10, n);
  return out;
}

// Recursive descent over text that lexical.h has simplified: single spaces, no LaTeX spacing, one form for
// each sign.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  // A value at the front; what follows it (percent, unit) is the caller's.
  Answer value() {
    Answer answer;
    answer.value = sum(0);
    if (literals_ == 1 && operations_ == 0) answer.shown = last_shown_;
    return answer;
  }
  std::string_view rest() {
    skip();
    return text_.substr(at_);
  }

 private:
  Exact sum(int depth) {
    Exact total = product(depth);
    for (;;) {
      if (eat('+'))
        ++operations_, total = total + product(depth);
      else if (eat('-'))
        ++operations_, total = total - product(depth);
      else
        return total;
    }
  }
  Exact product(int depth) {
    Exact total = signed_factor(depth);
    for (;;) {
      skip();
      if (eat('*'))
        ++operations_, total = total * signed_factor(depth);
      else if (eat('/'))
        ++operations_, total = total / signed_factor(depth);
      else if (peek() == '(' || starts("\\sqrt") || starts("\\frac"))
        ++operations_,
            total = total * power(depth);  // 2(3), 2√3; whole\frac is a mixed number and read below
      else
        return total;
    }
  }
  Exact signed_factor(int depth) {
    if (depth > kMaxDepth) throw Beyond("nested too deeply");
    if (eat('-')) return -signed_factor(depth + 1);
    if (eat('+')) return signed_factor(depth + 1);
    return power(depth);
  }
  Exact power(int depth) {
    Exact base = primary(depth);
    skip();
    if (peek() == '^' && !starts("^\\circ") && !starts("^{\\circ}")) {
      ++at_;
      ++operations_;
      const std::optional<mpq_class> e = argument(depth + 1, /*signed_digits=*/true).rational();
      if (!e) throw Beyond("an exponent that is not rational");
      if (e->get_den() == 1) return base.power(e->get_num());
      if (!e->get_den().fits_ulong_p()) throw Beyond("an exponent is too large");
      return base.root(e->get_den().get_ui()).power(e->get_num());
    }
    return base;
  }
  Exact primary(int depth) {
    if (depth > kMaxDepth) throw Beyond("nested too deeply");
    skip();
    if (is_digit(peek()) || (peek() == '.' && is_digit(peek(1)))) return number_or_mixed(depth);
    if (peek() == '(' || peek() == '{') {
      const char close = text_[at_++] == '(' ? ')' : '}';
      ++depth_open_;
      Exact inner = sum(depth + 1);
      --depth_open_;
      if (!eat(close)) throw Beyond("a bracket is not closed");
      return inner;
    }
    if (starts("\\frac")) return fraction(depth);
    if (starts("\\sqrt")) {
      at_ += 5;
      ++operations_;
      unsigned long degree = 2;
      if (eat('[')) {
        degree = 0;
        for (skip(); is_digit(peek()) && degree < 1000; ++at_)
          degree = degree * 10 + static_cast<unsigned long>(peek() - '0');
        if (!eat(']')) throw Beyond("the degree of a root cannot be read");
      }
      return argument(depth + 1, false).root(degree);
    }
    throw Beyond("not a number");
  }
  Exact fraction(int depth) {
    at_ += 5;
    ++operations_;
    const Exact numerator = argument(depth + 1, false);
    return numerator / argument(depth + 1, false);
  }
  // {…}, (…) or, as LaTeX has it, one digit; an exponent without braces may be a whole signed number.
  Exact argument(int depth, bool signed_digits) {
    skip();
    if (signed_digits) {
      const bool negative = eat('-');
      skip();
      if (is_digit(peek())) {
        Exact n = plain_number();
        return negative ? -n : n;
      }
      if (negative) throw Beyond("an exponent cannot be read");
    }
    if (is_digit(peek())) return Exact(mpq_class(text_[at_++] - '0'));
    if (peek() == '{' || peek() == '(') return primary(depth);
    if (starts("\\sqrt") || starts("\\frac")) return primary(depth);
    throw Beyond("an argument is missing");
  }

  // 2\frac{1}{2} and 2 1/2 are mixed numbers.
  Exact number_or_mixed(int depth) {
    const size_t begin = at_;
    const Exact whole = plain_number();
    const bool plain = std::all_of(text_.begin() + static_cast<long>(begin),
                                   text_.begin() + static_cast<long>(at_), is_digit);
    const size_t after = at_;
    skip();
    if (starts("\\frac")) {
      const Exact part = fraction(depth);
      const std::optional<mpq_class> q = part.rational();
      // beside anything but a proper fraction it may be meant as a product: not ours to guess
      if (!plain || !q || *q <= 0 || *q >= 1) throw Beyond("a mixed number or a product");
      return whole + part;
    }
    if (plain && at_ > after && is_digit(peek())) {
      const Exact numerator = plain_number();
      if (!eat('/')) throw Beyond("two numbers side by side");
      skip();
      if (!is_digit(peek())) throw Beyond("two numbers side by side");
      const Exact part = numerator / plain_number();
      const std::optional<mpq_class> q = part.rational();
      if (!q || q->get_den() == 1 || *q >= 1) throw Beyond("two numbers side by side");
      ++operations_;
      return whole + part;
    }
    at_ = after;
    return whole;
  }

  Exact plain_number() {
    ++literals_;
    std::string digits, fraction;
    while (is_digit(peek())) digits.push_back(text_[at_++]);
    if (digits.size() <= 3) {
      bool grouped = false;
      while (peek() == ',' && is_digit(peek(1)) && is_digit(peek(2)) && is_digit(peek(3)) &&
             !is_digit(peek(4))) {
        digits.append(text_.substr(at_ + 1, 3));
        at_ += 4;
        grouped = true;
      }
      if (grouped && depth_open_ > 0) throw Beyond("a number or a list");  // (1,234) may be a point
    }
    const bool point = peek() == '.' && is_digit(peek(1));
    if (point)
      for (++at_; is_digit(peek());) fraction.push_back(text_[at_++]);
    if (digits.size() + fraction.size() > kMaxDigits) throw Beyond("a number is too long");
    long exponent = 0;
    if (peek() == 'e' || peek() == 'E') {
      size_t n = peek(1) == '+' || peek(1) == '-' ? 2 : 1;
      if (is_digit(peek(n))) {
        const bool negative = peek(1) == '-';
        for (at_ += n; is_digit(peek()); ++at_)
          if ((exponent = exponent * 10 + (peek() - '0')) > 5000) throw Beyond("an exponent is too large");
        if (negative) exponent = -exponent;
      }
    }
    const std::string all = digits + fraction;
    mpq_class value(mpz_class(all.empty() ? "0" : all, 10));
    const long scale = exponent - static_cast<long>(fraction.size());
    if (scale > 0) value *= power_of_ten(static_cast<unsigned long>(scale));
    if (scale < 0) value /= power_of_ten(static_cast<unsigned long>(-scale));
    last_shown_.reset();
    if (point) {
      const size_t first = all.find_first_not_of('0');
      last_shown_ =
          Answer::Shown{-scale, first == std::string::npos ? 0 : static_cast<long>(all.size() - first)};
    }
    return Exact(value);
  }

  char peek(size_t n = 0) const { return at_ + n < text_.size() ? text_[at_ + n] : '\0'; }
  bool starts(std::string_view what) const {
    if (!text_.substr(at_).starts_with(what)) return false;
    return !is_alpha(what.back()) || !is_alpha(peek(what.size()));
  }
  bool eat(char c) {
    skip();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void skip() {
    while (peek() == ' ') ++at_;
  }

  const std::string_view text_;
  size_t at_ = 0;
  int depth_open_ = 0;
  size_t literals_ = 0, operations_ = 0;
  std::optional<Answer::Shown> last_shown_;
};

// "= " parts: every part before the last is a name or states the same value.
bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 40 || !(is_alpha(text[0]) || text[0] == '\\')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_alpha(c) || is_digit(c) || std::string_view("\\_{}()' ").find(c) != std::string_view::npos;
  });
}

std::optional<Answer> read_one(std::string_view text, bool leading) {
  Parser parser(text);
  Answer answer = parser.value();
  std::string rest(parser.rest());
  for (std::string_view mark : {"\\%", "%", "percent"})
    if (!answer.percent && rest.starts_with(mark)) {
      answer.percent = true;
      rest = rest.substr(mark.size());
    }
  std::optional<Unit> unit = read_unit(rest);
  if (!unit && leading) {
    if (std::any_of(rest.begin(), rest.end(), is_digit)) return {};
    if (!rest.empty() && std::string_view(" ,;:.").find(rest[0]) == std::string_view::npos) {
      // a letter or sign glued to the number (5x, 5!) is part of it; a word after a space is not
      const char before = text[text.size() - rest.size() - 1];
      if (before != ' ' || !is_alpha(rest[0])) return {};
      const size_t end = rest.find_first_of(" .,;:");
      if ((end == std::string::npos ? rest.size() : end) < 2) return {};
      if (is_reserved_word(rest.substr(0, end))) return {};
    }
    unit = Unit{};
  }
  if (!unit) return {};
  answer.unit = unit->name;
  if (unit->factor != 1) {  // 1.5 million is as exact as 1500000
    answer.value = answer.value * Exact(unit->factor);
    answer.shown.reset();
  }
  return answer;
}

Equality compare_values(const Answer& gold, const Answer& given, int decimal_digits) {
  if (gold.value == given.value) return Equality::equal;
  bool undecided = false;
  auto shows = [&](const Answer& decimal, const Answer& exact) {
    if (!decimal.shown || decimal.shown->significant < decimal_digits) return false;
    const mpq_class d = *decimal.value.rational();
    const long k = decimal.shown->decimals;
    const mpq_class ulp = k >= 0 ? mpq_class(1, power_of_ten(static_cast<unsigned long>(k)))
                                 : mpq_class(power_of_ten(static_cast<unsigned long>(-k)));
    const Exact::Interval x = exact.value.enclose(k);
    const mpq_class lo = x.lo - d, hi = x.hi - d;
    auto inside = [&](const mpq_class& e) {  // e = exact - decimal: rounded, or cut off towards zero
      if (abs(e) * 2 <= ulp) return true;
      return (d >= 0 && e >= 0 && e < ulp) || (d <= 0 && e <= 0 && -e < ulp);
    };
    if (inside(lo) != inside(hi)) undecided = true;
    return inside(lo) && inside(hi);
  };
  if (shows(given, gold) || shows(gold, given)) return Equality::equal;
  return undecided ? Equality::unknown : Equality::different;
}

Answer hundredth(Answer a) {
  a.value = a.value * Exact(mpq_class(1, 100));
  if (a.shown) a.shown->decimals += 2;
  return a;
}

}  // namespace

std::optional<Answer> read_answer(std::string_view raw) {
  if (raw.size() > kMaxText) return {};
  const std::string text = simplify(raw);
  try {
    std::vector<std::string> parts(1);
    for (char c : text)
      if (c == '=')
        parts.emplace_back();
      else
        parts.back().push_back(c);
    std::optional<Answer> last = read_one(trim_blank(parts.back()), false);
    if (!last) return {};
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::string_view part = trim_blank(parts[i]);
      if (is_name(part)) continue;
      const std::optional<Answer> other = read_one(part, false);
      if (!other || compare(*other, *last, 4) != Equality::equal) return {};
    }
    return last;
  } catch (const Beyond&) {
    return {};
  }
}

std::optional<Answer> read_leading_answer(std::string_view raw) {
  if (raw.size() > kMaxText) return {};
  if (std::optional<Answer> whole = read_answer(raw)) return whole;
  const std::string text = simplify(raw);
  try {
    return read_one(trim_blank(text), true);
  } catch (const Beyond&) {
    return {};
  }
}

Equality compare(const Answer& gold, const Answer& given, int decimal_digits) {
  if (!gold.unit.empty() && !given.unit.empty() && gold.unit != given.unit) {
    const std::optional<UnitScale> a = known_unit(gold.unit), b = known_unit(given.unit);
    if (!a || !b) return Equality::unknown;
    if (a->dimension != b->dimension) return Equality::different;
    try {  // in the gold answer's unit
      Answer converted = given;
      converted.value = given.value * Exact(mpq_class(b->factor / a->factor));
      converted.shown.reset();
      converted.unit = gold.unit;
      return compare(gold, converted, decimal_digits);
    } catch (const Beyond&) {
      return Equality::unknown;
    }
  }
  try {
    if (gold.percent == given.percent) return compare_values(gold, given, decimal_digits);
    const Equality as_unit = compare_values(gold, given, decimal_digits);
    if (as_unit == Equality::equal) return as_unit;
    return compare_values(gold.percent ? hundredth(gold) : gold, given.percent ? hundredth(given) : given,
                          decimal_digits);
  } catch (const Beyond&) {
    return Equality::unknown;
  }
}

Equality compare_texts(std::string_view raw_gold, std::string_view raw_given) {
  if (raw_gold.size() > kMaxText || raw_given.size() > kMaxText) return Equality::unknown;
  auto canonical = [](std::string_view raw) {
    const std::string text = simplify(raw);
    std::string out;
    for (size_t at = 0; at < text.size();) {
      bool skipped = false;
      if (text[at] == ' ') ++at, skipped = true;
      for (std::string_view mark : {"\\text{", "\\mathrm{", "\\mbox{"}) {
        const size_t close = text.find('}', at);
        if (skipped || close == std::string::npos || text.compare(at, mark.size(), mark) != 0) continue;
        for (size_t i = at + mark.size(); i < close; ++i)
          if (text[i] != ' ') out += text[i];
        at = close + 1;
        skipped = true;
      }
      // x^{2} as x^2; other braces stay, \frac{1}{2x} and \frac{12}{x} are not the same
      if (!skipped && at > 0 && (text[at - 1] == '^' || text[at - 1] == '_') && at + 2 < text.size() &&
          text[at] == '{' && text[at + 2] == '}') {
        out += text[at + 1];
        at += 3;
        skipped = true;
      }
      if (!skipped) out += text[at++];
    }
    return out;
  };
  std::string gold = canonical(raw_gold), given = canonical(raw_given);
  if (gold.empty()) return Equality::unknown;
  if (gold == given) return Equality::equal;
  // one choice letter, alone or in brackets or before the choice's text
  auto choice = [](std::string_view text) -> char {
    if (text.size() >= 3 && text[0] == '(' && text[2] == ')') text = text.substr(1, 1);
    if (text.size() > 1 && std::string_view(").:").find(text[1]) != std::string_view::npos)
      text = text.substr(0, 1);
    return text.size() == 1 && text[0] >= 'A' && text[0] <= 'J' ? text[0] : '\0';
  };
  if (gold.size() <= 3 && choice(gold) && choice(given))
    return choice(gold) == choice(given) ? Equality::equal : Equality::different;
  auto lower = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
  };
  if (!std::all_of(gold.begin(), gold.end(), is_alpha)) return Equality::unknown;
  gold = lower(gold), given = lower(given);
  if (gold.size() > 1 && gold == given) return Equality::equal;
  const std::array<std::string, 4> truth = {"yes", "no", "true", "false"};
  auto known = [&](const std::string& w) { return std::find(truth.begin(), truth.end(), w) - truth.begin(); };
  if (known(gold) < 4 && known(given) < 4 && known(gold) / 2 == known(given) / 2) return Equality::different;
  return Equality::unknown;
}

}  // namespace cohort::math
