#include "rollout/prompt.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "transport/base/error.h"

namespace cohort {

using Json = nlohmann::ordered_json;

PromptEncoder::PromptEncoder(std::shared_ptr<const Tokenizer> tokenizer, ChatTemplate chat)
    : tokenizer_(std::move(tokenizer)), chat_(std::move(chat)) {}

PromptEncoder PromptEncoder::read(const std::string& folder) {
  std::shared_ptr<const Tokenizer> tokenizer;
  if (std::filesystem::exists(folder + "/tokenizer.json")) tokenizer = Tokenizer::read(folder);
  PromptEncoder encoder(std::move(tokenizer), ChatTemplate::read(folder));
  encoder.folder_ = folder;
  return encoder;
}

std::vector<int32_t> token_ids_of(const Json& record, const std::string& key) {
  const auto found = record.find(key);
  if (found == record.end()) fail("the record has no \"{}\"", key);
  if (!found->is_array()) fail("\"{}\" must be an array of token ids", key);
  std::vector<int32_t> ids;
  ids.reserve(found->size());
  for (const Json& id : *found) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
      fail("\"{}\" must be an array of token ids, but holds {}", key, id.dump());
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

std::vector<int32_t> PromptEncoder::encode(const Json& record) const {
  if (record.contains("prompt_ids")) return token_ids_of(record, "prompt_ids");
  const auto messages = record.find("messages");
  const auto prompt = record.find("prompt");
  if (messages == record.end() && prompt == record.end())
    fail("the record has neither \"prompt\" nor \"messages\" nor \"prompt_ids\"");
  if (!tokenizer_)
    fail("{}/tokenizer.json: is missing; without it only \"prompt_ids\" can be taken", folder_);
  if (messages == record.end()) {
    if (!prompt->is_string()) fail("\"prompt\" must be a string");
    return tokenizer_->encode(prompt->get<std::string>(), true);
  }
  if (!messages->is_array() || messages->empty()) fail("\"messages\" must be a non-empty array");
  std::vector<ChatMessage> chat;
  for (const Json& m : *messages) {
    const bool ok = m.is_object() && m.contains("role") && m.contains("content") && m["role"].is_string() &&
                    m["content"].is_string();
    if (!ok) fail("each of \"messages\" must be an object with the strings \"role\" and \"content\"");
    chat.push_back({m["role"].get<std::string>(), m["content"].get<std::string>()});
  }
  return tokenizer_->encode(chat_.render(chat, true), false);
}

}  // namespace cohort
