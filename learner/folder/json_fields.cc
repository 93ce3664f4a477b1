#include "learner/folder/json_fields.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

namespace cohort {

using nlohmann::json;

json read_json_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("{}: cannot be read: {}", path, std::strerror(errno));
  std::ostringstream text;
  text << in.rdbuf();
  json parsed;
  try {
    parsed = json::parse(text.str());
  } catch (const json::parse_error& e) {
    fail("{}: not valid JSON (near byte {})", path, e.byte);
  }
  if (!parsed.is_object()) fail("{}: must hold a JSON object", path);
  return parsed;
}

void JsonFields::bad(const std::string& key, const std::string& expected) const {
  if (!has(key)) fail("{}: \"{}\" is missing ({} expected)", where_, key, expected);
  std::string got = object_.at(key).dump(-1, ' ', true, json::error_handler_t::replace);
  if (got.size() > 60) got = got.substr(0, 57) + "...";
  fail("{}: \"{}\" is {}, expected {}", where_, key, got, expected);
}

bool JsonFields::has(const std::string& key) const {
  auto it = object_.find(key);
  return it != object_.end() && !it->is_null();
}

std::optional<int64_t> JsonFields::integer(const std::string& key, int64_t low, int64_t high) const {
  if (!has(key)) return {};
  const json& v = object_.at(key);
  const std::string expected = fmt::format("an integer from {} to {}", low, high);
  // 2^63 and above would wrap: nlohmann keeps such values as unsigned
  if (!v.is_number_integer() || (v.is_number_unsigned() && v.get<uint64_t>() > INT64_MAX)) bad(key, expected);
  int64_t x = v.get<int64_t>();
  if (x < low || x > high) bad(key, expected);
  return x;
}

std::optional<double> JsonFields::number(const std::string& key) const {
  if (!has(key)) return {};
  const json& v = object_.at(key);
  if (!v.is_number() || !std::isfinite(v.get<double>())) bad(key, "a number");
  return v.get<double>();
}

std::optional<bool> JsonFields::boolean(const std::string& key) const {
  if (!has(key)) return {};
  if (!object_.at(key).is_boolean()) bad(key, "true or false");
  return object_.at(key).get<bool>();
}

std::optional<std::string> JsonFields::text(const std::string& key) const {
  if (!has(key)) return {};
  if (!object_.at(key).is_string()) bad(key, "a string");
  return object_.at(key).get<std::string>();
}

std::optional<JsonFields> JsonFields::object(const std::string& key) const {
  if (!has(key)) return {};
  if (!object_.at(key).is_object()) bad(key, "an object");
  return JsonFields(object_.at(key), fmt::format("{}: {}", where_, key));
}

int64_t JsonFields::need_integer(const std::string& key, int64_t low, int64_t high) const {
  if (!has(key)) bad(key, "an integer");
  return *integer(key, low, high);
}
double JsonFields::need_number(const std::string& key) const {
  if (!has(key)) bad(key, "a number");
  return *number(key);
}
std::string JsonFields::need_text(const std::string& key) const {
  if (!has(key)) bad(key, "a string");
  return *text(key);
}

}  // namespace cohort
