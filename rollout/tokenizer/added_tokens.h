// tokenizer.json's "added_tokens": tokens recognised in the text itself, before normalization (or after it,
// for those that say "normalized"), whatever the model would make of their characters.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "rollout/tokenizer/model.h"
#include "rollout/tokenizer/normalizer.h"
#include "rollout/tokenizer/pre_tokenizer.h"

namespace cohort::tokenizer {

// Finds the leftmost, longest of many strings.
class StringSet {
 public:
  void add(std::string_view text, int32_t value);
  bool empty() const { return nodes_.size() == 1; }
  bool find(std::string_view text, size_t from, size_t& begin, size_t& end, int32_t& value) const;

 private:
  struct Node {
    int32_t value = -1;
    std::unordered_map<unsigned char, uint32_t> next;
  };
  std::vector<Node> nodes_{1};
  bool starts_[256] = {};
};

class AddedTokens {
 public:
  // `normalizer` may be nullptr. `tokens` may be null (none).
  static AddedTokens read(const JsonView& tokens, const Vocabulary& vocabulary, const Normalizer* normalizer);

  // Cuts the input into added tokens and normalized text.
  void extract(std::string_view text, const Normalizer* normalizer, std::vector<Piece>& out,
               TextStore& store) const;

  int32_t id_of(std::string_view content) const;  // -1 when there is none
  const std::string* token_of(int32_t id) const;  // as the decoder sees it; nullptr when there is none
  bool is_special(int32_t id) const { return special_.contains(id); }
  int32_t size() const { return size_; }  // highest id + 1

 private:
  struct Token {
    std::string content, decoded;
    bool single_word = false, lstrip = false, rstrip = false;
  };
  void find_all(const StringSet& set, const Piece& piece, std::vector<Piece>& out) const;

  std::unordered_map<int32_t, Token> tokens_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_set<int32_t> special_;
  StringSet raw_, normalized_;
  int32_t size_ = 0;
};

}  // namespace cohort::tokenizer
