// A class as the tests have it: a value has the program's fields, an object is a number, and both ask for what they do.
#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "reward/code/cpp_equality.h"
#include "reward/code/cpp_stubs.h"

namespace cohort::code {
namespace {

class ClassStub {
 public:
  ClassStub(CppItems& items, const CppShapes& shapes, int k, const CppShape& fields)
      : items_(items),
        shapes_(shapes),
        k_(k),
        c_(items.found.classes[static_cast<size_t>(k)]),
        fields_(fields),
        value_(CppShapes::is_value(fields)),
        owner_(c_.path() + "::"),
        path_("::" + c_.path()) {}

  CppClassText text() {
    const std::string base = base_path();
    out_ += fmt::format("{}struct {}{}{} {{\n", c_.arguments.empty() ? "" : "template <> ", c_.name,
                        c_.arguments, base.empty() ? "" : " : " + base);
    each([&](size_t, const CppItem& item, const CppShape& s) {
      if (item.kind == CppItem::enumeration) out_ += cpp_enumeration(item, s);
    });
    add_classes_inside();
    if (value_) {
      add_fields();
      add_equality();
    } else {
      add_identity(base);
    }
    each([&](size_t i, const CppItem& item, const CppShape& s) { add_member(i, item, s); });
    if (!value_) each([&](size_t i, const CppItem& item, const CppShape& s) { add_copy(i, item, s); });
    out_ += "};\n";
    return {out_, behind_};
  }

 private:
  template <class F>
  void each(const F& f) const {
    for (size_t i = 0; i < items_.all.size(); ++i)
      if (const CppShape* s = shapes_.of(i); s && items_.all[i].of_class == k_) f(i, items_.all[i], *s);
  }

  std::string base_path() const {
    for (const std::string& base : c_.bases)
      for (size_t n = 0; n < items_.found.classes.size(); ++n)
        if (items_.found.classes[n].name == base && items_.want[n] == CppWant::object)
          return "::" + items_.found.classes[n].path();
    return "";
  }

  void add_classes_inside() {
    std::string defined;
    for (size_t n = 0; n < items_.found.classes.size(); ++n) {
      if (items_.found.classes[n].owner != k_ || !items_.has(n)) continue;
      out_ += fmt::format("struct {};\n", items_.found.classes[n].name);
      const CppClassText inside = cpp_class_stub(items_, shapes_, static_cast<int>(n));
      defined += inside.definition;
      behind_ += inside.behind;
    }
    out_ += defined;
  }

  // --- a value
  void add_fields() {
    const std::vector<CppClass>& classes = items_.found.classes;
    for (size_t n = 0; n < c_.fields.size() && n < fields_.parameters.size(); ++n) {
      const std::string& type = fields_.parameters[n];
      const bool own = std::any_of(classes.begin(), classes.end(),
                                   [&](const CppClass& other) { return type == other.path(); });
      const std::string& fallback = c_.fields[n].fallback;
      out_ += fmt::format("  {} {}{};\n", in_brackets(type), c_.fields[n].name,
                          fallback.empty()            ? (own ? "" : "{}")
                          : fallback.starts_with("{") ? fallback
                                                      : " = " + fallback);
    }
  }

  // By its fields, or the program's word where it agrees with them.
  void add_equality() {
    if (const std::string equal = fieldwise_equal(items_.found, c_); !equal.empty())
      out_ += fmt::format("  friend bool operator==(const {0}& a, const {0}& b) {{ return {1}; }}\n", c_.name,
                          equal);
    each([&](size_t i, const CppItem& item, const CppShape& s) {
      if (item.kind != CppItem::equality || !s.served() || s.values.size() != 1) return;
      std::string same = c_.fields.empty() ? "true" : "";
      for (const CppField& f : c_.fields)
        same += fmt::format("{0}{1}::same(a.{2}, b.{2})", same.empty() ? "" : " && ", items_.ours, f.name);
      out_ += fmt::format("  bool operator==(const {}& b) const;\n", c_.name);
      behind_ += fmt::format(
          "inline bool {0}operator==(const {1}& b) const {{\n  const {1}& a = *this;\n  const bool its = "
          "{2}::ask<bool, const {1}&, const {1}&>({3}, a, b);\n"
          "  if (its != ({4})) {2}::refuse({2}::other_equality);\n  "
          "return its;\n}}\n",
          owner_, path_, items_.ours, i, same);
    });
  }

  // --- an object
  void add_identity(const std::string& base) {
    const std::string id = "cohort_id_" + items_.word;
    if (base.empty()) out_ += fmt::format("  unsigned long {} = 0;\n", id);
    out_ += fmt::format("  {0}({1}::Adopt a);\n  virtual ~{0}();\n", c_.name, items_.ours);
    behind_ +=
        fmt::format("inline {0}{1}({2}::Adopt a) : {3} {{ {2}::here(a.id, this); }}\n", owner_, c_.name,
                    items_.ours, base.empty() ? id + "(a.id)" : base.substr(base.rfind(':') + 1) + "(a)");
    behind_ +=
        fmt::format("inline {0}~{1}() {{ {2}::destroy(this->{3}); }}\n", owner_, c_.name, items_.ours, id);
  }

  void add_copy(size_t i, const CppItem& item, const CppShape& s) {
    if (item.kind == CppItem::copy) {
      out_ += fmt::format("  {0}(const {0}& o){1};\n", c_.name, s.served() ? "" : " = delete");
      if (s.served()) add_made_of(i, "const ", "&");
    } else if (item.kind == CppItem::move && s.served()) {
      out_ += fmt::format("  {0}({0}&& o);\n", c_.name);
      add_made_of(i, "", "&&");
    } else if (item.kind == CppItem::assign && s.served()) {
      out_ += fmt::format("  {0}& operator=(const {0}& o);\n", c_.name);
      behind_ += fmt::format(
          "inline ::{0}& {0}::operator=(const ::{0}& o) {{ {1}::ask<void, ::{0}&, const ::{0}&>({2}, *this, "
          "o); "
          "return *this; }}\n",
          c_.path(), items_.ours, i);
    }
  }
  void add_made_of(size_t i, const char* before, const char* behind) {
    behind_ +=
        fmt::format("inline {0}{1}({2}{1}{3} o) : {1}({4}::ask<{4}::New<{5}>, {2}{5}{3}>({6}, o)) {{}}\n",
                    owner_, c_.name, before, behind, items_.ours, path_, i);
  }

  // --- what it does
  void add_member(size_t i, const CppItem& item, const CppShape& s) {
    if (item.kind == CppItem::constructor) add_constructor(i, item, s);
    if (item.kind == CppItem::field && !value_ && s.served() && shapes_.plain(s))
      out_ += fmt::format("  {}::Property<{}, {}, {}> {}{{this}};\n", items_.ours, c_.name,
                          in_brackets(s.result.substr(0, s.result.size() - 1)), i, item.name);
    if (item.kind != CppItem::method && item.kind != CppItem::conversion) return;
    if (!s.served() || !shapes_.plain(s)) {
      if (items_.mentioned(item.name))
        items_.leave_out(fmt::format("{}{} has types of its own", owner_, item.name));
      return;
    }
    const CppStub stub = cpp_stub(items_, i, s, owner_, item.f->is_static ? "" : "*this");
    behind_ += stub.definition;
    out_ += "  " + stub.declaration;
  }

  // One that only sets fields is done here, another asks.
  void add_constructor(size_t i, const CppItem& item, const CppShape& s) {
    if (!shapes_.plain_parameters(s)) return;
    const CppParameters p = cpp_parameters(item, s, 0);
    const char* is_explicit = item.f->is_explicit ? "explicit " : "";
    const auto sets = value_ ? initialisers(item) : std::nullopt;
    if (sets && item.f->parameters.empty() && item.f->is_default) {
      out_ += fmt::format("  {}() = default;\n", c_.name);
    } else if (sets) {
      out_ += fmt::format("  {}{}({}){} {{}}\n", is_explicit, c_.name, p.declared, *sets);
    } else if (s.served()) {
      out_ += fmt::format("  {}{}({});\n", is_explicit, c_.name, p.declared);
      behind_ += fmt::format("{}{}{}({}) : {}({}::ask_sized<{}{}>({}, {{{}}}{})) {{}}\n", p.inlined(), owner_,
                             c_.name, p.defined, c_.name, items_.ours,
                             value_ ? path_ : fmt::format("{}::New<{}>", items_.ours, path_), p.types, i,
                             p.arrays ? p.sizes : "", p.arguments);
    }
  }

  // " : x(a0), y(0)" of a constructor that does nothing else, by its parameters and literals.
  std::optional<std::string> initialisers(const CppItem& item) const {
    const CppFunction& f = *item.f;
    if (!(f.only_sets || f.is_default) || !item.whole()) return {};
    std::string out;
    for (const auto& [name, text] : f.sets) {
      std::string from = is_literal(text) ? text : "";
      for (size_t n = 0; n < f.parameters.size(); ++n) {
        const std::string& p = f.parameters[n].name;
        if (!p.empty() && (text == p || text == "std::move(" + p + ")" || text == "move(" + p + ")"))
          from = fmt::format("a{}", n);
      }
      const bool field = std::any_of(c_.fields.begin(), c_.fields.end(),
                                     [&](const CppField& one) { return one.name == name; });
      if (!field || (from.empty() && !text.empty())) return {};
      out += fmt::format("{}{}({})", out.empty() ? " : " : ", ", name, from);
    }
    return out;
  }

  CppItems& items_;
  const CppShapes& shapes_;
  const int k_;
  const CppClass& c_;
  const CppShape& fields_;
  const bool value_;
  const std::string owner_, path_;  // "ns::Class::", "::ns::Class"
  std::string out_, behind_;
};

}  // namespace

CppClassText cpp_class_stub(CppItems& items, const CppShapes& shapes, int k) {
  for (size_t i = 0; i < items.all.size(); ++i) {
    const CppItem& item = items.all[i];
    const CppShape* fields = shapes.of(i);
    if (item.kind == CppItem::fields && item.of_class == k && fields && !fields->values.empty())
      return ClassStub(items, shapes, k, *fields).text();
  }
  return {};
}

}  // namespace cohort::code
