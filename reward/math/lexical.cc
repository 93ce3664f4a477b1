#include "reward/math/lexical.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>
#include <vector>

namespace cohort::math {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alpha(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

struct Spelling {
  std::string_view from, to;
};
// Longest first where one begins another.
constexpr std::array kSpellings = {
    Spelling{"\\displaystyle", " "},
    Spelling{"\\dfrac", "\\frac"},
    Spelling{"\\tfrac", "\\frac"},
    Spelling{"\\cfrac", "\\frac"},
    Spelling{"\\left", ""},
    Spelling{"\\right", ""},
    Spelling{"\\times", "*"},
    Spelling{"\\cdot", "*"},
    Spelling{"\\ast", "*"},
    Spelling{"\\div", "/"},
    Spelling{"\\qquad", " "},
    Spelling{"\\quad", " "},
    Spelling{"\\degrees", "^\\circ"},
    Spelling{"\\degree", "^\\circ"},
    Spelling{"^{\\circ}", "^\\circ"},
    Spelling{"\\mathbf{", "{"},
    Spelling{"\\textbf{", "{"},
    Spelling{"\\boldsymbol{", "{"},
    Spelling{"\\boxed{", "{"},
    Spelling{"\\fbox{", "{"},
    Spelling{"\\%", "%"},
    Spelling{"\\$", ""},
    Spelling{"\\!", ""},
    Spelling{"\\(", " "},
    Spelling{"\\)", " "},
    Spelling{"\\[", " "},
    Spelling{"\\]", " "},
    Spelling{"\\;", " "},
    Spelling{"\\:", " "},
    Spelling{"\\ ", " "},
    Spelling{"$", ""},
    Spelling{"**", ""},
    Spelling{"£", ""},
    Spelling{"€", ""},
    Spelling{"×", "*"},
    Spelling{"·", "*"},
    Spelling{"⋅", "*"},
    Spelling{"÷", "/"},
    Spelling{"−", "-"},
    Spelling{"–", "-"},
    Spelling{"－", "-"},
    Spelling{"．", "."},
    Spelling{"°", "^\\circ"},
    Spelling{"²", "^2"},
    Spelling{"³", "^3"},
    Spelling{"\xc2\xa0", " "},
    Spelling{"~", " "},
    Spelling{"\t", " "},
    Spelling{"\n", " "},
    Spelling{"\r", " "},
};

bool three_digits(std::string_view text) {  // exactly three
  return text.size() >= 3 && is_digit(text[0]) && is_digit(text[1]) && is_digit(text[2]) &&
         (text.size() == 3 || !is_digit(text[3]));
}

void respell(std::string_view text, std::string& out) {
  size_t at = 0;
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    const bool after_digit = !out.empty() && is_digit(out.back());
    if (is_digit(rest[0]) || (is_alpha(rest[0]) && rest[0] != 's') ||
        rest[0] == ' ') {  // nothing below begins so
      out += text[at++];
      continue;
    }
    bool done = false;
    for (std::string_view mark : {"{,}", ",\\!", "\\,"})
      if (!done && rest.starts_with(mark)) {
        if (after_digit && three_digits(rest.substr(mark.size())))
          out += ',';
        else
          out += mark[0] == '\\' ? " " : ",";
        at += mark.size();
        done = true;
      }
    if (done) continue;
    if (rest.starts_with("√") || (rest.starts_with("sqrt") && (out.empty() || out.back() != '\\'))) {
      at += rest[0] == 's' ? 4 : std::string_view("√").size();
      size_t digits = at;
      while (digits < text.size() && is_digit(text[digits])) ++digits;
      out += "\\sqrt";
      if (digits > at) out.append("{").append(text.substr(at, digits - at)).append("}");
      at = digits;
      continue;
    }
    if (rest.size() >= 3 && rest[0] == '\xef' && rest[1] == '\xbc' && rest[2] >= '\x90' &&
        rest[2] <= '\x99') {
      out += static_cast<char>('0' + (rest[2] - '\x90'));
      at += 3;
      continue;
    }
    for (const Spelling& s : kSpellings)
      if (rest.starts_with(s.from) &&
          !(is_alpha(s.from.back()) && rest.size() > s.from.size() && is_alpha(rest[s.from.size()]))) {
        out += s.to;
        at += s.from.size();
        done = true;
        break;
      }
    if (!done) out += text[at++];
  }
}

struct KnownUnit {
  const char* names;  // the canonical one first
  int dimension;
  const char* factor;
};
// Dimensions: 1 length, 2 mass, 3 time, 4 volume, 5 angle, 6 money, 7 speed.
constexpr std::array kUnits = {
    KnownUnit{"mm millimeter millimetre", 1, "1/1000"},
    KnownUnit{"cm centimeter centimetre", 1, "1/100"},
    KnownUnit{"m meter metre", 1, "1"},
    KnownUnit{"km kilometer kilometre", 1, "1000"},
    KnownUnit{"in inch inche", 1, "127/5000"},
    KnownUnit{"ft foot feet", 1, "381/1250"},
    KnownUnit{"yd yard", 1, "1143/1250"},
    KnownUnit{"mi mile", 1, "1609344/1000"},
    KnownUnit{"mg milligram", 2, "1/1000000"},
    KnownUnit{"g gram", 2, "1/1000"},
    KnownUnit{"kg kilogram", 2, "1"},
    KnownUnit{"lb pound", 2, "45359237/100000000"},
    KnownUnit{"oz ounce", 2, "45359237/1600000000"},
    KnownUnit{"s sec second", 3, "1"},
    KnownUnit{"min minute", 3, "60"},
    KnownUnit{"h hr hour", 3, "3600"},
    KnownUnit{"day", 3, "86400"},
    KnownUnit{"week", 3, "604800"},
    KnownUnit{"ml milliliter millilitre", 4, "1/1000"},
    KnownUnit{"l liter litre", 4, "1"},
    KnownUnit{"deg degree", 5, "1"},
    KnownUnit{"cent", 6, "1/100"},
    KnownUnit{"dollar usd", 6, "1"},
    KnownUnit{"mph", 7, "1609344/1000"},
    KnownUnit{"km/h kph kmh", 7, "1000"},
};

const std::map<std::string, const KnownUnit*>& unit_index() {
  static const std::map<std::string, const KnownUnit*> index = [] {
    std::map<std::string, const KnownUnit*> made;
    for (const KnownUnit& unit : kUnits) {
      std::string name;
      for (const char* c = unit.names;; ++c) {
        if (*c != ' ' && *c != 0) {
          name += *c;
          continue;
        }
        made[name] = &unit;
        name.clear();
        if (*c == 0) break;
      }
    }
    return made;
  }();
  return index;
}

std::string canonical_word(std::string word) {
  auto find = [](const std::string& w) -> std::string {
    const auto it = unit_index().find(w);
    if (it == unit_index().end()) return "";
    const std::string names = it->second->names;
    return names.substr(0, names.find(' '));
  };
  if (std::string known = find(word); !known.empty()) return known;
  if (word.size() > 2 && word.back() == 's' && word[word.size() - 2] != 's') word.pop_back();
  if (std::string known = find(word); !known.empty()) return known;
  return word;
}

}  // namespace

std::string_view trim_blank(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::string simplify(std::string_view text) {
  std::string spelled;
  respell(text, spelled);
  std::string out;
  for (char c : spelled)
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
  while (!out.empty() && (out.back() == ' ' || out.back() == '.' || out.back() == ',' || out.back() == ';'))
    out.pop_back();
  return out;
}

bool is_reserved_word(std::string_view word) {
  static const std::set<std::string, std::less<>> words = {
      "or",      "and",    "plus",    "minus",     "times",    "over",     "divided", "hundred", "dozen",
      "half",    "halves", "third",   "thirds",    "quarter",  "quarters", "to",      "sin",     "cos",
      "tan",     "log",    "ln",      "pi",        "sqrt",     "mod",      "not",     "but",     "than",
      "squared", "cubed",  "percent", "undefined", "infinity", "choose",   "by",      "if",      "when",
      "where",   "pair",   "pairs",   "factorial", "through",  "until",    "from",    "point",   "remainder",
      "except",  "less",   "more",    "either",    "base",     "exp",      "degreef"};
  std::string lower;
  for (char c : word) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return words.contains(lower);
}

std::optional<Unit> read_unit(std::string_view raw) {
  std::string text;
  for (size_t at = 0; at < raw.size();) {  // \text{ cm} as cm
    bool wrapped = false;
    for (std::string_view wrap : {"\\text{", "\\mathrm{", "\\mbox{", "\\textrm{", "\\rm{", "\\operatorname{"})
      if (!wrapped && raw.substr(at).starts_with(wrap)) {
        const size_t close = raw.find('}', at);
        if (close == std::string_view::npos) return {};
        text += ' ';
        text += raw.substr(at + wrap.size(), close - at - wrap.size());
        at = close + 1;
        wrapped = true;
      }
    if (!wrapped) text += raw[at++];
  }
  if (trim_blank(text) == "^\\circ") return Unit{"deg", 1};
  std::vector<std::string> words(1);
  for (char c : text) {
    if (c == ' ') {
      if (!words.back().empty()) words.emplace_back();
    } else {
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  if (words.back().empty()) words.pop_back();
  if (words.empty()) return Unit{};
  Unit unit;
  if (words[0] == "thousand") unit.factor = 1000;
  if (words[0] == "million") unit.factor = 1000000;
  if (words[0] == "billion") unit.factor = 1000000000;
  if (words[0] == "trillion") unit.factor = mpq_class("1000000000000");
  if (unit.factor != 1) words.erase(words.begin());
  if (words.size() > 4) return {};
  const char* power = "";
  if (words.size() >= 2 && (words[0] == "square" || words[0] == "sq" || words[0] == "cubic")) {
    power = words[0] == "cubic" ? "^3" : "^2";
    words.erase(words.begin());
  }
  for (std::string word : words) {
    std::string own_power;
    for (std::string_view mark : {"^{2}", "^{3}", "^2", "^3"})
      if (word.ends_with(mark)) {
        own_power = std::string("^") + (mark.find('2') != std::string_view::npos ? "2" : "3");
        word.resize(word.size() - mark.size());
        break;
      }
    if (is_reserved_word(word) || word.empty()) return {};
    if (!std::all_of(word.begin(), word.end(), [](char c) { return is_alpha(c) || c == '/' || c == '-'; }))
      return {};
    if (!is_alpha(word.front()) || !is_alpha(word.back())) return {};
    std::string name = canonical_word(word);
    if (!unit_index().contains(name) && name.size() < 3) return {};  // more likely a variable
    unit.name += (unit.name.empty() ? "" : " ") + name + own_power;
  }
  unit.name += power;
  return unit;
}

std::optional<UnitScale> known_unit(const std::string& name) {
  std::string base = name;
  int power = 1;
  if (base.ends_with("^2") || base.ends_with("^3")) {
    power = base.back() - '0';
    base.resize(base.size() - 2);
  }
  const auto it = unit_index().find(base);
  if (it == unit_index().end()) return {};
  if (power > 1 && it->second->dimension != 1) return {};
  const mpq_class one(it->second->factor);
  UnitScale scale{it->second->dimension + 100 * (power - 1), 1};
  for (int i = 0; i < power; ++i) scale.factor *= one;
  scale.factor.canonicalize();
  return scale;
}

}  // namespace cohort::math
