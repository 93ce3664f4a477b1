// What NCCL is between GPUs, between threads of a test: a broadcast copies the root's bytes to a member once the root and
// all members of the communicator are in it, and is over for nobody before. Any thread.
#pragma once

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "transport/weight_group.h"

namespace cohort::testing {

class FakeNetwork {
 public:
  struct Communicator {
    int size = 0;
    std::map<int, uint64_t> begun;  // broadcasts, by rank
    void* data = nullptr;           // the root's, of the newest
    uint64_t bytes = 0;
    int received = 0;     // members that have the newest
    bool broken = false;  // somebody left
  };
  std::string make_id() {
    const std::lock_guard lock(mutex);
    return "id-" + std::to_string(++ids);
  }
  std::mutex mutex;
  std::map<std::string, Communicator> communicators;
  int ids = 0;
};

class FakeBroadcaster : public Broadcaster {
 public:
  explicit FakeBroadcaster(FakeNetwork& network) : network_(network) {}
  ~FakeBroadcaster() override { abort(); }
  std::string make_id() override { return network_.make_id(); }
  void start(const std::string& id, int rank, int size, void* data, uint64_t bytes) override {
    ++starts;
    if (id != id_) {
      abort();
      id_ = id, rank_ = rank;
    }
    const std::lock_guard lock(network_.mutex);
    auto& c = network_.communicators[id];
    c.size = size;
    turn_ = ++c.begun[rank_];
    if (rank_ == 0) c.data = data, c.bytes = bytes, c.received = 0;
    data_ = data, bytes_ = bytes, copied_ = false;
  }
  State poll() override {
    if (hang) return State::busy;
    if (broken || id_.empty()) return State::failed;
    const std::lock_guard lock(network_.mutex);
    auto& c = network_.communicators[id_];
    if (int(c.begun.size()) < c.size) return State::busy;  // as with NCCL: whoever left is not noticed
    for (const auto& [rank, begun] : c.begun)
      if (begun < turn_) return State::busy;
    if (rank_ == 0) return c.received == c.size - 1 ? State::done : State::busy;
    if (!copied_) {
      if (c.bytes != bytes_ || c.broken) return State::busy;
      std::memcpy(data_, c.data, bytes_);
      if (damage) static_cast<char*>(data_)[0] ^= 1;
      copied_ = true, ++c.received;
    }
    return State::done;
  }
  std::string error() const override { return "the test broke it"; }
  void abort() override {
    if (id_.empty()) return;
    ++aborts;
    const std::lock_guard lock(network_.mutex);
    network_.communicators[id_].broken = true;
    id_.clear();
  }

  std::atomic<bool> hang = false;    // looks as if nothing ever came
  std::atomic<bool> broken = false;  // every broadcast fails here
  std::atomic<bool> damage = false;  // a byte of what is received is another one
  std::atomic<int> starts = 0, aborts = 0;

 private:
  FakeNetwork& network_;
  std::string id_;
  int rank_ = 0;
  uint64_t turn_ = 0, bytes_ = 0;
  void* data_ = nullptr;
  bool copied_ = false;
};

}  // namespace cohort::testing
