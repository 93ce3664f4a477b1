// Work that is done once however many ask for it, at once or later.
//
// get() looks the key up; the first that asks makes the value while later ones wait for it; when it could not
// be made (it threw, was cancelled, or is not to be kept) the next one in line makes it instead. Entries are
// dropped, least recently used first, when their sizes add up to more than the capacity. Cannot block for ever:
// a waiter looks at its own `cancelled` every 20 ms, and a maker is bounded by the limits of what it runs.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace cohort::code {

template <class Value>
class OnceCache {
 public:
  explicit OnceCache(size_t capacity) : capacity_(capacity) {}

  struct Made {
    Value value;
    size_t size = 1;
    bool keep = true;
  };
  struct Got {
    Value value;
    bool reused = false;
  };

  // make() -> Made. Nothing when `cancelled` came before the value. What make() throws goes to its caller only.
  template <class Make>
  std::optional<Got> get(const std::string& key, const std::atomic<bool>& cancelled, const Make& make) {
    std::unique_lock lock(mutex_);
    for (;;) {
      auto it = entries_.find(key);
      if (it == entries_.end()) break;
      if (it->second.value) {
        recent_.splice(recent_.begin(), recent_, it->second.place);
        ++hits_;
        return Got{*it->second.value, true};
      }
      if (cancelled.load(std::memory_order_relaxed)) return {};
      changed_.wait_for(lock, std::chrono::milliseconds(20));
    }
    entries_[key];  // being made
    lock.unlock();
    std::optional<Made> made;
    try {
      made = make();
    } catch (...) {
      lock.lock();
      entries_.erase(key);
      changed_.notify_all();
      throw;
    }
    lock.lock();
    changed_.notify_all();
    if (!made->keep) {
      entries_.erase(key);
      return Got{std::move(made->value), false};
    }
    Entry& entry = entries_[key];
    entry.value = std::make_shared<const Value>(made->value);
    entry.size = made->size;
    recent_.push_front(key);
    entry.place = recent_.begin();
    total_ += made->size;
    while (total_ > capacity_ && recent_.size() > 1) {
      auto oldest = entries_.find(recent_.back());
      total_ -= oldest->second.size;
      entries_.erase(oldest);
      recent_.pop_back();
    }
    return Got{std::move(made->value), false};
  }

  size_t hits() const {
    std::lock_guard lock(mutex_);
    return hits_;
  }

 private:
  struct Entry {
    std::shared_ptr<const Value> value;  // none while it is being made
    size_t size = 0;
    std::list<std::string>::iterator place;
  };
  const size_t capacity_;
  mutable std::mutex mutex_;  // all below
  std::condition_variable changed_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> recent_;  // finished ones, the latest first
  size_t total_ = 0, hits_ = 0;
};

}  // namespace cohort::code
