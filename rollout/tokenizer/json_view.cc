#include "rollout/tokenizer/json_view.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "transport/base/error.h"

namespace cohort::tokenizer {
namespace {

// Tokens and patterns are quoted in messages, and a message is one line.
std::string one_line(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      out += fmt::format("\\x{:02x}", c);
    else
      out += c;
  }
  return out;
}

}  // namespace

JsonView JsonView::read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) cohort::fail("{}: cannot open: {}", path, std::strerror(errno));
  std::stringstream text;
  text << in.rdbuf();
  // A folder opens but does not read; an empty file leaves the stream failed as well and is reported below.
  if (in.bad()) cohort::fail("{}: cannot read", path);
  try {
    auto root = std::make_shared<const nlohmann::json>(nlohmann::json::parse(text.view()));
    const nlohmann::json* value = root.get();
    return JsonView(std::move(root), value, path, "");
  } catch (const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 3, column 9: …": drop the library's own tag
    std::string what = e.what();
    if (size_t tag = what.find("] "); what.starts_with("[json.") && tag != std::string::npos)
      what.erase(0, tag + 2);
    cohort::fail("{}: not valid JSON: {}", path, one_line(what));
  }
}

void JsonView::fail(const std::string& what) const {
  const std::string line = one_line(path_.empty() ? what : path_ + ": " + what);
  cohort::fail("{}: {}", file_, line);
}

JsonView JsonView::child(const nlohmann::json& value, const std::string& step) const {
  return JsonView(root_, &value, file_,
                  path_.empty() || step.front() == '[' ? path_ + step : path_ + "." + step);
}

bool JsonView::has(const char* key) const {
  if (!value_->is_object()) return false;
  auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonView JsonView::at(const char* key) const {
  if (!value_->is_object())
    fail(fmt::format("expected an object with '{}', found {}", key, value_->type_name()));
  auto found = value_->find(key);
  if (found == value_->end()) fail(fmt::format("'{}' is missing", key));
  return child(*found, key);
}

std::vector<JsonView> JsonView::elements() const {
  if (!value_->is_array()) fail(fmt::format("expected an array, found {}", value_->type_name()));
  std::vector<JsonView> all;
  all.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) all.push_back(child((*value_)[i], fmt::format("[{}]", i)));
  return all;
}

std::vector<JsonView> JsonView::elements(const char* key) const {
  return at(key).elements();
}

const std::string& JsonView::string() const {
  if (!value_->is_string()) fail(fmt::format("expected a string, found {}", value_->type_name()));
  return value_->get_ref<const std::string&>();
}

std::string JsonView::string_or(const char* key, const std::string& otherwise) const {
  return has(key) ? at(key).string() : otherwise;
}

bool JsonView::flag(const char* key, bool otherwise) const {
  if (!has(key)) return otherwise;
  JsonView value = at(key);
  if (!value.json().is_boolean())
    value.fail(fmt::format("expected true or false, found {}", value.json().type_name()));
  return value.json().get<bool>();
}

int64_t JsonView::integer(int64_t low, int64_t high) const {
  if (!value_->is_number_integer()) fail(fmt::format("expected an integer, found {}", value_->type_name()));
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    fail(fmt::format("{} is out of range {}..{}", value_->get<uint64_t>(), low, high));
  int64_t n = value_->get<int64_t>();
  if (n < low || n > high) fail(fmt::format("{} is out of range {}..{}", n, low, high));
  return n;
}

}  // namespace cohort::tokenizer
