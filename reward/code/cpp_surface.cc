#include "reward/code/cpp_surface.h"

#include <fmt/core.h>

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <regex>

#include "reward/code/c_tokens.h"
#include "reward/code/native_tests.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

constexpr const char* kStandardBases[] = {
    "exception",    "runtime_error", "logic_error", "invalid_argument", "out_of_range",
    "domain_error", "length_error",  "range_error", "overflow_error",   "underflow_error"};

std::string without_std(std::string name) {
  if (name.starts_with("::")) name = name.substr(2);
  return name.starts_with("std::") ? name.substr(5) : name;
}
bool standard_base(const std::string& base) {
  const std::string name = without_std(base);
  return std::find(std::begin(kStandardBases), std::end(kStandardBases), name) != std::end(kStandardBases);
}

bool is_identifier(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return isalnum(c) || c == '_'; });
}

// A value that is spelled the same for any program: numbers, texts, nullptr.
bool is_literal(std::string_view text) {
  for (const Token& token : tokens_of(text)) {
    const std::string_view t = of(text, token);
    if (token.kind == Token::skipped) {
      if (t.find('/') != t.npos) return false;
      continue;
    }
    if (token.kind == Token::literal) {
      if (t.size() < 2 || (t[0] != '"' && t[0] != '\'') || t.back() != t[0] || t.find('\n') != t.npos)
        return false;
      for (unsigned char c : t)
        if (c < 32) return false;
      continue;
    }
    if (token.kind == Token::word) {
      bool known = t[0] >= '0' && t[0] <= '9';
      for (const char* w :
           {"true", "false", "nullptr", "NULL", "INT_MAX", "INT_MIN", "LLONG_MAX", "LLONG_MIN"})
        known = known || t == w;
      if (!known) return false;
    } else if (std::string_view("-+{}").find(t) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

// Only types that every process has the same: what else a program may call its own is not looked into.
bool is_plain_word(std::string_view text) {
  constexpr const char* kWords[] = {
      "const", "unsigned", "signed", "int", "long", "short", "char", "bool", "float", "double", "void",
      "wchar_t", "char8_t", "char16_t", "char32_t", "__int128", "nullptr_t", "std", "__cxx11", "basic_string",
      "string", "basic_string_view", "vector", "list", "forward_list", "deque", "set", "multiset",
      "unordered_set", "unordered_multiset", "map", "multimap", "unordered_map", "unordered_multimap", "pair",
      "tuple", "optional", "array", "stack", "queue", "priority_queue", "variant", "monostate", "complex",
      "bitset", "function", "unique_ptr", "shared_ptr", "basic_ostream",
      // as a compiler writes what is left to its default
      "char_traits", "allocator", "less", "greater", "hash", "equal_to", "default_delete"};
  return (text[0] >= '0' && text[0] <= '9') ||
         std::find(std::begin(kWords), std::end(kWords), text) != std::end(kWords);
}

std::string in_brackets(const std::string& type) {
  return type.find_first_of("([") == type.npos ? type : "std::type_identity_t<" + type + ">";
}

bool balanced(std::string_view text) {
  int depth = 0;
  for (char c : text) {
    depth += (c == '(') - (c == ')');
    if (depth < 0) return false;
  }
  return depth == 0;
}

std::vector<std::string> split(std::string_view rest);

// The parameters of an instance's template as what they stand for: "using T = int; …", for a scope in which its text is read.
std::string names_of_arguments(const CppClass& c) {
  if (c.arguments.size() < 2) return "";
  const std::vector<std::string> parameters = split(c.head),
                                 given =
                                     split(std::string_view(c.arguments).substr(1, c.arguments.size() - 2));
  std::string out;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const size_t equals = parameters[i].find('=');
    const std::string left(trim(std::string_view(parameters[i]).substr(0, equals)));
    const std::string value = i < given.size()              ? given[i]
                              : equals == std::string::npos ? ""
                                                            : parameters[i].substr(equals + 1);
    const size_t space = left.find_last_of(" \n\t");
    if (space == std::string::npos || value.empty()) continue;
    const std::string kind(trim(std::string_view(left).substr(0, space))), name = left.substr(space + 1);
    if (!is_identifier(name)) continue;
    out += kind == "class" || kind == "typename"
               ? "using " + name + " = " + value + "; "
               : "static constexpr " + kind + " " + name + " = " + value + "; ";
  }
  return out;
}

// The template itself, of which the tests see instances only; "" where it is none that can be written down.
std::string primary(const CppClass& c) {
  std::string list;
  for (const std::string& parameter : split(c.head)) {
    const size_t equals = parameter.find('=');
    const std::string left(trim(std::string_view(parameter).substr(0, equals)));
    const size_t space = left.find_last_of(" \n\t");
    const std::string kind(trim(std::string_view(left).substr(0, std::min(space, left.size()))));
    bool plain = kind == "class" || kind == "typename";
    for (const char* number : {"int", "unsigned", "size_t", "std::size_t", "bool", "char", "long", "auto"})
      plain = plain || kind == number;
    if (!plain) return "";
    list += (list.empty() ? "" : ", ") + (kind == "size_t" ? "std::size_t" : kind);
    if (equals == std::string::npos) continue;
    const std::string value(trim(std::string_view(parameter).substr(equals + 1)));
    bool known = true;
    for (const Token& t : tokens_of(value))
      known = known && (t.kind == Token::skipped ||
                        (t.kind == Token::word
                             ? is_plain_word(of(value, t))
                             : std::string_view("<>:,").find(of(value, t)) != std::string_view::npos));
    if (!known) return "";
    list += " = " + value;
  }
  return fmt::format("template <{}> struct {};\n", list, c.name);
}

std::vector<std::string> split(std::string_view rest) {
  std::vector<std::string> parts;
  rest = trim(rest);
  while (!rest.empty()) {
    size_t end = 0;
    for (int depth = 0; end < rest.size() && (depth > 0 || rest[end] != ','); ++end)
      depth += (std::string_view("<([").find(rest[end]) != std::string_view::npos) -
               (std::string_view(">)]").find(rest[end]) != std::string_view::npos);
    parts.emplace_back(trim(rest.substr(0, end)));
    rest = trim(rest.substr(std::min(rest.size(), end + 1)));
  }
  return parts;
}

}  // namespace

bool decides_tests(std::string_view name) {
  for (const char* c :
       {"assert", "strcmp", "strncmp", "strcasecmp", "strncasecmp", "memcmp", "bcmp", "wcscmp", "wmemcmp",
        "strlen", "fabs", "fabsf", "fabsl", "abs", "labs", "llabs", "isnan", "fmin", "fmax"})
    if (name == c) return true;
  return false;
}

std::optional<CppShape> read_shape(std::string_view text) {
  // "F; auto ...V = {a, b}" up to its ]
  CppShape shape;
  const size_t values = text.find("; auto ...V = {");
  if (values == text.npos) return {};
  std::string_view type = trim(text.substr(0, values));
  const std::string_view rest = text.substr(values + 15);
  const size_t close = rest.find('}');
  if (close == rest.npos) return {};
  shape.values = split(rest.substr(0, close));
  const size_t list = type.find("types<");
  if (list != type.npos && type.ends_with('>') && (list == 0 || type[list - 1] == ':') &&
      type.substr(0, list).find('<') == type.npos && type.substr(0, list).find(' ') == type.npos) {
    shape.parameters = split(type.substr(list + 6, type.size() - list - 7));
    return shape;
  }
  if (!type.ends_with(')')) return {};
  int depth = 0;
  size_t open = type.size();
  while (open > 0) {
    --open;
    depth += (type[open] == ')') - (type[open] == '(');
    if (depth == 0) break;
  }
  shape.result = trim(type.substr(0, open));
  shape.parameters = split(type.substr(open + 1, type.size() - open - 2));
  if (shape.parameters.size() == 1 && shape.parameters[0] == "void") shape.parameters.clear();
  if (shape.result.empty() || !balanced(shape.result)) return {};
  return shape;
}

CppSurface::CppSurface(std::string_view program, std::string_view tests, const std::string& entry_point,
                       std::string word)
    : program_(program), tests_(tests), word_(std::move(word)), found_(read_declarations(program)) {
  const std::vector<Token> all = tokens_of(tests);
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].kind != Token::word) continue;
    const std::string name(of(tests, all[i]));
    words_.insert(name);
    const size_t next = skip(all, i + 1);
    const std::string_view then = next < all.size() ? of(tests, all[next]) : "";
    if (then == "{") brace_made_.insert(name);
    size_t k = i;
    while (k > 0 && all[k - 1].kind == Token::skipped) --k;
    const char before = k > 0 ? tests[all[k - 1].begin] : 0;
    if ((before == '.' || before == '>') && then != "(") fields_used_.insert(name);
    if (word_ == name) return;
  }
  const CppDeclarations own = read_declarations(tests);
  for (const CppFunction& f : own.functions) own_words_.insert(f.name);
  for (const CppClass& c : own.classes) own_words_.insert(c.name);
  for (const auto& a : own.aliases) own_words_.insert(a.name);
  for (const auto& v : own.variables) own_words_.insert(v.name);
  for (const auto& e : own.enums) own_words_.insert(e.name);
  for (const auto& [name, value] : own.macros) own_words_.insert(name);
  for (const auto& [name, value] : found_.macros) macros_.insert(name);
  add_instances();
  choose_classes();
  choose(entry_point);
}

// A class for each instance of a class template that the tests name, or that such a one has fields of.
void CppSurface::add_instances() {
  const std::vector<Token> all = tokens_of(tests_);
  const size_t templates = found_.classes.size();
  std::set<std::pair<size_t, std::string>> made;
  std::vector<CppClass> instances;
  auto add = [&](size_t k, const std::string& arguments) {
    if (instances.size() >= 16 || !made.emplace(k, arguments).second) return;
    instances.push_back(found_.classes[k]);
    instances.back().arguments = arguments;
  };
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t k = 0; k < templates; ++k) {
      const CppClass& c = found_.classes[k];
      if (c.head.empty() || c.owner >= 0 || of(tests_, all[i]) != c.name) continue;
      std::string arguments;
      int depth = 0;
      for (size_t j = skip(all, i + 1); j < all.size(); ++j) {
        const std::string_view t = of(tests_, all[j]);
        if (all[j].kind == Token::skipped) {
          if (!arguments.empty() && is_identifier(arguments.substr(arguments.find_last_of("<,:* ") + 1)))
            arguments += " ";
          continue;
        }
        depth += (t == "<") - (t == ">");
        if (all[j].kind == Token::other && std::string_view("<>,:*").find(t) == std::string_view::npos)
          depth = 0;
        if (depth == 0 && t != ">") break;
        arguments += t;
        if (depth == 0) {
          add(k, arguments);
          break;
        }
      }
    }
  for (size_t n = 0; n < instances.size(); ++n)
    for (size_t k = 0; k < templates; ++k) {
      const CppClass& c = found_.classes[k];
      if (c.head.empty() || c.owner >= 0 || c.name == instances[n].name ||
          split(c.head).size() != split(instances[n].head).size())
        continue;
      bool used = false;
      for (const CppField& f : instances[n].fields)
        for (const Token& t : tokens_of(f.text)) used = used || of(f.text, t) == c.name;
      if (used) add(k, std::string(instances[n].arguments));
    }
  for (CppClass& c : instances) found_.classes.push_back(std::move(c));
}

bool CppSurface::is_exception(const CppClass& c) const {
  if (c.bases.empty()) return false;
  if (standard_base(c.bases[0])) return true;
  for (const CppClass& other : found_.classes)
    if (&other != &c && other.name == c.bases[0] && is_exception(other)) return true;
  return false;
}

// Its own == of two of its objects.
bool CppSurface::has_equality(const CppClass& c, const CppFunction** found) const {
  auto of_class = [&](const CppFunction& f) {
    if ((f.name != "operator==" && f.name != "operator!=") || f.is_template) return false;
    for (const CppParameter& p : f.parameters) {
      bool names = false;
      for (const Token& t : tokens_of(p.text)) names = names || of(p.text, t) == c.name;
      if (!names) return false;
    }
    return !f.parameters.empty();
  };
  const CppFunction* equal = nullptr;
  auto take = [&](const CppFunction& f) {
    if (!equal || equal->name != "operator==") equal = &f;
  };
  for (const CppFunction& f : c.functions)
    if (of_class(f) || (f.name == "operator<=>" && f.is_default && !equal)) take(f);
  for (const CppFunction& f : found_.functions)
    if (of_class(f) && f.parameters.size() == 2) take(f);
  if (found) *found = equal;
  return equal != nullptr;
}

// "a.x == b.x && …" of all fields in the text of its own ==: what the tests may compare themselves.
std::string CppSurface::fieldwise_equal(const CppClass& c) const {
  const CppFunction* equal = nullptr;
  has_equality(c, &equal);
  if (!equal || c.fields.empty()) return "";
  std::string body;
  std::set<std::string> compared;
  std::vector<std::string> parts;
  if (equal->is_default) {
    for (const CppField& f : c.fields) parts.push_back("a." + f.name + " == b." + f.name);
  } else {
    std::string text;
    for (const Token& t : tokens_of(equal->body))
      if (t.kind != Token::skipped)
        text += std::string(of(equal->body, t)) + (of(equal->body, t) == "return" ? " " : "");
    std::smatch m;
    static const std::regex whole(R"(\{return ([^;?|]*);\})");
    static const std::regex same(R"(\(*(?:this->|\w+\.|\(\*this\)\.)?(\w+)==(?:this->|\w+\.)?(\w+)\)*)");
    static const std::regex near(
        R"(\(*(?:std::)?f?abs\((?:this->|\w+\.)?(\w+)-(?:this->|\w+\.)?(\w+)\)<=?[\w.-]+\)*)");
    static const std::regex tied(R"((?:std::)?tie\(([^()]*)\)==(?:std::)?tie\(([^()]*)\))");
    if (!std::regex_match(text, m, whole)) return "";
    std::string rest = m[1];
    if (std::regex_match(rest, m, tied)) {
      const auto left = split(std::string(m[1])), right = split(std::string(m[2]));
      if (left.size() != right.size()) return "";
      rest.clear();
      for (size_t i = 0; i < left.size(); ++i) rest += (i ? "&&" : "") + left[i] + "==" + right[i];
    }
    while (!rest.empty()) {
      const size_t end = std::min(rest.find("&&"), rest.size());
      const std::string one = rest.substr(0, end);
      const bool equals = std::regex_match(one, m, same);
      if (!equals && !std::regex_match(one, m, near)) return "";
      if (m[1] != m[2]) return "";
      const std::string name = m[1];
      compared.insert(name);
      parts.push_back(equals ? fmt::format("a.{0} == b.{0}", name)
                             : fmt::format("std::abs(a.{0} - b.{0}) <= 1e-6", name));
      rest = end < rest.size() ? rest.substr(end + 2) : "";
    }
    for (const CppField& f : c.fields)
      if (!compared.count(f.name)) return "";
    if (compared.size() != c.fields.size()) return "";
  }
  for (const std::string& part : parts) body += (body.empty() ? "" : " && ") + part;
  return body;
}

bool CppSurface::wants_value(const CppClass& c) const {
  if (c.odd || c.destructor || c.copies || c.is_virtual || !c.bases.empty()) return false;
  for (const CppField& f : c.fields) {
    if (!f.fallback.empty() && !is_literal(f.fallback)) return false;
    if (macros_.count(f.name)) return false;
    bool itself = false, pointer = f.text.find('*') != f.text.npos;
    for (const Token& t : tokens_of(f.text)) itself = itself || of(f.text, t) == c.name;
    if (itself && !pointer) return false;  // values of it in a container of its own
  }
  if (c.fields.empty()) return true;
  bool all_open = true, field_used = false, method_used = false, made_whole = true, constructed = false;
  for (const CppField& f : c.fields) {
    all_open = all_open && f.open;
    field_used = field_used || (f.open && fields_used_.count(f.name));
  }
  for (const CppFunction& f : c.functions) {
    if (f.constructor) {
      constructed = true;
      made_whole = made_whole && (f.only_sets || f.is_default);
    } else if (f.open && !f.is_static && !f.name.starts_with("operator") && mentioned(f.name)) {
      method_used = true;
    }
  }
  // its own word must not decide whether two are equal
  if (has_equality(c) &&
      (tests_.find("==") != tests_.npos || tests_.find("!=") != tests_.npos || mentioned("for")))
    return true;
  if (!all_open || !made_whole) return false;
  return field_used || !method_used || (!constructed && brace_made_.count(c.name));
}

void CppSurface::choose_classes() {
  want_.assign(found_.classes.size(), 0);
  for (size_t i = 0; i < found_.classes.size(); ++i) {
    const CppClass& c = found_.classes[i];
    const bool nested = c.owner >= 0;
    if (!c.open || c.head.empty() != c.arguments.empty() || c.scope.starts_with("std") ||
        own_words_.count(c.name) || macros_.count(c.name) || c.odd)
      continue;
    if (nested && want_[static_cast<size_t>(c.owner)] == 0) continue;
    if (nested && want_[static_cast<size_t>(c.owner)] == 4) continue;
    want_[i] = is_exception(c) ? 4 : wants_value(c) ? 1 : 2;
  }
  for (size_t i = 0; i < found_.classes.size(); ++i)  // what others are made of stays with the program
    for (const std::string& base : found_.classes[i].bases)
      for (size_t k = 0; k < found_.classes.size(); ++k)
        if (found_.classes[k].name == base && want_[k] == 1) want_[k] = 2;
}

void CppSurface::add_function(Item item) {
  const CppFunction& f = *item.f;
  const std::string sign = f.name.starts_with("operator") ? f.name.substr(8) : "";
  if (item.kind != Item::conversion && !f.constructor && !is_identifier(f.name) &&
      (sign.empty() || sign.find_first_not_of("+-*/%^&|~!=<>[]()") != sign.npos))
    return;
  for (const CppParameter& p : f.parameters)
    if (p.text.find("...") != p.text.npos || p.text.starts_with("auto ") ||
        p.text.starts_with("const auto") || p.text.find("initializer_list") != p.text.npos)
      return;
  items_.push_back(item);
  bool literal = true;
  for (const CppParameter& p : f.parameters) literal = literal && is_literal(p.fallback);
  if (!literal)
    for (size_t n = f.parameters.size(); n > 0 && !f.parameters[n - 1].fallback.empty(); --n) {
      item.kept = n - 1;
      items_.push_back(item);
    }
}

void CppSurface::choose(const std::string& entry_point) {
  std::map<std::string, int> count;
  for (const CppFunction& f : found_.functions) ++count[f.scope + f.name];
  for (size_t n = 0; n < found_.functions.size(); ++n) {
    const CppFunction& f = found_.functions[n];
    const bool entry = f.name == entry_point && !entry_point.empty();
    if (f.is_template && !f.name.starts_with("operator") && !f.scope.starts_with("std") &&
        mentioned(f.name) && !own_words_.count(f.name) && !decides_tests(f.name) && !macros_.count(f.name))
      templates_.push_back(&f);
    if (f.is_template || f.name == "main" || f.scope.starts_with("std") ||
        (macros_.count(f.name) && f.scope.empty()) || (decides_tests(f.name) && !entry))
      continue;
    Item item;
    item.f = &f, item.scope = f.scope, item.name = f.name;
    if (f.name.starts_with("operator")) {
      if (f.name == "operator==" || f.name == "operator!=" || f.name == "operator<=>" ||
          f.name.find('"') != f.name.npos)
        continue;
      bool own = false;
      for (const CppParameter& p : f.parameters)
        for (const Token& t : tokens_of(p.text))
          for (size_t k = 0; k < found_.classes.size(); ++k)
            own = own || ((want_[k] == 1 || want_[k] == 2) && of(p.text, t) == found_.classes[k].name);
      if (!own) continue;
      item.overloaded = true;
      add_function(item);
      continue;
    }
    if ((!mentioned(f.name) && !entry) || own_words_.count(f.name)) continue;
    item.overloaded = count[f.scope + f.name] > 1;
    add_function(item);
  }
  for (size_t k = 0; k < found_.classes.size(); ++k) {
    const CppClass& c = found_.classes[k];
    if (want_[k] != 1 && want_[k] != 2) continue;
    Item item;
    item.of_class = static_cast<int>(k), item.scope = c.scope, item.name = c.name;
    item.kind = Item::fields;
    items_.push_back(item);
    std::map<std::string, int> names;
    bool constructed = false;
    for (const CppFunction& f : c.functions) ++names[f.name], constructed = constructed || f.constructor;
    for (const CppFunction& f : c.functions) {
      if (!f.open || f.is_template || f.is_friend) continue;
      item.f = &f, item.name = f.name, item.overloaded = names[f.name] > 1;
      item.kind = f.constructor                                                            ? Item::constructor
                  : f.name.starts_with("operator ") && !f.name.starts_with("operator new") ? Item::conversion
                                                                                           : Item::method;
      if (item.kind == Item::constructor) {
        add_function(item);
        continue;
      }
      if (f.name.starts_with("operator")) {
        if (f.name == "operator==" || f.name == "operator!=" || f.name == "operator<=>" ||
            f.name == "operator=" || f.name == "operator&" || f.name == "operator," ||
            f.name.starts_with("operator new") || f.name.starts_with("operator delete"))
          continue;
      } else if (!(mentioned(f.name) || ((f.name == "begin" || f.name == "end") && mentioned("for"))) ||
                 macros_.count(f.name)) {
        continue;
      }
      add_function(item);
    }
    item.f = nullptr, item.overloaded = false;
    if (want_[k] == 1 && has_equality(c) && fieldwise_equal(c).empty())
      item.kind = Item::equality, items_.push_back(item);
    if (want_[k] == 2) {
      static const CppFunction kNone = [] {
        CppFunction none;
        none.constructor = true;
        return none;
      }();
      if (!constructed)
        item.kind = Item::constructor, item.f = &kNone, items_.push_back(item), item.f = nullptr;
      for (Item::Kind kind : {Item::copy, Item::move, Item::assign}) item.kind = kind, items_.push_back(item);
      item.kind = Item::field;
      for (const CppField& f : c.fields)
        if (f.open && fields_used_.count(f.name) && !macros_.count(f.name))
          item.name = f.name, items_.push_back(item);
    }
  }
  for (const CppEnum& e : found_.enums) {
    if (own_words_.count(e.name) || e.scope.starts_with("std") ||
        (e.owner >= 0 && want_[static_cast<size_t>(e.owner)] != 1 &&
         want_[static_cast<size_t>(e.owner)] != 2))
      continue;
    Item item;
    item.kind = Item::enumeration, item.e = &e, item.of_class = e.owner, item.scope = e.scope,
    item.name = e.name;
    items_.push_back(item);
  }
  for (const CppNames& a : found_.aliases) {
    bool is_class = false;
    for (const CppClass& c : found_.classes) is_class = is_class || c.name == a.name;
    if (!mentioned(a.name) || own_words_.count(a.name) || a.scope.starts_with("std") || is_class ||
        macros_.count(a.name))
      continue;
    Item item;
    item.kind = Item::alias, item.scope = a.scope, item.name = a.name;
    items_.push_back(item);
  }
  for (const CppNames& v : found_.variables) {
    if (!mentioned(v.name) || own_words_.count(v.name) || v.scope.starts_with("std") || macros_.count(v.name))
      continue;
    Item item;
    item.kind = Item::variable, item.scope = v.scope, item.name = v.name;
    items_.push_back(item);
  }
}

std::string CppSurface::path(const Item& item) const {
  return "::" + item.scope + item.name + item.arguments;
}

std::string CppSurface::together() const {
  return "#line 1 \"solution.cpp\"\n" + without_main(program_) + undone_words(true) +
         fmt::format("#include <assert.h>\n#line 1 \"tests\"\n{}\n", tests_);
}

void CppSurface::add_instances(std::string_view object) {
  for (const CppFunction* f : templates_) {
    const std::string mark = fmt::format("{}{}I", f->name.size(), f->name);
    std::set<std::string> made;
    for (size_t at = 0; (at = object.find(mark, at)) != object.npos && made.size() < 16; at += mark.size()) {
      size_t begin = at, end = at;
      while (begin > 0 && at - begin < 100 && object[begin - 1] != 0) --begin;
      while (end < object.size() && end - at < 400 && object[end] != 0) ++end;
      const std::string symbol(object.substr(begin, end - begin));
      if (!symbol.starts_with("_Z")) continue;
      int status = 0;
      const std::unique_ptr<char, void (*)(void*)> said(
          abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), free);
      if (!said) continue;
      // "int ns::add<int>(int, int)"
      const std::string text(said.get()), name = f->scope + f->name;
      const size_t where = text.find(name + "<");
      if (where == text.npos || (where > 0 && text[where - 1] != ' ')) continue;
      size_t close = where + name.size();
      int depth = 0;
      do depth += (text[close] == '<') - (text[close] == '>');
      while (depth > 0 && ++close < text.size());
      if (close >= text.size()) continue;
      const std::string arguments = text.substr(where + name.size(), close + 1 - where - name.size());
      bool known = true;
      for (const Token& t : tokens_of(arguments)) {
        const std::string_view word = of(arguments, t);
        bool own =
            t.kind == Token::skipped ||
            (t.kind == Token::other && std::string_view("<>,:*&").find(word) != std::string_view::npos);
        if (t.kind == Token::word) {
          own = is_plain_word(word) && !(word[0] >= '0' && word[0] <= '9');
          for (size_t k = 0; k < found_.classes.size(); ++k)
            own = own || ((want_[k] == 1 || want_[k] == 2) && found_.classes[k].name == word);
        }
        known = known && own;
      }
      if (!known) {
        if (left_out_.empty()) left_out_ = fmt::format("{} is asked for with types of the tests' own", name);
        continue;
      }
      if (!made.insert(arguments).second) continue;
      Item item;
      item.f = f, item.scope = f->scope, item.name = f->name, item.arguments = arguments;
      items_.push_back(item);
    }
  }
}

// A type's text, where the program has made a keyword a macro (`#define int long long`): it is none behind the program.
std::string CppSurface::meant(const std::string& text) const {
  std::string out;
  for (const Token& token : tokens_of(text)) {
    std::string word(of(text, token));
    for (const auto& [name, value] : found_.macros)
      if (token.kind == Token::word && name == word && is_plain_word(word) && value != "(") word = value;
    out += word;
  }
  return out;
}

// The type of an item, in the server.
std::string CppSurface::shape_of(size_t i) const {
  const Item& item = items_[i];
  const std::string w = "cohort_" + word_ + "::";
  const std::string owner =
      item.of_class >= 0 ? "::" + found_.classes[static_cast<size_t>(item.of_class)].path() : "";
  std::string type;
  switch (item.kind) {
    case Item::function:
    case Item::method:
    case Item::conversion:
      type = item.overloaded
                 ? fmt::format("{}signature<{}F{}_{}>", w,
                               item.of_class >= 0 ? fmt::format("In{}_{}::", i, word_) : "::" + item.scope, i,
                               word_)
             : item.of_class >= 0 ? fmt::format("{}signature<decltype(&{}::{})>", w, owner, item.name)
                                  : fmt::format("{}signature<decltype(&{})>", w, path(item));
      break;
    case Item::constructor:
      type = fmt::format("typename {}Made<{}, In{}_{}::F{}_{}>::type", w, owner, i, word_, i, word_);
      break;
    case Item::copy:
      type = fmt::format("typename {0}Made<{1}, void(const {1}&)>::type", w, owner);
      break;
    case Item::move:
      type = fmt::format("typename {0}Made<{1}, void({1}&&)>::type", w, owner);
      break;
    case Item::assign:
      type = fmt::format("void({0}&, const {0}&)", owner);
      break;
    case Item::field:
      type = fmt::format("decltype({0}::{1})&({0}&)", owner, item.name);
      break;
    case Item::equality:
      type = fmt::format("bool(const {0}&, const {0}&)", owner);
      break;
    case Item::fields:
      type = fmt::format("typename {}FieldsOf<{}>::types", w, owner);
      break;
    case Item::enumeration:
      type = fmt::format("{}types<std::underlying_type_t<{}>>", w, path(item));
      break;
    case Item::alias:
      type = fmt::format("{}types<{}>", w, path(item));
      break;
    case Item::variable:
      type = fmt::format("std::remove_cv_t<std::remove_reference_t<decltype({})>>()", path(item));
      break;
  }
  if (item.kept != std::string::npos) {
    const bool self = item.kind != Item::function && item.kind != Item::constructor && !item.f->is_static;
    type = fmt::format("typename {}First<{}, {}>::type", w, type, item.kept + (self ? 1 : 0));
  }
  return type;
}

std::string CppSurface::serve(size_t i) const {
  const Item& item = items_[i];
  const std::string w = "cohort_" + word_ + "::";
  const std::string owner =
      item.of_class >= 0 ? "::" + found_.classes[static_cast<size_t>(item.of_class)].path() : "";
  const std::string type = fmt::format("S{}_{}", i, word_);
  const std::string pass = "static_cast<decltype(a)>(a)...";
  auto call = [&](const std::string& lambda) {
    return fmt::format("{}call<{}>({}, in, out)", w, type, lambda);
  };
  switch (item.kind) {
    case Item::function:
      return call(fmt::format("[](auto&&... a) -> decltype(auto) {{ return {}({}); }}",
                              item.name.starts_with("operator") || item.f->is_friend ? item.name : path(item),
                              pass));
    case Item::method:
      if (item.f->is_static)
        return call(fmt::format("[](auto&&... a) -> decltype(auto) {{ return {}::{}({}); }}", owner,
                                item.name, pass));
      return call(
          fmt::format("[](auto& s, auto&&... a) -> decltype(auto) {{ return s.{}({}); }}", item.name, pass));
    case Item::conversion:
      return call(fmt::format("[](auto& s) -> decltype(auto) {{ return s.{}(); }}", item.name));
    case Item::constructor:
      if (item.kept != std::string::npos)
        return fmt::format("{0}Made<{1}, {2}>::call(in, out)", w, owner, type);
      return fmt::format("{}Made<{}, In{}_{}::F{}_{}>::call(in, out)", w, owner, i, word_, i, word_);
    case Item::copy:
      return fmt::format("{0}Made<{1}, void(const {1}&)>::call(in, out)", w, owner);
    case Item::move:
      return fmt::format("{0}Made<{1}, void({1}&&)>::call(in, out)", w, owner);
    case Item::assign:
      return fmt::format("{}assign<{}>(in, out)", w, owner);
    case Item::field:
      return call(fmt::format("[](auto& s) -> auto& {{ return s.{}; }}", item.name));
    case Item::equality: {
      const CppFunction* equal = nullptr;
      has_equality(found_.classes[static_cast<size_t>(item.of_class)], &equal);
      return call(fmt::format("[](auto& a, auto& b) -> bool {{ return {}; }}",
                              equal && equal->name == "operator!=" ? "!(a != b)" : "a == b"));
    }
    case Item::variable:
      return call(fmt::format("[] {{ return {}; }}", path(item)));
    default:
      return "";
  }
}

std::string CppSurface::server() const {
  const std::string w = "cohort_" + word_;
  std::string said, behind, all, exceptions, shapes, cases;
  auto line = [](std::string& out, size_t i, const std::string& text) {
    out += fmt::format("#line {} \"item\"\n{}\n", i + 1, replaced(text, "\n", " "));
  };
  // a class's own lines are those of its item
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.gone) continue;
    if (item.kind == Item::fields) {
      const CppClass& c = found_.classes[static_cast<size_t>(item.of_class)];
      const int want = want_[static_cast<size_t>(item.of_class)];
      std::string members;
      for (const CppField& f : c.fields) members += fmt::format(", &::{}::{}", c.path(), f.name);
      const std::string tag = fmt::format("Tag{}", item.of_class);
      if (want == 1)
        line(said, i,
             fmt::format("namespace {} {{ struct {} {{ friend constexpr auto members({}); }}; template "
                         "struct Open<{}{}>; }}",
                         w, tag, tag, tag, members));
      line(said, i,
           fmt::format("namespace {} {{ template <> struct Said<::{}> {{ static constexpr int want = {}, "
                       "index = {}; {} }}; }}",
                       w, c.path(), want, item.of_class + 1,
                       want == 1
                           ? fmt::format("static constexpr auto fields() {{ return members({}{{}}); }}", tag)
                           : ""));
      all += fmt::format("{}::{}", all.empty() ? "" : ", ", c.path());
    } else if (item.kind == Item::enumeration) {
      line(said, i,
           fmt::format("namespace {} {{ template <> struct Said<{}> {{ static constexpr int want = 3, index "
                       "= 0; }}; }}",
                       w, path(item)));
    }
  }
  for (size_t k = found_.classes.size(); k-- > 0;)
    if (want_[k] == 4)
      exceptions += fmt::format("  catch (const ::{}& e) {{ text = e.what(); return {}; }}\n",
                                found_.classes[k].path(), k + 1);
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.gone) continue;
    if (item.f && (item.overloaded || item.kind == Item::constructor)) {
      std::string list;
      for (const CppParameter& p : item.f->parameters) list += (list.empty() ? "" : ", ") + meant(p.text);
      const CppClass* c = item.of_class >= 0 ? &found_.classes[static_cast<size_t>(item.of_class)] : nullptr;
      std::string type = fmt::format("using F{}_{} = ", i, word_);
      if (item.kind == Item::constructor) {
        size_t n = 0;
        if (item.kept != std::string::npos) {
          list.clear();
          for (const CppParameter& p : item.f->parameters)
            if (n++ < item.kept) list += (list.empty() ? "" : ", ") + meant(p.text);
        }
        type += fmt::format("void({});", list);
      } else if (c && !item.f->is_static) {
        type += fmt::format("{} (::{}::*)({}){};", meant(item.f->result), c->path(), list, item.f->tail);
      } else {
        type += fmt::format("{}({});", meant(item.f->result), list);
      }
      std::string inner = item.scope;
      if (c)
        line(behind, i,
             fmt::format("struct In{}_{}{} {{ {}{} }};", i, word_, c->is_final ? "" : " : ::" + c->path(),
                         names_of_arguments(*c), type));
      else if (inner.empty())
        line(behind, i, type);
      else
        line(behind, i, fmt::format("namespace {} {{ {} }}", inner.substr(0, inner.size() - 2), type));
    }
    std::string values = "true";
    const std::string shape = shape_of(i);
    line(behind, i,
         fmt::format("using S{}_{} = {};", i, word_,
                     shape.starts_with("typename ") ? shape.substr(9) : shape));
    const std::string owner =
        item.of_class >= 0 ? "::" + found_.classes[static_cast<size_t>(item.of_class)].path() : "";
    const std::string s = fmt::format("S{}_{}", i, word_);
    switch (item.kind) {
      case Item::fields:
        values = fmt::format("cohort_{0}::Own<{1}>::kind", word_, owner);
        break;
      case Item::enumeration:
        values.clear();
        for (const std::string& name : item.e->names)
          values += fmt::format("{}(long long){}::{}", values.empty() ? "" : ", ", path(item), name);
        break;
      case Item::alias:
        break;
      case Item::variable:
        values = fmt::format("cohort_{}::Shape<{}>::serves(), std::is_const_v<decltype({})>", word_, s,
                             path(item));
        break;
      case Item::constructor:
        values = item.kept == std::string::npos
                     ? fmt::format("cohort_{0}::Made<{1}, In{2}_{0}::F{2}_{0}>::serves()", word_, owner, i)
                     : fmt::format("cohort_{0}::Made<{1}, {2}>::serves()", word_, owner, s);
        break;
      case Item::copy:
        values = fmt::format("cohort_{0}::Made<{1}, void(const {1}&)>::serves()", word_, owner);
        break;
      case Item::move:
        values = fmt::format("cohort_{0}::Made<{1}, void({1}&&)>::serves()", word_, owner);
        break;
      case Item::assign:
        values = fmt::format("std::is_copy_assignable_v<{}>", owner);
        break;
      default:
        values = fmt::format("cohort_{}::Shape<{}>::serves()", word_, s);
    }
    line(shapes, i,
         fmt::format("shape = cohort_{}::shape<{}, {}{}{}>();", word_, i, s, values.empty() ? "" : ", ",
                     values));
    const std::string served = serve(i);
    if (!served.empty()) line(cases, i, fmt::format("case {}: return {};", i, served));
  }
  return said +
         fmt::format(
             "#line 1 \"boundary\"\nnamespace {0} {{\ntemplate <class T> struct All {{ using types = "
             "{0}::types<{1}>; }};\n"
             "constexpr bool captures = {2};\n"
             "int own_thrown(const char*& text) {{\n  try {{ throw; }}\n{3}  catch (...) {{ (void)text; "
             "return 0; }}\n}}\n"
             "void throw_own(int, const char*) {{}}\n}}\n",
             w, all, mentioned("rdbuf"), exceptions) +
         "KSERVE\n" + behind +
         fmt::format(
             "#line 1 \"boundary\"\nvoid {0}::each_request(unsigned which, {0}::In& in, {0}::Out& out) {{\n"
             "  if (which == {0}::kDestroy) {{ {0}::written(in); return {0}::destroy(in, out); }}\n  "
             "{0}::written(in);\n"
             "  switch (which) {{\n",
             w) +
         cases +
         fmt::format(
             "#line 1 \"boundary\"\n  }}\n  ::_exit(1);\n}}\nint main() {{\n  static const char* volatile "
             "shape;\n") +
         shapes + fmt::format("#line 1 \"boundary\"\n  return {}::serve();\n}}\n", w);
}

bool CppSurface::leave_out(size_t line) {
  if (line == 0 || line > items_.size() || items_[line - 1].gone) return false;
  Item& item = items_[line - 1];
  item.gone = true;
  if (item.kind == Item::fields) {  // all of its class
    want_[static_cast<size_t>(item.of_class)] = 0;
    for (Item& other : items_)
      if (other.of_class == item.of_class) other.gone = true;
  }
  return true;
}

const CppShape* CppSurface::shape(size_t i) const {
  const auto found = shapes_.find(i);
  return found == shapes_.end() ? nullptr : &found->second;
}

bool CppSurface::plain(std::string_view type) const {
  for (const Token& token : tokens_of(type)) {
    const std::string_view text = of(type, token);
    if (token.kind == Token::skipped) continue;
    if (token.kind == Token::other) {
      if (std::string_view("<>,:&*()[]").find(text) == std::string_view::npos) return false;
      continue;
    }
    if (token.kind != Token::word) return false;
    if (is_plain_word(text)) continue;
    bool own = false;
    for (const auto& [i, shape] : shapes_) {
      const Item& item = items_[i];
      if (item.gone || (item.kind != Item::fields && item.kind != Item::enumeration)) continue;
      own = own || item.name == text;
      for (const Token& part : tokens_of(item.scope)) own = own || of(item.scope, part) == text;
    }
    if (!own) return false;
  }
  return !trim(type).empty();
}

bool CppSurface::plain(const CppShape& shape, size_t from) const {
  for (size_t i = from; i < shape.parameters.size(); ++i)
    if (!plain(shape.parameters[i])) return false;
  return true;
}

// Parameters of a stub from the one numbered `from` of its shape on.
std::string CppSurface::parameters(size_t i, size_t from, std::string& types, std::string& arguments,
                                   std::string& sizes, bool defaults) const {
  const Item& item = items_[i];
  const CppShape& shape = *this->shape(i);
  std::string out;
  for (size_t n = from; n < shape.parameters.size(); ++n) {
    const std::string type = in_brackets(shape.parameters[n]);
    const size_t own = n - from;
    out += fmt::format("{}{} a{}", out.empty() ? "" : ", ", type, own);
    if (defaults && item.kept == std::string::npos && item.f && own < item.f->parameters.size()) {
      bool literal = true;
      for (const CppParameter& p : item.f->parameters) literal = literal && is_literal(p.fallback);
      const std::string& fallback = item.f->parameters[own].fallback;
      if (literal && !fallback.empty()) out += " = " + fallback;
    }
    types += fmt::format(", {}", shape.parameters[n]);
    arguments += fmt::format(", a{}", own);
    const std::string& t = shape.parameters[n];
    const bool pointer = t.ends_with('*') || t.find("(*)[") != t.npos;
    sizes +=
        fmt::format("{}{}", sizes.empty() ? "" : ", ",
                    pointer ? fmt::format("__builtin_dynamic_object_size(a{}, SIZE_KIND)", own) : "~0ul");
  }
  return out;
}

// The definition of what asks, and its declaration in a class. `self`: "" outside of classes.
std::string CppSurface::asks(size_t i, const std::string& self, const std::string& owner,
                             std::string& declaration) const {
  const Item& item = items_[i];
  const CppShape& shape = *this->shape(i);
  const size_t from = self.empty() ? 0 : 1;
  std::string types, arguments, sizes, declared, unused;
  const std::string defined = parameters(i, from, types, arguments, sizes, false);
  declared = parameters(i, from, unused, unused, unused, true);
  const bool arrays = sizes.find("__builtin") != sizes.npos;
  const std::string result = in_brackets(shape.result);
  const std::string tail = !self.empty() && shape.parameters[0].starts_with("const ") ? " const" : "";
  std::string name = item.name;
  const bool conversion = item.kind == Item::conversion;
  if (conversion) name = "operator " + shape.result;
  const std::string head = arrays ? "[[gnu::always_inline]] inline " : "inline ";
  declaration = fmt::format("{}{}{}({}){};\n", item.f && item.f->is_static ? "static " : "",
                            item.f && item.f->is_explicit ? "explicit " : "",
                            conversion ? name : result + " " + name, declared, tail);
  const std::string what = (self.empty() ? "" : ", " + shape.parameters[0]) + types;
  return fmt::format("{}{}{}({}){} {{ return cohort_{}::ask_sized<{}{}>({}, {{{}{}}}{}{}); }}\n", head,
                     conversion ? owner + name : result + " " + owner + name, "",
                     owner.empty() ? declared : defined, tail, word_, shape.result, what, i,
                     arrays && !self.empty() ? "~0ul, " : "", arrays ? sizes : "",
                     self.empty() ? "" : ", " + self, arguments);
}

// A class for the tests: its definition, and what goes behind all of them.
void CppSurface::define(int k, std::string& out, std::string& behind) {
  const CppClass& c = found_.classes[static_cast<size_t>(k)];
  const std::string w = "cohort_" + word_;
  size_t at = items_.size();
  for (size_t i = 0; i < items_.size(); ++i)
    if (items_[i].kind == Item::fields && items_[i].of_class == k) at = i;
  const CppShape* fields = at < items_.size() ? shape(at) : nullptr;
  if (!fields || items_[at].gone || fields->values.empty()) return;
  const bool value = fields->values[0] == "1";
  const std::string owner = c.path() + "::";
  std::string base;
  for (const std::string& b : c.bases)
    for (size_t n = 0; n < found_.classes.size() && base.empty(); ++n)
      if (found_.classes[n].name == b && want_[n] == 2) base = "::" + found_.classes[n].path();
  out += fmt::format("{}struct {}{}{} {{\n", c.arguments.empty() ? "" : "template <> ", c.name, c.arguments,
                     base.empty() ? "" : " : " + base);
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.kind != Item::enumeration || item.of_class != k || !shape(i)) continue;
    std::string names;
    for (size_t n = 0; n < item.e->names.size() && n < shape(i)->values.size(); ++n)
      names += fmt::format("{} = {}, ", item.e->names[n], shape(i)->values[n]);
    out += fmt::format("enum {}{} : {} {{ {} }};\n", item.e->scoped ? "class " : "", item.name,
                       shape(i)->parameters[0], names);
  }
  for (size_t n = 0; n < found_.classes.size(); ++n)
    if (found_.classes[n].owner == k && (want_[n] == 1 || want_[n] == 2))
      out += fmt::format("struct {};\n", found_.classes[n].name);
  for (size_t n = 0; n < found_.classes.size(); ++n)
    if (found_.classes[n].owner == k && (want_[n] == 1 || want_[n] == 2))
      define(static_cast<int>(n), out, behind);
  if (value) {
    for (size_t n = 0; n < c.fields.size() && n < fields->parameters.size(); ++n) {
      const std::string& type = fields->parameters[n];
      bool own = false;
      for (const CppClass& other : found_.classes) own = own || type == other.path();
      const std::string& fallback = c.fields[n].fallback;
      out += fmt::format("  {} {}{};\n", in_brackets(type), c.fields[n].name,
                         fallback.empty()            ? (own ? "" : "{}")
                         : fallback.starts_with("{") ? fallback
                                                     : " = " + fallback);
    }
    if (const std::string equal = fieldwise_equal(c); !equal.empty())
      out += fmt::format("  friend bool operator==(const {0}& a, const {0}& b) {{ return {1}; }}\n", c.name,
                         equal);
    // its word where it agrees with the fields
    for (size_t i = 0; i < items_.size(); ++i) {
      if (items_[i].kind != Item::equality || items_[i].of_class != k || !shape(i) ||
          shape(i)->values != std::vector<std::string>{"true"})
        continue;
      std::string same = c.fields.empty() ? "true" : "";
      for (const CppField& f : c.fields)
        same += fmt::format("{0}{1}same(a.{2}, b.{2})", same.empty() ? "" : " && ", w + "::", f.name);
      out += fmt::format("  bool operator==(const {}& b) const;\n", c.name);
      behind += fmt::format(
          "inline bool {0}operator==(const ::{1}& b) const {{\n  const ::{1}& a = *this;\n  const bool its = "
          "{2}::ask<bool, const ::{1}&, const ::{1}&>({3}, a, b);\n"
          "  if (its != ({4})) {2}::leave(122, \"an operator== that does not compare all fields\");\n  "
          "return its;\n}}\n",
          owner, c.path(), w, i, same);
    }
  } else {
    if (base.empty()) out += fmt::format("  unsigned long cohort_id_{} = 0;\n", word_);
    out += fmt::format("  {}({}::Adopt a);\n  virtual ~{}();\n", c.name, w, c.name);
    behind += fmt::format(
        "inline {0}{1}({2}::Adopt a) : {3} {{ {2}::here(a.id, this); }}\n", owner, c.name, w,
        base.empty() ? fmt::format("cohort_id_{}(a.id)", word_) : base.substr(base.rfind(':') + 1) + "(a)");
    behind +=
        fmt::format("inline {0}~{1}() {{ {2}::destroy(this->cohort_id_{3}); }}\n", owner, c.name, w, word_);
  }
  bool copy = false, move = false, assign = false;
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    const CppShape* s = shape(i);
    if (item.of_class != k || item.gone || !s) continue;
    const bool served = !s->values.empty() && s->values[0] == "true";
    std::string declaration, types, arguments, sizes, unused;
    switch (item.kind) {
      case Item::constructor: {
        const std::string list = parameters(i, 0, types, arguments, sizes, false),
                          declared = parameters(i, 0, unused, unused, unused, true);
        const char* is_explicit = item.f->is_explicit ? "explicit " : "";
        bool simple =
            value && (item.f->only_sets || item.f->is_default) && plain(*s) && item.kept == std::string::npos;
        std::string sets;
        if (simple)
          for (const auto& [name, text] : item.f->sets) {
            std::string from;
            for (size_t n = 0; n < item.f->parameters.size(); ++n) {
              const std::string& p = item.f->parameters[n].name;
              if (!p.empty() && (text == p || text == "std::move(" + p + ")" || text == "move(" + p + ")"))
                from = fmt::format("a{}", n);
            }
            if (from.empty() && !is_literal(text)) simple = false;
            bool field = false;
            for (const CppField& f : c.fields) field = field || f.name == name;
            simple = simple && field;
            sets += fmt::format("{}{}({})", sets.empty() ? " : " : ", ", name, from.empty() ? text : from);
          }
        if (simple && item.f->parameters.empty() && item.f->is_default) {
          out += fmt::format("  {}() = default;\n", c.name);
        } else if (simple) {
          out += fmt::format("  {}{}({}){} {{}}\n", is_explicit, c.name, declared, sets);
        } else if (served && plain(*s)) {
          out += fmt::format("  {}{}({});\n", is_explicit, c.name, declared);
          const bool arrays = sizes.find("__builtin") != sizes.npos;
          behind +=
              fmt::format("{}{}{}({}) : {}({}::ask_sized<{}{}>({}, {{{}}}{})) {{}}\n",
                          arrays ? "[[gnu::always_inline]] inline " : "inline ", owner, c.name, list, c.name,
                          w, value ? "::" + c.path() : fmt::format("{}::New<::{}>", w, c.path()), types, i,
                          arrays ? sizes : "", arguments);
        }
        break;
      }
      case Item::copy:
        copy = served && !value;
        break;
      case Item::move:
        move = served && !value;
        break;
      case Item::assign:
        assign = served && !value;
        break;
      case Item::field:
        if (!value && served && plain(*s) && plain(s->result))
          out += fmt::format("  {}::Property<{}, {}, {}> {}{{this}};\n", w, c.name,
                             in_brackets(s->result.substr(0, s->result.size() - 1)), i, item.name);
        break;
      case Item::method:
      case Item::conversion:
        if (!served || !plain(*s) || !plain(s->result)) {
          if (mentioned(item.name) && left_out_.empty())
            left_out_ = fmt::format("{}{} has types of its own", owner, item.name);
          break;
        }
        behind += asks(i, item.f->is_static ? "" : "*this", owner, declaration);
        out += "  " + declaration;
        break;
      default:
        break;
    }
  }
  if (!value) {
    for (size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      if (item.of_class != k || !shape(i)) continue;
      if (item.kind == Item::copy) {
        out += fmt::format("  {0}(const {0}& o){1};\n", c.name, copy ? "" : " = delete");
        if (copy)
          behind += fmt::format(
              "inline {0}{1}(const {1}& o) : {1}({2}::ask<{2}::New<::{3}>, const ::{3}&>({4}, o)) {{}}\n",
              owner, c.name, w, c.path(), i);
      } else if (item.kind == Item::move && move) {
        out += fmt::format("  {0}({0}&& o);\n", c.name);
        behind +=
            fmt::format("inline {0}{1}({1}&& o) : {1}({2}::ask<{2}::New<::{3}>, ::{3}&&>({4}, o)) {{}}\n",
                        owner, c.name, w, c.path(), i);
      } else if (item.kind == Item::assign && assign) {
        out += fmt::format("  {0}& operator=(const {0}& o);\n", c.name);
        behind += fmt::format(
            "inline {1}& {0}operator=(const {1}& o) {{ {2}::ask<void, ::{3}&, const ::{3}&>({4}, *this, o); "
            "return *this; }}\n",
            owner, "::" + c.path(), w, c.path(), i);
      }
    }
  }
  out += "};\n";
  std::string members;
  for (const CppField& f : c.fields)
    members += fmt::format("{}&::{}::{}", members.empty() ? "" : ", ", c.path(), f.name);
  behind = behind;
}

// What a binary says of values and structures is put into the tests' source: numbers and plain types only.
void CppSurface::drop_what_is_not_plain() {
  for (auto& [i, shape] : shapes_)
    for (std::string& value : shape.values) {
      const bool number = !value.empty() && value.find_first_not_of("-0123456789") == value.npos;
      if (!number && value != "true" && value != "false") value = "false";
    }
  for (bool again = true; again;) {
    again = false;
    for (auto at = shapes_.begin(); at != shapes_.end(); ++at) {
      const Item& item = items_[at->first];
      const CppShape& s = at->second;
      const bool value = !s.values.empty() && s.values[0] == "1";
      if (item.kind == Item::enumeration
              ? s.parameters.size() == 1 && plain(s)
              : item.kind != Item::fields || !value ||
                    (plain(s) &&
                     s.parameters.size() == found_.classes[static_cast<size_t>(item.of_class)].fields.size()))
        continue;
      if (left_out_.empty())
        left_out_ = fmt::format("{} has fields of types that another process cannot have", item.name);
      const int of_class = item.of_class;
      const bool fields = item.kind == Item::fields;
      shapes_.erase(at);
      if (fields)
        std::erase_if(shapes_, [&](const auto& one) { return items_[one.first].of_class == of_class; });
      again = true;
      break;
    }
  }
}

std::optional<std::string> CppSurface::stubs(std::string_view binary) {
  const std::string w = "cohort_" + word_;
  bool any = false;
  for (size_t i = 0; i < items_.size(); ++i) {
    if (items_[i].gone) continue;
    const std::string mark = fmt::format("{}::shape() [with int N = {}; F = ", w, i);
    const size_t at = binary.find(mark);
    if (at == binary.npos) continue;
    const std::string_view rest = binary.substr(at + mark.size(), 16000);
    const std::string text = replaced(std::string(rest.substr(0, rest.find('\0'))), "{anonymous}::", "");
    if (auto shape = read_shape(text)) shapes_[i] = std::move(*shape), any = true;
  }
  if (!any) return {};
  drop_what_is_not_plain();
  std::string forward, classes, said, behind, rest;
  std::set<std::string> templates;
  auto within = [](const std::string& scope, const std::string& text) {
    return scope.empty() ? text
                         : fmt::format("namespace {} {{ {} }}\n", scope.substr(0, scope.size() - 2), text);
  };
  std::string all;
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    const CppShape* s = shape(i);
    if (item.gone || !s) continue;
    if (item.kind == Item::enumeration && item.of_class < 0) {
      std::string names;
      for (size_t n = 0; n < item.e->names.size() && n < s->values.size(); ++n)
        names += fmt::format("{} = {}, ", item.e->names[n], s->values[n]);
      forward += within(item.scope, fmt::format("enum {}{} : {} {{ {} }};\n", item.e->scoped ? "class " : "",
                                                item.name, s->parameters[0], names));
    }
    if (item.kind == Item::enumeration)
      said += fmt::format(
          "namespace {} {{ template <> struct Said<{}> {{ static constexpr int want = 3, index = 0; }}; }}\n",
          w, path(item));
    if (item.kind != Item::fields) continue;
    const CppClass& c = found_.classes[static_cast<size_t>(item.of_class)];
    if (!c.arguments.empty() && templates.insert(c.scope + c.name).second)
      forward += within(c.scope, primary(c));
    if (c.owner < 0)
      forward += within(c.scope, fmt::format("{}struct {}{};\n", c.arguments.empty() ? "" : "template <> ",
                                             c.name, c.arguments));
    const bool value = !s->values.empty() && s->values[0] == "1";
    std::string members;
    for (const CppField& f : c.fields)
      members += fmt::format("{}&::{}::{}", members.empty() ? "" : ", ", c.path(), f.name);
    said += fmt::format(
        "namespace {} {{ template <> struct Said<::{}> {{ static constexpr int want = {}, index = {}; {} }}; "
        "}}\n",
        w, c.path(), value ? 1 : 2, item.of_class + 1,
        value ? fmt::format("static constexpr auto fields() {{ return std::make_tuple({}); }}", members)
              : "");
    all += fmt::format("{}::{}", all.empty() ? "" : ", ", c.path());
  }
  said += fmt::format(
      "namespace {0} {{ template <class T> struct All {{ using types = {0}::types<{1}>; }}; }}\n", w, all);
  for (size_t k = 0; k < found_.classes.size(); ++k) {
    const CppClass& c = found_.classes[k];
    if (c.owner >= 0 || (want_[k] != 1 && want_[k] != 2)) continue;
    std::string text;
    define(static_cast<int>(k), text, behind);
    if (!text.empty()) classes += within(c.scope, text);
  }
  // exceptions: what they say
  std::string thrown;
  for (size_t k = 0; k < found_.classes.size(); ++k) {
    if (want_[k] != 4 || found_.classes[k].owner >= 0) continue;
    const CppClass& c = found_.classes[k];
    const bool standard = standard_base(c.bases[0]);
    const std::string base = standard ? "std::" + without_std(c.bases[0]) : c.bases[0];
    if (!standard && !is_identifier(base)) continue;
    const bool root = base == "std::exception";
    classes += within(
        c.scope,
        fmt::format("struct {0} : {1} {{ {2} explicit {0}(const char* text) : {3} {{}} {4} }};\n", c.name,
                    base, root ? "std::string said;" : "",
                    root ? "said(text)"
                         : base.substr(base.rfind(':') == base.npos ? 0 : base.rfind(':') + 1) + "(text)",
                    root ? "const char* what() const noexcept override { return said.c_str(); }" : ""));
    thrown += fmt::format("  if (which == {}) throw ::{}(text);\n", k + 1, c.path());
  }
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    const CppShape* s = shape(i);
    if (item.gone || !s || s->values.empty()) continue;
    std::string unused;
    if (item.kind == Item::function) {
      if (s->values[0] != "true" || !plain(*s) || !plain(s->result)) {
        if (left_out_.empty()) left_out_ = fmt::format("{}{} has types of its own", item.scope, item.name);
        continue;
      }
      const std::string stub = asks(i, "", "", unused);
      rest += within(item.scope, stub);
      // as the tests may say which: f<int>(…)
      if (!item.arguments.empty())
        rest += within(
            item.scope,
            fmt::format(
                "template <class... X> requires ({0}::starts({0}::types<X...>(), {0}::types{1}())) {2}", w,
                item.arguments, stub));
    } else if (item.kind == Item::alias && plain(*s) && s->parameters.size() == 1) {
      rest = within(item.scope, fmt::format("using {} = {};\n", item.name, in_brackets(s->parameters[0]))) +
             rest;
    } else if (item.kind == Item::variable && s->values[0] == "true" && s->values.size() > 1 &&
               s->values[1] == "true" && plain(s->result)) {
      rest += within(item.scope, fmt::format("inline const {} {} = {}::ask<{}>({});\n",
                                             in_brackets(s->result), item.name, w, s->result, i));
    }
  }
  for (const auto& [name, value] : found_.macros)
    if (mentioned(name) && !own_words_.count(name) && is_identifier(name) && is_literal(value) &&
        !value.empty() && !decides_tests(name) && name != "NDEBUG" &&
        value.find_first_of("0123456789\"'") != value.npos)
      rest += fmt::format("#ifndef {0}\nconstexpr auto {0} = {1};\n#endif\n", name, value);
  std::string namespaces;
  for (const std::string& used : found_.used_namespaces)
    if (used != "std" && !used.starts_with("std")) {
      bool own = false;
      for (const Item& item : items_) own = own || item.scope == used + "::";
      if (own) namespaces += fmt::format("namespace {0} {{}}\nusing namespace {0};\n", used);
    }
  for (const std::string& name : found_.used_names)
    if (is_identifier(name)) namespaces += fmt::format("using std::{};\n", name);
  // the program's own way to write, which its tests may count on
  if (program_.find("using namespace std") != program_.npos) namespaces += "using namespace std;\n";
  const bool structs = !read_declarations(tests_).classes.empty();
  const std::string out = forward + classes + said +
                          fmt::format(
                              "namespace {0} {{\nvoid throw_own(int which, const char* text) {{\n{1}  "
                              "(void)which, (void)text;\n}}\n}}\n",
                              w, thrown) +
                          replaced(behind, "SIZE_KIND", structs ? "1" : "0") +
                          replaced(rest, "SIZE_KIND", structs ? "1" : "0") + namespaces;
  arrays_ = out.find("__builtin_dynamic_object_size") != out.npos;
  return out;
}

}  // namespace cohort::code
