#include "reward/code/c_declarations.h"

#include <fmt/core.h>

#include <optional>

#include "reward/code/c_tokens.h"

namespace cohort::code {
namespace {

constexpr const char* kHeaders[] = {
    "assert.h",      "complex.h",   "ctype.h",     "errno.h",    "fenv.h",    "float.h",  "inttypes.h",
    "iso646.h",      "limits.h",    "locale.h",    "math.h",     "setjmp.h",  "signal.h", "stdalign.h",
    "stdarg.h",      "stdatomic.h", "stdbool.h",   "stddef.h",   "stdint.h",  "stdio.h",  "stdlib.h",
    "stdnoreturn.h", "string.h",    "strings.h",   "tgmath.h",   "time.h",    "uchar.h",  "wchar.h",
    "wctype.h",      "unistd.h",    "sys/types.h", "sys/time.h", "pthread.h", "malloc.h", "memory.h",
    "sys/param.h",   "search.h",    "regex.h"};
constexpr const char* kFeatures[] = {"_GNU_SOURCE",   "_DEFAULT_SOURCE", "_BSD_SOURCE",    "_POSIX_C_SOURCE",
                                     "_XOPEN_SOURCE", "_ISOC99_SOURCE",  "_ISOC11_SOURCE", "_POSIX_SOURCE"};

// The words of the preprocessor's line whose # is token `i`, which becomes the last of its tokens.
std::vector<Token> directive(std::string_view text, const std::vector<Token>& all, size_t& i) {
  std::vector<Token> line;
  for (++i; i < all.size(); ++i) {
    const bool ends = all[i].kind == Token::skipped && of(text, all[i]).find('\n') != std::string_view::npos;
    if (ends && (line.empty() || of(text, line.back()) != "\\")) break;
    if (ends) line.pop_back();
    if (all[i].kind != Token::skipped) line.push_back(all[i]);
  }
  --i;
  return line;
}

void read_directive(std::string_view text, const std::vector<Token>& line, CText& out) {
  if (line.size() < 2) return;
  const std::string_view what = of(text, line[0]), name = of(text, line[1]);
  if (what == "pragma" && name == "pack") out.packs = true;
  if (what == "include" && line.size() > 2) {
    const std::string_view header = text.substr(line[1].end, line.back().begin - line[1].end);
    if (name == "<" && among(kHeaders, header)) out.headers += fmt::format("#include <{}>\n", header);
  }
  if (what != "define") return;
  if (among(kFeatures, name) && out.headers.find("#include") == std::string::npos)
    out.headers += fmt::format("#define {}\n", text.substr(line[1].begin, line.back().end - line[1].begin));
  CMacro macro;
  macro.call = line.size() > 2 && line[2].begin == line[1].end && text[line[2].begin] == '(';
  for (size_t k = 2; k < line.size(); ++k) macro.body.emplace_back(of(text, line[k]));
  const auto [at, made] = out.macros.emplace(name, macro);
  if (!made && at->second.body != macro.body) at->second.same = false;
}

std::vector<std::pair<Words, size_t>> split_declarations(const Words& words) {
  std::vector<std::pair<Words, size_t>> all;
  Words one;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == ";") {
      if (!one.empty()) all.emplace_back(std::move(one), i);
      one.clear();
      continue;
    }
    const bool opens = words[i] == "{" || words[i] == "(" || words[i] == "[";
    const bool body = words[i] == "{" && !one.empty() && one.back() == ")";
    const size_t end = opens ? behind(words, i) : i + 1;
    if (body) {
      one.push_back("{}");
      all.emplace_back(std::move(one), end - 1);
      one.clear();
    } else {
      one.insert(one.end(), words.begin() + static_cast<long>(i), words.begin() + static_cast<long>(end));
    }
    i = end - 1;
  }
  return all;
}

// Without words of no weight to a caller: attributes too, but for a structure's, which may lay it out in another way.
Words plain_words(const Words& words) {
  const bool function = words.back() == "{}";
  const bool type = !function && (words[0] == "typedef" || among(words, "{"));
  Words out;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& w = words[i];
    if (!type && (w == "__attribute__" || w == "__attribute")) {
      i = behind(words, i + 1) - 1;
      continue;
    }
    if (among(Words{"static", "inline", "extern", "__inline", "__inline__", "_Noreturn", "register",
                    "__extension__", "noreturn"},
              w) &&
        (i == 0 || words[i - 1] != "["))
      continue;
    out.push_back(w);
  }
  return out;
}

// The names that a declaration of types makes: tags with a body, constants of enumerations, what typedef names.
void name_types(CDeclaration& d) {
  for (size_t i = 0; i < d.words.size(); ++i) {
    if (!is_aggregate(d.words[i])) continue;
    const bool tagged = i + 1 < d.words.size() && is_name(d.words[i + 1]);
    const size_t open = i + 1 + tagged;
    const bool body = open < d.words.size() && d.words[open] == "{";
    if (tagged && (body || d.words.size() == 2)) d.names.push_back(d.words[i + 1]);
    if (!body) continue;
    d.complete = d.complete || d.words[i] != "enum";
    if (d.words[i] != "enum") continue;
    const size_t end = behind(d.words, open);
    for (size_t k = open; k + 1 < end; ++k)
      if ((d.words[k] == "{" || d.words[k] == ",") && is_name(d.words[k + 1]))
        d.names.push_back(d.words[k + 1]);
    i = end - 1;
  }
  if (d.words[0] != "typedef") return;
  int depth = 0;
  for (size_t i = 1; i < d.words.size(); ++i) {
    if (d.words[i] == "{") i = behind(d.words, i);  // members
    if (i >= d.words.size()) break;
    const std::string next = i + 1 < d.words.size() ? d.words[i + 1] : ",";
    if (d.words[i] == "(" || d.words[i] == "[") ++depth;
    if (d.words[i] == ")" || d.words[i] == "]") --depth;
    if (!is_name(d.words[i]) || is_aggregate(d.words[i - 1])) continue;
    const bool in_bracket = depth == 1 && d.words[i - 1] == "*" && next == ")";  // (*name)(…)
    if ((depth == 0 && (next == "," || next == "[" || (next == "(" && d.words[i + 2] != "*"))) || in_bracket)
      d.names.push_back(d.words[i]);
    if (in_bracket) break;
  }
}

// The structure that a declaration begins with, taken out of it when variables follow; nothing where there is none of its own there.
std::optional<CDeclaration> structure_of(CDeclaration& d) {
  size_t from = 0;
  while (from < d.words.size() && (d.words[from] == "const" || d.words[from] == "volatile")) ++from;
  if (from >= d.words.size() || !is_aggregate(d.words[from])) return {};
  size_t end = from + 1;
  if (end < d.words.size() && is_name(d.words[end])) ++end;
  const bool body = end < d.words.size() && d.words[end] == "{";
  if (body) end = behind(d.words, end);
  if (!body && end != d.words.size()) return {};
  const auto at = [&](size_t i) { return d.words.begin() + static_cast<long>(i); };
  CDeclaration type;
  type.last = d.last;
  type.kind = CDeclaration::type;
  type.words = Words(at(from), at(end));
  name_types(type);
  const bool tagged = type.words.size() > 1 && is_name(type.words[1]);
  if (end == d.words.size() || !tagged)
    d.words.clear();
  else
    d.words.erase(at(from + 2), at(end));
  return type;
}

}  // namespace

bool is_name(const std::string& word) {
  return (word[0] >= 'a' && word[0] <= 'z') || (word[0] >= 'A' && word[0] <= 'Z') || word[0] == '_';
}

bool is_aggregate(const std::string& w) {
  return w == "struct" || w == "union" || w == "enum";
}

std::string joined(const Words& words, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) out += (out.empty() ? "" : " ") + words[i];
  return out;
}
std::string joined(const Words& words) {
  return joined(words, 0, words.size());
}

size_t behind(const Words& words, size_t open) {
  int depth = 0;
  for (size_t i = open; i < words.size(); ++i) {
    const std::string& w = words[i];
    if (w == "(" || w == "[" || w == "{") ++depth;
    if ((w == ")" || w == "]" || w == "}") && --depth <= 0) return i + 1;
  }
  return words.size();
}

CText read_c_text(std::string_view text) {
  CText out;
  const std::vector<Token> all = tokens_of(text);
  bool line_start = true;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string_view word = of(text, all[i]);
    if (all[i].kind == Token::skipped) {
      line_start = line_start || word.find('\n') != word.npos;
    } else if (line_start && word == "#") {
      read_directive(text, directive(text, all, i), out);
    } else {
      line_start = false;
      out.words.emplace_back(word);
      out.ends.push_back(all[i].end);
    }
  }
  return out;
}

std::vector<CDeclaration> c_declarations(const Words& words) {
  std::vector<CDeclaration> all;
  for (const auto& [raw, last] : split_declarations(words)) {
    CDeclaration d;
    d.last = last;
    d.words = plain_words(raw);
    d.elsewhere = raw[0] == "extern";
    if (d.words.empty()) continue;
    const bool body = d.words.back() == "{}";
    const size_t open = static_cast<size_t>(
        std::find_if(d.words.begin(), d.words.end(),
                     [](const std::string& w) { return w == "(" || w == "{" || w == "=" || w == "["; }) -
        d.words.begin());
    const bool bracket = open < d.words.size() && d.words[open] == "(";
    if (d.words[0] == "typedef") {
      d.kind = CDeclaration::type;
      name_types(d);
    } else if (body || (bracket && open > 0 && is_name(d.words[open - 1]))) {
      d.kind = body ? CDeclaration::function : CDeclaration::other;
      if (open > 0) d.names.push_back(d.words[open - 1]);
      if (body) d.words.pop_back();
    } else {
      d.kind = CDeclaration::variable;
      if (auto type = structure_of(d)) all.push_back(std::move(*type));
      if (d.words.empty()) continue;
    }
    all.push_back(std::move(d));
  }
  return all;
}

// Each variable of a declaration as one of its own: specifiers, stars, name, lengths.
std::vector<std::pair<std::string, std::string>> c_variables(const CDeclaration& d) {
  std::vector<std::pair<std::string, std::string>> all;
  size_t first = 0;
  while (first < d.words.size() && is_name(d.words[first])) ++first;
  if (first < d.words.size() && d.words[first] == "*") ++first;  // the star is no specifier
  if (first < 2) return all;
  const Words specifiers(d.words.begin(), d.words.begin() + static_cast<long>(first) - 1);
  Words one;
  for (size_t i = first - 1; i <= d.words.size(); ++i) {
    if (i < d.words.size() && d.words[i] != ",") {
      const bool opens = d.words[i] == "[" || d.words[i] == "(" || d.words[i] == "{";
      const size_t end = opens ? behind(d.words, i) : i + 1;
      one.insert(one.end(), d.words.begin() + static_cast<long>(i), d.words.begin() + static_cast<long>(end));
      i = end - 1;
      continue;
    }
    const Words declared(one.begin(), std::find(one.begin(), one.end(), "="));
    for (const std::string& w : declared)
      if (is_name(w) && w != "const" && w != "volatile") {
        all.emplace_back(w, joined(specifiers) + " " + joined(declared));
        break;
      }
    one.clear();
  }
  return all;
}

}  // namespace cohort::code
