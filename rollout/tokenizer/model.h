// What turns one pre-tokenized piece of text into token ids: the vocabulary and the models over it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "rollout/tokenizer/json_view.h"

namespace cohort::tokenizer {

class Vocabulary {
 public:
  static Vocabulary read(const JsonView& vocab);  // {"token": id, …}

  int32_t id_of(std::string_view token) const {
    auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  // nullptr for an id that no token has
  const std::string* token_of(int32_t id) const {
    return id >= 0 && id < size() && tokens_[id] != nullptr ? tokens_[id] : nullptr;
  }
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }  // highest id + 1

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // point at keys of ids_, which do not move
};

class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of one piece, never empty. Any thread.
  virtual void tokenize(std::string_view piece, std::vector<int32_t>& out) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

// tokenizer.json's "model". byte_pieces: the last pre-tokenizer is ByteLevel, and the pieces come as the
// bytes they are instead of in its alphabet. Throws Error for a model that is not supported or broken.
std::unique_ptr<Model> read_model(const JsonView& model, bool byte_pieces);

}  // namespace cohort::tokenizer
