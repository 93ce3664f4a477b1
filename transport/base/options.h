// Options are plain structs beside the component that reads them. Each has
//
//   template <class V> void visit(V& v) {
//     v("temperature", temperature, "sampling temperature, 0 is greedy", at_least(0.0));
//     ...
//   }
//
// and this header reads such a struct from a TOML table (unknown key: an error with the nearest known key;
// wrong type or out of range: an error that names file, line and key), overrides single keys (--set
// a.b=value), and writes the resolved values back as TOML with the doc strings as comments. Fields: bool,
// int, int64_t, double, std::string, std::vector<std::string>, std::vector<double>, std::vector<int>, enums
// with names (enum_names.h), nested option structs, std::vector of nested structs ([[array of tables]]),
// and TomlTable or std::vector<TomlTable> for tables whose keys only their reader knows.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/base/enum_names.h"
#include "transport/base/error.h"

namespace cohort {

// What a value must satisfy; `text` completes "must be …".
struct Check {
  std::function<bool(double)> ok;
  std::string text;
};
inline Check at_least(double low) {
  return {[=](double x) { return x >= low; }, fmt::format("at least {}", low)};
}
inline Check more_than(double low) {
  return {[=](double x) { return x > low; }, fmt::format("more than {}", low)};
}
inline Check between(double low, double high) {
  return {[=](double x) { return x >= low && x <= high; }, fmt::format("from {} to {}", low, high)};
}

// One TOML table, hiding the parser. Cheap to copy. `where(key)` is "FILE:LINE: section.key" for messages.
class TomlTable {
 public:
  // Throws Error (exit code 2) naming file and line when the text does not parse.
  static TomlTable parse(const std::string& text, const std::string& file_name);
  static TomlTable read(const std::string& path);
  // Applies one "section.key=value" (value as TOML; a bare word is taken as a string), creating tables on the
  // way.
  void set(const std::string& assignment);

  std::vector<std::string> keys() const;
  bool has(const std::string& key) const;
  std::string where(const std::string& key) const;
  // Each returns nothing when the key is absent and throws Error when its type is another.
  std::optional<bool> get_bool(const std::string& key) const;
  std::optional<int64_t> get_int(const std::string& key) const;
  std::optional<double> get_double(const std::string& key) const;  // an integer is taken as well
  std::optional<std::string> get_string(const std::string& key) const;
  std::optional<std::vector<std::string>> get_strings(const std::string& key) const;
  std::optional<std::vector<double>> get_doubles(const std::string& key) const;
  std::optional<TomlTable> get_table(const std::string& key) const;
  std::optional<std::vector<TomlTable>> get_tables(const std::string& key) const;
  // The table as TOML, without comments; `section` is its full name ("" for the top level).
  std::string text(const std::string& section = "", bool array_element = false) const;

  TomlTable();  // empty

 private:
  struct Node;
  explicit TomlTable(std::shared_ptr<Node> node);
  std::shared_ptr<Node> node_;
};

template <class T>
concept OptionStruct = requires(T t, std::function<void()> f) {
  typename T::is_options;
};

// Every option struct says `using is_options = void;`.
// Reads `out` from `table`; keys that no field has are errors.
template <OptionStruct T>
void read_options(const TomlTable& table, T& out);
// TOML text of all fields with their documentation as comments; section "" for the top level.
template <OptionStruct T>
std::string write_options(const T& options, const std::string& section = "");

}  // namespace cohort

#include "transport/base/options_impl.h"
