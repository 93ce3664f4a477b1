#include "rollout/weight_fetcher.h"

#include <pthread.h>

#include <chrono>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/weights.h"

namespace cohort {

WeightFetcher::WeightFetcher(ModelRunner& runner, Engine& engine, WeightTransport transport)
    : runner_(runner), engine_(engine), transport_(transport) {
  if (transport == WeightTransport::cuda_ipc && runner.share_device().empty())
    fail_usage(
        "rollout.weight_transport = \"cuda_ipc\" needs rollout.device = \"cuda:N\"; use \"auto\" or \"zmq\"");
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
  ShareTaker taker;
  if (transport_ != WeightTransport::zmq && !runner_.share_device().empty()) {
    taker.device = runner_.share_device();
    taker.take = [this](const WeightManifest& manifest, const DeviceShare& share) {
      return runner_.stage_share(manifest, share);
    };
  }
  std::optional<Version> have;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || (wanted_ && (!have || wanted_->version > *have)); });
    if (stop_) return;
    const WeightsAvailable want = *wanted_;
    // a learner that was started again serves at another endpoint: no use in waiting for the old one
    const auto over = [this, moved = moved_.load()] { return stop_ || moved_ != moved; };
    lock.unlock();
    const auto began = std::chrono::steady_clock::now();
    const auto set = client.fetch(want.endpoint, want.version, 30, over, taker);
    if (set) {
      have = set->manifest.version;
      const bool copied = set->data.empty() && set->manifest.total_bytes > 0;
      if (!copied) runner_.stage_weights(set);
      engine_.weights_staged();
      if (transport_ == WeightTransport::cuda_ipc && !copied)
        log::warn("weights of version {} came over ZeroMQ: the learner's GPU buffer could not be used",
                  *have);
      log::info("weights of version {} are here, by {} in {:.1f} ms (the swap before took {:.2f} ms)", *have,
                copied ? "cuda_ipc" : "zmq",
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count(),
                runner_.swap_ms());
    } else if (!over()) {
      log::warn("weights of version {} did not come from {}; asking again", want.version, want.endpoint);
    }
    lock.lock();
    if (!set) changed_.wait_for(lock, std::chrono::seconds(1), over);
  }
}

}  // namespace cohort
