// A bounded, thread-safe memory of pieces already tokenized. Text repeats its words, so most look-ups hit.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

namespace cohort::tokenizer {

// Direct-mapped: a piece has one place, and whoever came last stays. Long pieces are not kept. Nobody waits:
// where two threads meet, one of them computes the piece again.
class WordCache {
 public:
  static constexpr size_t kMostBytes = 24, kMostIds = 8;

  bool find(std::string_view piece, std::vector<int32_t>& out) {
    if (piece.size() > kMostBytes) return false;
    Entry& entry = entries_[place(piece)];
    if (entry.busy.test_and_set(std::memory_order_acquire)) return false;
    const bool hit = entry.bytes == piece.size() && std::memcmp(entry.text, piece.data(), piece.size()) == 0;
    if (hit) out.insert(out.end(), entry.id, entry.id + entry.ids);
    entry.busy.clear(std::memory_order_release);
    return hit;
  }

  void keep(std::string_view piece, const int32_t* ids, size_t count) {
    if (piece.empty() || piece.size() > kMostBytes || count > kMostIds) return;
    Entry& entry = entries_[place(piece)];
    if (entry.busy.test_and_set(std::memory_order_acquire)) return;
    entry.bytes = static_cast<uint8_t>(piece.size());
    entry.ids = static_cast<uint8_t>(count);
    std::memcpy(entry.text, piece.data(), piece.size());
    std::copy(ids, ids + count, entry.id);
    entry.busy.clear(std::memory_order_release);
  }

 private:
  struct alignas(64) Entry {  // one cache line
    std::atomic_flag busy;
    uint8_t bytes = 0, ids = 0;  // bytes 0: empty, as no piece is
    char text[kMostBytes];
    int32_t id[kMostIds];
  };
  static constexpr size_t kEntries = 1 << 14;  // 1 MiB

  static size_t place(std::string_view piece) {
    return std::hash<std::string_view>()(piece) & (kEntries - 1);
  }

  std::unique_ptr<Entry[]> entries_ = std::make_unique<Entry[]>(kEntries);
};

}  // namespace cohort::tokenizer
