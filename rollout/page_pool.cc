#include "rollout/page_pool.h"

#include <stdexcept>

namespace cohort {

PagePool::PagePool(int32_t pages, int32_t slots, int32_t page_tokens)
    : page_tokens_(page_tokens), holders_(size_t(pages)), slots_(size_t(slots)) {
  for (int32_t page = pages; page-- > 0;) free_.push_back(page);
}

int32_t PagePool::take() {
  const int32_t page = free_.back();
  free_.pop_back();
  holders_[size_t(page)] = 1;
  return page;
}

bool PagePool::reserve(int32_t slot, int32_t tokens) {
  Slot& s = slots_.at(size_t(slot));
  const auto wanted = size_t((s.length + tokens + page_tokens_ - 1) / page_tokens_);
  if (wanted > s.pages.size() && wanted - s.pages.size() > free_.size()) return false;
  while (s.pages.size() < wanted) s.pages.push_back(take());
  return true;
}

void PagePool::append(int32_t slot, int32_t tokens) {
  Slot& s = slots_.at(size_t(slot));
  if (int64_t(s.length) + tokens > int64_t(s.pages.size()) * page_tokens_)
    throw std::logic_error("PagePool: tokens that were not reserved");
  s.length += tokens;
}

void PagePool::release(int32_t slot) {
  Slot& s = slots_.at(size_t(slot));
  for (int32_t page : s.pages)
    if (--holders_[size_t(page)] == 0) free_.push_back(page);
  s = {};
}

std::optional<PagePool::Copy> PagePool::share(int32_t from, int32_t to) {
  const Slot& a = slots_.at(size_t(from));
  Slot& b = slots_.at(size_t(to));
  if (!b.pages.empty()) throw std::logic_error("PagePool: a copy into a slot in use");
  Copy copy;
  copy.whole = a.length / page_tokens_;
  const bool partial = a.length % page_tokens_ != 0;
  if (partial && free_.empty()) return std::nullopt;
  for (int32_t i = 0; i < copy.whole; ++i) {
    b.pages.push_back(a.pages[size_t(i)]);
    ++holders_[size_t(a.pages[size_t(i)])];
  }
  if (partial) {
    copy.from = a.pages[size_t(copy.whole)];
    b.pages.push_back(copy.to = take());
  }
  b.length = a.length;
  return copy;
}

}  // namespace cohort
