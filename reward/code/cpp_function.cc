#include "reward/code/cpp_function.h"

#include <algorithm>

namespace cohort::code {
namespace {

class Reader {
 public:
  Reader(const CppTokens& text, CppFunctionText& out, size_t end)
      : t_(text), out_(out), f_(out.f), end_(end) {}

  // False where it has no parameters.
  bool read(size_t from, size_t n, const std::string& class_name) {
    const size_t open = t_.is(n, "operator") ? sign(n) : n + 1;
    if (!t_.is(n, "operator")) f_.name = t_.at(n);
    if (open >= end_) return false;
    const size_t close = t_.behind(open);
    f_.result = t_.words(from, n);
    f_.constructor = !class_name.empty() && f_.name == class_name && f_.result.empty();
    f_.only_sets = f_.constructor;
    parameters(open + 1, close);
    out_.end = tail(close);
    return true;
  }

 private:
  // The name of an operator, "operator bool" or "operator+"; its bracket.
  size_t sign(size_t n) {
    size_t open = n + 1;
    if (t_.is(n + 1, "(") && t_.is(n + 2, ")"))
      open = n + 3;
    else
      while (open < end_ && !t_.is(open, "(")) ++open;
    const std::string sign = t_.words(n + 1, open);
    const bool type = !sign.empty() && (isalpha(static_cast<unsigned char>(sign[0])) || sign[0] == '_');
    f_.name = (type ? "operator " : "operator") + sign;
    return open;
  }

  void parameters(size_t from, size_t close) {
    for (size_t k = from; k < close; ++k) {
      if (t_.is(k, "<") && t_.word(k - 1))
        k = std::max(t_.behind_angle(k), k + 1) - 1;
      else if (t_.opens(k))
        k = t_.behind(k) - 1;
      if ((t_.is(k, ",") || k + 1 == close) && k > from) f_.parameters.push_back(parameter(from, k));
      if (t_.is(k, ",")) from = k + 1;
    }
    if (f_.parameters.size() == 1 && f_.parameters[0].text == "void") f_.parameters.clear();
  }

  CppParameter parameter(size_t i, size_t end) const {
    CppParameter p;
    size_t last = i;
    for (; last < end && !t_.is(last, "="); ++last) {
      if (t_.is(last, "<") && last > i && t_.word(last - 1))
        last = std::max(t_.behind_angle(last), last + 1) - 1;
      if (t_.is(last, "(") || t_.is(last, "[")) last = t_.behind(last) - 1;
    }
    p.text = t_.words(i, last);
    if (t_.is(last, "=") && last < end) p.fallback = t_.words(last + 1, end);
    size_t n = last;
    while (n > i && t_.is(n - 1, "]")) {
      do --n;
      while (n > i && !t_.is(n, "["));
    }
    if (n > i + 1 && t_.word(n - 1) && !t_.is(n - 2, ":")) p.name = t_.at(n - 1);
    return p;
  }

  // What is behind its parameters; the token behind all of it.
  size_t tail(size_t k) {
    while (k < end_) {
      if (t_.is(k, "const") || t_.is(k, "&")) {
        f_.tail += " " + std::string(t_.at(k)), ++k;
      } else if (t_.is(k, "noexcept")) {
        k = t_.is(k + 1, "(") ? t_.behind(k + 1) : k + 1;
      } else if (t_.is(k, "override") || t_.is(k, "final") || t_.is(k, "try") || t_.is(k, "constexpr") ||
                 t_.is(k, "volatile")) {
        ++k;
      } else if (t_.is(k, "[")) {
        k = t_.behind(k);
      } else if (t_.is(k, "-") && t_.is(k + 1, ">")) {
        const size_t type = k + 2;
        for (k = type; k < end_ && !t_.is(k, "{") && !t_.is(k, ";") && !t_.is(k, "=");)
          k = t_.is(k, "(") ? t_.behind(k) : k + 1;
        f_.result = t_.words(type, k);
      } else if (t_.is(k, ":")) {
        k = initialisers(k + 1);
        if (!t_.is(k, "{")) f_.only_sets = false;
        if (!t_.is(k, "{") && !t_.is(k, "try")) return t_.behind_function(k, end_);
      } else {
        return ending(k);
      }
    }
    return k;
  }

  size_t initialisers(size_t k) {
    while (k < end_ && !t_.is(k, "{")) {
      const std::string name(t_.at(k));
      if (t_.is(++k, "<")) k = std::max(t_.behind_angle(k), k + 1);
      if (!t_.is(k, "(") && !t_.is(k, "{")) break;
      const size_t value_end = t_.behind(k);
      f_.sets.emplace_back(name, t_.words(k + 1, value_end - 1));
      k = value_end;
      if (!t_.is(k, ",")) break;
      ++k;
    }
    return k;
  }

  size_t ending(size_t k) {
    if (t_.is(k, "=")) {
      f_.is_default = t_.is(k + 1, "default");
      out_.deleted = t_.is(k + 1, "delete");
      out_.pure = t_.is(k + 1, "0");
      return t_.behind_semicolon(k, end_);
    }
    if (t_.is(k, "{")) {
      out_.has_body = true;
      const size_t behind = t_.behind(k);
      f_.body = t_.words(k, behind);
      if (behind - k > 2) f_.only_sets = f_.only_sets && body_sets(k + 1, behind - 1);
      return behind;
    }
    if (t_.is(k, ";")) {
      f_.only_sets = false;
      return k + 1;
    }
    return t_.behind_function(k, end_);
  }

  // A body of `field = value;` alone.
  bool body_sets(size_t i, size_t end) {
    while (i < end) {
      if (t_.is(i, "this") && t_.is(i + 1, "-") && t_.is(i + 2, ">")) i += 3;
      if (!t_.word(i) || !t_.is(i + 1, "=")) return false;
      const std::string name(t_.at(i));
      const size_t stop = t_.behind_semicolon(i, end) - 1;
      if (!t_.is(stop, ";") || stop < i + 3) return false;
      std::string value = t_.words(i + 2, stop);
      if (t_.is(stop - 1, ")") && t_.is(stop - 2, "(") && t_.is(stop - 3, ">")) value.clear();  // vector<T>()
      std::erase_if(f_.sets, [&](const auto& set) { return set.first == name; });
      f_.sets.emplace_back(name, value);
      i = stop + 1;
    }
    return true;
  }

  const CppTokens& t_;
  CppFunctionText& out_;
  CppFunction& f_;
  const size_t end_;
};

}  // namespace

std::optional<CppFunctionText> read_cpp_function(const CppTokens& text, const CppFunction& f, size_t from,
                                                 size_t n, size_t end, const std::string& class_name) {
  CppFunctionText out;
  out.f = f;
  if (!Reader(text, out, end).read(from, n, class_name)) return {};
  return out;
}

}  // namespace cohort::code
