// Who holds which page of a paged KV cache. CPU only; the pages' contents are the runner's.
//
// A page holds `page_tokens` tokens and is held by one or more slots; slots that share it only read it, since only whole
// pages are shared: where a copied slot ends inside a page, the copy gets a page of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace cohort {

class PagePool {
 public:
  PagePool(int32_t pages, int32_t slots, int32_t page_tokens);

  int32_t page_tokens() const { return page_tokens_; }
  int32_t free_pages() const { return int32_t(free_.size()); }
  int32_t length(int32_t slot) const { return slots_.at(size_t(slot)).length; }
  const std::vector<int32_t>& pages(int32_t slot) const { return slots_.at(size_t(slot)).pages; }

  // Pages for `tokens` more tokens; false and nothing changed when there are not enough.
  bool reserve(int32_t slot, int32_t tokens);
  // The slot holds `tokens` more. They must have been reserved.
  void append(int32_t slot, int32_t tokens);
  void release(int32_t slot);

  struct Copy {
    int32_t whole = 0;           // pages now shared
    int32_t from = -1, to = -1;  // the last page's content has to be copied; -1: it ended with a whole page
  };
  // `to` (empty) holds the same tokens as `from`; nothing when there is no page for the last ones.
  std::optional<Copy> share(int32_t from, int32_t to);

 private:
  struct Slot {
    std::vector<int32_t> pages;
    int32_t length = 0;
  };
  int32_t take();

  int32_t page_tokens_;
  std::vector<int32_t> free_, holders_;
  std::vector<Slot> slots_;
};

}  // namespace cohort
