// Which of a record's tests to try first: those that failed most of its programs so far.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

namespace cohort::code {

// Thread-safe. Remembers the last `capacity` records.
class FailureCounts {
 public:
  explicit FailureCounts(size_t capacity) : capacity_(capacity) {}

  // Indices of `n` tests, most failures first, otherwise in their own order.
  std::vector<size_t> order(const std::string& record, size_t n) {
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::lock_guard lock(mutex_);
    const auto it = counts_.find(record);
    if (it == counts_.end() || it->second.size() != n) return order;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return it->second[a] > it->second[b]; });
    return order;
  }

  void failed(const std::string& record, size_t test, size_t n) {
    std::lock_guard lock(mutex_);
    auto [it, fresh] = counts_.try_emplace(record, n, 0u);
    if (fresh) {
      known_.push_back(record);
      if (known_.size() > capacity_) counts_.erase(known_.front()), known_.pop_front();
    }
    if (it->second.size() == n) ++it->second[test];
  }

 private:
  const size_t capacity_;
  std::mutex mutex_;  // all below
  std::map<std::string, std::vector<uint32_t>> counts_;
  std::list<std::string> known_;  // the oldest first
};

}  // namespace cohort::code
