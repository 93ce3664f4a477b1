// Policy on a GPU: gpu::Model between host vectors.
#include <c10/core/CachingDeviceAllocator.h>
#include <cuda_runtime_api.h>
#include <xxhash.h>

#include <cstring>

#include "learner/gpu/model.h"
#include "learner/gpu/runtime.h"
#include "learner/gpu/weight_share.h"
#include "learner/policy_device.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using torch::Tensor;

constexpr size_t kStaging = size_t{32} << 20;
constexpr int64_t kPadding = 65536;  // up to 4096 ranks' slices of 16 elements

gpu::Model::Options model_options(const std::string& dtype, bool trainable, const std::string& recompute) {
  gpu::Model::Options o;
  if (dtype == "float32")
    o.type = gpu::Type::f32;
  else if (dtype != "bfloat16")
    fail_usage("learner.dtype = \"{}\": on a GPU \"bfloat16\" or \"float32\"", dtype);
  if (recompute != "none" && recompute != "layer")
    fail_usage("learner.recompute = \"{}\": use \"none\" or \"layer\"", recompute);
  o.trainable = trainable;
  o.recompute = recompute == "layer";
  o.padding = trainable ? kPadding : 0;
  return o;
}

size_t bytes_of(DType dtype) {
  return dtype == DType::f32 ? 4 : 2;
}

std::vector<float> to_host(const Tensor& values) {
  const Tensor flat = values.cpu();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

class GpuPolicy : public PolicyDevice {
 public:
  GpuPolicy(const ModelConfig& config, const gpu::Model::Options& options) : model_(config, options) {}

  const ModelConfig& config() const override { return model_.config(); }

  void load(const WeightSet& weights) override {
    const torch::NoGradGuard no_grad;
    const auto specs = config().tensors(DType::f32);
    const auto& theirs = weights.manifest.tensors;
    if (theirs.size() != specs.size())
      fail("weights of version {} hold {} tensors, this model {}: another model's", weights.manifest.version,
           theirs.size(), specs.size());
    for (size_t i = 0; i < specs.size(); ++i) {
      const TensorSpec &from = theirs[i], &to = specs[i];
      if (from.name != to.name || from.shape != to.shape)
        fail("weights of version {}: tensor {} is {} with another name or shape: another model's",
             weights.manifest.version, to.name, from.name);
      const auto count = static_cast<int64_t>(to.bytes / 4);
      if (from.offset + static_cast<uint64_t>(count) * bytes_of(from.dtype) > weights.data.size())
        fail("weights of version {}: tensor {} lies outside the data", weights.manifest.version, from.name);
      const auto dtype = from.dtype == DType::f32    ? torch::kFloat
                         : from.dtype == DType::bf16 ? torch::kBFloat16
                                                     : torch::kHalf;
      const Tensor host =
          torch::from_blob(const_cast<std::byte*>(weights.data.data() + from.offset), {count}, dtype);
      model_.weights().narrow(0, static_cast<int64_t>(to.offset / 4), count).copy_(host);
    }
  }

  WeightSet publishable(Version version, DType dtype) override {
    if (dtype == DType::f16) return snapshot(version, dtype);
    WeightSet out = empty_set(version, dtype);
    const auto& to = out.manifest.tensors;
    const auto from = config().tensors(DType::f32);
    if (!share_ || shared_dtype_ != dtype) {
      share_.emplace(out.manifest.total_bytes);
      shared_dtype_ = dtype;
    }
    const auto* weights = static_cast<const std::byte*>(model_.weights().data_ptr());
    const bool shared = share_->publish(out, [&](void* buffer) {
      for (size_t i = 0; i < from.size(); ++i)
        gpu::convert(model_.type(), weights + from[i].offset / 4 * gpu::size_of(model_.type()),
                     dtype == DType::f32 ? gpu::Type::f32 : gpu::Type::bf16,
                     static_cast<std::byte*>(buffer) + to[i].offset, from[i].bytes / 4);
    });
    return shared ? out : snapshot(version, dtype);
  }

  // Converted on the GPU, then through two pinned buffers: one fills while the other is copied on.
  WeightSet snapshot(Version version, DType dtype) const override {
    if (dtype == DType::f16) fail("a policy on a GPU gives its weights in float32 or bfloat16");
    WeightSet out = empty_set(version, dtype);
    out.data.resize(out.manifest.total_bytes);
    const auto specs = config().tensors(DType::f32);
    const size_t element = bytes_of(dtype), piece = kStaging / element;
    const gpu::Type from = model_.type(), to = dtype == DType::f32 ? gpu::Type::f32 : gpu::Type::bf16;
    const auto pinned = torch::TensorOptions(torch::kUInt8).pinned_memory(true);
    struct Slot {
      Tensor gpu, host;
      cudaEvent_t done;
      std::byte* target = nullptr;
      size_t bytes = 0;
    } slots[2];
    const auto weights = const_cast<gpu::Model&>(model_).weights();
    for (Slot& s : slots) {
      s.host = torch::empty({static_cast<int64_t>(kStaging)}, pinned);
      s.gpu = torch::empty({static_cast<int64_t>(kStaging)}, weights.options().dtype(torch::kUInt8));
      gpu::check(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming), "an event");
    }
    const auto finish = [](Slot& s) {
      if (!s.target) return;
      gpu::check(cudaEventSynchronize(s.done), "copying weights to the host");
      std::memcpy(s.target, s.host.data_ptr(), s.bytes);
      s.target = nullptr;
    };
    size_t turn = 0;
    for (size_t i = 0; i < specs.size(); ++i) {
      const size_t count = specs[i].bytes / 4;
      for (size_t at = 0; at < count; at += piece, ++turn) {
        Slot& s = slots[turn % 2];
        finish(s);
        const size_t n = std::min(piece, count - at);
        const auto* source = static_cast<const std::byte*>(weights.data_ptr()) +
                             (specs[i].offset / 4 + at) * gpu::size_of(from);
        gpu::convert(from, source, to, s.gpu.data_ptr(), n);
        s.bytes = n * element, s.target = out.data.data() + out.manifest.tensors[i].offset + at * element;
        gpu::check(
            cudaMemcpyAsync(s.host.data_ptr(), s.gpu.data_ptr(), s.bytes, cudaMemcpyDeviceToHost, nullptr),
            "copying weights to the host");
        gpu::check(cudaEventRecord(s.done, nullptr), "an event");
      }
    }
    for (Slot& s : slots) {
      finish(s);
      cudaEventDestroy(s.done);
    }
    out.manifest.checksum = XXH3_64bits(out.data.data(), out.data.size());
    return out;
  }

  FlatArrays arrays() override {
    FlatArrays a;
    a.on_gpu = true;
    a.dtype = model_.type() == gpu::Type::f32 ? DType::f32 : DType::bf16;
    a.weights = model_.weights().data_ptr();
    a.gradients = model_.gradients().defined() ? model_.gradients().data_ptr<float>() : nullptr;
    a.elements = static_cast<size_t>(model_.elements());
    a.padding = static_cast<size_t>(model_.weights().numel() - model_.elements());
    return a;
  }
  void zero_gradients() override { model_.gradients().zero_(); }

  TokenScores score(const PackedBatch& batch, double temperature) override {
    return with_memory_for(batch, [&] {
      const auto scores = model_.score(batch, temperature);
      return TokenScores{to_host(scores.logprobs_N), to_host(scores.entropy_N)};
    });
  }
  TokenScores forward_backward(const PackedBatch& batch, double temperature, bool entropy_gradient,
                               const Policy::Loss& loss, const Policy::Complete& complete) override {
    return with_memory_for(batch, [&] {
      const auto on_gpu = model_.forward(batch, temperature);
      TokenScores scores{to_host(on_gpu.logprobs_N), to_host(on_gpu.entropy_N)};
      const size_t n = scores.logprobs.size();
      std::vector<float> grads(entropy_gradient ? 2 * n : n, 0);
      const std::span<float> all(grads);
      loss(scores, all.first(n), entropy_gradient ? all.subspan(n) : std::span<float>());
      const Tensor sent = torch::from_blob(grads.data(), {static_cast<int64_t>(grads.size())}, torch::kFloat)
                              .to(torch::kCUDA);
      const auto count = static_cast<int64_t>(n);
      model_.backward(sent.narrow(0, 0, count), entropy_gradient ? sent.narrow(0, count, count) : Tensor(),
                      complete);
      return scores;
    });
  }

  size_t activation_bytes(int64_t tokens, int64_t predicted) const override {
    return model_.activation_bytes(tokens, predicted);
  }
  size_t take_peak_bytes() override {
    auto* allocator = c10::getDeviceAllocator(torch::kCUDA);
    const auto device = model_.weights().device().index();
    const auto stats = allocator->getDeviceStats(device);
    allocator->resetPeakStats(device);
    return static_cast<size_t>(
        stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak);
  }

 private:
  WeightSet empty_set(Version version, DType dtype) const {
    WeightSet out;
    out.manifest.version = version;
    out.manifest.tensors = config().tensors(dtype);
    const TensorSpec& last = out.manifest.tensors.back();
    out.manifest.total_bytes = (last.offset + last.bytes + 63) / 64 * 64;
    return out;
  }

  template <class F>
  TokenScores with_memory_for(const PackedBatch& batch, F f) {
    try {
      return f();
    } catch (const c10::OutOfMemoryError&) {
      const auto tokens = static_cast<int64_t>(batch.tokens.size()),
                 predicted = static_cast<int64_t>(batch.rows.size());
      const gpu::Memory m = gpu::memory();
      fail_final(  // the batch is the same after a new start
          "a micro-batch of {} tokens needs {} of GPU memory for its activations, beside weights, gradients "
          "and optimizer; "
          "the GPU has {} in all, {} of them free: lower micro_batch_tokens, or set recompute = \"layer\"",
          tokens, gpu::gibibytes(model_.activation_bytes(tokens, predicted)), gpu::gibibytes(m.total),
          gpu::gibibytes(m.free));
    }
  }

  gpu::Model model_;
  std::optional<gpu::WeightShare> share_;
  DType shared_dtype_ = DType::bf16;
};

}  // namespace

std::unique_ptr<PolicyDevice> make_gpu_policy(const ModelConfig& config, const std::string& device,
                                              const std::string& dtype, bool trainable,
                                              const std::string& recompute) {
  const gpu::Model::Options options = model_options(dtype, trainable, recompute);
  gpu::open_device(device, "learner.device");
  return std::make_unique<GpuPolicy>(config, options);
}

}  // namespace cohort
