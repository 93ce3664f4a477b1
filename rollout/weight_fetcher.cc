#include "rollout/weight_fetcher.h"

#include <pthread.h>

#include <chrono>

#include "transport/base/log.h"
#include "transport/weights.h"

namespace cohort {

WeightFetcher::WeightFetcher(ModelRunner& runner, Engine& engine) : runner_(runner), engine_(engine) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "weights");
    try {
      loop();
    } catch (...) {
      std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
  });
}

WeightFetcher::~WeightFetcher() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void WeightFetcher::announce(const WeightsAvailable& available) {
  {
    std::lock_guard lock(mutex_);
    if (wanted_ && wanted_->endpoint != available.endpoint) ++moved_;
    wanted_ = available;
  }
  changed_.notify_all();
}

void WeightFetcher::check() {
  std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

void WeightFetcher::loop() {
  WeightClient client;
  std::optional<Version> have;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || (wanted_ && (!have || wanted_->version > *have)); });
    if (stop_) return;
    const WeightsAvailable want = *wanted_;
    // a learner that was started again serves at another endpoint: no use in waiting for the old one
    const auto over = [this, moved = moved_.load()] { return stop_ || moved_ != moved; };
    lock.unlock();
    const auto set = client.fetch(want.endpoint, want.version, 30, over);
    if (set) {
      have = set->manifest.version;
      runner_.stage_weights(set);
      engine_.weights_staged();
    } else if (!over()) {
      log::warn("weights of version {} did not come from {}; asking again", want.version, want.endpoint);
    }
    lock.lock();
    if (!set) changed_.wait_for(lock, std::chrono::seconds(1), over);
  }
}

}  // namespace cohort
