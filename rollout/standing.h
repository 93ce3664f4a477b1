// What a rollout worker says of itself: the worker's thread writes it, and its Link's thread reads it for Hello and
// Heartbeat.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "transport/messages.h"

namespace cohort {

// Any thread. `max_unacked`: how many completions the Link keeps at most.
class Standing {
 public:
  explicit Standing(size_t max_unacked) : max_unacked_(max_unacked) {}
  void take(GroupId group, const std::vector<uint32_t>& indices) {
    std::lock_guard lock(mutex_);
    held_[group].insert(indices.begin(), indices.end());
  }
  void drop(GroupId group) {
    std::lock_guard lock(mutex_);
    held_.erase(group);
  }
  // Sent, but maybe not yet acknowledged: it still counts as held, so that a coordinator that has not read it
  // yet does not lease it to another worker while the Link sends it again.
  void sent(GroupId group, uint32_t index) {
    std::lock_guard lock(mutex_);
    if (auto found = held_.find(group); found != held_.end()) {
      found->second.erase(index);
      if (found->second.empty()) held_.erase(found);
    }
    sent_.emplace_back(group, index);
    if (sent_.size() > max_unacked_) sent_.pop_front();  // the Link keeps no more than these
  }
  void all_acknowledged() {
    std::lock_guard lock(mutex_);
    sent_.clear();
  }
  bool anything_sent() {
    std::lock_guard lock(mutex_);
    return !sent_.empty();
  }
  // The indices that are neither being sampled here nor on their way.
  std::vector<uint32_t> new_of(const Lease& lease) {
    std::lock_guard lock(mutex_);
    std::vector<uint32_t> fresh;
    const auto held = held_.find(lease.group);
    for (uint32_t index : lease.indices) {
      if (held != held_.end() && held->second.contains(index)) continue;
      if (std::find(sent_.begin(), sent_.end(), std::pair(lease.group, index)) != sent_.end()) continue;
      fresh.push_back(index);
    }
    return fresh;
  }
  std::vector<HeldLease> held() {
    std::lock_guard lock(mutex_);
    std::map<GroupId, std::set<uint32_t>> all = held_;
    for (const auto& [group, index] : sent_) all[group].insert(index);
    std::vector<HeldLease> leases;
    for (const auto& [group, indices] : all) leases.push_back({group, {indices.begin(), indices.end()}});
    return leases;
  }

  std::atomic<Version> version = 0;
  std::atomic<uint32_t> running = 0, waiting = 0;
  std::atomic<uint64_t> tokens = 0;
  std::atomic<double> busy_s = 0, wait_s = 0;

 private:
  const size_t max_unacked_;
  std::mutex mutex_;
  std::map<GroupId, std::set<uint32_t>> held_;
  std::deque<std::pair<GroupId, uint32_t>> sent_;
};

}  // namespace cohort
