#include "reward/code/value.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "reward/infra_error.h"

namespace cohort::code {
namespace {

using Kind = Value::Kind;
constexpr size_t kMaxDepth = 500;

Value number(Kind kind, std::string digits) {
  Value v;
  v.kind = kind;
  v.real = std::strtod(digits.c_str(), nullptr);
  v.text = std::move(digits);
  return v;
}

// Builds the tree; the parser's own would turn whole numbers past 64 bits into doubles.
struct Builder : nlohmann::json_sax<nlohmann::json> {
  Value root;
  std::vector<Value*> open;
  std::string key_of_next, error;
  bool any = false;

  bool put(Value value) {
    if (open.size() > kMaxDepth) return error = "nested too deep", false;
    Value* place = nullptr;
    if (open.empty()) {
      if (any) return false;
      any = true;
      place = &(root = std::move(value));
    } else if (open.back()->kind == Kind::list) {
      place = &open.back()->items.emplace_back(std::move(value));
    } else {
      place = &open.back()->fields.emplace_back(key_of_next, std::move(value)).second;
    }
    if (place->kind == Kind::list || place->kind == Kind::object) open.push_back(place);
    return true;
  }
  bool null() override { return put({}); }
  bool boolean(bool b) override {
    Value v;
    v.kind = Kind::boolean, v.boolean = b;
    return put(std::move(v));
  }
  bool number_integer(int64_t n) override { return put(number(Kind::integer, std::to_string(n))); }
  bool number_unsigned(uint64_t n) override { return put(number(Kind::integer, std::to_string(n))); }
  bool number_float(double, const std::string& raw) override {
    const bool whole = raw.find_first_of(".eE") == std::string::npos;
    return put(number(whole ? Kind::integer : Kind::real, raw));
  }
  bool string(std::string& text) override {
    Value v;
    v.kind = Kind::text, v.text = text;
    return put(std::move(v));
  }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool start_object(size_t) override {
    Value v;
    v.kind = Kind::object;
    return put(std::move(v));
  }
  bool start_array(size_t) override {
    Value v;
    v.kind = Kind::list;
    return put(std::move(v));
  }
  bool key(std::string& text) override {
    key_of_next = text;
    return true;
  }
  bool end_object() override { return open.pop_back(), true; }
  bool end_array() override { return open.pop_back(), true; }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& e) override {
    if (error.empty()) error = e.what();
    return false;
  }
};

void quote(const std::string& text, std::string& out) {
  out += nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

void write(const Value& v, std::string& out) {
  switch (v.kind) {
    case Kind::null:
      out += "null";
      return;
    case Kind::boolean:
      out += v.boolean ? "true" : "false";
      return;
    case Kind::integer:
    case Kind::real:
      out += v.text;
      return;
    case Kind::text:
      quote(v.text, out);
      return;
    case Kind::list:
      out += '[';
      for (size_t i = 0; i < v.items.size(); ++i) {
        if (i > 0) out += ',';
        write(v.items[i], out);
      }
      out += ']';
      return;
    case Kind::object:
      out += '{';
      for (size_t i = 0; i < v.fields.size(); ++i) {
        if (i > 0) out += ',';
        quote(v.fields[i].first, out);
        out += ':';
        write(v.fields[i].second, out);
      }
      out += '}';
      return;
  }
}

const char* name_of(const Value& v) {
  constexpr const char* names[] = {"None", "a bool", "an int", "a float", "a str", "a list", "a dict"};
  return names[static_cast<size_t>(v.kind)];
}

bool is_number(const Value& v) {
  return v.kind == Kind::integer || v.kind == Kind::real || v.kind == Kind::boolean;
}

// The harness's tags for what JSON lacks: {"tuple": [...]}, {"set": [...]}, {"float": "nan"}, {"dict": [[k, v]…]}.
struct Untagged {
  Value value;
  bool unordered = false;
};
Untagged untag(const Value& got) {
  if (got.kind != Kind::object || got.fields.size() != 1) return {got, false};
  const auto& [tag, inner] = got.fields[0];
  if (tag == "tuple" && inner.is_list()) return {inner, false};
  if ((tag == "set" || tag == "frozenset") && inner.is_list()) return {inner, true};
  if (tag == "float" && inner.is_text()) return {number(Kind::real, inner.text), false};
  if (tag == "dict" && inner.is_list()) {
    Value object;
    object.kind = Kind::object;
    for (const Value& pair : inner.items) {
      if (!pair.is_list() || pair.items.size() != 2) return {got, false};
      const Value key = untag(pair.items[0]).value;
      // as JSON writes keys
      object.fields.emplace_back(key.is_text() ? key.text : write_value(key), pair.items[1]);
    }
    return {object, false};
  }
  return {got, false};
}

std::string compare_numbers(const Value& e, const Value& g, Tolerance tolerance) {
  auto digits = [](const Value& v) {
    return v.kind == Kind::boolean ? std::string(v.boolean ? "1" : "0") : v.text;
  };
  return same_number(digits(e), digits(g), tolerance) ? "" : "is another number";
}

std::string compare(const Value& expected, const Value& got, Tolerance tolerance, const std::string& at,
                    int& budget);

// Some order of `got` equals `expected`. Sets are small: the exact match is tried first, then any that fits.
std::string compare_unordered(const Value& expected, const Value& got, Tolerance tolerance,
                              const std::string& at, int& budget) {
  std::vector<bool> used(got.items.size());
  for (const Value& want : expected.items) {
    bool found = false;
    for (size_t i = 0; i < got.items.size() && !found; ++i)
      if (!used[i] && compare(want, got.items[i], tolerance, at, budget).empty()) used[i] = found = true;
    if (!found) return at + " lacks an element";
  }
  return "";
}

std::string compare(const Value& expected, const Value& got_tagged, Tolerance tolerance,
                    const std::string& at, int& budget) {
  if (--budget < 0) return at + " is too large to compare";
  const Untagged untagged = untag(got_tagged);
  const Value& got = untagged.value;
  if (is_number(expected) && is_number(got)) {
    const std::string difference = compare_numbers(expected, got, tolerance);
    return difference.empty() ? "" : at + " " + difference;
  }
  if (expected.kind != got.kind)
    return fmt::format("{} is {} instead of {}", at, name_of(got), name_of(expected));
  switch (expected.kind) {
    case Kind::text:
      return expected.text == got.text ? "" : at + " is another text";
    case Kind::list:
      if (expected.items.size() != got.items.size())
        return fmt::format("{} has {} items instead of {}", at, got.items.size(), expected.items.size());
      if (untagged.unordered) return compare_unordered(expected, got, tolerance, at, budget);
      for (size_t i = 0; i < expected.items.size(); ++i) {
        std::string difference =
            compare(expected.items[i], got.items[i], tolerance, fmt::format("{}[{}]", at, i), budget);
        if (!difference.empty()) return difference;
      }
      return "";
    case Kind::object:
      if (expected.fields.size() != got.fields.size())
        return fmt::format("{} has {} keys instead of {}", at, got.fields.size(), expected.fields.size());
      for (const auto& [key, want] : expected.fields) {
        const Value* have = got.find(key);
        if (!have) return at + " lacks a key";
        std::string difference = compare(want, *have, tolerance, fmt::format("{}[{:.20}]", at, key), budget);
        if (!difference.empty()) return difference;
      }
      return "";
    default:
      return "";  // None
  }
}

}  // namespace

const Value* Value::find(std::string_view key) const {
  for (const auto& [name, value] : fields)
    if (name == key) return &value;
  return nullptr;
}

Value parse_value(std::string_view json) {
  Builder builder;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &builder) || !builder.any)
    throw InfraError("not one JSON value: " + builder.error);
  return std::move(builder.root);
}

std::string write_value(const Value& value) {
  std::string out;
  write(value, out);
  return out;
}

std::string compare_values(const Value& expected, const Value& got, Tolerance tolerance) {
  int budget = 10'000'000;
  return compare(expected, got, tolerance, "the result", budget);
}

}  // namespace cohort::code
