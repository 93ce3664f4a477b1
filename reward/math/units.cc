#include "reward/math/units.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

namespace cohort::math {
namespace {

struct Known {
  const char* names;
  const char* factor;
  const char* powers;  // base units: "m", "m s-1"
};
constexpr std::array kKnown = {
    Known{"mm millimeter millimetre", "1/1000", "m"},
    Known{"cm centimeter centimetre", "1/100", "m"},
    Known{"dm decimeter decimetre", "1/10", "m"},
    Known{"m meter metre", "1", "m"},
    Known{"km kilometer kilometre", "1000", "m"},
    Known{"in inch inche", "127/5000", "m"},
    Known{"ft foot feet", "381/1250", "m"},
    Known{"yd yard", "1143/1250", "m"},
    Known{"mi mile", "201168/125", "m"},
    Known{"mg milligram", "1/1000000", "kg"},
    Known{"g gram", "1/1000", "kg"},
    Known{"kg kilogram kilo", "1", "kg"},
    Known{"lb lbs pound", "45359237/100000000", "kg"},
    Known{"oz ounce", "45359237/1600000000", "kg"},
    Known{"ms millisecond", "1/1000", "s"},
    Known{"s sec second", "1", "s"},
    Known{"min minute", "60", "s"},
    Known{"h hr hour", "3600", "s"},
    Known{"day", "86400", "s"},
    Known{"week", "604800", "s"},
    Known{"year yr", "1", "year"},
    Known{"month", "1/12", "year"},
    Known{"ml milliliter millilitre", "1/1000000", "m3"},
    Known{"l liter litre", "1/1000", "m3"},
    Known{"deg degree", "1", "degree"},
    Known{"radian rad", "1", "radian"},
    Known{"cent", "1/100", "dollar"},
    Known{"dollar usd", "1", "dollar"},
    Known{"euro eur", "1", "euro"},
    Known{"yen", "1", "yen"},
    Known{"mph", "1397/3125", "m s-1"},
    Known{"kph kmh kmph", "5/18", "m s-1"},
    Known{"newton", "1", "kg m s-2"},
    Known{"joule", "1", "kg m2 s-2"},
    Known{"watt", "1", "kg m2 s-3"},
    Known{"hz hertz", "1", "s-1"},
};

struct Entry {
  mpq_class factor;
  std::map<std::string, int> powers;
};

void add_powers(std::map<std::string, int>& into, const std::map<std::string, int>& of, int times) {
  for (const auto& [name, p] : of)
    if ((into[name] += p * times) == 0) into.erase(name);
}

const std::unordered_map<std::string, Entry>& entries() {
  static const std::unordered_map<std::string, Entry> table = [] {
    std::unordered_map<std::string, Entry> made;
    for (const Known& k : kKnown) {
      Entry entry{mpq_class(k.factor), {}};
      entry.factor.canonicalize();
      std::string base;
      int power = 0, sign = 1;
      for (const char* c = k.powers;; ++c) {
        if (*c == ' ' || *c == 0) {
          if (!base.empty()) entry.powers[base] = sign * (power ? power : 1);
          base.clear();
          power = 0, sign = 1;
          if (*c == 0) break;
        } else if (*c == '-') {
          sign = -1;
        } else if (is_digit(*c)) {
          power = *c - '0';
        } else {
          base += *c;
        }
      }
      std::string name;
      for (const char* c = k.names;; ++c) {
        if (*c != ' ' && *c != 0) {
          name += *c;
          continue;
        }
        made[name] = entry;
        name.clear();
        if (*c == 0) break;
      }
    }
    return made;
  }();
  return table;
}

std::string lower(std::string_view word) {
  std::string out;
  for (char c : word) out += is_alpha(c) ? static_cast<char>(c | 0x20) : c;
  return out;
}

std::string singular(std::string word) {
  if (entries().contains(word)) return word;
  if (word.size() > 3 && word.ends_with("ies")) return word.substr(0, word.size() - 3) + "y";
  if (word.size() > 2 && word.back() == 's' && word[word.size() - 2] != 's') word.pop_back();
  return word;
}

int number_word(const std::string& word) {
  return word == "hundred"    ? 2
         : word == "thousand" ? 3
         : word == "million"  ? 6
         : word == "billion"  ? 9
         : word == "trillion" ? 12
                              : 0;
}

}  // namespace

bool known_unit_word(std::string_view word) {
  if (word.size() < 2) return false;
  const std::string w = lower(word);
  return entries().contains(w) || entries().contains(singular(w));
}

bool is_reserved_word(std::string_view word) {
  static const std::unordered_set<std::string> words = {
      "or",      "and",    "plus",          "minus",  "times",     "over",      "divided", "dozen",
      "half",    "halves", "third",         "thirds", "quarter",   "quarters",  "to",      "sin",
      "cos",     "tan",    "log",           "ln",     "pi",        "sqrt",      "mod",     "not",
      "but",     "than",   "squared",       "cubed",  "undefined", "infinity",  "choose",  "by",
      "if",      "when",   "where",         "pair",   "pairs",     "factorial", "through", "until",
      "from",    "point",  "remainder",     "except", "less",      "more",      "either",  "base",
      "exp",     "per",    "each",          "no",     "none",      "nor",       "of",      "percent",
      "between", "about",  "approximately", "almost", "nearly",    "around",    "at",      "least",
      "most",    "hundred"};
  return words.contains(lower(word));
}

std::optional<Unit> read_unit(const Tokens& tokens, size_t begin, size_t end) {
  Unit unit;
  int sign = 1;
  int pending = 0;    // the power a "square" before the word gives
  std::string words;  // unknown words make one unit of their own
  bool any = false, first = true;
  for (size_t i = begin; i < end; ++i) {
    const Token& t = tokens.list[i];
    if (t.kind == Tok::dot && any) continue;  // cm.
    if (t.kind == Tok::open_brace || t.kind == Tok::close_brace) continue;
    if (t.kind == Tok::degree && !any) {
      // 30°, and a temperature's scale as a unit of its own
      const bool scale = i + 1 < end && tokens.list[i + 1].text.size() == 1 &&
                         (tokens.list[i + 1].text == "C" || tokens.list[i + 1].text == "F");
      unit.powers[scale ? "degree" + std::string(tokens.list[i + 1].text) : "degree"] = 1;
      if (scale) ++i;
      any = true;
      continue;
    }
    if (t.kind == Tok::minus && any && i + 1 < end && tokens.list[i + 1].kind == Tok::word)
      continue;  // man-hours
    if (t.kind == Tok::slash && any) {
      sign = -1;
      continue;
    }
    if (t.kind == Tok::times && any) continue;
    if (t.kind == Tok::in_words || (t.kind != Tok::word && t.kind != Tok::letter && t.kind != Tok::currency))
      return {};
    const std::string word = lower(t.text);
    if (word == "per" && any) {
      sign = -1;
      continue;
    }
    if (first && number_word(word) > 2) {
      mpz_class ten;
      mpz_ui_pow_ui(ten.get_mpz_t(), 10, static_cast<unsigned long>(number_word(word)));
      unit.multiplier = ten;
      first = false;
      continue;
    }
    first = false;
    if (word == "of" && any && i + 1 < end) continue;  // 3 cups of flour
    if (is_reserved_word(word)) return {};
    if (word == "square" || word == "sq") {
      pending = 2;
      continue;
    }
    if (word == "cubic") {
      pending = 3;
      continue;
    }
    int power = pending ? pending : 1;
    pending = 0;
    if (i + 1 < end && tokens.list[i + 1].kind == Tok::caret) {
      size_t p = i + 2;
      const bool braces = p < end && tokens.list[p].kind == Tok::open_brace;
      if (braces) ++p;
      const bool negative = p < end && tokens.list[p].kind == Tok::minus;
      if (negative) ++p;
      if (p >= end || tokens.list[p].kind != Tok::number) return {};
      const Literal& l = tokens.literals[tokens.list[p].index];
      if (l.digits.size() != 1 || l.has_point || l.scientific) return {};
      power = (l.digits[0] - '0') * (negative ? -1 : 1);
      if (braces && (++p >= end || tokens.list[p].kind != Tok::close_brace)) return {};
      i = p;
    } else if (i + 1 < end && tokens.list[i + 1].kind == Tok::word &&
               (tokens.list[i + 1].text == "squared" || tokens.list[i + 1].text == "cubed")) {
      power = tokens.list[++i].text == "squared" ? 2 : 3;
    }
    if (power == 0) return {};
    any = true;
    const std::string name = singular(word);
    const auto it = entries().find(name);
    if (it != entries().end()) {
      for (int k = 0; k < std::abs(power * sign); ++k)
        unit.factor *= power * sign > 0 ? it->second.factor : 1 / it->second.factor;
      add_powers(unit.powers, it->second.powers, power * sign);
      continue;
    }
    if (word.size() < 3 || (t.kind == Tok::letter)) return {};  // more likely a variable
    unit.known = false;
    words +=
        (words.empty() ? "" : " ") + name + (power * sign == 1 ? "" : "^" + std::to_string(power * sign));
    if (words.size() > 60) return {};
  }
  if (pending) return {};
  if (!words.empty()) unit.powers[words] = 1;
  return unit;
}

Unit read_remark(const Tokens& tokens, size_t begin, size_t end) {
  if (std::optional<Unit> unit = read_unit(tokens, begin, end); unit && !unit->empty()) return *unit;
  Unit unit;
  unit.known = false;
  std::string words;
  for (size_t i = begin; i < end; ++i)
    words += (words.empty() ? "" : " ") + singular(lower(tokens.list[i].text));
  unit.powers[words] = 1;
  return unit;
}

}  // namespace cohort::math
