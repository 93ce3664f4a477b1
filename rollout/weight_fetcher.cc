#include "rollout/weight_fetcher.h"

#include <pthread.h>

#include <chrono>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/weights.h"

namespace cohort {

namespace {
bool one_of(WeightTransport t, WeightTransport other) {
  return t == other || t == WeightTransport::automatic;
}
}  // namespace

WeightFetcher::WeightFetcher(ModelRunner& runner, Engine& engine, WeightTransport transport, std::string name)
    : runner_(runner), engine_(engine), transport_(transport) {
  if (transport == WeightTransport::cuda_ipc && runner.share_device().empty())
    fail_usage(
        "rollout.weight_transport = \"cuda_ipc\" needs rollout.device = \"cuda:N\"; use \"auto\" or \"zmq\"");
  member_ = membership(std::move(name));
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

BroadcastMember WeightFetcher::membership(std::string name) {
  BroadcastMember member;
  if (!one_of(transport_, WeightTransport::nccl)) return member;
  const bool needed = transport_ == WeightTransport::nccl;
  try {
    member.end = runner_.broadcaster();
  } catch (const Error& e) {
    if (needed) throw;
    log::info("weights come over ZeroMQ from other GPUs: {}", e.what());
  }
  if (needed && !member.end)
    fail_usage(
        "rollout.weight_transport = \"nccl\" needs rollout.device = \"cuda\" with dtype = \"bfloat16\"; use "
        "\"auto\" or "
        "\"zmq\"");
  member.name = std::move(name);
  member.device = runner_.share_device();
  member.open = [this](const WeightManifest& manifest) { return runner_.open_stage(manifest); };
  member.close = [this](const WeightManifest& manifest, uint64_t sum) {
    return runner_.close_stage(manifest, sum);
  };
  return member;
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
  if (one_of(transport_, WeightTransport::cuda_ipc) && !runner_.share_device().empty()) {
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
    const auto set = client.fetch(want.endpoint, want.version, 30, over, taker, &member_);
    if (set) {
      have = set->manifest.version;
      const bool chunks = set->came_by == WeightTransport::zmq;
      if (chunks) runner_.stage_weights(set);
      engine_.weights_staged();
      if (chunks && transport_ == WeightTransport::cuda_ipc)
        log::warn("weights of version {} came over ZeroMQ: the learner's GPU buffer could not be used",
                  *have);
      if (chunks && transport_ == WeightTransport::nccl)
        log::warn("weights of version {} came over ZeroMQ and not by a broadcast", *have);
      log::info("weights of version {} are here, by {} in {:.1f} ms{}", *have, name_of(set->came_by),
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count(),
                set->came_by == WeightTransport::nccl
                    ? fmt::format(", received in {:.2f} ms", member_.received_ms)
                    : "");
    } else if (!over()) {
      log::warn("weights of version {} did not come from {}; asking again", want.version, want.endpoint);
    }
    lock.lock();
    if (!set) changed_.wait_for(lock, std::chrono::seconds(1), over);
  }
}

}  // namespace cohort
