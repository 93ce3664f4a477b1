// The templates of options.h. Include options.h, not this.
#pragma once

#include <type_traits>
#include <utility>

namespace cohort {
namespace detail {

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

// "must be …" for a number outside its check; used for arrays too.
[[noreturn]] void fail_check(const std::string& where, const std::string& value, const Check& check);
[[noreturn]] void fail_unknown_key(const std::string& where, const std::string& key,
                                   const std::vector<std::string>& known);
std::string toml_quote(const std::string& text);
std::string toml_number(double value);

class OptionReader {
 public:
  explicit OptionReader(const TomlTable& table) : table_(table) {}

  template <class T>
  void operator()(const char* key, T& field, const char* /*doc*/, const std::optional<Check>& check = {}) {
    known_.push_back(key);
    if constexpr (OptionStruct<T>) {
      if (auto sub = table_.get_table(key)) read_options(*sub, field);
    } else if constexpr (std::is_same_v<T, TomlTable>) {
      if (auto sub = table_.get_table(key)) field = *sub;
    } else if constexpr (std::is_same_v<T, std::vector<TomlTable>>) {
      if (auto subs = table_.get_tables(key)) field = *subs;
    } else if constexpr (is_vector<T>) {
      read_vector(key, field, check);
    } else if constexpr (std::is_same_v<T, bool>) {
      if (auto v = table_.get_bool(key)) field = *v;
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (auto v = table_.get_string(key)) field = *v;
    } else if constexpr (std::is_enum_v<T>) {
      read_enum(key, field);
    } else if constexpr (std::is_integral_v<T>) {
      if (auto v = table_.get_int(key)) {
        require(key, static_cast<double>(*v), check);
        if (!std::in_range<T>(*v)) fail_usage("{} = {} does not fit", table_.where(key), *v);
        field = static_cast<T>(*v);
      }
    } else {
      static_assert(std::is_floating_point_v<T>, "no such option type");
      if (auto v = table_.get_double(key)) require(key, *v, check), field = static_cast<T>(*v);
    }
  }

  void finish() const {
    for (const std::string& key : table_.keys()) {
      bool found = false;
      for (const std::string& k : known_) found = found || k == key;
      if (!found) fail_unknown_key(table_.where(key), key, known_);
    }
  }

 private:
  void require(const char* key, double value, const std::optional<Check>& check) const {
    if (check && !check->ok(value)) fail_check(table_.where(key), toml_number(value), *check);
  }
  template <class E>
  void read_vector(const char* key, std::vector<E>& field, const std::optional<Check>& check) {
    if constexpr (OptionStruct<E>) {
      if (auto subs = table_.get_tables(key)) {
        field.clear();
        for (const TomlTable& sub : *subs) read_options(sub, field.emplace_back());
      }
    } else if constexpr (std::is_same_v<E, std::string>) {
      if (auto v = table_.get_strings(key)) field = *v;
    } else if (auto v = table_.get_doubles(key)) {
      field.clear();
      for (double x : *v) {
        require(key, x, check);
        field.push_back(static_cast<E>(x));
        if (static_cast<double>(field.back()) != x && std::is_integral_v<E>)
          fail_usage("{}: {} is not a whole number", table_.where(key), x);
      }
    }
  }
  template <class E>
  void read_enum(const char* key, E& field) {
    auto name = table_.get_string(key);
    if (!name) return;
    if (const auto value = value_named<E>(*name)) {
      field = *value;
      return;
    }
    std::string known;
    for (const auto& [value, text] : enum_names(field))
      known += (known.empty() ? "" : ", ") + std::string(text);
    fail_usage("{} = \"{}\" must be one of {}", table_.where(key), *name, known);
  }

  const TomlTable& table_;
  std::vector<std::string> known_;
};

class OptionWriter {
 public:
  explicit OptionWriter(std::string section) : section_(std::move(section)) {}

  template <class T>
  void operator()(const char* key, T& field, const char* doc, const std::optional<Check>& = {}) {
    const std::string name = section_.empty() ? key : section_ + "." + key;
    if constexpr (OptionStruct<T>) {
      tables_ += write_options(field, name);
    } else if constexpr (std::is_same_v<T, TomlTable>) {
      tables_ += field.text(name);
    } else if constexpr (std::is_same_v<T, std::vector<TomlTable>>) {
      for (const TomlTable& t : field) tables_ += t.text(name, true);
    } else if constexpr (is_vector<T>) {
      using E = typename T::value_type;
      if constexpr (OptionStruct<E>) {
        for (E& e : field) {
          OptionWriter sub(name);
          e.visit(sub);
          tables_ += "\n[[" + name + "]]\n" + sub.scalars_ + sub.tables_;
        }
      } else {
        std::string list;
        for (const E& e : field) list += (list.empty() ? "" : ", ") + scalar(e);
        line(key, "[" + list + "]", doc);
      }
    } else {
      line(key, scalar(field), doc);
    }
  }
  std::string text() const {
    const std::string head = section_.empty() || scalars_.empty() ? "" : "\n[" + section_ + "]\n";
    return head + scalars_ + tables_;
  }

 private:
  void line(const char* key, const std::string& value, const char* doc) {
    scalars_ += std::string(key) + " = " + value + (*doc ? std::string("  # ") + doc : "") + "\n";
  }
  template <class T>
  static std::string scalar(const T& value) {
    if constexpr (std::is_same_v<T, bool>)
      return value ? "true" : "false";
    else if constexpr (std::is_same_v<T, std::string>)
      return toml_quote(value);
    else if constexpr (std::is_enum_v<T>)
      return toml_quote(name_of(value));
    else if constexpr (std::is_integral_v<T>)
      return std::to_string(value);
    else
      return toml_number(value);
  }

  std::string section_, scalars_, tables_;
};

}  // namespace detail

template <OptionStruct T>
void read_options(const TomlTable& table, T& out) {
  detail::OptionReader reader(table);
  out.visit(reader);
  reader.finish();
}

template <OptionStruct T>
std::string write_options(const T& options, const std::string& section) {
  detail::OptionWriter writer(section);
  T copy = options;  // visit() hands out mutable fields
  copy.visit(writer);
  return writer.text();
}

}  // namespace cohort
