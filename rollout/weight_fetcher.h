// The rollout worker's "weights" thread: fetches the newest announced version and stages it in the runner, while
// decoding goes on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "rollout/engine.h"
#include "transport/messages.h"
#include "transport/weights.h"

namespace cohort {

// Announcements overwrite each other: only the newest is worth fetching. It waits for one, or for its end; a fetch
// that brings nothing is tried again after a second, at once when the endpoint changed.
class WeightFetcher {
 public:
  // Both must outlive it. `name`: for the learner's log. Throws Error when `transport` is not possible here.
  WeightFetcher(ModelRunner& runner, Engine& engine, WeightTransport transport = WeightTransport::automatic,
                std::string name = "a worker");
  ~WeightFetcher();
  // Any thread; does not block.
  void announce(const WeightsAvailable& available);
  // Weights that cannot be taken (another model's) end the worker: rethrows what ended the thread.
  void check();

 private:
  void loop();
  BroadcastMember membership(std::string name);

  ModelRunner& runner_;
  Engine& engine_;
  const WeightTransport transport_;
  BroadcastMember member_;  // the thread's own
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<WeightsAvailable> wanted_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> moved_ = 0;  // how often the announced endpoint changed
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace cohort
