#include "learner/sharded_adamw.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "transport/base/error.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

constexpr size_t kAlign = 16;  // elements: slices begin on 32 bytes of bf16

struct Bucket {
  size_t begin = 0, slice = 0;  // elements; the bucket has one slice a rank
  size_t state = 0;             // of this rank's slice, in the state arrays
  size_t first_run = 0, runs = 0;
};

class ShardedAdamW : public Updater {
 public:
  ShardedAdamW(const OptimizerOptions& options, const FlatArrays& arrays,
               const std::vector<TensorSpec>& tensors, int64_t total_updates, Collectives& ranks,
               std::unique_ptr<Shards> shards, size_t bucket_elements)
      : options_(options),
        total_updates_(total_updates),
        arrays_(arrays),
        ranks_(ranks),
        shards_(std::move(shards)) {
    cut(bucket_elements);
    set_runs(tensors);
    const bool own_master = arrays_.dtype != DType::f32;
    first_ = static_cast<float*>(shards_->allocate(
        (own_master ? 3 : 2) * state_elements_ * sizeof(float),
        own_master ? "the optimizer (master weights and two moments)" : "the optimizer (two moments)"));
    second_ = first_ + state_elements_;
    if (own_master) master_ = second_ + state_elements_;
    begun_ = buckets_.size();
  }

  void start(const WeightSet& weights) override {
    // the wire's float32 layout is the flat one
    if (weights.data.size() < arrays_.elements * sizeof(float) || weights.manifest.tensors.empty() ||
        weights.manifest.tensors[0].dtype != DType::f32)
      throw std::logic_error("an optimizer starts from float32 weights of its model");
    const auto* values = reinterpret_cast<const float*>(weights.data.data());
    std::vector<float> slice;
    for (const Bucket& b : buckets_) {
      const size_t at = mine(b);
      slice.assign(b.slice, 0);
      if (at < arrays_.elements)
        std::copy_n(values + at, std::min(b.slice, arrays_.elements - at), slice.begin());
      shards_->from_host(master(b), slice.data(), b.slice * sizeof(float));
    }
    weights_from_master();
  }

  void complete(size_t from) override {
    while (begun_ > 0 && buckets_[begun_ - 1].begin >= from) begin_next();
  }

  Step step(bool) override {
    const auto began = Clock::now();
    while (begun_ > 0) begin_next();
    begun_ = buckets_.size();
    shards_->wait();
    std::vector<std::pair<const float*, size_t>> pieces;
    for (const Bucket& b : buckets_) pieces.emplace_back(arrays_.gradients + mine(b), b.slice);
    std::vector<double> squares{shards_->sum_of_squares(pieces)};
    ranks_.sum(squares);
    const auto summed = Clock::now();
    Step out;
    out.grad_norm = std::sqrt(squares[0]);
    out.learning_rate = learning_rate_at(options_, updates_, total_updates_);
    out.exchange_s = std::chrono::duration<double>(summed - began).count();
    if (!std::isfinite(out.grad_norm)) {
      out.skipped = true;
      return out;
    }
    ++updates_;
    const AdamFactors f = factors(out);
    for (size_t i = buckets_.size(); i-- > 0;) {
      const Bucket& b = buckets_[i];
      shards_->adamw(b.first_run, b.runs, f, arrays_.gradients, state_base(), first_, second_,
                     arrays_.weights, arrays_.dtype);
      shards_->begin_all_gather(weight_at(b.begin), b.slice * dtype_bytes(arrays_.dtype));
    }
    shards_->wait();
    out.update_s = seconds_since(summed);
    return out;
  }

  int64_t updates() const override { return updates_; }

  std::vector<CheckpointSection> collect() override {
    auto sections = room();
    for (size_t which = 0; which < 3; ++which) {
      std::vector<float> slice, all;
      for (const Bucket& b : buckets_) {
        slice.resize(b.slice);
        all.resize(ranks_.is_root() ? b.slice * size() : 0);
        shards_->to_host(slice.data(), array(which, b), b.slice * sizeof(float));
        ranks_.gather(std::as_bytes(std::span(slice)), std::as_writable_bytes(std::span(all)));
        if (ranks_.is_root())
          std::copy_n(all.begin(), inside(b), host_[which].begin() + static_cast<ptrdiff_t>(b.begin));
      }
    }
    return sections;
  }
  std::vector<CheckpointSection> room() override {
    constexpr const char* kNames[] = {"parameters", "adam_m", "adam_v"};
    std::vector<CheckpointSection> out;
    for (size_t which = 0; which < 3; ++which) {
      host_[which].resize(ranks_.is_root() ? arrays_.elements : 0);
      out.push_back({kNames[which], std::as_writable_bytes(std::span(host_[which]))});
    }
    return out;
  }
  void spread(int64_t updates) override {
    for (size_t which = 0; which < 3; ++which) {
      std::vector<float> slice, all;
      for (const Bucket& b : buckets_) {
        slice.assign(b.slice, 0);
        all.assign(ranks_.is_root() ? b.slice * size() : 0, 0);
        if (ranks_.is_root())
          std::copy_n(host_[which].begin() + static_cast<ptrdiff_t>(b.begin), inside(b), all.begin());
        ranks_.scatter(std::as_bytes(std::span(all)), std::as_writable_bytes(std::span(slice)));
        shards_->from_host(array(which, b), slice.data(), b.slice * sizeof(float));
      }
    }
    updates_ = updates;
    weights_from_master();
  }
  void release() override {
    for (auto& h : host_) std::vector<float>().swap(h);
  }

 private:
  using Clock = std::chrono::steady_clock;

  size_t size() const { return static_cast<size_t>(ranks_.size()); }
  size_t mine(const Bucket& b) const { return b.begin + static_cast<size_t>(ranks_.rank()) * b.slice; }
  size_t inside(const Bucket& b) const { return std::min(b.slice * size(), arrays_.elements - b.begin); }
  void* weight_at(size_t element) const {
    return static_cast<std::byte*>(arrays_.weights) + element * dtype_bytes(arrays_.dtype);
  }
  // In float32 the policy's own weights are the master: no second copy.
  float* state_base() const { return master_ ? master_ : static_cast<float*>(arrays_.weights); }
  float* master(const Bucket& b) const {
    return master_ ? master_ + b.state : static_cast<float*>(arrays_.weights) + mine(b);
  }
  float* array(size_t which, const Bucket& b) const {
    return which == 0 ? master(b) : (which == 1 ? first_ : second_) + b.state;
  }

  void cut(size_t bucket_elements) {
    const size_t unit = size() * kAlign;
    const size_t bucket = std::max(unit, bucket_elements / unit * unit);
    for (size_t at = 0; at < arrays_.elements; at += bucket) {
      const size_t count = (std::min(bucket, arrays_.elements - at) + unit - 1) / unit * unit;
      buckets_.push_back({at, count / size(), state_elements_});
      state_elements_ += count / size();
      if (at + count > arrays_.elements + arrays_.padding)
        fail("{} ranks: the parameters cannot be cut into so many slices", size());
    }
  }

  // This rank's slices, cut by tensor and into pieces of kAdamRun.
  void set_runs(const std::vector<TensorSpec>& tensors) {
    std::vector<AdamRun> runs;
    for (Bucket& b : buckets_) {
      b.first_run = runs.size();
      const size_t from = mine(b), to = from + b.slice;
      for (const TensorSpec& t : tensors) {
        const size_t begin = std::max<size_t>(from, t.offset / sizeof(float)),
                     end = std::min<size_t>(to, (t.offset + t.bytes) / sizeof(float));
        for (size_t at = begin; at < end; at += kAdamRun)
          runs.push_back({at, b.state + at - from,
                          static_cast<uint32_t>(std::min<size_t>(kAdamRun, end - at)), t.shape.size() >= 2});
      }
      b.runs = runs.size() - b.first_run;
    }
    shards_->set_runs(runs);
  }

  void begin_next() {
    const Bucket& b = buckets_[--begun_];
    shards_->begin_reduce_scatter(arrays_.gradients + b.begin, b.slice);
  }

  AdamFactors factors(const Step& step) const {
    const double clip =
        options_.max_grad_norm > 0 ? std::min(1.0, options_.max_grad_norm / (step.grad_norm + 1e-6)) : 1;
    const double correct1 = 1 - std::pow(options_.adam_beta1, static_cast<double>(updates_));
    const double correct2 = 1 - std::pow(options_.adam_beta2, static_cast<double>(updates_));
    AdamFactors f;
    f.scale = static_cast<float>(clip);
    f.beta1 = static_cast<float>(options_.adam_beta1), f.beta2 = static_cast<float>(options_.adam_beta2);
    f.rest1 = static_cast<float>(1 - options_.adam_beta1),
    f.rest2 = static_cast<float>(1 - options_.adam_beta2);
    f.eps = static_cast<float>(options_.adam_eps);
    f.step_size = static_cast<float>(step.learning_rate / correct1);
    f.root2 = static_cast<float>(1 / std::sqrt(correct2));
    f.keep = static_cast<float>(1 - step.learning_rate * options_.weight_decay);
    return f;
  }

  void weights_from_master() {
    for (const Bucket& b : buckets_) {
      shards_->round(master(b), weight_at(mine(b)), arrays_.dtype, b.slice);
      shards_->begin_all_gather(weight_at(b.begin), b.slice * dtype_bytes(arrays_.dtype));
    }
    shards_->wait();
  }

  OptimizerOptions options_;
  int64_t total_updates_, updates_ = 0;
  FlatArrays arrays_;
  Collectives& ranks_;
  std::unique_ptr<Shards> shards_;
  std::vector<Bucket> buckets_;
  size_t state_elements_ = 0, begun_ = 0;  // buckets [begun_, end) are on their way
  float *master_ = nullptr, *first_ = nullptr, *second_ = nullptr;
  std::vector<float> host_[3];  // rank 0's, between collect() or room() and release()
};

}  // namespace

std::unique_ptr<Updater> make_sharded_adamw(const OptimizerOptions& options, const FlatArrays& arrays,
                                            const std::vector<TensorSpec>& tensors, int64_t total_updates,
                                            Collectives& ranks, std::unique_ptr<Shards> shards,
                                            size_t bucket_elements) {
  return std::make_unique<ShardedAdamW>(options, arrays, tensors, total_updates, ranks, std::move(shards),
                                        bucket_elements);
}

}  // namespace cohort
