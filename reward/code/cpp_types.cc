#include "reward/code/cpp_types.h"

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {
    const std::vector<Token> all = tokens_of(text);
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].kind == Token::skipped) continue;
      if (of(text, all[i]) == "#") {
        i = directive(all, i);
        continue;
      }
      t_.push_back(all[i]);
    }
  }

  CppDeclarations read() {
    scope(0, t_.size(), "", -1);
    return std::move(found_);
  }

 private:
  // --- tokens
  std::string_view at(size_t i) const { return i < t_.size() ? of(text_, t_[i]) : std::string_view(); }
  bool is(size_t i, std::string_view what) const { return at(i) == what; }
  bool word(size_t i) const {
    return i < t_.size() && t_[i].kind == Token::word && !(at(i)[0] >= '0' && at(i)[0] <= '9');
  }
  bool twice(size_t i, char c) const {
    return i + 1 < t_.size() && at(i)[0] == c && at(i + 1)[0] == c && t_[i].end == t_[i + 1].begin;
  }
  std::string words(size_t from, size_t end) const {
    return from < end ? std::string(text_.substr(t_[from].begin, t_[end - 1].end - t_[from].begin)) : "";
  }
  size_t behind(size_t open) const { return behind_bracket(text_, t_, open); }
  // behind the > of the < at `i`, or `i` where it is none of a template's
  size_t behind_angle(size_t i) const {
    int depth = 0;
    for (size_t k = i; k < t_.size(); ++k) {
      if (is(k, "<")) ++depth;
      if (is(k, ">") && !(k > 0 && is(k - 1, "-")) && --depth == 0) return k + 1;
      if (is(k, "(") || is(k, "[") || is(k, "{")) k = behind(k) - 1;
      if (is(k, ";") || is(k, "}")) return i;
    }
    return i;
  }
  size_t behind_semicolon(size_t i, size_t end) const {
    for (; i < end; ++i) {
      if (is(i, ";")) return i + 1;
      if (is(i, "(") || is(i, "[") || is(i, "{")) i = behind(i) - 1;
    }
    return end;
  }

  size_t directive(const std::vector<Token>& all, size_t i) {
    const size_t line = all[i].begin;
    size_t end = line;
    while (end < text_.size() && (text_[end] != '\n' || text_[end - 1] == '\\')) ++end;
    std::string_view rest = trim(text_.substr(line + 1, end - line - 1));
    if (rest.starts_with("define")) {
      rest = trim(rest.substr(6));
      size_t n = 0;
      while (n < rest.size() && (isalnum(static_cast<unsigned char>(rest[n])) || rest[n] == '_')) ++n;
      const bool call = n < rest.size() && rest[n] == '(';
      found_.macros.emplace_back(rest.substr(0, n), call ? "(" : std::string(trim(rest.substr(n))));
    }
    while (i + 1 < all.size() && all[i + 1].begin < end) ++i;
    return i;
  }

  // --- declarations
  void scope(size_t i, size_t end, const std::string& path, int owner) {
    open_ = owner < 0 || found_.classes[static_cast<size_t>(owner)].is_struct;
    while (i < end) {
      const size_t next = statement(i, end, path, owner);
      i = std::max(next, i + 1);
    }
  }

  size_t statement(size_t i, size_t end, const std::string& path, int owner) {
    if (is(i, ";") || is(i, "}")) return i + 1;
    if (is(i, "public") || is(i, "private") || is(i, "protected")) {
      open_ = is(i, "public");
      return i + 2;
    }
    if (is(i, "inline") && is(i + 1, "namespace")) ++i;
    if (is(i, "namespace")) return a_namespace(i + 1, end, path);
    if (is(i, "extern") && i + 2 < end && t_[i + 1].kind == Token::literal && is(i + 2, "{")) {
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

  // Whether a { comes before ; ( = : `struct X* f() {` has none.
  bool has_body(size_t i, size_t end) const {
    for (; i < end; ++i) {
      if (is(i, "{")) return true;
      if (is(i, "<")) {
        const size_t angle = behind_angle(i);
        if (angle > i) i = angle - 1;
      }
      if (is(i, ";") || is(i, "=") || is(i, "*") || is(i, "&")) return false;
      if (is(i, "(")) {
        if (i == 0 || !is(i - 1, "__attribute__")) return false;
        i = behind(i) - 1;
      }
      if (is(i, "[")) i = behind(i) - 1;
    }
    return false;
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
      if (owner >= 0) found_.classes[static_cast<size_t>(owner)].odd = true;
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
        if (is(k, "virtual") && owner >= 0) found_.classes[static_cast<size_t>(owner)].is_virtual = true;
        if (k == from) from = k + 1;
        continue;
      }
      if (is(k, "__attribute__") || is(k, "alignas") || is(k, "decltype")) {
        k = behind(k + 1) - 1;
        continue;
      }
      if (is(k, "operator")) return a_function(f, from, k, end, path, owner);
      if (is(k, "~")) {
        if (owner >= 0) {
          CppClass& c = found_.classes[static_cast<size_t>(owner)];
          size_t last = behind_bracket(text_, t_, k + 2);
          if (!(is(last, "=") && is(last + 1, "default"))) c.destructor = true;
        }
        return behind_function(k, end);
      }
      if (is(k, "<") && k > i && word(k - 1)) {
        const size_t angle = behind_angle(k);
        if (angle > k) k = angle - 1;
        continue;
      }
      if (is(k, "(")) {
        if (k > i && word(k - 1)) return a_function(f, from, k - 1, end, path, owner);
        if (owner >= 0)
          found_.classes[static_cast<size_t>(owner)].odd =
              !f.is_static || found_.classes[static_cast<size_t>(owner)].odd;
        return behind_semicolon(k, end);
      }
      if (is(k, "=") || is(k, ";") || is(k, "{") || is(k, "[") || is(k, ",") ||
          (is(k, ":") && !twice(k, ':') && !(k > 0 && twice(k - 1, ':'))))
        break;
    }
    return variables(i, end, path, owner);
  }

  size_t behind_function(size_t i, size_t end) const {
    for (; i < end; ++i) {
      if (is(i, ";")) return i + 1;
      if (is(i, "{")) return behind(i);
      if (is(i, "(") || is(i, "[")) i = behind(i) - 1;
    }
    return end;
  }

  // `from`: its result's type, `n` its name or the word operator
  size_t a_function(CppFunction& f, size_t from, size_t n, size_t end, const std::string& path, int owner) {
    size_t open = n + 1;
    if (is(n, "operator")) {
      if (is(n + 1, "(") && is(n + 2, ")"))
        open = n + 3;
      else
        while (open < end && !is(open, "(")) ++open;
      f.name = "operator";
      const std::string sign = words(n + 1, open);
      if (!sign.empty() && (isalpha(static_cast<unsigned char>(sign[0])) || sign[0] == '_')) f.name += " ";
      f.name += sign;
    } else {
      f.name = at(n);
    }
    if (open >= end) return end;
    const size_t close = behind(open);
    CppClass* c = owner >= 0 ? &found_.classes[static_cast<size_t>(owner)] : nullptr;
    const bool qualified = n > 1 && twice(n - 2, ':');
    f.result = words(from, n);
    f.constructor = c && f.name == c->name && f.result.empty();
    size_t from_parameter = open + 1;
    for (size_t k = open + 1; k < close; ++k) {
      if (is(k, "<") && word(k - 1))
        k = std::max(behind_angle(k), k + 1) - 1;
      else if (is(k, "(") || is(k, "[") || is(k, "{"))
        k = behind(k) - 1;
      if ((is(k, ",") || k + 1 == close) && k > from_parameter)
        f.parameters.push_back(parameter(from_parameter, k));
      if (is(k, ",")) from_parameter = k + 1;
    }
    if (f.parameters.size() == 1 && f.parameters[0].text == "void") f.parameters.clear();
    size_t k = close, body = 0;
    bool gone = false;
    f.only_sets = f.constructor;
    while (k < end) {
      if (is(k, "const") || is(k, "&"))
        f.tail += " " + std::string(at(k)), ++k;
      else if (is(k, "noexcept"))
        k = is(k + 1, "(") ? behind(k + 1) : k + 1;
      else if (is(k, "override") || is(k, "final") || is(k, "try") || is(k, "constexpr") || is(k, "volatile"))
        ++k;
      else if (is(k, "["))
        k = behind(k);
      else if (is(k, "-") && is(k + 1, ">")) {
        const size_t r = k + 2;
        for (k = r; k < end && !is(k, "{") && !is(k, ";") && !is(k, "=");) k = is(k, "(") ? behind(k) : k + 1;
        f.result = words(r, k);
      } else if (is(k, "=")) {
        f.is_default = is(k + 1, "default");
        gone = is(k + 1, "delete");
        if (is(k + 1, "0") && c) c->is_virtual = true;
        k = behind_semicolon(k, end);
        break;
      } else if (is(k, ":")) {
        for (++k; k < end && !is(k, "{");) {
          const std::string name(at(k));
          if (is(++k, "<")) k = std::max(behind_angle(k), k + 1);
          if (!is(k, "(") && !is(k, "{")) break;
          const size_t value_end = behind(k);
          f.sets.emplace_back(name, words(k + 1, value_end - 1));
          k = value_end;
          if (is(k, ","))
            ++k;
          else
            break;
        }
        if (!is(k, "{")) f.only_sets = false;
        if (!is(k, "{") && !is(k, "try")) {
          k = behind_function(k, end);
          break;
        }
      } else if (is(k, "{")) {
        body = k;
        k = behind(k);
        f.body = words(body, k);
        if (k - body > 2) f.only_sets = f.only_sets && body_sets(body + 1, k - 1, f);
        break;
      } else if (is(k, ";")) {
        f.only_sets = false;
        ++k;
        break;
      } else {
        k = behind_function(k, end);
        break;
      }
    }
    if (c && f.constructor) {
      const bool of_itself = f.parameters.size() == 1 && !f.parameters[0].name.empty() &&
                             f.parameters[0].text.find(f.name) != std::string::npos &&
                             f.parameters[0].text.find('&') != std::string::npos &&
                             f.parameters[0].text.find('<') == std::string::npos;
      const bool unnamed = f.parameters.size() == 1 &&
                           f.parameters[0].text.find(f.name) != std::string::npos &&
                           f.parameters[0].text.find('&') != std::string::npos &&
                           f.parameters[0].text.find('<') == std::string::npos;
      if (of_itself || unnamed) {
        c->copies = c->copies || !f.is_default;
        return k;
      }
    }
    if (c && f.name == "operator=") c->copies = c->copies || !f.is_default;
    if (gone || qualified) return k;
    if (f.is_friend) {
      CppFunction free = f;
      const CppClass* outer = c;
      while (outer && outer->owner >= 0) outer = &found_.classes[static_cast<size_t>(outer->owner)];
      free.scope = outer ? outer->scope : path;
      free.open = true;
      if (free.name.starts_with("operator") && !free.is_template) found_.functions.push_back(std::move(free));
      return k;
    }
    if (c) {
      if (!f.constructor || !f.is_template) c->functions.push_back(std::move(f));
    } else if (body > 0 || f.is_default) {
      found_.functions.push_back(std::move(f));
    } else if (!f.is_template) {
      forward_.push_back(std::move(f));
    }
    return k;
  }

  // A body of `field = value;` alone.
  bool body_sets(size_t i, size_t end, CppFunction& f) const {
    while (i < end) {
      if (is(i, "this") && is(i + 1, "-") && is(i + 2, ">")) i += 3;
      if (!word(i) || !is(i + 1, "=")) return false;
      const std::string name(at(i));
      const size_t stop = behind_semicolon(i, end) - 1;
      if (!is(stop, ";") || stop < i + 3) return false;
      std::string value = words(i + 2, stop);
      if (is(stop - 1, ")") && is(stop - 2, "(") && is(stop - 3, ">")) value.clear();  // vector<T>()
      std::erase_if(f.sets, [&](const auto& set) { return set.first == name; });
      f.sets.emplace_back(name, value);
      i = stop + 1;
    }
    return true;
  }

  CppParameter parameter(size_t i, size_t end) const {
    CppParameter p;
    size_t last = i;
    for (; last < end && !is(last, "="); ++last) {
      if (is(last, "<") && last > i && word(last - 1)) last = std::max(behind_angle(last), last + 1) - 1;
      if (is(last, "(") || is(last, "[")) last = behind(last) - 1;
    }
    p.text = words(i, last);
    if (is(last, "=") && last < end) p.fallback = words(last + 1, end);
    size_t n = last;
    while (n > i && is(n - 1, "]")) {
      do --n;
      while (n > i && !is(n, "["));
    }
    if (n > i + 1 && word(n - 1) && !is(n - 2, ":")) p.name = at(n - 1);
    return p;
  }

  size_t variables(size_t i, size_t end, const std::string& path, int owner) {
    const size_t last = behind_semicolon(i, end);
    bool is_static = false;
    std::string name;
    size_t name_at = i;
    CppClass* c = owner >= 0 ? &found_.classes[static_cast<size_t>(owner)] : nullptr;
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

  const std::string_view text_;
  std::vector<Token> t_;
  CppDeclarations found_;
  std::vector<CppFunction> forward_;
  bool open_ = true;
};

}  // namespace

CppDeclarations read_declarations(std::string_view text) {
  return Reader(text).read();
}

}  // namespace cohort::code
