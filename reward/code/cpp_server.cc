#include "reward/code/cpp_server.h"

#include <fmt/core.h>

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_equality.h"
#include "reward/code/cpp_templates.h"
#include "reward/code/cpp_text.h"

namespace cohort::code {
namespace {

// An item as the server has it. Its number is in all names: S3_WORD its type, F3_WORD the type that its text says, In3_WORD a class
// in which that text is read.
struct Served {
  std::string type;    // of a function, or types<…>
  std::string values;  // constants beside it: of what is asked for, whether it can be
  std::string call;    // "" where it is only said
};

class Server {
 public:
  explicit Server(const CppItems& items) : items_(items), ours_(items.ours + "::") {}

  std::string text() const {
    std::string said, types, cases, shapes;
    for (size_t i = 0; i < items_.all.size(); ++i) {
      const CppItem& item = items_.all[i];
      if (item.gone) continue;
      add_said(said, i);
      if (item.f && (item.overloaded || item.kind == CppItem::constructor))
        add(types, i, in_its_scope(i, type_in_text(i)));
      const Served s = served(i);
      const std::string type = s.type.starts_with("typename ") ? s.type.substr(9) : s.type;
      add(types, i, fmt::format("using {} = {};", name('S', i), type));
      add(shapes, i,
          fmt::format("shape = {}shape<{}, {}{}{}>();", ours_, i, name('S', i), s.values.empty() ? "" : ", ",
                      s.values));
      if (!s.call.empty()) add(cases, i, fmt::format("case {}: return {};", i, s.call));
    }
    return said + exceptions() + "KSERVE\n" + types + requests(cases) +
           "int main() {\n  static const char* volatile shape;\n" + shapes +
           fmt::format("#line 1 \"boundary\"\n  return {}serve();\n}}\n", ours_);
  }

 private:
  static void add(std::string& out, size_t i, const std::string& text) {
    out += fmt::format("#line {} \"item\"\n{}\n", i + 1, replaced(text, "\n", " "));
  }
  std::string name(char what, size_t i) const { return fmt::format("{}{}_{}", what, i, items_.word); }
  std::string class_name(size_t i) const { return fmt::format("In{}_{}", i, items_.word); }
  std::string class_path(const CppItem& item) const {
    return item.of_class >= 0 ? "::" + items_.class_of(item).path() : "";
  }

  // --- one kind after the other
  Served served(size_t i) const {
    const CppItem& item = items_.all[i];
    const std::string owner = class_path(item), s = name('S', i);
    const std::string shaped = fmt::format("{}Shape<{}>::serves()", ours_, s);
    const std::string pass = "static_cast<decltype(a)>(a)...";
    auto call = [&](const std::string& lambda) {
      return fmt::format("{}call<{}>({}, in, out)", ours_, s, lambda);
    };
    switch (item.kind) {
      case CppItem::function: {
        const bool found_by_arguments = item.name.starts_with("operator") || item.f->is_friend;
        return {signature(i), shaped,
                call(fmt::format("[](auto&&... a) -> decltype(auto) {{ return {}({}); }}",
                                 found_by_arguments ? item.name : item.path(), pass))};
      }
      case CppItem::method:
        return {signature(i), shaped,
                call(item.f->is_static
                         ? fmt::format("[](auto&&... a) -> decltype(auto) {{ return {}::{}({}); }}", owner,
                                       item.name, pass)
                         : fmt::format("[](auto& s, auto&&... a) -> decltype(auto) {{ return s.{}({}); }}",
                                       item.name, pass))};
      case CppItem::conversion:
        return {signature(i), shaped,
                call(fmt::format("[](auto& s) -> decltype(auto) {{ return s.{}(); }}", item.name))};
      case CppItem::constructor: {
        const std::string written = class_name(i) + "::" + name('F', i);
        Served made_of = made(owner, item.whole() ? written : s);
        made_of.type = first_of(i, made(owner, written).type);
        return made_of;
      }
      case CppItem::copy:
        return made(owner, fmt::format("void(const {}&)", owner));
      case CppItem::move:
        return made(owner, fmt::format("void({}&&)", owner));
      case CppItem::assign:
        return {fmt::format("void({0}&, const {0}&)", owner),
                fmt::format("std::is_copy_assignable_v<{}>", owner),
                fmt::format("{}assign<{}>(in, out)", ours_, owner)};
      case CppItem::field:
        return {fmt::format("decltype({0}::{1})&({0}&)", owner, item.name), shaped,
                call(fmt::format("[](auto& s) -> auto& {{ return s.{}; }}", item.name))};
      case CppItem::equality: {
        const CppFunction* equal = equality_of(items_.found, items_.class_of(item));
        const bool turned = equal && equal->name == "operator!=";
        return {fmt::format("bool(const {0}&, const {0}&)", owner), shaped,
                call(fmt::format("[](auto& a, auto& b) -> bool {{ return {}; }}",
                                 turned ? "!(a != b)" : "a == b"))};
      }
      case CppItem::fields:
        return {fmt::format("typename {}FieldsOf<{}>::types", ours_, owner),
                fmt::format("{}Own<{}>::kind", ours_, owner), ""};
      case CppItem::enumeration:
        return {fmt::format("{}types<std::underlying_type_t<{}>>", ours_, item.path()), numbers_of(item), ""};
      case CppItem::alias:
        return {fmt::format("{}types<{}>", ours_, item.path()), "true", ""};
      case CppItem::variable:
        return {fmt::format("std::remove_cv_t<std::remove_reference_t<decltype({})>>()", item.path()),
                fmt::format("{}, std::is_const_v<decltype({})>", shaped, item.path()),
                call(fmt::format("[] {{ return {}; }}", item.path()))};
    }
    return {};
  }

  // An object of a class from arguments like this function's.
  Served made(const std::string& owner, const std::string& function) const {
    const std::string by = fmt::format("{}Made<{}, {}>::", ours_, owner, function);
    return {"typename " + by + "type", by + "serves()", by + "call(in, out)"};
  }

  // Of a function that is not overloaded the compiler says the type by itself.
  std::string signature(size_t i) const {
    const CppItem& item = items_.all[i];
    const bool method = item.of_class >= 0;
    std::string of = fmt::format("decltype(&{})", item.path());
    if (item.overloaded)
      of = (method ? class_name(i) + "::" : "::" + item.scope) + name('F', i);
    else if (method)
      of = fmt::format("decltype(&{}::{})", class_path(item), item.name);
    return first_of(i, fmt::format("{}signature<{}>", ours_, of));
  }
  // Where parameters at the end are left out.
  std::string first_of(size_t i, const std::string& type) const {
    const CppItem& item = items_.all[i];
    if (item.whole()) return type;
    const bool self =
        item.kind != CppItem::function && item.kind != CppItem::constructor && !item.f->is_static;
    return fmt::format("typename {}First<{}, {}>::type", ours_, type, item.kept + (self ? 1 : 0));
  }

  std::string numbers_of(const CppItem& item) const {
    std::string values;
    for (const std::string& name : item.e->names)
      values += fmt::format("{}(long long){}::{}", values.empty() ? "" : ", ", item.path(), name);
    return values;
  }

  // --- types as the program's text says them
  // Where the program has made a keyword a macro (`#define int long long`): it is none behind the program.
  std::string meant(const std::string& text) const {
    std::string out;
    for (const Token& token : tokens_of(text)) {
      std::string word(of(text, token));
      for (const auto& [name, value] : items_.found.macros)
        if (token.kind == Token::word && name == word && is_plain_word(word) && value != "(") word = value;
      out += word;
    }
    return out;
  }

  // "using F3_WORD = int (::Stack::*)(int) const;"
  std::string type_in_text(size_t i) const {
    const CppItem& item = items_.all[i];
    const bool constructor = item.kind == CppItem::constructor;
    const std::vector<CppParameter>& parameters = item.f->parameters;
    const size_t n = constructor ? std::min(item.kept, parameters.size()) : parameters.size();
    std::string list;
    for (size_t p = 0; p < n; ++p) list += (p > 0 ? ", " : "") + meant(parameters[p].text);
    const std::string start = fmt::format("using {} = ", name('F', i));
    if (constructor) return start + fmt::format("void({});", list);
    if (item.of_class >= 0 && !item.f->is_static)
      return start +
             fmt::format("{} ({}::*)({}){};", meant(item.f->result), class_path(item), list, item.f->tail);
    return start + fmt::format("{}({});", meant(item.f->result), list);
  }

  std::string in_its_scope(size_t i, const std::string& type) const {
    const CppItem& item = items_.all[i];
    if (item.of_class >= 0) {
      const CppClass& c = items_.class_of(item);
      return fmt::format("struct {}{} {{ {}{} }};", class_name(i), c.is_final ? "" : " : ::" + c.path(),
                         names_of_arguments(c), type);
    }
    if (item.scope.empty()) return type;
    return fmt::format("namespace {} {{ {} }}", item.scope.substr(0, item.scope.size() - 2), type);
  }

  // --- what kWire has to know of classes and enumerations
  void add_said(std::string& out, size_t i) const {
    const CppItem& item = items_.all[i];
    auto said = [&](const std::string& type, CppWant want, int index, const std::string& more) {
      add(out, i,
          fmt::format("namespace {} {{ template <> struct Said<{}> {{ static constexpr int want = {}, index "
                      "= {}; {} }}; }}",
                      items_.ours, type, static_cast<int>(want), index, more));
    };
    if (item.kind == CppItem::enumeration) said(item.path(), CppWant::enumeration, 0, "");
    if (item.kind != CppItem::fields) return;
    const CppWant want = items_.want[static_cast<size_t>(item.of_class)];
    std::string fields;
    if (want == CppWant::value) {  // whether they are public or not
      const CppClass& c = items_.class_of(item);
      const std::string tag = fmt::format("Tag{}", item.of_class);
      std::string members;
      for (const CppField& f : c.fields) members += fmt::format(", &::{}::{}", c.path(), f.name);
      add(out, i,
          fmt::format("namespace {0} {{ struct {1} {{ friend constexpr auto members({1}); }}; template "
                      "struct Open<{1}{2}>; }}",
                      items_.ours, tag, members));
      fields = fmt::format("static constexpr auto fields() {{ return members({}{{}}); }}", tag);
    }
    said(class_path(item), want, item.of_class + 1, fields);
  }

  // Those of the program's own, the derived ones first, and a list of its classes.
  std::string exceptions() const {
    std::string all, caught;
    for (const CppItem& item : items_.all)
      if (item.kind == CppItem::fields && !item.gone) all += (all.empty() ? "" : ", ") + class_path(item);
    for (size_t k = items_.found.classes.size(); k-- > 0;)
      if (items_.want[k] == CppWant::exception)
        caught += fmt::format("  catch (const ::{}& e) {{ text = e.what(); return {}; }}\n",
                              items_.found.classes[k].path(), k + 1);
    return fmt::format(
        "#line 1 \"boundary\"\nnamespace {0} {{\ntemplate <class T> struct All {{ using types = "
        "{0}::types<{1}>; }};\n"
        "constexpr bool captures = {2};\n"
        "int own_thrown(const char*& text) {{\n  try {{ throw; }}\n{3}  catch (...) {{ (void)text; "
        "return 0; }}\n}}\n"
        "void throw_own(int, const char*) {{}}\n}}\n",
        items_.ours, all, items_.mentioned("rdbuf"), caught);
  }

  std::string requests(const std::string& cases) const {
    return fmt::format(
               "#line 1 \"boundary\"\nvoid {0}::each_request(unsigned which, {0}::In& in, {0}::Out& out) {{\n"
               "  if (which == {0}::kDestroy) {{ {0}::written(in); return {0}::destroy(in, out); }}\n  "
               "{0}::written(in);\n"
               "  switch (which) {{\n",
               items_.ours) +
           cases + "#line 1 \"boundary\"\n  }\n  ::_exit(1);\n}\n";
  }

  const CppItems& items_;
  const std::string ours_;
};

}  // namespace

std::string cpp_server(const CppItems& items) {
  return Server(items).text();
}

}  // namespace cohort::code
