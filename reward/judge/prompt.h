// What a judge is asked: template files, and how a candidate's text is put into them so that it stays text.
//
// A template is Markdown with TOML between two lines of +++ at its top, then "# system" and "# user":
//   sees = "summary" or "whole"            what {{response}} is: the text after </think>, or all of it
//   verdicts, scores                       the words the judge may answer, and the score of each; or
//   scale = [low, high]                    a whole number, mapped to 0 … 1; or
//   pairwise = true                        {{first}} and {{second}} instead of {{response}}: "first", "second" or "tie"
// Placeholders: {{question}}, {{reference}}, {{response}}, {{first}}, {{second}}, {{answer_format}}.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::judge {

struct Template {
  std::string system, user;
  bool sees_whole = false;
  bool pairwise = false;
  std::vector<std::string> verdicts;  // empty: a number from low to high
  std::vector<double> scores;         // of each verdict
  int low = 0, high = 0;
  std::string text;  // as written: a part of every verdict's hash

  bool uses(std::string_view placeholder) const;  // "question", …
};

// Throws Error naming `where` (a file or key) and what is wrong.
Template parse_template(const std::string& text, const std::string& where);
// The names of the shipped templates, and the text of one ("" when there is none of that name).
std::vector<std::string> shipped_templates();
std::string shipped_template(const std::string& name);

// Text that is not ours, made harmless for a block: valid UTF-8 without control and invisible characters, and with
// every `<` or `[` that begins something like one of our blocks or a chat template's token written as an entity.
std::string guard(std::string_view text);

// 64 random bits in hex: drawn after the candidate wrote, so no text of its can contain them but by chance.
std::string fresh_nonce();

struct Messages {
  std::string system, user;
};
// Fills the template in one pass: a value that looks like a placeholder stays text. Each value stands guarded in a
// block that only one who knows the nonce can close: <response nonce="…"> … </response nonce="…">.
Messages fill(const Template& form, const std::map<std::string, std::string>& values,
              const std::string& nonce);

// What the judge's answer must be, as a JSON Schema with its keys in the order that answer_format asks for.
nlohmann::ordered_json answer_schema(const Template& form, const std::string& nonce);

}  // namespace cohort::judge
