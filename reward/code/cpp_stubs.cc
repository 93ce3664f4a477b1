#include "reward/code/cpp_stubs.h"

#include <fmt/core.h>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_templates.h"

namespace cohort::code {
namespace {

std::string within(const std::string& scope, const std::string& text) {
  return scope.empty() ? text
                       : fmt::format("namespace {} {{ {} }}\n", scope.substr(0, scope.size() - 2), text);
}

class Stubs {
 public:
  Stubs(CppItems& items, const CppShapes& shapes) : items_(items), found_(items.found), shapes_(shapes) {}

  std::string text() {
    std::string types, said, classes, behind, thrown, names, rest;
    for (size_t i = 0; i < items_.all.size(); ++i) {
      const CppShape* s = shapes_.of(i);
      if (!s) continue;
      declare_type(types, items_.all[i], *s);
      say_type(said, items_.all[i], *s);
    }
    for (size_t k = 0; k < found_.classes.size(); ++k) {
      if (found_.classes[k].owner >= 0 || !items_.has(k)) continue;
      const CppClassText c = cpp_class_stub(items_, shapes_, static_cast<int>(k));
      if (!c.definition.empty()) classes += within(found_.classes[k].scope, c.definition);
      behind += c.behind;
    }
    for (size_t k = 0; k < found_.classes.size(); ++k)
      if (items_.want[k] == CppWant::exception && found_.classes[k].owner < 0)
        add_exception(classes, thrown, k);
    for (size_t i = 0; i < items_.all.size(); ++i) {
      const CppShape* s = shapes_.of(i);
      if (!s || s->values.empty()) continue;
      add_function(rest, i, *s);
      add_name(names, rest, i, *s);
    }
    // where the tests have structures of their own an array may be a field of one: what the compiler knows ends with the field
    const bool structures = !read_declarations(items_.tests).classes.empty();
    return types + classes + said + list_of_classes() +
           fmt::format(
               "namespace {0} {{\nvoid throw_own(int which, const char* text) {{\n{1}  "
               "(void)which, (void)text;\n}}\n}}\n",
               items_.ours, thrown) +
           replaced(behind + names + rest + constants(), "SIZE_KIND", structures ? "1" : "0") + used_names();
  }

 private:
  // --- classes and enumerations, before there is anything in them
  void declare_type(std::string& out, const CppItem& item, const CppShape& s) {
    if (item.kind == CppItem::enumeration && item.of_class < 0)
      out += within(item.scope, cpp_enumeration(item, s));
    if (item.kind != CppItem::fields) return;
    const CppClass& c = items_.class_of(item);
    if (!c.arguments.empty() && templates_.insert(c.scope + c.name).second)
      out += within(c.scope, declared_template(c));
    if (c.owner < 0)
      out += within(c.scope, fmt::format("{}struct {}{};\n", c.arguments.empty() ? "" : "template <> ",
                                         c.name, c.arguments));
  }

  // What kWire has to know of them.
  void say_type(std::string& out, const CppItem& item, const CppShape& s) {
    auto say = [&](const std::string& type, CppWant want, int index, const std::string& more) {
      out += fmt::format(
          "namespace {} {{ template <> struct Said<{}> {{ static constexpr int want = {}, index = {}; {} }}; "
          "}}\n",
          items_.ours, type, static_cast<int>(want), index, more);
    };
    if (item.kind == CppItem::enumeration) say(item.path(), CppWant::enumeration, 0, "");
    if (item.kind != CppItem::fields) return;
    const CppClass& c = items_.class_of(item);
    std::string members;
    for (const CppField& f : c.fields)
      members += fmt::format("{}&::{}::{}", members.empty() ? "" : ", ", c.path(), f.name);
    const std::string fields =
        fmt::format("static constexpr auto fields() {{ return std::make_tuple({}); }}", members);
    const bool value = CppShapes::is_value(s);
    say("::" + c.path(), value ? CppWant::value : CppWant::object, item.of_class + 1, value ? fields : "");
    classes_ += fmt::format("{}::{}", classes_.empty() ? "" : ", ", c.path());
  }

  std::string list_of_classes() const {
    return fmt::format(
        "namespace {0} {{ template <class T> struct All {{ using types = {0}::types<{1}>; }}; }}\n",
        items_.ours, classes_);
  }

  // One of the program's, as what it says: `thrown` throws it by its number.
  void add_exception(std::string& out, std::string& thrown, size_t k) const {
    const CppClass& c = found_.classes[k];
    const bool standard = is_standard_exception(c.bases[0]);
    const std::string base = standard ? "std::" + without_std(c.bases[0]) : c.bases[0];
    if (!standard && !is_identifier(base)) return;
    const std::string name = base.substr(base.rfind(':') == base.npos ? 0 : base.rfind(':') + 1);
    const bool root = base == "std::exception";
    out += within(
        c.scope,
        fmt::format("struct {0} : {1} {{ {2} explicit {0}(const char* text) : {3} {{}} {4} }};\n", c.name,
                    base, root ? "std::string said;" : "", root ? "said(text)" : name + "(text)",
                    root ? "const char* what() const noexcept override { return said.c_str(); }" : ""));
    thrown += fmt::format("  if (which == {}) throw ::{}(text);\n", k + 1, c.path());
  }

  // --- outside of classes
  void add_function(std::string& out, size_t i, const CppShape& s) {
    const CppItem& item = items_.all[i];
    if (item.kind != CppItem::function) return;
    if (!s.served() || !shapes_.plain(s)) {
      items_.leave_out(fmt::format("{}{} has types of its own", item.scope, item.name));
      return;
    }
    const std::string stub = cpp_stub(items_, i, s, "", "").definition;
    out += within(item.scope, stub);
    if (item.arguments.empty()) return;
    // as the tests may say which: f<int>(…)
    out += within(
        item.scope,
        fmt::format("template <class... X> requires ({0}::starts({0}::types<X...>(), {0}::types{1}())) {2}",
                    items_.ours, item.arguments, stub));
  }

  void add_name(std::string& names, std::string& rest, size_t i, const CppShape& s) const {
    const CppItem& item = items_.all[i];
    if (item.kind == CppItem::alias && s.parameters.size() == 1 && shapes_.plain_parameters(s))
      names = within(item.scope, fmt::format("using {} = {};\n", item.name, in_brackets(s.parameters[0]))) +
              names;
    const bool constant = s.values.size() > 1 && s.values[1] == "true";
    if (item.kind == CppItem::variable && s.served() && constant && shapes_.plain(s.result))
      rest += within(item.scope, fmt::format("inline const {} {} = {}::ask<{}>({});\n", in_brackets(s.result),
                                             item.name, items_.ours, s.result, i));
  }

  // Macros that are a number or text.
  std::string constants() const {
    std::string out;
    for (const auto& [name, value] : found_.macros)
      if (items_.mentioned(name) && !items_.own_words.count(name) && is_identifier(name) &&
          is_literal(value) && !value.empty() && !decides_tests(name) && name != "NDEBUG" &&
          value.find_first_of("0123456789\"'") != value.npos)
        out += fmt::format("#ifndef {0}\nconstexpr auto {0} = {1};\n#endif\n", name, value);
    return out;
  }

  // The program's own way to write, which its tests may count on.
  std::string used_names() const {
    std::string out;
    for (const std::string& used : found_.used_namespaces) {
      bool own = false;
      for (const CppItem& item : items_.all) own = own || item.scope == used + "::";
      if (own && !used.starts_with("std"))
        out += fmt::format("namespace {0} {{}}\nusing namespace {0};\n", used);
    }
    for (const std::string& name : found_.used_names)
      if (is_identifier(name)) out += fmt::format("using std::{};\n", name);
    if (items_.program.find("using namespace std") != items_.program.npos) out += "using namespace std;\n";
    return out;
  }

  CppItems& items_;
  const CppDeclarations& found_;
  const CppShapes& shapes_;
  std::set<std::string> templates_;  // that are declared
  std::string classes_;              // all of them
};

std::string written_type(const CppItem& item, const CppShape& shape, const std::string& owner) {
  const std::string name = owner + item.name;
  return item.kind == CppItem::conversion ? owner + "operator " + shape.result
                                          : in_brackets(shape.result) + " " + name;
}

}  // namespace

std::string cpp_stubs(CppItems& items, const CppShapes& shapes) {
  return Stubs(items, shapes).text();
}

std::string cpp_enumeration(const CppItem& item, const CppShape& shape) {
  std::string names;
  for (size_t n = 0; n < item.e->names.size() && n < shape.values.size(); ++n)
    names += fmt::format("{} = {}, ", item.e->names[n], shape.values[n]);
  return fmt::format("enum {}{} : {} {{ {} }};\n", item.e->scoped ? "class " : "", item.name,
                     shape.parameters[0], names);
}

CppParameters cpp_parameters(const CppItem& item, const CppShape& shape, size_t from) {
  CppParameters out;
  const bool defaults = item.whole() && item.f && has_literal_defaults(*item.f);
  for (size_t n = from; n < shape.parameters.size(); ++n) {
    const std::string& type = shape.parameters[n];
    const size_t own = n - from;
    const std::string one = fmt::format("{}{} a{}", own > 0 ? ", " : "", in_brackets(type), own);
    out.defined += one;
    out.declared += one;
    if (defaults && own < item.f->parameters.size() && !item.f->parameters[own].fallback.empty())
      out.declared += " = " + item.f->parameters[own].fallback;
    out.types += ", " + type;
    out.arguments += fmt::format(", a{}", own);
    const bool pointer = type.ends_with('*') || type.find("(*)[") != type.npos;
    out.arrays = out.arrays || pointer;
    out.sizes += (own > 0 ? ", " : "") +
                 (pointer ? fmt::format("__builtin_dynamic_object_size(a{}, SIZE_KIND)", own) : "~0ul");
  }
  return out;
}

CppStub cpp_stub(const CppItems& items, size_t i, const CppShape& shape, const std::string& owner,
                 const std::string& self) {
  const CppItem& item = items.all[i];
  const bool method = !self.empty();
  const CppParameters p = cpp_parameters(item, shape, method ? 1 : 0);
  const std::string tail = method && shape.parameters[0].starts_with("const ") ? " const" : "";
  const std::string sizes = p.arrays ? (method ? "~0ul, " : "") + p.sizes : "";
  CppStub stub;
  stub.declaration = fmt::format("{}{}{}({}){};\n", item.f && item.f->is_static ? "static " : "",
                                 item.f && item.f->is_explicit ? "explicit " : "",
                                 written_type(item, shape, ""), p.declared, tail);
  stub.definition =
      fmt::format("{}{}({}){} {{ return {}::ask_sized<{}{}{}>({}, {{{}}}{}{}); }}\n", p.inlined(),
                  written_type(item, shape, owner), owner.empty() ? p.declared : p.defined, tail, items.ours,
                  shape.result, method ? ", " + shape.parameters[0] : "", p.types, i, sizes,
                  method ? ", " + self : "", p.arguments);
  return stub;
}

}  // namespace cohort::code
