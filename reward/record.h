// What every grader does around its own decision: read the record, refuse one that lacks a field, take the
// time, and give the verdict its hash.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "reward/grader.h"
#include "reward/infra_error.h"

namespace cohort {

// The record as an object. Throws InfraError when it is none.
nlohmann::json parse_record(const std::string& text);
// record[key]; throws InfraError naming the field when it is missing.
const nlohmann::json& required(const nlohmann::json& record, const std::string& key);
// The same as a text: a string as it is, a number as JSON writes it. Throws InfraError for other types.
std::string required_text(const nlohmann::json& record, const std::string& key);

// One line of JSON whatever bytes the strings hold (invalid UTF-8 becomes U+FFFD).
std::string dump_line(const nlohmann::json& value);

// `text` with invalid bytes replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

Verdict make_verdict(VerdictKind kind, double score, std::string reason,
                     const nlohmann::json& evidence = nlohmann::json::object());

// xxh3-128 in hex over the parts, each with its length before it.
std::string hash_parts(std::initializer_list<std::string_view> parts);

// Scope for a response with reasoning: what comes after the last </think>, or all of it when there is none.
// An answer tried out while thinking is no answer.
std::string_view after_thinking(std::string_view response);
// `text` without white space at both ends.
std::string_view trim(std::string_view text);

// A grader's options from its [[reward]] table, which also holds kind, name and weight. Throws Error naming
// the key.
template <OptionStruct T>
T read_grader_options(const TomlTable& table) {
  T options;
  std::string text;
  double weight = 1;
  detail::OptionReader reader(table);
  reader("kind", text, "");
  reader("name", text, "");
  reader("weight", weight, "");
  options.visit(reader);
  reader.finish();
  return options;
}

// The frame of a grader that decides from the record and the completion.
class RecordGrader : public Grader {
 public:
  // `version` grows with every change that can change a verdict; `options` is their resolved text.
  RecordGrader(std::string kind, int version, std::string options)
      : kind_(std::move(kind)), version_(version), options_(std::move(options)) {}
  const std::string& kind() const final { return kind_; }
  Verdict grade(const GradeInput& input, const std::atomic<bool>& cancelled) final;

 protected:
  // May throw InfraError and nothing else.
  virtual Verdict decide(const nlohmann::json& record, const GradeInput& input,
                         const std::atomic<bool>& cancelled) const = 0;
  // Whether prompt, finish reason and token count decide too and so belong in the hash.
  virtual bool reads_all_input() const { return false; }

 private:
  const std::string kind_;
  const int version_;
  const std::string options_;
};

}  // namespace cohort
