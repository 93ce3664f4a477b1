#include "reward/code/cpp_surface.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_equality.h"
#include "reward/code/cpp_server.h"
#include "reward/code/cpp_shapes.h"
#include "reward/code/cpp_stubs.h"
#include "reward/code/cpp_templates.h"
#include "reward/code/native_tests.h"

namespace cohort::code {
namespace {

// Fills `want` and `all`.
class Choice {
 public:
  Choice(CppItems& items, const std::string& entry_point)
      : items_(items), found_(items.found), entry_point_(entry_point) {
    read_tests();
    for (const auto& [name, value] : found_.macros) macros_.insert(name);
  }

  std::vector<const CppFunction*> choose() {
    choose_classes();
    choose_functions();
    for (size_t k = 0; k < found_.classes.size(); ++k)
      if (items_.has(k)) choose_members(k);
    choose_enumerations();
    choose_names();
    return std::move(templates_);
  }

 private:
  // Names that the tests make something of with { }, and fields that they look into.
  void read_tests() {
    const std::string_view tests = items_.tests;
    const std::vector<Token> all = tokens_of(tests);
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].kind != Token::word) continue;
      const std::string name(of(tests, all[i]));
      const size_t next = skip(all, i + 1);
      const std::string_view then = next < all.size() ? of(tests, all[next]) : "";
      if (then == "{") brace_made_.insert(name);
      size_t k = i;
      while (k > 0 && all[k - 1].kind == Token::skipped) --k;
      const char before = k > 0 ? tests[all[k - 1].begin] : 0;
      if ((before == '.' || before == '>') && then != "(") fields_used_.insert(name);
    }
  }

  bool is_macro(const std::string& name) const { return macros_.count(name) > 0; }
  bool is_tests_own(const std::string& name) const { return items_.own_words.count(name) > 0; }
  static bool is_comparison(const std::string& name) {
    return name == "operator==" || name == "operator!=" || name == "operator<=>";
  }

  // --- classes
  bool is_exception(const CppClass& c) const {
    return !c.bases.empty() && (is_standard_exception(c.bases[0]) || exceptions_.count(c.bases[0]));
  }
  // Not along the bases of each: a program that does not compile may have two that are made of each other.
  void find_exceptions() {
    for (bool again = true; again;) {
      again = false;
      for (const CppClass& c : found_.classes)
        if (is_exception(c) && exceptions_.insert(c.name).second) again = true;
    }
  }

  // Whether it can go from one process to the other as its fields.
  bool can_be_value(const CppClass& c) const {
    if (c.odd || c.destructor || c.copies || c.is_virtual || !c.bases.empty()) return false;
    for (const CppField& f : c.fields) {
      if (!f.fallback.empty() && !is_literal(f.fallback)) return false;
      if (is_macro(f.name)) return false;
      const bool pointer = f.text.find('*') != f.text.npos;
      if (mentions(f.text, c.name) && !pointer) return false;  // values of it in a container of its own
    }
    return true;
  }

  bool wants_value(const CppClass& c) const {
    if (!can_be_value(c)) return false;
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
      } else if (f.open && !f.is_static && !f.name.starts_with("operator") && items_.mentioned(f.name)) {
        method_used = true;
      }
    }
    // its own word must not decide whether two are equal
    const std::string_view tests = items_.tests;
    if (equality_of(found_, c) &&
        (tests.find("==") != tests.npos || tests.find("!=") != tests.npos || items_.mentioned("for")))
      return true;
    if (!all_open || !made_whole) return false;
    return field_used || !method_used || (!constructed && brace_made_.count(c.name));
  }

  void choose_classes() {
    find_exceptions();
    items_.want.assign(found_.classes.size(), CppWant::nothing);
    for (size_t k = 0; k < found_.classes.size(); ++k) {
      const CppClass& c = found_.classes[k];
      if (!c.open || c.head.empty() != c.arguments.empty() || c.scope.starts_with("std") ||
          is_tests_own(c.name) || is_macro(c.name) || c.odd)
        continue;
      if (c.owner >= 0 && !items_.has(static_cast<size_t>(c.owner))) continue;
      items_.want[k] = is_exception(c)  ? CppWant::exception
                       : wants_value(c) ? CppWant::value
                                        : CppWant::object;
    }
    for (const CppClass& c : found_.classes)  // what others are made of stays with the program
      for (const std::string& base : c.bases)
        for (size_t k = 0; k < found_.classes.size(); ++k)
          if (found_.classes[k].name == base && items_.want[k] == CppWant::value)
            items_.want[k] = CppWant::object;
  }

  // --- functions
  // One more for each parameter that may be left out, where what stands for it is not the same for any program.
  void add_function(CppItem item) {
    const CppFunction& f = *item.f;
    const std::string sign = f.name.starts_with("operator") ? f.name.substr(8) : "";
    if (item.kind != CppItem::conversion && !f.constructor && !is_identifier(f.name) &&
        (sign.empty() || sign.find_first_not_of("+-*/%^&|~!=<>[]()") != sign.npos))
      return;
    for (const CppParameter& p : f.parameters)
      if (p.text.find("...") != p.text.npos || p.text.starts_with("auto ") ||
          p.text.starts_with("const auto") || p.text.find("initializer_list") != p.text.npos)
        return;
    items_.all.push_back(item);
    if (has_literal_defaults(f)) return;
    for (size_t n = f.parameters.size(); n > 0 && !f.parameters[n - 1].fallback.empty(); --n) {
      item.kept = n - 1;
      items_.all.push_back(item);
    }
  }

  bool takes_own_class(const CppFunction& f) const {
    for (const CppParameter& p : f.parameters)
      for (const Token& t : tokens_of(p.text))
        for (size_t k = 0; k < found_.classes.size(); ++k)
          if (items_.has(k) && of(p.text, t) == found_.classes[k].name) return true;
    return false;
  }

  void choose_functions() {
    std::map<std::string, int> count;
    for (const CppFunction& f : found_.functions) ++count[f.scope + f.name];
    for (const CppFunction& f : found_.functions) {
      const bool entry = f.name == entry_point_ && !entry_point_.empty(),
                 sign = f.name.starts_with("operator");
      if (f.scope.starts_with("std")) continue;
      if (f.is_template) {
        if (!sign && items_.mentioned(f.name) && !is_tests_own(f.name) && !decides_tests(f.name) &&
            !is_macro(f.name))
          templates_.push_back(&f);
        continue;
      }
      if (f.name == "main" || (is_macro(f.name) && f.scope.empty()) || (decides_tests(f.name) && !entry))
        continue;
      if (sign ? is_comparison(f.name) || f.name.find('"') != f.name.npos || !takes_own_class(f)
               : (!items_.mentioned(f.name) && !entry) || is_tests_own(f.name))
        continue;
      CppItem item;
      item.f = &f, item.scope = f.scope, item.name = f.name;
      item.overloaded = sign || count[f.scope + f.name] > 1;
      add_function(item);
    }
  }

  // --- what a class has
  bool wants_method(const CppFunction& f) const {
    if (f.name.starts_with("operator"))
      return !is_comparison(f.name) && f.name != "operator=" && f.name != "operator&" &&
             f.name != "operator," && !f.name.starts_with("operator new") &&
             !f.name.starts_with("operator delete");
    const bool looped_over = (f.name == "begin" || f.name == "end") && items_.mentioned("for");
    return (items_.mentioned(f.name) || looped_over) && !is_macro(f.name);
  }

  void choose_members(size_t k) {
    const CppClass& c = found_.classes[k];
    CppItem item;
    item.of_class = static_cast<int>(k), item.scope = c.scope, item.name = c.name;
    item.kind = CppItem::fields;
    items_.all.push_back(item);
    choose_methods(c, item);
    item.kind = CppItem::equality;
    if (items_.want[k] == CppWant::value && equality_of(found_, c) && fieldwise_equal(found_, c).empty())
      items_.all.push_back(item);
    if (items_.want[k] != CppWant::object) return;
    if (std::none_of(c.functions.begin(), c.functions.end(),
                     [](const CppFunction& f) { return f.constructor; })) {
      item.kind = CppItem::constructor, item.f = &unwritten_constructor();
      items_.all.push_back(item);
      item.f = nullptr;
    }
    for (CppItem::Kind kind : {CppItem::copy, CppItem::move, CppItem::assign})
      item.kind = kind, items_.all.push_back(item);
    item.kind = CppItem::field;
    for (const CppField& f : c.fields)
      if (f.open && fields_used_.count(f.name) && !is_macro(f.name))
        item.name = f.name, items_.all.push_back(item);
  }

  void choose_methods(const CppClass& c, CppItem item) {
    std::map<std::string, int> count;
    for (const CppFunction& f : c.functions) ++count[f.name];
    for (const CppFunction& f : c.functions) {
      if (!f.open || f.is_template || f.is_friend || (!f.constructor && !wants_method(f))) continue;
      item.f = &f, item.name = f.name, item.overloaded = count[f.name] > 1;
      item.kind = f.constructor                     ? CppItem::constructor
                  : f.name.starts_with("operator ") ? CppItem::conversion
                                                    : CppItem::method;
      add_function(item);
    }
  }

  static const CppFunction& unwritten_constructor() {
    static const CppFunction kNone = [] {
      CppFunction none;
      none.constructor = true;
      return none;
    }();
    return kNone;
  }

  // --- the rest
  void choose_enumerations() {
    for (const CppEnum& e : found_.enums) {
      if (is_tests_own(e.name) || e.scope.starts_with("std") ||
          (e.owner >= 0 && !items_.has(static_cast<size_t>(e.owner))))
        continue;
      CppItem item;
      item.kind = CppItem::enumeration, item.e = &e, item.of_class = e.owner, item.scope = e.scope,
      item.name = e.name;
      items_.all.push_back(item);
    }
  }

  void choose_names() {
    auto add = [&](CppItem::Kind kind, const CppNames& n) {
      if (!items_.mentioned(n.name) || is_tests_own(n.name) || n.scope.starts_with("std") || is_macro(n.name))
        return;
      CppItem item;
      item.kind = kind, item.scope = n.scope, item.name = n.name;
      items_.all.push_back(item);
    };
    auto is_class = [&](const std::string& name) {
      return std::any_of(found_.classes.begin(), found_.classes.end(),
                         [&](const CppClass& c) { return c.name == name; });
    };
    for (const CppNames& a : found_.aliases)
      if (!is_class(a.name)) add(CppItem::alias, a);
    for (const CppNames& v : found_.variables) add(CppItem::variable, v);
  }

  CppItems& items_;
  const CppDeclarations& found_;
  const std::string& entry_point_;
  std::set<std::string> macros_, exceptions_, brace_made_, fields_used_;
  std::vector<const CppFunction*> templates_;
};

}  // namespace

CppSurface::CppSurface(std::string_view program, std::string_view tests, const std::string& entry_point,
                       std::string word)
    : items_(program, tests, std::move(word)) {
  add_class_instances(items_);
  templates_ = Choice(items_, entry_point).choose();
}

std::string CppSurface::together() const {
  return "#line 1 \"solution.cpp\"\n" + without_main(items_.program) + undone_words(true) +
         fmt::format("#include <assert.h>\n#line 1 \"tests\"\n{}\n", items_.tests);
}

void CppSurface::add_instances(std::string_view object) {
  add_function_instances(items_, templates_, object);
}

std::string CppSurface::server() const {
  return cpp_server(items_);
}

bool CppSurface::leave_out(size_t line) {
  if (line == 0 || line > items_.all.size() || items_.all[line - 1].gone) return false;
  CppItem& item = items_.all[line - 1];
  item.gone = true;
  if (item.kind == CppItem::fields) {  // all of its class
    items_.want[static_cast<size_t>(item.of_class)] = CppWant::nothing;
    for (CppItem& other : items_.all)
      if (other.of_class == item.of_class) other.gone = true;
  }
  return true;
}

std::optional<std::string> CppSurface::stubs(std::string_view binary) {
  const CppShapes shapes(items_, binary);
  if (!shapes.any()) return {};
  const std::string text = cpp_stubs(items_, shapes);
  arrays_ = text.find("__builtin_dynamic_object_size") != text.npos;
  return text;
}

}  // namespace cohort::code
