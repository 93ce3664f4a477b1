#include "reward/code/c_types.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "reward/code/c_tokens.h"

namespace cohort::code {
namespace {

using Words = std::vector<std::string>;

constexpr const char* kNumbers[] = {"char",      "short",    "int",      "long",     "signed",    "unsigned",
                                    "float",     "double",   "_Bool",    "bool",     "size_t",    "ssize_t",
                                    "ptrdiff_t", "int8_t",   "int16_t",  "int32_t",  "int64_t",   "uint8_t",
                                    "uint16_t",  "uint32_t", "uint64_t", "intptr_t", "uintptr_t", "intmax_t",
                                    "uintmax_t", "const",    "volatile", "enum"};
constexpr const char* kKeywords[] = {
    "auto",   "break",  "case",     "char",   "const",    "continue", "default",  "do",     "double",
    "else",   "enum",   "extern",   "float",  "for",      "goto",     "if",       "inline", "int",
    "long",   "main",   "register", "return", "restrict", "short",    "signed",   "sizeof", "static",
    "struct", "switch", "typedef",  "union",  "unsigned", "void",     "volatile", "while",  "_Bool"};

constexpr const char* kHeaders[] = {
    "assert.h",      "complex.h",   "ctype.h",     "errno.h",    "fenv.h",    "float.h",  "inttypes.h",
    "iso646.h",      "limits.h",    "locale.h",    "math.h",     "setjmp.h",  "signal.h", "stdalign.h",
    "stdarg.h",      "stdatomic.h", "stdbool.h",   "stddef.h",   "stdint.h",  "stdio.h",  "stdlib.h",
    "stdnoreturn.h", "string.h",    "strings.h",   "tgmath.h",   "time.h",    "uchar.h",  "wchar.h",
    "wctype.h",      "unistd.h",    "sys/types.h", "sys/time.h", "pthread.h", "malloc.h", "memory.h",
    "sys/param.h",   "search.h",    "regex.h"};
constexpr const char* kFeatures[] = {"_GNU_SOURCE",   "_DEFAULT_SOURCE", "_BSD_SOURCE",    "_POSIX_C_SOURCE",
                                     "_XOPEN_SOURCE", "_ISOC99_SOURCE",  "_ISOC11_SOURCE", "_POSIX_SOURCE"};

template <class List>
bool among(const List& list, std::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}
bool is_name(const std::string& word) {
  return (word[0] >= 'a' && word[0] <= 'z') || (word[0] >= 'A' && word[0] <= 'Z') || word[0] == '_';
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

struct Macro {
  Words body;
  bool call = false;  // has parameters
  bool same = true;   // one definition only
};

// The words of a text outside of its preprocessor's lines, which are read on the way.
struct Text {
  Words words;
  std::vector<size_t> ends;  // of the words, in the text
  std::map<std::string, Macro> macros;
  std::string headers;
  bool packs = false;  // has a pragma that lays structures out in another way
};

Text read_text(std::string_view text) {
  Text out;
  const std::vector<Token> all = tokens_of(text);
  bool line_start = true;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string_view word = of(text, all[i]);
    if (all[i].kind == Token::skipped) {
      line_start = line_start || word.find('\n') != word.npos;
      continue;
    }
    if (!line_start || word != "#") {
      line_start = false;
      out.words.emplace_back(word);
      out.ends.push_back(all[i].end);
      continue;
    }
    std::vector<Token> line;
    for (++i; i < all.size(); ++i) {
      const bool ends =
          all[i].kind == Token::skipped && of(text, all[i]).find('\n') != std::string_view::npos;
      if (ends && (line.empty() || of(text, line.back()) != "\\")) break;
      if (ends) line.pop_back();
      if (all[i].kind != Token::skipped) line.push_back(all[i]);
    }
    --i;
    if (line.empty()) continue;
    if (of(text, line[0]) == "pragma" && line.size() > 1 && of(text, line[1]) == "pack") out.packs = true;
    if (of(text, line[0]) == "include" && line.size() > 2) {
      const std::string_view header = text.substr(line[1].end, line.back().begin - line[1].end);
      if (of(text, line[1]) == "<" && among(kHeaders, header))
        out.headers += fmt::format("#include <{}>\n", header);
    }
    if (of(text, line[0]) != "define" || line.size() < 2) continue;
    if (among(kFeatures, of(text, line[1])) && out.headers.find("#include") == std::string::npos)
      out.headers += fmt::format("#define {}\n", text.substr(line[1].begin, line.back().end - line[1].begin));
    Macro macro;
    macro.call = line.size() > 2 && line[2].begin == line[1].end && text[line[2].begin] == '(';
    for (size_t k = 2; k < line.size(); ++k) macro.body.emplace_back(of(text, line[k]));
    const auto [at, made] = out.macros.emplace(of(text, line[1]), macro);
    if (!made && at->second.body != macro.body) at->second.same = false;
  }
  return out;
}

// One declaration of a file: its words without the body that a function has or the value of a variable.
struct Declaration {
  enum Kind { type, function, variable, other };
  Kind kind = other;
  Words words;
  std::vector<std::string> names;  // types, tags and constants it makes; of a variable or function its name
  bool complete = false;           // a structure with its members
  bool elsewhere = false;          // "extern"
  size_t last = 0;                 // its last word's number in the file
};

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

bool aggregate(const std::string& w) {
  return w == "struct" || w == "union" || w == "enum";
}

// The names that a declaration of types makes: tags with a body, constants of enumerations, what typedef names.
void name_types(Declaration& d) {
  for (size_t i = 0; i < d.words.size(); ++i) {
    if (!aggregate(d.words[i])) continue;
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
  }
  if (d.words[0] != "typedef") return;
  int depth = 0;
  for (size_t i = 1; i < d.words.size(); ++i) {
    if (d.words[i] == "{") i = behind(d.words, i);  // members
    if (i >= d.words.size()) break;
    const std::string next = i + 1 < d.words.size() ? d.words[i + 1] : ",";
    if (d.words[i] == "(" || d.words[i] == "[") ++depth;
    if (d.words[i] == ")" || d.words[i] == "]") --depth;
    if (!is_name(d.words[i]) || aggregate(d.words[i - 1])) continue;
    const bool in_bracket = depth == 1 && d.words[i - 1] == "*" && next == ")";  // (*name)(…)
    if ((depth == 0 && (next == "," || next == "[" || (next == "(" && d.words[i + 2] != "*"))) || in_bracket)
      d.names.push_back(d.words[i]);
    if (in_bracket) break;
  }
}

std::vector<Declaration> declarations_of(const Words& words) {
  std::vector<Declaration> all;
  for (const auto& [raw, last] : split_declarations(words)) {
    Declaration d;
    d.last = last;
    d.words = plain_words(raw);
    d.elsewhere = raw[0] == "extern";
    if (d.words.empty()) continue;
    const size_t open = static_cast<size_t>(
        std::find_if(d.words.begin(), d.words.end(),
                     [](const std::string& w) { return w == "(" || w == "{" || w == "=" || w == "["; }) -
        d.words.begin());
    const bool bracket = open < d.words.size() && d.words[open] == "(";
    if (d.words[0] == "typedef") {
      d.kind = Declaration::type;
      name_types(d);
    } else if (d.words.back() == "{}" || (bracket && open > 0 && is_name(d.words[open - 1]))) {
      d.kind = d.words.back() == "{}" ? Declaration::function : Declaration::other;
      if (open > 0) d.names.push_back(d.words[open - 1]);
      if (d.kind == Declaration::function) d.words.pop_back();
    } else {
      // a structure, variables, or both
      size_t from = 0;
      while (from < d.words.size() && (d.words[from] == "const" || d.words[from] == "volatile")) ++from;
      if (from < d.words.size() && aggregate(d.words[from])) {
        size_t end = from + 1;
        if (end < d.words.size() && is_name(d.words[end])) ++end;
        const bool body = end < d.words.size() && d.words[end] == "{";
        if (body) end = behind(d.words, end);
        if (body || end == d.words.size()) {
          Declaration type;
          type.last = last;
          type.kind = Declaration::type;
          type.words =
              Words(d.words.begin() + static_cast<long>(from), d.words.begin() + static_cast<long>(end));
          name_types(type);
          const bool tagged = is_name(type.words[1]);
          all.push_back(type);
          if (end == d.words.size() || !tagged) continue;
          // the variables of it
          d.words.erase(d.words.begin() + static_cast<long>(from) + 2,
                        d.words.begin() + static_cast<long>(end));
        }
      }
      d.kind = Declaration::variable;
    }
    all.push_back(std::move(d));
  }
  return all;
}

// Each variable of a declaration as one of its own: specifiers, stars, name, lengths.
std::vector<std::pair<std::string, std::string>> variables_of(const Declaration& d) {
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

class Reader {
 public:
  Reader(std::string_view program, std::string_view tests)
      : text_(read_text(program)), tests_(read_text(tests)) {
    declared_ = declarations_of(text_.words);
    for (const Declaration& d : declarations_of(tests_.words)) {
      if (d.kind == Declaration::variable && !d.elsewhere)
        for (const auto& [name, _] : variables_of(d)) own_.insert(name);
      if (d.kind == Declaration::type || d.kind == Declaration::function)
        own_.insert(d.names.begin(), d.names.end());
      if (d.kind == Declaration::type) own_types_.push_back(d);
    }
    for (const auto& [name, macro] : tests_.macros) own_.insert(name);
  }

  CInterface read(const std::vector<std::string>& called) {
    CInterface out;
    for (const std::string& name : called) {
      const auto d = std::find_if(declared_.begin(), declared_.end(), [&](const Declaration& one) {
        return one.kind == Declaration::function && !one.names.empty() && one.names[0] == name;
      });
      if (d == declared_.end()) return refuse(name + " has no plain definition");
      CFunction f;
      if (const std::string why = read_function(*d, f); !why.empty()) return refuse(name + " " + why);
      out.functions.push_back(f);
      for (const std::string& w : d->words) need(w);
      for (const Declaration& type : own_types_)
        if (std::any_of(type.names.begin(), type.names.end(),
                        [&](const std::string& n) { return among(d->words, n); }))
          out.tests_types = std::max(out.tests_types, tests_.ends[type.last]);
    }
    for (const std::string& w : tests_.words) need(w);
    for (const auto& [name, macro] : tests_.macros)
      for (const std::string& w : macro.body) need(w);
    for (size_t i = 0; i + 1 < tests_.words.size(); ++i)
      if (const auto m = text_.macros.find(tests_.words[i]);
          m != text_.macros.end() && m->second.call && tests_.words[i + 1] == "(" && !own_.contains(m->first))
        return refuse(fmt::format("its tests use {}, a macro with parameters", m->first));
    take_types_and_variables(out);
    out.headers = text_.headers;
    return refused_.empty() ? out : refuse(refused_);
  }

 private:
  static CInterface refuse(const std::string& why) {
    CInterface out;
    out.refused = why;
    return out;
  }

  // A word that the tests or what they need name. What it stands for is looked at in take_….
  void need(const std::string& word) {
    if (!is_name(word) || !needed_.insert(word).second) return;
    if (const auto m = text_.macros.find(word); m != text_.macros.end() && !own_.contains(word))
      for (const std::string& w : m->second.body) need(w);
    for (const Declaration& d : declared_) {
      const bool names_it = d.kind == Declaration::type && among(d.names, word);
      if (names_it && clean(d.words))
        for (const std::string& w : d.words) need(w);
      if (d.kind != Declaration::variable || own_.contains(word)) continue;
      for (const auto& [name, declaration] : variables_of(d))
        if (name == word)
          for (const std::string& w : d.words) need(w);
    }
  }

  // Through typedefs of typedefs, and no further than a program that is meant to be read goes.
  bool defined_as_pointer(const std::string& name, int depth = 0) const {
    if (depth == 16) return false;
    for (const Declaration& d : declared_) {
      if (d.kind != Declaration::type || d.words[0] != "typedef" || !among(d.names, name)) continue;
      const auto close = std::find(d.words.rbegin(), d.words.rend(), "}");
      const auto declarator = d.words.begin() + (d.words.rend() - close);
      if (std::any_of(declarator, d.words.end(),
                      [](const std::string& w) { return w == "*" || w == "[" || w == "("; }))
        return true;
      const size_t last = d.words.size() - 2;  // the type before the name
      if (close == d.words.rend() && last > 0 && !aggregate(d.words[last - 1]) && d.words[last] != name)
        return defined_as_pointer(d.words[last], depth + 1);
    }
    return false;
  }

  std::string read_function(const Declaration& d, CFunction& f) const {
    f.name = d.names[0];
    const size_t open = static_cast<size_t>(std::find(d.words.begin(), d.words.end(), "(") - d.words.begin());
    const Words result(d.words.begin(), d.words.begin() + static_cast<long>(open) - 1);
    if (result.empty()) return "has no type for its result";
    if (behind(d.words, open) != d.words.size()) return "has parameters of an old kind";
    if (among(d.words, ".")) return "takes any number of arguments";
    if (!clean(d.words)) return "has types that are no plain words";
    f.result = joined(result);
    f.prototype = joined(d.words);
    f.number =
        std::all_of(result.begin(), result.end(), [](const std::string& w) { return among(kNumbers, w); });
    size_t from = open + 1;
    for (size_t i = from; i < d.words.size(); ++i) {
      const bool end = i + 1 == d.words.size();
      if (!end && d.words[i] != ",") {
        if (d.words[i] == "(" || d.words[i] == "[") i = behind(d.words, i) - 1;
        continue;
      }
      const Words one(d.words.begin() + static_cast<long>(from), d.words.begin() + static_cast<long>(i));
      from = i + 1;
      if (end && f.parameters.empty() && (one.empty() || one == Words{"void"})) break;
      if (one.empty()) return "has a parameter without a type";
      f.parameters.push_back(read_parameter(one));
      if (f.parameters.back().name.empty()) return "has a parameter without a name";
    }
    return "";
  }

  CParameter read_parameter(const Words& one) const {
    CParameter p;
    size_t name = one.size();
    for (size_t i = 0; i < one.size(); ++i) {
      if (one[i] == "[" || one[i] == "(" || one[i] == "*") p.pointer = true;
      if (one[i] == "[") break;
      if (one[i] == "(" && i + 2 < one.size() && one[i + 1] == "*") {
        name = i + 2;
        break;
      }
      if (one[i] == "(") break;
      if (is_name(one[i])) name = i;
    }
    if (name == one.size() || name == 0) return p;
    p.name = one[name];
    for (size_t i = 0; i < name; ++i) p.pointer = p.pointer || defined_as_pointer(one[i]);
    p.type = p.pointer ? "void*" : joined(one, 0, name);
    return p;
  }

  // Only what declares: no attributes, no code.
  bool clean(const Words& words) const {
    for (size_t i = 0; i < words.size(); ++i) {
      const std::string& w = words[i];
      if (w[0] == '"' || among(Words{"#", "\\", ".", "@", "$", "`"}, w)) return false;
      if (w == "{" && i > 0 && words[i - 1] == "(") return false;
      if (w.starts_with("__") && w != "__int128") return false;
      if (among(Words{"asm", "typeof", "_Alignas", "alignas", "_Static_assert", "static_assert", "_Generic",
                      "_Atomic", "_Thread_local"},
                w))
        return false;
      if (const auto m = text_.macros.find(w); m != text_.macros.end() && m->second.call) return false;
    }
    return true;
  }

  // A constant (or words of a type) that a macro stands for.
  bool plain_macro(const std::string& name, const Macro& macro) const {
    if (macro.call || !macro.same || among(kKeywords, name)) return false;
    for (const std::string& w : macro.body) {
      if (w[0] == '"') continue;
      if (is_name(w) && (w.starts_with("__") || w == "asm" || w == "typeof")) return false;
      if (among(Words{"{", "}", ";", "=", "#", ",", "[", "]", "\\", "."}, w)) return false;
      const auto inner = text_.macros.find(w);
      if (inner != text_.macros.end() && inner->second.call) return false;
    }
    // a function that is called by it would be one of the program's or the library's under another name
    for (size_t i = 0; i + 1 < macro.body.size(); ++i)
      if (is_name(macro.body[i]) && macro.body[i + 1] == "(" && macro.body[i] != "sizeof") return false;
    const bool one_name = macro.body.size() == 1 && is_name(macro.body[0]);
    return !one_name || !function_like(macro.body[0]);
  }
  bool function_like(const std::string& word) const {
    for (size_t i = 0; i + 1 < tests_.words.size(); ++i)
      if (tests_.words[i + 1] == "(" && text_.macros.contains(tests_.words[i]) &&
          text_.macros.at(tests_.words[i]).body == Words{word})
        return true;
    return false;
  }

  void take_types_and_variables(CInterface& out) {
    // constants before types: their names may be lengths in those
    for (const auto& [name, macro] : text_.macros) {
      if (!needed_.contains(name) || own_.contains(name) || macro.body.empty()) continue;
      if (!plain_macro(name, macro)) {
        if (among(tests_.words, name) && !macro.call)
          refused_ = fmt::format("its tests use {}, a macro that is no constant", name);
        continue;
      }
      out.declarations += fmt::format("#ifndef {0}\n#define {0} {1}\n#endif\n", name, joined(macro.body));
    }
    for (const Declaration& d : declared_) {
      if (d.kind == Declaration::variable) {
        for (const auto& [name, declaration] : variables_of(d))
          if (among(tests_.words, name) && !own_.contains(name) && !among(out.names, name) &&
              clean(read_text(declaration).words)) {
            out.variables += fmt::format("extern {};\n", declaration);
            out.names.push_back(name);
          }
        continue;
      }
      if (d.kind != Declaration::type) continue;
      const auto wanted = [&](const std::string& n) { return needed_.contains(n); };
      if (std::none_of(d.names.begin(), d.names.end(), wanted)) continue;
      if (std::any_of(d.names.begin(), d.names.end(), [&](const std::string& n) { return own_.contains(n); }))
        continue;
      if (!clean(d.words)) {
        // known by its name only: enough for one that the tests never look into
        if (aggregate(d.words[0]) && is_name(d.words[1])) out.declarations += joined(d.words, 0, 2) + ";\n";
        continue;
      }
      if (d.complete && text_.packs) refused_ = "it lays its structures out in another way";
      out.declarations += joined(d.words) + ";\n";
      if (!d.complete) continue;
      const bool tagged = aggregate(d.words[0]) && is_name(d.words[1]);
      if (tagged) out.sized.push_back(d.words[0] + " " + d.words[1]);
      if (d.words[0] == "typedef" && !d.names.empty()) out.sized.push_back(d.names.back());
    }
  }

  const Text text_, tests_;
  std::vector<Declaration> declared_, own_types_;
  std::set<std::string> own_, needed_;
  std::string refused_;
};

}  // namespace

CInterface read_c_interface(std::string_view program, const std::vector<std::string>& called,
                            std::string_view tests) {
  return Reader(program, tests).read(called);
}

}  // namespace cohort::code
