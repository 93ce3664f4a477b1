// A JSON value that knows where it stands, so that every complaint names the file and the path inside it.
#pragma once

#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

namespace cohort::tokenizer {

class JsonView {
 public:
  // Throws Error when the file is missing, unreadable or not JSON.
  static JsonView read(const std::string& path);

  // [[noreturn]]: "FILE: PATH: what".
  [[noreturn]] void fail(const std::string& what) const;

  const nlohmann::json& json() const { return *value_; }
  bool is_null() const { return value_->is_null(); }
  bool has(const char* key) const;         // present and not null
  JsonView at(const char* key) const;      // Error when this is no object or the key is missing
  std::vector<JsonView> elements() const;  // of an array
  std::vector<JsonView> elements(const char* key) const;
  const std::string& string() const;
  const std::string& string(const char* key) const { return at(key).string(); }
  std::string string_or(const char* key, const std::string& otherwise) const;
  bool flag(const char* key, bool otherwise) const;
  int64_t integer(int64_t low, int64_t high) const;  // Error outside of [low, high]
  int64_t integer(const char* key, int64_t low, int64_t high) const { return at(key).integer(low, high); }
  const std::string& type() const { return string("type"); }

 private:
  JsonView(std::shared_ptr<const nlohmann::json> root, const nlohmann::json* value, std::string file,
           std::string path)
      : root_(std::move(root)), value_(value), file_(std::move(file)), path_(std::move(path)) {}
  JsonView child(const nlohmann::json& value, const std::string& step) const;

  std::shared_ptr<const nlohmann::json> root_;
  const nlohmann::json* value_;
  std::string file_, path_;
};

}  // namespace cohort::tokenizer
