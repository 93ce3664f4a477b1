#include "reward/code/c_types.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "reward/code/c_declarations.h"

namespace cohort::code {
namespace {

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

class Reader {
 public:
  Reader(std::string_view program, std::string_view tests)
      : text_(read_c_text(program)), tests_(read_c_text(tests)) {
    declared_ = c_declarations(text_.words);
    for (const CDeclaration& d : c_declarations(tests_.words)) {
      if (d.kind == CDeclaration::variable && !d.elsewhere)
        for (const auto& [name, _] : c_variables(d)) own_.insert(name);
      if (d.kind == CDeclaration::type || d.kind == CDeclaration::function)
        own_.insert(d.names.begin(), d.names.end());
      if (d.kind == CDeclaration::type) own_types_.push_back(d);
    }
    for (const auto& [name, macro] : tests_.macros) own_.insert(name);
  }

  CInterface read(const std::vector<std::string>& called) {
    CInterface out;
    for (const std::string& name : called) {
      const auto d = std::find_if(declared_.begin(), declared_.end(), [&](const CDeclaration& one) {
        return one.kind == CDeclaration::function && !one.names.empty() && one.names[0] == name;
      });
      if (d == declared_.end()) return refuse(name + " has no plain definition");
      CFunction f;
      if (const std::string why = read_function(*d, f); !why.empty()) return refuse(name + " " + why);
      out.functions.push_back(f);
      for (const std::string& w : d->words) need(w);
      for (const CDeclaration& type : own_types_)
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
  void need(const std::string& first) {
    Words open = {first};
    while (!open.empty()) {
      const std::string word = std::move(open.back());
      open.pop_back();
      if (!is_name(word) || !needed_.insert(word).second) continue;
      auto add = [&](const Words& words) { open.insert(open.end(), words.begin(), words.end()); };
      if (const auto m = text_.macros.find(word); m != text_.macros.end() && !own_.contains(word))
        add(m->second.body);
      for (const CDeclaration& d : declared_) {
        if (d.kind == CDeclaration::type && among(d.names, word) && clean(d.words)) add(d.words);
        if (d.kind != CDeclaration::variable || own_.contains(word) || !among(d.words, word)) continue;
        for (const auto& [name, declaration] : c_variables(d))
          if (name == word) add(d.words);
      }
    }
  }

  // Through typedefs of typedefs, and no further than a program that is meant to be read goes.
  bool defined_as_pointer(const std::string& name, int depth = 0) const {
    if (depth == 16) return false;
    for (const CDeclaration& d : declared_) {
      if (d.kind != CDeclaration::type || d.words[0] != "typedef" || !among(d.names, name)) continue;
      const auto close = std::find(d.words.rbegin(), d.words.rend(), "}");
      const auto declarator = d.words.begin() + (d.words.rend() - close);
      if (std::any_of(declarator, d.words.end(),
                      [](const std::string& w) { return w == "*" || w == "[" || w == "("; }))
        return true;
      const size_t last = d.words.size() - 2;  // the type before the name
      if (close == d.words.rend() && last > 0 && !is_aggregate(d.words[last - 1]) && d.words[last] != name)
        return defined_as_pointer(d.words[last], depth + 1);
    }
    return false;
  }

  std::string read_function(const CDeclaration& d, CFunction& f) const {
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
  bool plain_macro(const std::string& name, const CMacro& macro) const {
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
    for (const CDeclaration& d : declared_) {
      if (d.kind == CDeclaration::variable) {
        for (const auto& [name, declaration] : c_variables(d))
          if (among(tests_.words, name) && !own_.contains(name) && !among(out.names, name) &&
              clean(read_c_text(declaration).words)) {
            out.variables += fmt::format("extern {};\n", declaration);
            out.names.push_back(name);
          }
        continue;
      }
      if (d.kind != CDeclaration::type) continue;
      const auto wanted = [&](const std::string& n) { return needed_.contains(n); };
      if (std::none_of(d.names.begin(), d.names.end(), wanted)) continue;
      if (std::any_of(d.names.begin(), d.names.end(), [&](const std::string& n) { return own_.contains(n); }))
        continue;
      if (!clean(d.words)) {
        // known by its name only: enough for one that the tests never look into
        if (is_aggregate(d.words[0]) && is_name(d.words[1]))
          out.declarations += joined(d.words, 0, 2) + ";\n";
        continue;
      }
      if (d.complete && text_.packs) refused_ = "it lays its structures out in another way";
      out.declarations += joined(d.words) + ";\n";
      if (!d.complete) continue;
      const bool tagged = is_aggregate(d.words[0]) && is_name(d.words[1]);
      if (tagged) out.sized.push_back(d.words[0] + " " + d.words[1]);
      if (d.words[0] == "typedef" && !d.names.empty()) out.sized.push_back(d.names.back());
    }
  }

  const CText text_, tests_;
  std::vector<CDeclaration> declared_, own_types_;
  std::set<std::string> own_, needed_;
  std::string refused_;
};

}  // namespace

CInterface read_c_interface(std::string_view program, const std::vector<std::string>& called,
                            std::string_view tests) {
  return Reader(program, tests).read(called);
}

}  // namespace cohort::code
