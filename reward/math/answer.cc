#include "reward/math/answer.h"

#include <algorithm>
#include <unordered_set>

#include "reward/math/budget.h"
#include "reward/math/reader.h"

namespace cohort::math {
namespace {

using Kind = Answer::Kind;

// am, a.m., A.M. from list[i] on; moves `i` to its last token.
const char* time_of_day(const std::vector<Token>& list, size_t& i, size_t n) {
  auto letter = [&](size_t k, char c) {
    return k < n && (list[k].kind == Tok::word || list[k].kind == Tok::letter) && list[k].text.size() == 1 &&
           (list[k].text[0] | 0x20) == c;
  };
  if (i == 0 || list[i - 1].kind != Tok::number) return nullptr;
  const std::string_view w = list[i].text;
  if (w == "AM" || w == "am" || w == "Am") return "am";
  if (w == "PM" || w == "pm" || w == "Pm") return "pm";
  if (!letter(i, 'a') && !letter(i, 'p')) return nullptr;
  const bool dot = i + 1 < n && list[i + 1].kind == Tok::dot;
  if (!dot || !letter(i + 2, 'm')) return nullptr;
  const char* time = (w[0] | 0x20) == 'a' ? "am" : "pm";
  i += 2;
  return time;
}

// 6:00 p.m. is 6 p.m.
void whole_hour(std::string& spelled) {
  const std::string minutes =
      std::string("\\") + static_cast<char>('!' + static_cast<int>(Tok::colon)) + "#00";
  if (spelled.ends_with(minutes)) spelled.resize(spelled.size() - minutes.size());
}

// One spelling for all that differ only in spacing, \text, case of words and braces around one sign.
std::string canonical(const Tokens& tokens) {
  std::string out;
  const std::vector<Token>& list = tokens.list;
  size_t n = list.size();
  while (n > 0 && (list[n - 1].kind == Tok::dot || list[n - 1].kind == Tok::comma)) --n;
  bool word_before = false;
  for (size_t i = 0; i < n; ++i) {
    const Token& t = list[i];
    if (t.kind == Tok::open_brace && i + 2 < n && list[i + 2].kind == Tok::close_brace) continue;
    if (t.kind == Tok::close_brace && i >= 2 && list[i - 2].kind == Tok::open_brace) continue;
    bool word = false;
    if (t.kind == Tok::number) {
      const Literal& l = tokens.literals[t.index];
      out += '#';
      out += l.digits.substr(0, l.point);
      if (l.has_point)
        out += "." + l.digits.substr(l.point) + (l.repeating ? "r" + std::to_string(l.repeating) : "");
      if (l.scientific) out += "e" + std::to_string(l.exponent);
      if (l.base != 10) out += "_" + std::to_string(l.base);
    } else if (t.kind == Tok::word || t.kind == Tok::in_words) {
      word = true;
      if (word_before) out += ' ';
      // case counts in what may be a name: A, AB
      const bool name = t.text.size() == 1 || (t.text.size() == 2 && t.text[1] <= 'Z');
      if (n > 1 && (t.text == "an" || t.text == "the" || t.text == "The" || t.text == "An")) continue;
      if (const char* time = time_of_day(list, i, n)) {
        whole_hour(out);
        out += time;
      } else {
        for (char c : t.text) out += !name && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
      }
    } else if (t.kind == Tok::letter) {
      const char* time = time_of_day(list, i, n);  // p.m.
      if (time) {
        whole_hour(out);
        out += time;
      } else {
        out += t.text;
      }
    } else {
      out += '\\';
      out += static_cast<char>('!' + static_cast<int>(t.kind));
      if (t.kind == Tok::other || t.kind == Tok::function || t.kind == Tok::currency ||
          t.kind == Tok::begin) {
        out += t.text;
        out += ' ';
      }
    }
    word_before = word;
  }
  return out;
}

bool is_choice_letter(const Token& t) {
  return (t.kind == Tok::letter || t.kind == Tok::word) && t.text.size() == 1 && t.text[0] >= 'A' &&
         t.text[0] <= 'J';
}

// "A) or B)", "A. B": another choice behind the first.
bool names_another(const std::vector<Token>& l, size_t from, size_t n, char first) {
  for (size_t i = from; i < n; ++i) {
    if (!is_choice_letter(l[i]) || l[i].text[0] == first) continue;
    if (i + 1 == n) return true;
    const Tok next = l[i + 1].kind;
    if (next == Tok::close_paren || next == Tok::dot || next == Tok::colon || next == Tok::comma ||
        next == Tok::in_words || next == Tok::close_brace)
      return true;
  }
  return false;
}

// The letter an answer begins with as a choice; `only` when it is nothing else.
char choice_of(const Tokens& tokens, bool& only) {
  const std::vector<Token>& l = tokens.list;
  size_t n = l.size(), b = 0;
  only = false;
  while (n > 0 && l[n - 1].kind == Tok::dot) --n;
  while (b + 1 < n && l[b].kind == Tok::open_brace) ++b;
  if (b + 1 < n && l[b].kind == Tok::word && l[b].text.size() == 6 &&
      (l[b].text.substr(1) == "ption" || l[b].text.substr(1) == "hoice"))  // Option C
    ++b;
  while (n > b && l[n - 1].kind == Tok::close_brace) --n;
  if (n - b >= 1 && is_choice_letter(l[b])) {
    only = n - b == 1 || (n - b == 2 && (l[b + 1].kind == Tok::close_paren || l[b + 1].kind == Tok::colon));
    if (only) return l[b].text[0];
    if (names_another(l, b + 1, n, l[b].text[0])) return 0;
    if (l[b + 1].kind == Tok::dot || l[b + 1].kind == Tok::close_paren || l[b + 1].kind == Tok::colon)
      return l[b].text[0];
    if (l[b].from_text && l[b + 1].space_before && l[b + 1].kind == Tok::number) return l[b].text[0];
  }
  if (n - b >= 3 && l[b].kind == Tok::open_paren && is_choice_letter(l[b + 1]) &&
      l[b + 2].kind == Tok::close_paren) {
    only = n - b == 3;
    return names_another(l, b + 3, n, l[b + 1].text[0]) ? 0 : l[b + 1].text[0];
  }
  return 0;
}

bool only_words(const Tokens& tokens) {
  for (const Token& t : tokens.list)
    if (t.kind != Tok::word && t.kind != Tok::in_words && t.kind != Tok::dot && t.kind != Tok::comma &&
        t.kind != Tok::open_brace && t.kind != Tok::close_brace && t.kind != Tok::prime &&
        t.kind != Tok::minus)
      return false;
  const Token* first = tokens.list.empty() ? nullptr : &tokens.list[0];
  // "xy" may be a product
  const bool product = tokens.list.size() == 1 && !first->from_text && splits_into_letters(first->text) &&
                       std::all_of(first->text.begin(), first->text.end(), [](char c) {
                         return std::string_view("abcxyz").find(c) != std::string_view::npos;
                       });
  return !product;
}

// What is said in words and has a meaning for a comparison. The text stays what it is.
void read_phrase(const std::string& text, Answer& a) {
  static const std::unordered_set<std::string_view> nothing = {"no solution",
                                                               "no solutions",
                                                               "empty set",
                                                               "there is no solution",
                                                               "there are no solutions",
                                                               "there is no real solution",
                                                               "there are no real solutions",
                                                               "no real solution",
                                                               "no real solutions"};
  static const std::unordered_set<std::string_view> all = {"all real numbers", "all reals",
                                                           "any real number",  "all real number",
                                                           "real numbers",     "all real values"};
  if (const std::optional<int> n = number_in_words(text)) {
    a.kind = Kind::value;
    a.tree.put(mpq_class(*n));
  } else if (nothing.contains(text)) {
    a.kind = Kind::collection;
  } else if (all.contains(text)) {
    a.kind = Kind::region;
    a.intervals.emplace_back();
  }
}

// "-42": most answers.
bool read_whole_number(std::string_view raw, Answer& a) {
  while (!raw.empty() && raw.front() == ' ') raw.remove_prefix(1);
  while (!raw.empty() && raw.back() == ' ') raw.remove_suffix(1);
  const bool negative = !raw.empty() && raw[0] == '-';
  const std::string_view digits = raw.substr(negative ? 1 : 0);
  if (digits.empty() || digits.size() > 15 || !std::all_of(digits.begin(), digits.end(), is_digit))
    return false;
  long value = 0;
  for (char c : digits) value = 10 * value + (c - '0');
  a.kind = Kind::value;
  a.tree.put(mpq_class(value));
  if (negative) a.tree.put(Node{.op = Op::negate, .a = 0});
  a.text = raw;
  return true;
}

std::optional<Answer> read_any(std::string_view raw, bool leading) {
  if (raw.size() > kMaxText) return {};
  if (Answer a; read_whole_number(raw, a)) return a;
  std::string folded;
  if (!is_ascii(raw)) {
    folded = fold_unicode(raw);
    raw = folded;
  }
  try {
    Tokens tokens = tokenize(raw);
    if (tokens.list.empty()) return {};
    const std::string text = canonical(tokens);
    if (text.empty()) return {};
    bool only = false;
    const char choice = choice_of(tokens, only);
    Answer a;
    const bool words = only_words(tokens);
    if (!only && !words) {
      try {
        Tokens copy = tokens;
        Reader reader(copy);
        a = reader.read(0, copy.list.size(), 0);
      } catch (const Beyond&) {
        a = Answer{};
        if (leading) {
          try {
            Reader reader(tokens);
            a = reader.leading(0, tokens.list.size());
          } catch (const Beyond&) {
            a = Answer{};
          }
        }
      }
    }
    if (only) a.kind = Kind::choice;
    if (words && a.kind == Kind::text) read_phrase(text, a);
    a.choice = choice;
    a.text = text;
    return a;
  } catch (const Beyond&) {
    return {};
  }
}

}  // namespace

void rename(Answer& a, const std::string& from, const std::string& to) {
  auto in = [&](std::vector<Answer>& answers) {
    for (Answer& inner : answers) rename(inner, from, to);
  };
  auto in_tree = [&](Tree& t) { std::replace(t.names.begin(), t.names.end(), from, to); };
  in_tree(a.tree);
  if (a.tight) in_tree(*a.tight);
  in_tree(a.bare);
  for (std::vector<Tree>* trees : {&a.also, &a.sides, &a.modulus})
    for (Tree& t : *trees) in_tree(t);
  for (std::vector<Answer>* answers : {&a.rounded, &a.items, &a.excluded, &a.stated}) in(*answers);
  for (std::vector<Answer::Interval>* intervals : {&a.intervals, &a.united})
    for (Answer::Interval& v : *intervals) in(v.low), in(v.high);
}

std::optional<Answer> read_answer(std::string_view text) {
  return read_any(text, false);
}
std::optional<Answer> read_leading_answer(std::string_view text) {
  return read_any(text, true);
}

}  // namespace cohort::math
