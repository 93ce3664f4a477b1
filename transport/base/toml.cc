#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "transport/base/options.h"

namespace cohort {

// A view into a parsed document that all tables of it share. `path` is the table's full name for messages.
struct TomlTable::Node {
  std::shared_ptr<toml::table> document;
  toml::table* table = nullptr;
  std::string file, path;
};

namespace {
std::string describe(toml::node_type type) {
  switch (type) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}
}  // namespace

TomlTable::TomlTable() : node_(std::make_shared<Node>()) {
  node_->document = std::make_shared<toml::table>();
  node_->table = node_->document.get();
}
TomlTable::TomlTable(std::shared_ptr<Node> node) : node_(std::move(node)) {}

TomlTable TomlTable::parse(const std::string& text, const std::string& file_name) {
  auto node = std::make_shared<Node>();
  try {
    node->document = std::make_shared<toml::table>(toml::parse(text, file_name));
  } catch (const toml::parse_error& e) {
    std::string what(e.description());
    std::replace(what.begin(), what.end(), '\n', ' ');
    fail_usage("{}:{}: {}", file_name, e.source().begin.line, what);
  }
  node->table = node->document.get();
  node->file = file_name;
  return TomlTable(node);
}

TomlTable TomlTable::read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail_usage("{}: cannot be read", path);
  std::stringstream text;
  text << in.rdbuf();
  return parse(text.str(), path);
}

void TomlTable::set(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    fail_usage("--set {}: must be section.key=value", assignment);
  std::string key = assignment.substr(0, equals), value = assignment.substr(equals + 1);
  toml::table parsed;
  try {
    parsed = toml::parse("value = " + value);
  } catch (const toml::parse_error&) {
    parsed.insert("value", value);  // a bare word
  }
  toml::table* at = node_->table;
  for (size_t dot; (dot = key.find('.')) != std::string::npos; key = key.substr(dot + 1)) {
    const std::string head = key.substr(0, dot);
    if (!at->contains(head)) at->insert(head, toml::table{});
    at = at->get(head)->as_table();
    if (!at) fail_usage("--set {}: '{}' is not a table", assignment, head);
  }
  at->insert_or_assign(key, *parsed.get("value"));
}

std::vector<std::string> TomlTable::keys() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : *node_->table) names.emplace_back(key.str());
  return names;
}
bool TomlTable::has(const std::string& key) const {
  return node_->table->contains(key);
}

std::string TomlTable::where(const std::string& key) const {
  const toml::node* value = node_->table->get(key);
  const auto line = value ? value->source().begin.line : node_->table->source().begin.line;
  const std::string name = node_->path.empty() ? key : key.empty() ? node_->path : node_->path + "." + key;
  // a value given by --set has no line
  return line ? fmt::format("{}:{}: {}", node_->file, line, name) : name;
}

namespace {
[[noreturn]] void wrong_type(const TomlTable& t, const std::string& key, const char* wanted,
                             const toml::node& got) {
  fail_usage("{} must be {}, not {}", t.where(key), wanted, describe(got.type()));
}
}  // namespace

std::optional<bool> TomlTable::get_bool(const std::string& key) const {
  const toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_boolean()) wrong_type(*this, key, "true or false", *v);
  return v->value<bool>();
}
std::optional<int64_t> TomlTable::get_int(const std::string& key) const {
  const toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_integer()) wrong_type(*this, key, "a whole number", *v);
  return v->value<int64_t>();
}
std::optional<double> TomlTable::get_double(const std::string& key) const {
  const toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_number()) wrong_type(*this, key, "a number", *v);
  return v->value<double>();
}
std::optional<std::string> TomlTable::get_string(const std::string& key) const {
  const toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_string()) wrong_type(*this, key, "a string", *v);
  return v->value<std::string>();
}
std::optional<std::vector<std::string>> TomlTable::get_strings(const std::string& key) const {
  const toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_array()) wrong_type(*this, key, "an array of strings", *v);
  std::vector<std::string> out;
  for (const toml::node& e : *v->as_array()) {
    if (!e.is_string()) wrong_type(*this, key, "an array of strings", *v);
    out.push_back(*e.value<std::string>());
  }
  return out;
}
std::optional<std::vector<double>> TomlTable::get_doubles(const std::string& key) const {
  const toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_array()) wrong_type(*this, key, "an array of numbers", *v);
  std::vector<double> out;
  for (const toml::node& e : *v->as_array()) {
    if (!e.is_number()) wrong_type(*this, key, "an array of numbers", *v);
    out.push_back(*e.value<double>());
  }
  return out;
}
std::optional<TomlTable> TomlTable::get_table(const std::string& key) const {
  toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_table()) wrong_type(*this, key, "a table", *v);
  const std::string path = node_->path.empty() ? key : node_->path + "." + key;
  return TomlTable(std::make_shared<Node>(Node{node_->document, v->as_table(), node_->file, path}));
}
std::optional<std::vector<TomlTable>> TomlTable::get_tables(const std::string& key) const {
  toml::node* v = node_->table->get(key);
  if (!v) return {};
  if (!v->is_array()) wrong_type(*this, key, "an array of tables ([[…]])", *v);
  const std::string path = node_->path.empty() ? key : node_->path + "." + key;
  std::vector<TomlTable> out;
  for (toml::node& e : *v->as_array()) {
    if (!e.is_table()) wrong_type(*this, key, "an array of tables ([[…]])", *v);
    const std::string name = fmt::format("{}[{}]", path, out.size());
    out.push_back(TomlTable(std::make_shared<Node>(Node{node_->document, e.as_table(), node_->file, name})));
  }
  return out;
}

std::string TomlTable::text(const std::string& section, bool array_element) const {
  std::string head, tables;
  if (!section.empty()) head = array_element ? "\n[[" + section + "]]\n" : "\n[" + section + "]\n";
  for (const auto& [key, value] : *node_->table) {
    const std::string k(key.str());
    const std::string name = section.empty() ? k : section + "." + k;
    if (value.is_table()) {
      tables += get_table(k)->text(name);
    } else if (value.is_array() && !value.as_array()->empty() && value.as_array()->get(0)->is_table()) {
      const std::vector<TomlTable> elements = *get_tables(k);
      for (const TomlTable& t : elements) tables += t.text(name, true);
    } else {
      std::stringstream one;
      value.visit([&](auto& v) {
        if constexpr (!toml::is_table<decltype(v)>) one << v;
      });
      head += k + " = " + one.str() + "\n";
    }
  }
  return head + tables;
}

namespace detail {
void fail_check(const std::string& where, const std::string& value, const Check& check) {
  // a whole number as its user wrote it: not "-1.0"
  const std::string shown = value.ends_with(".0") ? value.substr(0, value.size() - 2) : value;
  fail_usage("{} = {} must be {}", where, shown, check.text);
}
void fail_unknown_key(const std::string& where, const std::string& key,
                      const std::vector<std::string>& known) {
  const std::string near = nearest_name(key, known);
  if (!near.empty()) fail_usage("{}: no such key; did you mean '{}'?", where, near);
  std::string all;
  for (const std::string& k : known) all += (all.empty() ? "" : ", ") + k;
  fail_usage("{}: no such key; known here: {}", where, all);
}
std::string toml_quote(const std::string& text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\')
      out += '\\', out += static_cast<char>(c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04x}", c);
    else
      out += static_cast<char>(c);
  }
  return out + "\"";
}
std::string toml_number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);  // the shortest that reads back to the same double
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}
}  // namespace detail

}  // namespace cohort
