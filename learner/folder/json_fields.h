// Reading a JSON object with errors a user can act on: each names the file, the key and what was expected. No
// Torch.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "transport/base/error.h"

namespace cohort {

// The whole file; throws Error naming it when it cannot be read, does not parse (with the byte) or is no
// object.
nlohmann::json read_json_file(const std::string& path);

// One object of a file. `where` is "FILE" or "FILE: section" and begins every message.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  // Absent and null are the same; a value of another type, out of range or not finite throws.
  bool has(const std::string& key) const;
  std::optional<int64_t> integer(const std::string& key, int64_t low, int64_t high) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> boolean(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  std::optional<JsonFields> object(const std::string& key) const;
  const nlohmann::json& value(const std::string& key) const { return object_.at(key); }

  // As above, but absence throws as well.
  int64_t need_integer(const std::string& key, int64_t low, int64_t high) const;
  double need_number(const std::string& key) const;
  std::string need_text(const std::string& key) const;

  [[noreturn]] void bad(const std::string& key, const std::string& expected) const;
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace cohort
