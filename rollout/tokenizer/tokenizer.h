// tokenizer.json in C++: byte-level BPE and word-level models with their normalizers, pre-tokenizers, added
// tokens, post-processors (template) and decoders. Token ids equal those of Python's `tokenizers`. No Torch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort {

namespace tokenizer {
enum class ChatFamily : int;  // chat_skeleton.h
}

class Tokenizer {
 public:
  // Throws Error naming the file and what is broken or not supported (model type, normalizer, pre-tokenizer
  // by name).
  static std::shared_ptr<const Tokenizer> read(const std::string& folder);

  virtual ~Tokenizer() = default;
  // Any thread. Text that is not UTF-8 is taken byte-wise as Python's errors="replace" would (U+FFFD).
  // add_special: what the post-processor adds (BOS …); special tokens written in the text are always
  // recognised.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special = false) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special = true) const = 0;
  virtual int32_t vocab_size() const = 0;
  virtual int32_t id_of(std::string_view token) const = 0;  // -1 when there is none
  virtual bool is_special(int32_t id) const = 0;
  // Appends the bytes that `id` stands for (none for a special token) when text is nothing but the tokens'
  // bytes in order, as with byte-level BPE; returns false and appends nothing otherwise. What StreamDecoder
  // rests on.
  virtual bool append_bytes(int32_t id, std::string& out) const {
    (void)id, (void)out;
    return false;
  }
};

// Turns tokens into text as they come, special tokens left out: bytes that are not yet a whole character are
// held back. All it returned, joined, is decode() of all it was given. One thread.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer);
  std::string push(int32_t id);  // the new text, maybe ""
  std::string finish();          // what was held back; afterwards as new

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string pending_;       // bytes of an unfinished character
  std::vector<int32_t> ids_;  // context already given out, then tokens held back
  size_t context_ = 0;        // how many of ids_ are context
};

struct ChatMessage {
  std::string role, content;
};

// The folder's chat template, recognised by family (ChatML with or without a default system prompt, Qwen2.5,
// Qwen3, Llama-3, 3.1, 3.2, SmolLM2), not a Jinja interpreter. What it renders equals transformers'
// apply_chat_template for messages of plain text without tools. Special tokens (BOS too) stand in the text:
// encode it without add_special.
class ChatTemplate {
 public:
  // chat_template.jinja or tokenizer_config.json's chat_template. A folder without one: render() throws.
  static ChatTemplate read(const std::string& folder);
  // Throws Error naming the folder and the families that are known when this one cannot be rendered, and for
  // a role that the family has no words for. enable_thinking concerns Qwen3 alone: true (transformers'
  // default) lets the model open <think> itself; false puts an empty <think></think> behind the generation
  // prompt. Either way Qwen3 drops the thinking of turns before the last user message. Llama-3.2 writes the
  // day of rendering, as transformers.
  std::string render(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                     bool enable_thinking = true) const;
  // Prompt tokens and the parts the assistant wrote: [begin, end) byte ranges in the rendered text, for SFT's
  // mask. A part is what the model has to write itself: its content and the end-of-turn token, not the role's
  // header and not the line feed behind the turn.
  std::string render(const std::vector<ChatMessage>& messages,
                     std::vector<std::pair<size_t, size_t>>& assistant) const;

 private:
  std::string folder_;
  tokenizer::ChatFamily family_{};
  std::string default_system_, bos_, fingerprint_;
};

}  // namespace cohort
