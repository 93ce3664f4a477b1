// Byte-pair encoding: a piece starts as its characters (or bytes), and the adjacent pair of lowest rank is
// merged, leftmost first, until no pair has a rank.
#pragma once

#include "rollout/tokenizer/model.h"
#include "rollout/tokenizer/word_cache.h"

namespace cohort::tokenizer {

// (left id, right id) → (rank, merged id), open addressing: the inner loop of tokenization looks nowhere
// else.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  void reserve(size_t merges);
  void set(int32_t left, int32_t right, Merge merge);  // the last one of a pair wins
  // nullptr when the pair does not merge
  const Merge* find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t i = place(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return &slots_[i].merge;
      if (slots_[i].key == kEmpty) return nullptr;
    }
  }

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t place(uint64_t key) const { return (key * 0x9E3779B97F4A7C15ull >> 32) & mask_; }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
};

// Merges `symbols` in place. Both do the same: short pieces by scanning for the lowest rank, long ones (a run
// of a hundred thousand letters must not take minutes) by a heap over a linked list.
void merge_short(const MergeTable& merges, std::vector<int32_t>& symbols);
void merge_long(const MergeTable& merges, std::vector<int32_t>& symbols);

class Bpe final : public Model {
 public:
  Bpe(const JsonView& model, bool byte_pieces);
  void tokenize(std::string_view piece, std::vector<int32_t>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  void read_merges(const JsonView& model);
  void symbols_of(std::string_view text, std::vector<int32_t>& out) const;  // text in the model's alphabet
  bool symbols_of_bytes(std::string_view piece,
                        std::vector<int32_t>& out) const;  // false: needs the long way

  Vocabulary vocabulary_;
  MergeTable merges_;
  bool byte_pieces_;
  bool ignore_merges_, byte_fallback_, fuse_unk_;
  std::string prefix_, suffix_;  // continuing_subword_prefix, end_of_word_suffix
  int32_t unk_ = -1;
  bool plain_ = false;  // byte pieces, no prefix and no suffix: symbols come straight from bytes
  std::array<int32_t, 256> byte_symbol_{};  // id of each byte's character, -1: none
  std::array<int32_t, 256> fallback_{};     // id of <0xNN>, -1: none
  mutable WordCache cache_;
};

}  // namespace cohort::tokenizer
