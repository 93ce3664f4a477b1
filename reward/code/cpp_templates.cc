#include "reward/code/cpp_templates.h"

#include <fmt/core.h>

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_text.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

constexpr size_t kInstances = 16;  // of all class templates, or of one function template

// `class T = int` of a template's head.
struct HeadParameter {
  explicit HeadParameter(const std::string& text) {
    const size_t equals = text.find('=');
    left = trim(std::string_view(text).substr(0, equals));
    space = left.find_last_of(" \n\t");
    kind = trim(std::string_view(left).substr(0, std::min(space, left.size())));
    has_fallback = equals != std::string::npos;
    if (has_fallback) fallback = text.substr(equals + 1);
  }
  bool named() const { return space != std::string::npos; }
  std::string name() const { return left.substr(space + 1); }
  bool is_type() const { return kind == "class" || kind == "typename"; }

  std::string left, kind, fallback;
  size_t space = 0;
  bool has_fallback = false;
};

bool one_of(std::string_view text, std::string_view characters) {
  return characters.find(text) != std::string_view::npos;
}

// "<int, 3>" behind the template's name that is token `i`; "" where it ends as no list of arguments does.
std::string arguments_behind(std::string_view text, const std::vector<Token>& all, size_t i) {
  std::string arguments;
  int depth = 0;
  for (size_t j = skip(all, i + 1); j < all.size(); ++j) {
    const std::string_view t = of(text, all[j]);
    if (all[j].kind == Token::skipped) {
      if (!arguments.empty() && is_identifier(arguments.substr(arguments.find_last_of("<,:* ") + 1)))
        arguments += " ";
      continue;
    }
    depth += (t == "<") - (t == ">");
    if (all[j].kind == Token::other && !one_of(t, "<>,:*")) depth = 0;
    if (depth == 0 && t != ">") return "";
    arguments += t;
    if (depth == 0) return arguments;
  }
  return "";
}

bool is_template(const CppClass& c) {
  return !c.head.empty() && c.owner < 0;
}

bool has_field_of(const CppClass& c, const std::string& name) {
  return std::any_of(c.fields.begin(), c.fields.end(),
                     [&](const CppField& f) { return mentions(f.text, name); });
}

// The text of a symbol around `at`, as C++ has it; "" where it is none.
std::string demangled_around(std::string_view object, size_t at) {
  size_t begin = at, end = at;
  while (begin > 0 && at - begin < 100 && object[begin - 1] != 0) --begin;
  while (end < object.size() && end - at < 400 && object[end] != 0) ++end;
  const std::string symbol(object.substr(begin, end - begin));
  if (!symbol.starts_with("_Z")) return "";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> said(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), free);
  return said ? said.get() : "";
}

// "<int>" of "int ns::add<int>(int, int)", where that is what `name` is.
std::optional<std::string> arguments_in(const std::string& text, const std::string& name) {
  const size_t where = text.find(name + "<");
  if (where == text.npos || (where > 0 && text[where - 1] != ' ')) return {};
  size_t close = where + name.size();
  int depth = 0;
  do depth += (text[close] == '<') - (text[close] == '>');
  while (depth > 0 && ++close < text.size());
  if (close >= text.size()) return {};
  return text.substr(where + name.size(), close + 1 - where - name.size());
}

// Of standard types and classes that the tests have.
bool is_known(const CppItems& items, const std::string& arguments) {
  for (const Token& t : tokens_of(arguments)) {
    const std::string_view word = of(arguments, t);
    bool known = t.kind == Token::skipped || (t.kind == Token::other && one_of(word, "<>,:*&"));
    if (t.kind == Token::word) {
      known = is_plain_word(word) && !(word[0] >= '0' && word[0] <= '9');
      for (size_t k = 0; k < items.found.classes.size(); ++k)
        known = known || (items.has(k) && items.found.classes[k].name == word);
    }
    if (!known) return false;
  }
  return true;
}

bool is_plain_fallback(const std::string& value) {
  for (const Token& t : tokens_of(value)) {
    if (t.kind == Token::skipped) continue;
    const std::string_view text = of(value, t);
    if (t.kind == Token::word ? !is_plain_word(text) : !one_of(text, "<>:,")) return false;
  }
  return true;
}

}  // namespace

void add_class_instances(CppItems& items) {
  std::vector<CppClass>& classes = items.found.classes;
  const std::vector<Token> all = tokens_of(items.tests);
  const size_t templates = classes.size();
  std::set<std::pair<size_t, std::string>> made;
  std::vector<CppClass> instances;
  auto add = [&](size_t k, const std::string& arguments) {
    if (instances.size() >= kInstances || !made.emplace(k, arguments).second) return;
    instances.push_back(classes[k]);
    instances.back().arguments = arguments;
  };
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t k = 0; k < templates; ++k) {
      if (!is_template(classes[k]) || of(items.tests, all[i]) != classes[k].name) continue;
      if (const std::string arguments = arguments_behind(items.tests, all, i); !arguments.empty())
        add(k, arguments);
    }
  for (size_t n = 0; n < instances.size(); ++n)
    for (size_t k = 0; k < templates; ++k) {
      const CppClass& c = classes[k];
      if (is_template(c) && c.name != instances[n].name &&
          split(c.head).size() == split(instances[n].head).size() && has_field_of(instances[n], c.name))
        add(k, std::string(instances[n].arguments));
    }
  for (CppClass& c : instances) classes.push_back(std::move(c));
}

void add_function_instances(CppItems& items, const std::vector<const CppFunction*>& templates,
                            std::string_view object) {
  for (const CppFunction* f : templates) {
    const std::string mark = fmt::format("{}{}I", f->name.size(), f->name), name = f->scope + f->name;
    std::set<std::string> made;
    for (size_t at = 0; (at = object.find(mark, at)) != object.npos && made.size() < kInstances;
         at += mark.size()) {
      const auto arguments = arguments_in(demangled_around(object, at), name);
      if (!arguments) continue;
      if (!is_known(items, *arguments)) {
        items.leave_out(name + " is asked for with types of the tests' own");
        continue;
      }
      if (!made.insert(*arguments).second) continue;
      CppItem item;
      item.f = f, item.scope = f->scope, item.name = f->name, item.arguments = *arguments;
      items.all.push_back(item);
    }
  }
}

std::string names_of_arguments(const CppClass& c) {
  if (c.arguments.size() < 2) return "";
  const std::vector<std::string> parameters = split(c.head),
                                 given =
                                     split(std::string_view(c.arguments).substr(1, c.arguments.size() - 2));
  std::string out;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const HeadParameter p(parameters[i]);
    const std::string value = i < given.size() ? given[i] : p.fallback;
    if (!p.named() || value.empty() || !is_identifier(p.name())) continue;
    out += p.is_type() ? fmt::format("using {} = {}; ", p.name(), value)
                       : fmt::format("static constexpr {} {} = {}; ", p.kind, p.name(), value);
  }
  return out;
}

std::string declared_template(const CppClass& c) {
  std::string list;
  for (const std::string& parameter : split(c.head)) {
    const HeadParameter p(parameter);
    bool plain = p.is_type();
    for (const char* number : {"int", "unsigned", "size_t", "std::size_t", "bool", "char", "long", "auto"})
      plain = plain || p.kind == number;
    if (!plain) return "";
    list += (list.empty() ? "" : ", ") + (p.kind == "size_t" ? "std::size_t" : p.kind);
    if (!p.has_fallback) continue;
    const std::string value(trim(p.fallback));
    if (!is_plain_fallback(value)) return "";
    list += " = " + value;
  }
  return fmt::format("template <{}> struct {};\n", list, c.name);
}

}  // namespace cohort::code
