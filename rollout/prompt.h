// From a prompt's record to the tokens the model reads.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "rollout/tokenizer/tokenizer.h"

namespace cohort {

// Tokenizer and chat template of a model folder. Any thread.
class PromptEncoder {
 public:
  // A folder without tokenizer files is allowed: then only records with "prompt_ids" can be encoded.
  static PromptEncoder read(const std::string& folder);
  PromptEncoder(std::shared_ptr<const Tokenizer> tokenizer, ChatTemplate chat);

  // `record` has "prompt_ids" (taken as they are), "messages" (rendered by the chat template with a
  // generation prompt, which writes its own special tokens) or "prompt" (encoded with what the tokenizer
  // adds, such as BOS). Throws Error naming the field that is missing or of a wrong type.
  std::vector<int32_t> encode(const nlohmann::ordered_json& record) const;
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }  // maybe nullptr

 private:
  std::string folder_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ChatTemplate chat_;
};

// An array of token ids in `record[key]`; throws Error naming the key.
std::vector<int32_t> token_ids_of(const nlohmann::ordered_json& record, const std::string& key);

}  // namespace cohort
