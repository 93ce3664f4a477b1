#include "reward/code/cpp_types.h"

#include <algorithm>

#include "reward/code/cpp_function.h"
#include "reward/code/cpp_tokens.h"

namespace cohort::code {
namespace {

class Reader : CppTokens {
 public:
  explicit Reader(std::string_view text) : CppTokens(text) { found_.macros = std::move(macros); }

  CppDeclarations read() {
    scope(0, size(), "", -1);
    return std::move(found_);
  }

 private:
  // The class of that index, null for -1.
  CppClass* class_at(int k) { return k < 0 ? nullptr : &found_.classes[static_cast<size_t>(k)]; }

  void scope(size_t i, size_t end, const std::string& path, int owner) {
    if (depth_ == kDeepest) return;
    ++depth_;
    open_ = owner < 0 || class_at(owner)->is_struct;
    while (i < end) {
      const size_t next = statement(i, end, path, owner);
      i = std::max(next, i + 1);
    }
    --depth_;
  }

  size_t statement(size_t i, size_t end, const std::string& path, int owner) {
    if (is(i, ";") || is(i, "}")) return i + 1;
    if (is(i, "public") || is(i, "private") || is(i, "protected")) {
      open_ = is(i, "public");
      return i + 2;
    }
    if (is(i, "inline") && is(i + 1, "namespace")) ++i;
    if (is(i, "namespace")) return a_namespace(i + 1, end, path);
    if (is(i, "extern") && i + 2 < end && literal(i + 1) && is(i + 2, "{")) {
      scope(i + 3, behind(i + 2) - 1, path, owner);
      return behind(i + 2);
    }
    std::string head;
    bool is_template = false;
    while (is(i, "template") && is(i + 1, "<")) {
      const size_t angle = behind_angle(i + 1);
      if (angle == i + 1) return behind_semicolon(i, end);
      head = words(i + 2, angle - 1);
      is_template = true;
      i = angle;
      if (is(i, "requires")) return behind_semicolon(i, end);
    }
    if (is(i, "concept") || is(i, "static_assert") || is(i, "template")) return behind_semicolon(i, end);
    if (is(i, "using") || is(i, "typedef")) {
      if (!is_template) name_of_type(i, end, path, owner);
      if (is(i, "using") || !has_body(i, end)) return behind_semicolon(i, end);
      ++i;  // typedef struct X { … } X;
    }
    if (is(i, "friend") && (is(i + 1, "class") || is(i + 1, "struct"))) return behind_semicolon(i, end);
    if (is(i, "enum")) return an_enum(i, end, path, owner);
    if ((is(i, "class") || is(i, "struct") || is(i, "union")) && has_body(i, end))
      return a_class(i, end, path, owner, is_template, head);
    return a_declaration(i, end, path, owner, is_template);
  }

  size_t a_namespace(size_t i, size_t end, const std::string& path) {
    std::string inner = path;
    const bool open = open_;
    for (; i < end && !is(i, "{"); ++i) {
      if (is(i, "=") || is(i, ";")) return behind_semicolon(i, end);
      if (word(i) && !is(i, "inline")) inner += std::string(at(i)) + "::";
    }
    if (i >= end) return end;
    scope(i + 1, behind(i) - 1, inner, -1);
    open_ = open;
    return behind(i);
  }

  void name_of_type(size_t i, size_t end, const std::string& path, int owner) {
    if (is(i, "using") && is(i + 1, "namespace")) {
      if (owner < 0) found_.used_namespaces.push_back(words(i + 2, behind_semicolon(i, end) - 1));
      return;
    }
    if (owner >= 0) return;
    if (is(i, "using")) {
      if (path.empty() && is(i + 1, "std") && twice(i + 2, ':') && word(i + 4) && is(i + 5, ";"))
        found_.used_names.emplace_back(at(i + 4));
      if (word(i + 1) && is(i + 2, "=")) found_.aliases.push_back({path, std::string(at(i + 1))});
      return;
    }
    const size_t last = behind_semicolon(i, end) - 2;
    if (last > i && word(last) && !has_body(i, end)) found_.aliases.push_back({path, std::string(at(last))});
  }

  size_t an_enum(size_t i, size_t end, const std::string& path, int owner) {
    CppEnum e;
    e.scope = path, e.owner = owner;
    const bool open = open_;
    if (!has_body(i, end))
      return is(i + 2, "::") ? behind_semicolon(i, end) : a_declaration(i, end, path, owner, false);
    ++i;
    if (is(i, "class") || is(i, "struct")) e.scoped = true, ++i;
    if (word(i)) e.name = at(i);
    while (i < end && !is(i, "{")) ++i;
    const size_t close = behind(i) - 1;
    for (++i; i < close; ++i) {
      if (word(i)) e.names.emplace_back(at(i));
      while (i < close && !is(i, ",")) i = is(i, "(") || is(i, "{") ? behind(i) : i + 1;
    }
    if (open && !e.name.empty()) found_.enums.push_back(std::move(e));
    return behind_semicolon(close, end);
  }

  size_t a_class(size_t i, size_t end, const std::string& path, int owner, bool is_template,
                 const std::string& head) {
    CppClass c;
    c.scope = path, c.owner = owner, c.open = open_, c.head = head;
    c.is_struct = !is(i, "class");
    c.odd = is(i, "union") || (is_template && head.empty());
    for (++i; i < end && !is(i, "{") && !is(i, ":"); ++i) {
      if (is(i, "["))
        i = behind(i) - 1;
      else if (is(i, "final"))
        c.is_final = true;
      else if (is(i, "<"))
        c.odd = true, i = std::max(behind_angle(i) - 1, i);  // a specialisation
      else if (word(i) && !is(i, "alignas"))
        c.name = at(i);
    }
    if (is(i, ":")) {
      size_t from = ++i;
      for (; i < end && !is(i, "{"); ++i) {
        if (is(i, "<")) i = std::max(behind_angle(i), i + 1) - 1;
        if (is(i, "public") || is(i, "virtual") || is(i, "private") || is(i, "protected")) from = i + 1;
        if (is(i, ",")) c.bases.push_back(words(from, i)), from = i + 1;
      }
      c.bases.push_back(words(from, i));
    }
    if (i >= end) return end;
    const size_t close = behind(i) - 1;
    const bool open = open_;
    if (c.name.empty()) {  // anonymous: its members are the other's
      if (owner >= 0) class_at(owner)->odd = true;
      return behind_semicolon(close, end);
    }
    const std::string inner = path + c.name + "::";
    found_.classes.push_back(std::move(c));
    const size_t index = found_.classes.size() - 1;
    scope(i + 1, close, inner, static_cast<int>(index));
    open_ = open;
    if (close + 1 < end && !is(close + 1, ";")) {
      if (owner >= 0) variables(close + 1, end, path, owner);
    }
    return behind_semicolon(close + 1, end);
  }

  static bool specifier(std::string_view w) {
    for (const char* s : {"static", "inline", "constexpr", "consteval", "virtual", "explicit", "friend",
                          "extern", "mutable", "thread_local", "register", "__inline", "__inline__"})
      if (w == s) return true;
    return false;
  }

  size_t a_declaration(size_t i, size_t end, const std::string& path, int owner, bool is_template) {
    CppFunction f;
    f.scope = path, f.is_template = is_template, f.open = open_;
    size_t from = i;  // where its type begins
    for (size_t k = i; k < end; ++k) {
      if (twice(k, '[')) {
        k = behind(k) - 1;
        if (k + 1 > from && from >= i && k < from + 8) from = k + 1;
        continue;
      }
      if (word(k) && specifier(at(k))) {
        f.is_static |= is(k, "static");
        f.is_friend |= is(k, "friend");
        f.is_explicit |= is(k, "explicit");
        if (is(k, "virtual") && owner >= 0) class_at(owner)->is_virtual = true;
        if (k == from) from = k + 1;
        continue;
      }
      if (is(k, "__attribute__") || is(k, "alignas") || is(k, "decltype")) {
        k = behind(k + 1) - 1;
        continue;
      }
      if (is(k, "operator")) return a_function(f, from, k, end, path, owner);
      if (is(k, "~")) {
        const size_t last = behind(k + 2);
        if (owner >= 0 && !(is(last, "=") && is(last + 1, "default"))) class_at(owner)->destructor = true;
        return behind_function(k, end);
      }
      if (is(k, "<") && k > i && word(k - 1)) {
        const size_t angle = behind_angle(k);
        if (angle > k) k = angle - 1;
        continue;
      }
      if (is(k, "(")) {
        if (k > i && word(k - 1)) return a_function(f, from, k - 1, end, path, owner);
        if (owner >= 0 && !f.is_static) class_at(owner)->odd = true;
        return behind_semicolon(k, end);
      }
      if (is(k, "=") || is(k, ";") || is(k, "{") || is(k, "[") || is(k, ",") ||
          (is(k, ":") && !twice(k, ':') && !(k > 0 && twice(k - 1, ':'))))
        break;
    }
    return variables(i, end, path, owner);
  }

  // `from`: its result's type, `n` its name or the word operator
  size_t a_function(const CppFunction& start, size_t from, size_t n, size_t end, const std::string& path,
                    int owner) {
    CppClass* c = class_at(owner);
    auto read = read_cpp_function(*this, start, from, n, end, c ? c->name : "");
    if (!read) return end;
    CppFunction& f = read->f;
    if (c && read->pure) c->is_virtual = true;
    if (c && f.constructor && takes_itself(f)) {
      c->copies = c->copies || !f.is_default;
      return read->end;
    }
    if (c && f.name == "operator=") c->copies = c->copies || !f.is_default;
    const bool qualified = n > 1 && twice(n - 2, ':');
    if (read->deleted || qualified) return read->end;
    if (f.is_friend) {
      while (c && c->owner >= 0) c = class_at(c->owner);
      f.scope = c ? c->scope : path;
      f.open = true;
      if (f.name.starts_with("operator") && !f.is_template) found_.functions.push_back(std::move(f));
    } else if (c) {
      if (!f.constructor || !f.is_template) c->functions.push_back(std::move(f));
    } else if (read->has_body || f.is_default) {
      found_.functions.push_back(std::move(f));
    }
    return read->end;
  }

  // A constructor that copies or moves.
  static bool takes_itself(const CppFunction& f) {
    if (f.parameters.size() != 1) return false;
    const std::string& text = f.parameters[0].text;
    return text.find(f.name) != text.npos && text.find('&') != text.npos && text.find('<') == text.npos;
  }

  size_t variables(size_t i, size_t end, const std::string& path, int owner) {
    const size_t last = behind_semicolon(i, end);
    bool is_static = false;
    std::string name;
    size_t name_at = i;
    CppClass* c = class_at(owner);
    auto add = [&](const std::string& fallback) {
      if (name.empty()) return;
      if (c && !is_static)
        c->fields.push_back({name, fallback, words(i, name_at), open_});
      else if (!c)
        found_.variables.push_back({path, name});
      name.clear();
    };
    for (size_t k = i; k < last; ++k) {
      if (is(k, "static")) is_static = true;
      if (is(k, "extern")) return last;
      if (is(k, "<") && k > i && word(k - 1)) {
        k = std::max(behind_angle(k), k + 1) - 1;
        continue;
      }
      if (is(k, "[")) {
        k = behind(k) - 1;
        continue;
      }
      if (c && !is_static && is(k, "&")) c->odd = true;
      if (twice(k, ':')) {
        ++k;
        name.clear();
        continue;
      }
      if (is(k, ":") && c) c->odd = true;  // bits
      if (word(k) && !specifier(at(k))) name = at(k), name_at = k;
      if (is(k, "=") || is(k, "{") || is(k, "(")) {
        const size_t v = is(k, "=") ? k + 1 : k;
        size_t w = v;
        while (w < last && !is(w, ",") && !is(w, ";"))
          w = is(w, "(") || is(w, "[") || is(w, "{") ? behind(w) : w + 1;
        add(words(v, w));
        k = w;
      }
      if (is(k, ",") || is(k, ";")) add("");
    }
    return last;
  }

  static constexpr int kDeepest = 100;  // one in another
  CppDeclarations found_;
  bool open_ = true;
  int depth_ = 0;
};

}  // namespace

CppDeclarations read_declarations(std::string_view text) {
  return Reader(text).read();
}

}  // namespace cohort::code
