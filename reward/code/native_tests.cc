#include "reward/code/native_tests.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "reward/code/c_tokens.h"
#include "reward/code/harness.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

// Of the C library, what tests compare and compute with. One that the program defines decides its own tests.
constexpr std::array kLibrary = {
    "strcmp",   "strncmp", "strcasecmp", "strncasecmp", "strcoll", "memcmp",  "bcmp",    "wcscmp",
    "wmemcmp",  "strlen",  "strchr",     "strrchr",     "strstr",  "strspn",  "strcspn", "strpbrk",
    "strtok",   "strcpy",  "strncpy",    "strcat",      "strncat", "strdup",  "memcpy",  "memmove",
    "memset",   "memchr",  "fabs",       "fabsf",       "fabsl",   "abs",     "labs",    "llabs",
    "isnan",    "isinf",   "isfinite",   "signbit",     "fmin",    "fmax",    "sqrt",    "cbrt",
    "hypot",    "pow",     "exp",        "log",         "log2",    "log10",   "sin",     "cos",
    "tan",      "floor",   "ceil",       "round",       "lround",  "trunc",   "fmod",    "atoi",
    "atol",     "atof",    "strtol",     "strtoul",     "strtod",  "qsort",   "bsearch", "isalpha",
    "isdigit",  "isalnum", "isspace",    "isupper",     "islower", "ispunct", "tolower", "toupper",
    "snprintf", "sscanf",  "malloc",     "calloc",      "realloc", "free"};
// Of C++'s, which in one process are found by more than their names.
constexpr std::array kAlgorithms = {"equal", "mismatch", "is_permutation", "is_sorted", "count", "all_of"};

// Why a program fails that defines one of `names` outside of classes and functions, as function or macro, and its tests use it.
template <size_t N>
std::optional<std::string> defines_one(const std::array<const char*, N>& names, std::string_view program,
                                       std::string_view tests, std::string_view entry_point) {
  const std::vector<Token> all = tokens_of(program);
  const std::vector<size_t> behind = behind_brackets(program, all);
  std::vector<bool> inside;  // by open brace: of something else than a namespace
  size_t before = all.size(), before_that = all.size();
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].kind == Token::skipped) continue;
    const std::string_view word = of(program, all[i]);
    auto is = [&](size_t at, std::string_view what) {
      return at < all.size() && of(program, all[at]) == what;
    };
    if (word == "{")
      inside.push_back(!is(before, "namespace") && !is(before_that, "namespace") &&
                       !is(before_that, "extern"));
    if (word == "}" && !inside.empty()) inside.pop_back();
    const bool name = all[i].kind == Token::word && word != entry_point &&
                      std::find(names.begin(), names.end(), word) != names.end() && mentions(tests, word);
    auto outside = [&] { return std::find(inside.begin(), inside.end(), true) == inside.end(); };
    if (name && (is(before, "define") ||
                 (outside() && is(skip(all, i + 1), "(") && defines_function(program, all, behind, i))))
      return fmt::format("defines {}, with which its tests compare", word);
    before_that = std::exchange(before, i);
  }
  return {};
}

// Where the one `==` of an expression stands that has no operator that binds less beside it; npos without.
size_t only_equals(std::string_view e) {
  const std::vector<Token> all = tokens_of(e);
  size_t found = e.npos;
  int depth = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].kind != Token::other) {
      if (all[i].kind == Token::word)
        for (const char* odd : {"and", "or", "xor", "bitor", "bitand", "not_eq", "throw"})
          if (of(e, all[i]) == odd && depth == 0) return e.npos;
      continue;
    }
    const size_t at = all[i].begin;
    const char c = e[at], next = at + 1 < e.size() ? e[at + 1] : 0, before = at > 0 ? e[at - 1] : 0;
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
    if (depth != 0) continue;
    if (c == '=' && next == '=') {
      if (found != e.npos) return e.npos;
      found = at;
      ++i;
    } else if (c == '=' && (before == '<' || before == '>')) {
      continue;  // <= and >= bind more
    } else if (c == '=' || c == '?' || c == '^' || c == '|' || (c == '!' && next == '=') ||
               (c == '&' && (next == '&' || before == '&'))) {
      return e.npos;
    }
  }
  return found;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 300)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out + "\"";
}

// Without the brackets around all of it.
std::string_view bare(std::string_view e) {
  for (e = trim(e); e.starts_with('('); e = trim(e.substr(1, e.size() - 2))) {
    const std::vector<Token> all = tokens_of(e);
    if (behind_brackets(e, all)[0] != all.size() || !e.ends_with(')')) break;
  }
  return e;
}

// The parts of `a && b && c`, or the whole when something binds less than &&.
std::vector<std::string_view> conjuncts(std::string_view e) {
  const std::vector<Token> all = tokens_of(e);
  std::vector<std::string_view> parts;
  size_t from = 0;
  int depth = 0;
  for (const Token& token : all) {
    const size_t at = token.begin;
    const char c = e[at], next = at + 1 < e.size() ? e[at + 1] : 0;
    if (token.kind != Token::other) continue;
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
    if (depth != 0) continue;
    if (c == '?' || c == ',' || (c == '|' && next == '|')) return {e};
    if (c == '&' && next == '&') parts.push_back(e.substr(from, at - from)), from = at + 2;
  }
  parts.push_back(e.substr(from));
  for (std::string_view part : parts)
    if (trim(part).empty()) return {e};
  return parts;
}

// One assertion with both sides of its comparisons at hand.
std::string with_sides_of(std::string_view whole, const std::string& word) {
  std::string out;
  for (std::string_view part : conjuncts(bare(whole))) {
    if (!out.empty()) out += ", ";
    part = bare(part);
    if (const auto more = conjuncts(part); more.size() > 1) {
      out += with_sides_of(part, word);
      continue;
    }
    const size_t at = only_equals(part);
    if (at == part.npos) {
      out += fmt::format("assert({})", part);
      continue;
    }
    const std::string_view left = part.substr(0, at), right = part.substr(at + 2), plain = bare(right);
    if (plain == "0" || plain == "NULL" || plain == "__null")
      out += fmt::format("cohort_{}::zero(({}), {})", word, left, quoted(whole));
    else if (plain == "nullptr")
      out += fmt::format("assert({})", part);
    else
      out += fmt::format("cohort_{}::equal(({}), ({}), {})", word, left, right, quoted(whole));
  }
  return "(" + out + ")";
}

// C++: `assert(a == b)` becomes a call that has both sides.
std::string with_sides(std::string_view tests, const std::string& word) {
  const std::vector<Token> all = tokens_of(tests);
  const std::vector<size_t> behind = behind_brackets(tests, all);
  std::string out;
  for (size_t i = 0; i < all.size(); ++i) {
    const size_t open = skip(all, i + 1);
    if (of(tests, all[i]) == "assert" && open < all.size() && tests[all[open].begin] == '(') {
      const size_t end = behind[open];
      const std::string_view whole = tests.substr(all[open].end, all[end - 1].begin - all[open].end);
      if (end > open + 1 && whole.find('#') == whole.npos && whole.find("//") == whole.npos) {
        out += with_sides_of(whole, word);
        i = end - 1;
        continue;
      }
    }
    out += of(tests, all[i]);
  }
  return out;
}

// The harness's own word for it, which no header that the tests include defines again.
std::string with_our_assert(std::string_view tests, const std::string& word) {
  const std::vector<Token> all = tokens_of(tests);
  std::string out;
  for (size_t i = 0; i < all.size(); ++i) {
    const size_t next = skip(all, i + 1);
    const bool call = of(tests, all[i]) == "assert" && next < all.size() && tests[all[next].begin] == '(';
    out += call ? "cohort_" + word + "_assert" : std::string(of(tests, all[i]));
  }
  return out;
}

uint64_t mixed(std::string_view text, uint64_t hash = 14695981039346656037ull) {
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}
// As the harness works it out.
bool is_control(std::string_view nonce, std::string_view word) {
  uint64_t hash = mixed(nonce, mixed(word));
  hash ^= hash >> 29;
  return hash >> 7 & 1;
}

#include "reward/code/native_harness.inc"

}  // namespace

std::string NativeTests::nonce(bool control) const {
  for (;;)
    if (std::string made = make_nonce(); is_control(made, word_) == control) return made;
}

std::string NativeTests::harness() const {
  return replaced(kHarness, "WORD", word_);
}

std::string undone_words(bool cpp) {
  std::string text = "\n#line 1 \"boundary\"\n";
  for (const char* word : kKeywords) text += fmt::format("#undef {}\n", word);
  text += cpp ? kCppKeywords : kCWords;
  return text;
}

std::string NativeTests::source(std::string_view program, std::string_view tests, bool cpp) const {
  std::string boundary = undone_words(cpp);
  if (!cpp)
    for (const char* name : {"strcmp", "strncmp", "memcmp", "strlen", "fabs", "fabsf", "abs", "labs"})
      if (tests.find(name) != tests.npos && program.find(name) == program.npos)
        boundary += fmt::format("#undef {0}\n#define {0} cohort_WORD_{0}\n", name);
  boundary += kBoundary;
  if (cpp) boundary += kSides;
  // the name in the program's own words: its file is called otherwise
  return fmt::format("#line 1 \"solution.{}\"\n{}{}#line 1 \"tests\"\n{}\n", cpp ? "cpp" : "c",
                     without_main(program), replaced(boundary, "WORD", word_),
                     with_our_assert(cpp ? with_sides(tests, word_) : std::string(tests), word_));
}

bool has_assertions(std::string_view tests) {
  for (const Token& token : tokens_of(tests))
    if (of(tests, token) == "assert") return true;
  return false;
}

bool of_c_library(std::string_view function) {
  return std::find(kLibrary.begin(), kLibrary.end(), function) != kLibrary.end();
}

std::optional<std::string> defines_library(std::string_view program, std::string_view tests,
                                           std::string_view entry_point) {
  return defines_one(kLibrary, program, tests, entry_point);
}

std::optional<std::string> refuse_native(std::string_view program, std::string_view tests,
                                         std::string_view entry_point) {
  if (auto why = defines_one(kAlgorithms, program, tests, entry_point)) return why;
  const std::vector<Token> all = tokens_of(program);
  std::string_view before;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].kind == Token::skipped) continue;
    const std::string_view word = of(program, all[i]);
    const size_t next = skip(all, i + 1);
    const char then = next < all.size() ? program[all[next].begin] : 0;
    for (const char* odd : {"asm", "__asm", "__asm__", "redefine_extname", "__BASE_FILE__"})
      if (word == odd) return fmt::format("uses {} beside tests that share its process", odd);
    if (word == "include" && before == "#" && then != '<' && then != '"')
      return "has a computed #include beside tests that share its process";
    before = word;
  }
  return {};
}

}  // namespace cohort::code
