// What an endpoint sent back, read strictly: anything but exactly what was asked for is nonsense, and nonsense is
// never a score.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "reward/judge/prompt.h"

namespace cohort::judge {

// A reply that is no answer. The same question may be answered at the next try.
class Nonsense : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The text of a chat completion. Throws Nonsense for a body that is no such object, no finished text, a refusal.
std::string read_chat_completion(const std::string& body);
// Tokens the completion says it used; without that, one for each 3 bytes of question and reply.
int64_t tokens_of(const std::string& body, size_t question_bytes);

struct Answer {
  std::string verdict;  // one of the template's; a number as text
  double score = 0;     // 0 … 1, or as the template says
  std::string reason;
};
// The judge's JSON: exactly the keys reason, verdict and nonce, each once, and nothing around it but a <think> block
// before and a Markdown fence. Throws Nonsense. `nonce` must be the one of this question: an object that the
// candidate wrote and the judge repeated does not have it.
Answer read_answer(const std::string& text, const Template& form, const std::string& nonce);

}  // namespace cohort::judge
