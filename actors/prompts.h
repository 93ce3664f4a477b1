// A file of prompts (JSON lines) and the order in which a run draws them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cohort {

struct Prompt {
  uint64_t line = 0;        // 1-based, in its file
  std::string_view record;  // the line, as it stands in the file
  std::string id;           // its "id" as text; the line number when it has none
};

// Reads and checks the whole file at once. Throws Error naming file:line for a line that is no JSON object,
// has neither "prompt" (text) nor "messages" (a list), or repeats an id. Empty lines are skipped. Immutable
// afterwards.
class PromptFile {
 public:
  PromptFile() = default;
  explicit PromptFile(const std::string& path);
  size_t size() const { return entries_.size(); }
  Prompt at(size_t index) const;                     // 0-based, in file order
  Prompt by_line(uint64_t line) const;               // throws Error when there is no prompt on that line
  const std::string& hash() const { return hash_; }  // xxh3-128 of the file, hex
  const std::string& path() const { return path_; }

 private:
  struct Entry {
    uint64_t line;
    size_t begin, length;
    std::string id;
  };
  std::string path_, text_, hash_;
  std::vector<Entry> entries_;
};

// Endless epochs over `size` prompts. Draw d is prompt order(epoch = d / size)[d % size]: a function of
// (seed, size, shuffle, d) alone, so that a restart continues from the number of draws made.
class PromptOrder {
 public:
  PromptOrder(size_t size, uint64_t seed, bool shuffle);
  size_t index_of(uint64_t draw);
  uint64_t epoch_of(uint64_t draw) const { return draw / size_; }

 private:
  size_t size_;
  uint64_t seed_;
  bool shuffle_;
  uint64_t cached_epoch_ = ~uint64_t{0};
  std::vector<uint32_t> order_;
};

}  // namespace cohort
