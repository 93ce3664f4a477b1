#include "learner/updater.h"

#include <chrono>

#include "learner/sharded_adamw.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

class ReplicatedUpdater : public Updater {
 public:
  ReplicatedUpdater(Policy& policy, AdamW& optimizer, Collectives& ranks)
      : policy_(policy), optimizer_(optimizer), ranks_(ranks) {}
  ReplicatedUpdater(Policy& policy, std::unique_ptr<AdamW> optimizer, Collectives& ranks)
      : owned_(std::move(optimizer)), policy_(policy), optimizer_(*owned_), ranks_(ranks) {}

  void start(const WeightSet&) override {}
  void complete(size_t) override {}
  Step step(bool all_here) override {
    const auto began = Clock::now();
    ranks_.sum(policy_.gradients(), all_here);
    const auto summed = Clock::now();
    Step out{optimizer_.step(policy_.parameters(), policy_.gradients())};
    out.exchange_s = std::chrono::duration<double>(summed - began).count();
    out.update_s = seconds_since(summed);
    return out;
  }
  int64_t updates() const override { return optimizer_.updates(); }

  std::vector<CheckpointSection> collect() override { return room(); }
  std::vector<CheckpointSection> room() override {
    return {{"parameters", std::as_writable_bytes(policy_.parameters())},
            {"adam_m", std::as_writable_bytes(optimizer_.first_moment())},
            {"adam_v", std::as_writable_bytes(optimizer_.second_moment())}};
  }
  void spread(int64_t updates) override {
    for (CheckpointSection& s : room()) ranks_.broadcast(s.bytes);
    optimizer_.set_updates(updates);
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::unique_ptr<AdamW> owned_;
  Policy& policy_;
  AdamW& optimizer_;
  Collectives& ranks_;
};

}  // namespace

WeightSet exact_weights(Updater& updater, const ModelConfig& config, Version version) {
  const std::vector<CheckpointSection> sections = updater.collect();
  WeightSet out;
  out.manifest.version = version;
  out.manifest.tensors = config.tensors(DType::f32);
  out.manifest.total_bytes = sections[0].bytes.size();
  out.data.assign(sections[0].bytes.begin(), sections[0].bytes.end());
  updater.release();
  return out;
}

std::unique_ptr<Updater> make_replicated_updater(Policy& policy, AdamW& optimizer, Collectives& ranks) {
  return std::make_unique<ReplicatedUpdater>(policy, optimizer, ranks);
}

std::unique_ptr<Updater> make_updater(const OptimizerOptions& options, Policy& policy, Collectives& ranks,
                                      int64_t total_updates) {
  const auto tensors = policy.config().tensors(DType::f32);
  if (!policy.arrays().on_gpu)
    return std::make_unique<ReplicatedUpdater>(
        policy, std::make_unique<AdamW>(options, tensors, total_updates), ranks);
  return make_sharded_adamw(options, policy.arrays(), tensors, total_updates, ranks, make_gpu_shards(ranks));
}

}  // namespace cohort
