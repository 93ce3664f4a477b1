// ModelRunner on LibTorch: the reference on any device, and the fast path on a CPU in float32.
//
// One step: the new tokens of all sequences lie end to end and go through the decoder as one batch; only
// attention knows sequences apart, by the KV cache here. On a CPU in float32 the cache holds keys and values
// as the panels the kernels multiply with, so a decode step reads each kv head once for all its query heads
// and rearranges nothing. No row's result depends on the other rows (see learner/model/cpu/kernels.h), so
// neither does a sampled completion.
//
// Weights: two decoders. stage_weights() fills the one that is not in use, under a lock of its own;
// swap_weights() exchanges them between two steps and never waits.
#include <torch/torch.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "learner/model/cpu/kernels.h"
#include "learner/model/decoder.h"
#include "rollout/model_runner.h"
#include "transport/base/error.h"
#if COHORT_CUDA
#include "learner/gpu/runtime.h"
#endif

namespace cohort {
namespace {

using torch::Tensor;

// What a step knows of its sequences, for the attention of every layer.
struct Span {
  int32_t slot = 0;
  int64_t begin = 0, count = 0;  // rows of this step
  int64_t past = 0;              // tokens in the slot before it
};

class KvCache : public Attention {
 public:
  virtual void copy(int32_t from, int32_t to, int64_t length) = 0;
  void begin_step(std::vector<Span> spans) { spans_ = std::move(spans); }

 protected:
  std::vector<Span> spans_;
};

// Keys [slot][layer][kv head][position panel][dim][panel], values [slot][layer][kv head][dim
// panel][position][panel].
class PanelCache : public KvCache {
 public:
  PanelCache(const ModelConfig& c, int64_t slots, int64_t context)
      : layers_(c.num_layers), heads_(c.num_heads), kv_heads_(c.num_kv_heads), dim_(c.head_dim) {
    panel_ = cpu::kernels().panel;
    context_ = cpu::round_up(context, panel_);
    keys_head_ = context_ * dim_;
    values_head_ = cpu::panels_size(dim_, context_, panel_);
    // zeroed by the kernel page by page as it is first touched: slots never used cost no memory
    keys_.reset(allocate(slots * layers_ * kv_heads_ * keys_head_));
    values_.reset(allocate(slots * layers_ * kv_heads_ * values_head_));
  }

  Tensor attend(int64_t layer, const Tensor& q_any, const Tensor& k_any, const Tensor& v_any) override {
    Tensor q = q_any.contiguous(), k = k_any.contiguous(), v = v_any.contiguous(), out = torch::empty_like(q);
    const auto& kernels = cpu::kernels();
    const int64_t group = heads_ / kv_heads_, q_row = heads_ * dim_, kv_row = kv_heads_ * dim_;
    const float scale = float(1 / std::sqrt(double(dim_)));
    const float *qs = q.data_ptr<float>(), *ks = k.data_ptr<float>(), *vs = v.data_ptr<float>();
    float* to = out.data_ptr<float>();
    at::parallel_for(0, int64_t(spans_.size()) * kv_heads_, 1, [&](int64_t first, int64_t last) {
      std::vector<float> scratch;
      for (int64_t i = first; i < last; ++i) {
        const Span& span = spans_[size_t(i / kv_heads_)];
        const int64_t head = i % kv_heads_, at = (span.slot * layers_ + layer) * kv_heads_ + head;
        float *keys = keys_.get() + at * keys_head_, *values = values_.get() + at * values_head_;
        append(span, ks + span.begin * kv_row + head * dim_, vs + span.begin * kv_row + head * dim_, kv_row,
               keys, values);
        scratch.resize(std::max(scratch.size(), size_t(cpu::attention_scratch(span.past + span.count))));
        const int64_t row = span.begin * q_row + head * group * dim_;
        kernels.attention(span.count, span.past, group, dim_, qs + row, q_row, keys, dim_ * panel_, values,
                          context_ * panel_, scale, to + row, q_row, nullptr, 0, scratch.data());
      }
    });
    return out;
  }

  void copy(int32_t from, int32_t to, int64_t length) override {
    const int64_t whole = cpu::round_up(length, panel_) * dim_, per_slot = layers_ * kv_heads_;
    for (int64_t i = 0; i < per_slot; ++i) {
      const float *keys = keys_.get() + (from * per_slot + i) * keys_head_,
                  *values = values_.get() + (from * per_slot + i) * values_head_;
      float *keys_to = keys_.get() + (to * per_slot + i) * keys_head_,
            *values_to = values_.get() + (to * per_slot + i) * values_head_;
      std::copy_n(keys, whole, keys_to);
      for (int64_t e = 0; e < dim_; e += panel_)
        std::copy_n(values + e * context_, length * panel_, values_to + e * context_);
    }
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  static float* allocate(int64_t floats) {
    void* p = std::calloc(size_t(floats), sizeof(float));
    if (p == nullptr)
      fail("the KV cache needs {} MB, which this machine does not have: lower max_num_seqs or max_context",
           floats >> 18);
    return static_cast<float*>(p);
  }
  void append(const Span& span, const float* k, const float* v, int64_t row, float* keys,
              float* values) const {
    for (int64_t i = 0; i < span.count; ++i, k += row, v += row) {
      const int64_t t = span.past + i;
      float* column = keys + t / panel_ * dim_ * panel_ + t % panel_;
      for (int64_t e = 0; e < dim_; ++e) column[e * panel_] = k[e];
      for (int64_t e = 0; e < dim_; e += panel_)
        std::copy_n(v + e, std::min(panel_, dim_ - e), values + e * context_ + t * panel_);
    }
  }

  int64_t layers_, heads_, kv_heads_, dim_, panel_ = 0, context_ = 0, keys_head_ = 0, values_head_ = 0;
  std::unique_ptr<float[], Free> keys_, values_;
};

// Plain tensors [layer][slot][kv head][position][dim]: any device, any dtype.
class TensorCache : public KvCache {
 public:
  TensorCache(const ModelConfig& c, int64_t slots, int64_t context, torch::Device device,
              torch::Dtype dtype) {
    for (int64_t i = 0; i < 2 * c.num_layers; ++i)
      cache_.push_back(torch::zeros({slots, c.num_kv_heads, context, c.head_dim},
                                    torch::TensorOptions(dtype).device(device)));
  }
  Tensor attend(int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v) override {
    std::vector<Tensor> out;
    for (const Span& s : spans_) {
      Tensor keys = cache_[size_t(2 * layer)][s.slot], values = cache_[size_t(2 * layer + 1)][s.slot];
      keys.narrow(1, s.past, s.count).copy_(k.narrow(0, s.begin, s.count).transpose(0, 1));
      values.narrow(1, s.past, s.count).copy_(v.narrow(0, s.begin, s.count).transpose(0, 1));
      const int64_t n = s.past + s.count;
      std::optional<Tensor> mask;
      if (s.count > 1) mask = torch::ones({s.count, n}, q.options().dtype(torch::kBool)).tril(s.past);
      Tensor o = at::scaled_dot_product_attention(
          q.narrow(0, s.begin, s.count).transpose(0, 1).unsqueeze(0), keys.narrow(1, 0, n).unsqueeze(0),
          values.narrow(1, 0, n).unsqueeze(0), mask, 0.0, false, {}, q.size(1) != k.size(1));
      out.push_back(o.squeeze(0).transpose(0, 1));
    }
    return torch::cat(out, 0);
  }
  void copy(int32_t from, int32_t to, int64_t length) override {
    for (Tensor& t : cache_) t[to].narrow(1, 0, length).copy_(t[from].narrow(1, 0, length));
  }

 private:
  std::vector<Tensor> cache_;
};

torch::Dtype dtype_named(const std::string& name) {
  if (name == "float32") return torch::kFloat;
  if (name == "bfloat16") return torch::kBFloat16;
  if (name == "float16") return torch::kHalf;
  fail_usage("dtype \"{}\": use float32, bfloat16 or float16", name);
}

torch::Device device_named(const std::string& name) {
  if (name == "cpu") return torch::kCPU;
#if COHORT_CUDA
  return torch::Device(torch::kCUDA, c10::DeviceIndex(gpu::open_device(name, "device")));
#else
  fail_usage("device \"{}\": this build has no CUDA; configure it with --preset cuda, or use cpu", name);
#endif
}

class TorchRunner : public ModelRunner {
 public:
  TorchRunner(const ModelConfig& config, const RunnerOptions& options)
      : config_(config),
        options_(options),
        device_(device_named(options.device)),
        dtype_(dtype_named(options.dtype)) {
    if (options.max_slots < 1 || options.max_context < 1)
      fail_usage("a runner needs at least one slot and one token of context");
    torch::set_num_threads(std::max(1, options.threads));
    lengths_.resize(size_t(options.max_slots));
    if (device_.is_cpu() && dtype_ == torch::kFloat)
      cache_ = std::make_unique<PanelCache>(config, options.max_slots, options.max_context);
    else
      cache_ = std::make_unique<TensorCache>(config, options.max_slots, options.max_context, device_, dtype_);
  }

  const ModelConfig& config() const override { return config_; }
  int32_t max_slots() const override { return options_.max_slots; }
  int32_t max_context() const override { return options_.max_context; }
  Version version() const override { return version_; }
  int32_t slot_length(int32_t slot) const override { return lengths_.at(size_t(slot)); }
  void reset_slot(int32_t slot) override { lengths_.at(size_t(slot)) = 0; }

  bool copy_slot(int32_t from, int32_t to) override {
    if (from != to) cache_->copy(from, to, lengths_.at(size_t(from)));
    lengths_.at(size_t(to)) = lengths_.at(size_t(from));
    return true;
  }

  void step(std::span<const SequenceStep> steps, std::span<Sampled> out) override {
    torch::InferenceMode no_grad;
    if (!active_) fail("the runner has no weights yet");
    if (steps.empty()) return;
    std::vector<int64_t> tokens, positions, rows;
    std::vector<size_t> sampled;
    std::vector<Span> spans;
    for (size_t i = 0; i < steps.size(); ++i) {
      const SequenceStep& s = steps[i];
      if (s.tokens.empty()) continue;
      Span span{s.slot, int64_t(tokens.size()), int64_t(s.tokens.size()), lengths_.at(size_t(s.slot))};
      if (span.past + span.count > options_.max_context)
        fail("slot {} would hold {} tokens, the context is {}", s.slot, span.past + span.count,
             options_.max_context);
      for (int32_t token : s.tokens) {
        check(token);
        positions.push_back(span.past + int64_t(tokens.size()) - span.begin);
        tokens.push_back(token);
      }
      if (s.sample) sampled.push_back(i), rows.push_back(int64_t(tokens.size()) - 1);
      spans.push_back(span);
    }
    cache_->begin_step(spans);
    Tensor hidden = active_->forward(to_device(tokens), to_device(positions), *cache_);
    for (const Span& span : spans) lengths_[size_t(span.slot)] += int32_t(span.count);
    if (rows.empty()) return;
    if (rows.size() != tokens.size()) hidden = hidden.index_select(0, to_device(rows));
    Tensor logits = active_->logits(hidden).cpu().contiguous();
    for (size_t i = 0; i < sampled.size(); ++i) {
      const SequenceStep& s = steps[sampled[i]];
      const double uniform = uniform_at(s.sampling->seed, s.group, s.index, s.position);
      float* row = logits.data_ptr<float>() + int64_t(i) * config_.vocab_size;
      out[sampled[i]] = sample({row, size_t(config_.vocab_size)}, *s.sampling, uniform);
    }
  }

  std::vector<float> score(std::span<const int32_t> tokens) override {
    torch::InferenceMode no_grad;
    if (!active_) fail("the runner has no weights yet");
    const int64_t n = int64_t(tokens.size());
    if (n < 2) return {};
    for (int32_t token : tokens) check(token);
    Tensor ids = to_device(std::vector<int64_t>(tokens.begin(), tokens.end()));
    auto attention = make_packed_attention(config_, {0, n});
    Tensor hidden = active_->forward(ids, torch::arange(n, ids.options()), *attention);
    TokenStats stats = token_stats(*active_, hidden.narrow(0, 0, n - 1), ids.narrow(0, 1, n - 1), 1.0);
    Tensor logprobs = stats.logprobs_N.cpu().contiguous();
    return {logprobs.data_ptr<float>(), logprobs.data_ptr<float>() + n - 1};
  }

  void stage_weights(std::shared_ptr<const WeightSet> weights) override {
    std::lock_guard lock(staging_);
    staged_ready_ = false;
    if (!staged_) staged_ = std::make_unique<Decoder>(config_, device_, dtype_);
    staged_->load(*weights);
    staged_->pack_for_inference();
    staged_version_ = weights->manifest.version;
    staged_ready_ = true;
  }

  bool swap_weights() override {
    if (!staged_ready_) return false;
    std::unique_lock lock(staging_, std::try_to_lock);  // held: a newer version is on its way, take that one
    if (!lock || !staged_ready_) return false;
    std::swap(active_, staged_);
    version_ = staged_version_;
    staged_ready_ = false;
    return true;
  }

 private:
  void check(int32_t token) const {
    if (token < 0 || token >= config_.vocab_size)
      fail("token {} is outside the model's vocabulary of {}", token, config_.vocab_size);
  }
  Tensor to_device(const std::vector<int64_t>& values) const {
    return torch::tensor(values, torch::kLong).to(device_);
  }

  ModelConfig config_;
  RunnerOptions options_;
  torch::Device device_;
  torch::Dtype dtype_;
  std::vector<int32_t> lengths_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Decoder> active_, staged_;
  std::mutex staging_;  // held while staged_ is filled
  std::atomic<bool> staged_ready_{false};
  Version version_ = 0, staged_version_ = 0;
};

}  // namespace

std::unique_ptr<ModelRunner> make_torch_runner(const ModelConfig& config,
                                               std::shared_ptr<const WeightSet> weights,
                                               const RunnerOptions& options) {
  auto runner = std::make_unique<TorchRunner>(config, options);
  if (weights) {
    runner->stage_weights(std::move(weights));
    runner->swap_weights();
  }
  return runner;
}

}  // namespace cohort
