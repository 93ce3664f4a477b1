// A tokenizer for tests: token 0 is padding, 1 the end of text, token n >= 2 the letter 'a' + n - 2.
#pragma once

#include <string>

#include "rollout/tokenizer/tokenizer.h"

namespace cohort {

class Letters : public Tokenizer {
 public:
  explicit Letters(int32_t vocab_size) : vocab_size_(vocab_size) {}
  std::vector<int32_t> encode(std::string_view text, bool = false) const override {
    std::vector<int32_t> ids;
    for (char c : text) ids.push_back(c - 'a' + 2);
    return ids;
  }
  std::string decode(std::span<const int32_t> ids, bool = true) const override {
    std::string text;
    for (int32_t id : ids)
      if (id >= 2) text += char('a' + id - 2);
    return text;
  }
  int32_t vocab_size() const override { return vocab_size_; }
  int32_t id_of(std::string_view token) const override { return token.size() == 1 ? token[0] - 'a' + 2 : -1; }
  bool is_special(int32_t id) const override { return id < 2; }

 private:
  int32_t vocab_size_;
};

}  // namespace cohort
