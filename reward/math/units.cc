#include "reward/math/units.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "reward/math/budget.h"

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
    Known{"pascal", "1", "kg m-1 s-2"},
    Known{"atmosphere", "101325", "kg m-1 s-2"},
    Known{"erg", "1/10000000", "kg m2 s-2"},
    Known{"calorie", "523/125", "kg m2 s-2"},
    Known{"electronvolt", "801088317/5000000000000000000000000000", "kg m2 s-2"},
    Known{"ampere amp", "1", "ampere"},
    Known{"volt", "1", "kg m2 s-3 ampere-1"},
    Known{"ohm", "1", "kg m2 s-3 ampere-2"},
    Known{"coulomb", "1", "ampere s"},
    Known{"farad", "1", "kg-1 m-2 s4 ampere2"},
    Known{"tesla", "1", "kg s-2 ampere-1"},
    Known{"weber", "1", "kg m2 s-2 ampere-1"},
    Known{"henry", "1", "kg m2 s-2 ampere-2"},
    Known{"kelvin", "1", "kelvin"},
    Known{"mole", "1", "mole"},
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

// Symbols whose case counts, read only inside \text, \mathrm and the like; each takes a prefix: kN, \mu m, MeV.
struct Symbol {
  std::string_view symbol;
  const char* name;
};
constexpr std::array kSymbols = {
    Symbol{"V", "volt"},          Symbol{"N", "newton"},      Symbol{"J", "joule"},   Symbol{"W", "watt"},
    Symbol{"A", "ampere"},        Symbol{"K", "kelvin"},      Symbol{"C", "coulomb"}, Symbol{"F", "farad"},
    Symbol{"T", "tesla"},         Symbol{"H", "henry"},       Symbol{"Pa", "pascal"}, Symbol{"Hz", "hertz"},
    Symbol{"eV", "electronvolt"}, Symbol{"mol", "mole"},      Symbol{"Omega", "ohm"}, Symbol{"Wb", "weber"},
    Symbol{"m", "meter"},         Symbol{"g", "gram"},        Symbol{"s", "second"},  Symbol{"L", "liter"},
    Symbol{"cal", "calorie"},     Symbol{"atm", "atmosphere"}};

std::optional<Entry> symbol(std::string_view text, bool micro) {
  auto named = [&](std::string_view s, const mpq_class& factor) -> std::optional<Entry> {
    for (const Symbol& known : kSymbols)
      if (known.symbol == s) {
        Entry e = entries().at(known.name);
        e.factor *= factor;
        return e;
      }
    return {};
  };
  if (micro) return named(text, mpq_class(1, 1000000));
  if (std::optional<Entry> e = named(text, 1)) return e;
  if (text.size() < 2) return {};
  const long ten[] = {1000000000, 1000000, 1000, 1, 1, 1, 1};
  const long part[] = {1, 1, 1, 1000, 1000000, 1000000000, 1000000000000};
  const size_t prefix = std::string_view("GMkmunp").find(text[0]);
  return prefix == std::string_view::npos ? std::nullopt
                                          : named(text.substr(1), mpq_class(ten[prefix], part[prefix]));
}
// Symbols of units that no whole number of others is.
bool opaque_symbol(std::string_view text) {
  constexpr std::array<std::string_view, 8> symbols = {"pc", "kpc", "Mpc", "ly", "au", "AU", "AA", "dB"};
  return std::find(symbols.begin(), symbols.end(), text) != symbols.end();
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

// two, fifty, fifths, thousandths, tens: what stands behind a number is then no unit of it.
bool is_number_word(std::string word) {
  static const std::unordered_set<std::string> parts = {
      "fourth",    "fifth",       "sixth",      "seventh",    "eighth",     "ninth",
      "tenth",     "eleventh",    "twelfth",    "thirteenth", "fourteenth", "fifteenth",
      "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth",  "thirtieth",
      "fortieth",  "fiftieth",    "sixtieth",   "seventieth", "eightieth",  "ninetieth",
      "hundredth", "thousandth",  "millionth",  "billionth",  "trillionth"};
  if (word.size() > 3 && word.back() == 's') word.pop_back();
  return parts.contains(word) || number_in_words(word);
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

std::optional<int> number_in_words(std::string_view word) {
  static const std::unordered_map<std::string_view, int> numbers = {
      {"zero", 0},     {"one", 1},      {"two", 2},        {"three", 3},     {"four", 4},
      {"five", 5},     {"six", 6},      {"seven", 7},      {"eight", 8},     {"nine", 9},
      {"ten", 10},     {"eleven", 11},  {"twelve", 12},    {"thirteen", 13}, {"fourteen", 14},
      {"fifteen", 15}, {"sixteen", 16}, {"seventeen", 17}, {"eighteen", 18}, {"nineteen", 19},
      {"twenty", 20},  {"thirty", 30},  {"forty", 40},     {"fifty", 50},    {"sixty", 60},
      {"seventy", 70}, {"eighty", 80},  {"ninety", 90}};
  const auto at = numbers.find(word);
  return at == numbers.end() ? std::nullopt : std::optional(at->second);
}

bool known_unit_word(std::string_view word) {
  if (word.size() < 2) return false;
  const std::string w = lower(word);
  return entries().contains(w) || entries().contains(singular(w));
}

bool perhaps_alike(const Unit& a, const Unit& b) {
  auto coarse = [](const Unit& u) {
    std::map<std::string, int> powers;
    for (const auto& [name, power] : u.powers) {
      const bool heat = name == "degreeC" || name == "degreeF" || name == "kelvin" || name == "degree";
      powers[heat ? "heat" : name == "year" ? "s" : name == "pound" ? "kg" : name] += power;
    }
    return powers;
  };
  return coarse(a) == coarse(b);
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
  return words.contains(lower(word)) || is_number_word(lower(word));
}

std::optional<Unit> read_unit(const Tokens& tokens, size_t begin, size_t end) {
  Unit unit;
  int sign = 1;
  int pending = 0;    // the power a "square" before the word gives
  std::string words;  // unknown words make one unit of their own
  bool any = false, first = true, below = false;
  for (size_t i = begin; i < end; ++i) {
    const Token& t = tokens.list[i];
    if (t.kind == Tok::dot && any) continue;  // cm.
    if (t.kind == Tok::frac && !any) {        // \frac{\text{m}}{\text{s}}
      below = true;
      continue;
    }
    if (below && t.kind == Tok::close_brace && i + 1 < end && tokens.list[i + 1].kind == Tok::open_brace)
      sign = -1;
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
    const bool micro = t.kind == Tok::letter && t.text == "mu" && i + 1 < end && tokens.list[i + 1].from_text;
    const Token& spelled = micro ? tokens.list[++i] : t;
    const std::string word = lower(spelled.text);
    if (spelled.text.size() == 2 && spelled.text[0] == 'M' && word[0] == 'm' && !symbol(spelled.text, false))
      return {};  // Mm, MG: not the small ones
    const bool capital = spelled.text.size() == 1 && spelled.text[0] <= 'Z' && spelled.text != "L";
    if (word == "per" && any) {
      sign = -1;
      continue;
    }
    if (const int power = number_word(singular(word)); first && power > 2) {
      mpz_class ten;
      mpz_ui_pow_ui(ten.get_mpz_t(), 10, static_cast<unsigned long>(power));
      unit.multiplier = ten;
      first = false;
      continue;
    }
    first = false;
    if (word == "of" && any && i + 1 < end) continue;  // 3 cups of flour
    // 12 two-digit numbers
    const bool part_of_word = i + 2 < end && tokens.list[i + 1].kind == Tok::minus &&
                              tokens.list[i + 2].kind == Tok::word &&
                              !is_number_word(lower(tokens.list[i + 2].text));
    if (is_reserved_word(word) && !(part_of_word && is_number_word(word))) return {};
    if (number_word(singular(word)) > 0) return {};
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
    std::optional<Entry> entry;
    const bool mega = spelled.text.size() == 2 && spelled.text[0] == 'M';
    const bool as_symbol = micro || capital || mega || it == entries().end();
    if (as_symbol && (spelled.from_text || spelled.text == "Omega")) entry = symbol(spelled.text, micro);
    if (!entry && it != entries().end() && !micro && !mega && !(capital && spelled.from_text))
      entry = it->second;
    if (entry) {
      for (int k = 0; k < std::abs(power * sign); ++k)
        unit.factor *= power * sign > 0 ? entry->factor : 1 / entry->factor;
      add_powers(unit.powers, entry->powers, power * sign);
      continue;
    }
    if (micro || t.kind == Tok::letter || (word.size() < 3 && !(t.from_text && opaque_symbol(t.text))))
      return {};  // more likely a variable
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
  for (size_t i = begin; i < end; ++i) {
    const std::string word = singular(lower(tokens.list[i].text));
    if (is_number_word(word) || number_word(word) > 0) throw Beyond("a remark with a number in it");
    words += (words.empty() ? "" : " ") + word;
  }
  unit.powers[words] = 1;
  return unit;
}

}  // namespace cohort::math
