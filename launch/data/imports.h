// Public problem sets turned into prompt records: {"id", "prompt" | "messages", what its rewards read}.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cohort {

struct ImportOptions {
  bool messages = true;     // one user message; else a plain "prompt"
  std::string instruction;  // follows the problem's text
  // The record is for `cohort sft`: the problem and its solution as the assistant's message. gsm8k only.
  bool demonstration = false;
};

// A row of openai/grade-school-math: "question" and an "answer" that ends in "#### 18". The record's "gold"
// is that number without thousands separators. A demonstration leaves out the set's calculator marks
// (<<48/2=24>>) and ends with "The answer is \\boxed{18}." `where` ("FILE:LINE") begins every error.
nlohmann::ordered_json import_gsm8k(const nlohmann::ordered_json& row, const std::string& id,
                                    const ImportOptions& options, const std::string& where);

// A row of openai/human-eval: "language", "test_code" and "entry_point" are what the code reward reads.
nlohmann::ordered_json import_humaneval(const nlohmann::ordered_json& row, const ImportOptions& options,
                                        const std::string& where);

}  // namespace cohort
