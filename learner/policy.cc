#include "learner/policy.h"

#include <torch/torch.h>

#include "learner/model/decoder.h"
#include "learner/policy_device.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using torch::Tensor;

Tensor host_tensor(const std::vector<int64_t>& values) {
  return torch::from_blob(const_cast<int64_t*>(values.data()), {static_cast<int64_t>(values.size())},
                          torch::kInt64);
}

std::vector<float> to_host(const Tensor& values) {
  const Tensor flat = values.detach().contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

class CpuPolicy : public PolicyDevice {
 public:
  CpuPolicy(const ModelConfig& config, bool trainable) : decoder_(config, torch::kCPU, torch::kFloat) {
    if (trainable) decoder_.enable_gradients();
  }

  const ModelConfig& config() const override { return decoder_.config(); }
  void load(const WeightSet& weights) override { decoder_.load(weights); }
  WeightSet snapshot(Version version, DType dtype) const override {
    return decoder_.snapshot(version, dtype);
  }
  FlatArrays arrays() override {
    const Tensor weights = decoder_.flat_parameters(), gradients = decoder_.flat_gradients();
    return {.weights = weights.data_ptr(),
            .gradients = gradients.defined() ? gradients.data_ptr<float>() : nullptr,
            .elements = static_cast<size_t>(weights.numel())};
  }
  void zero_gradients() override { decoder_.zero_gradients(); }

  TokenScores score(const PackedBatch& batch, double temperature) override {
    const torch::NoGradGuard no_grad;
    const TokenStats stats = forward(batch, temperature, false);
    return {to_host(stats.logprobs_N), to_host(stats.entropy_N)};
  }
  TokenScores forward_backward(const PackedBatch& batch, double temperature, bool entropy_gradient,
                               const Policy::Loss& loss, const Policy::Complete& complete) override {
    const TokenStats stats = forward(batch, temperature, entropy_gradient);
    TokenScores scores{to_host(stats.logprobs_N), to_host(stats.entropy_N)};
    const auto n = static_cast<int64_t>(scores.logprobs.size());
    Tensor grad_logprobs = torch::zeros({n}), grad_entropy = torch::zeros({entropy_gradient ? n : 0});
    loss(scores, {grad_logprobs.data_ptr<float>(), static_cast<size_t>(grad_logprobs.numel())},
         {grad_entropy.data_ptr<float>(), static_cast<size_t>(grad_entropy.numel())});
    std::vector<Tensor> outputs{stats.logprobs_N}, gradients{grad_logprobs};
    if (entropy_gradient) outputs.push_back(stats.entropy_N), gradients.push_back(grad_entropy);
    torch::autograd::backward(outputs, gradients);
    if (complete) complete(0);
    return scores;
  }

 private:
  TokenStats forward(const PackedBatch& batch, double temperature, bool entropy_gradient) const {
    auto attention = make_packed_attention(decoder_.config(), batch.cu_seqlens);
    const Tensor hidden =
        decoder_.forward(host_tensor(batch.tokens), host_tensor(batch.positions), *attention);
    return token_stats(decoder_, hidden.index_select(0, host_tensor(batch.rows)), host_tensor(batch.targets),
                       temperature, entropy_gradient);
  }

  Decoder decoder_;
};

std::unique_ptr<PolicyDevice> make_cpu_policy(const ModelConfig& config, const std::string& dtype,
                                              bool trainable, const std::string& recompute) {
  if (dtype != "float32")
    fail_usage("learner.dtype = \"{}\": on cpu the learner trains in \"float32\"", dtype);
  if (recompute != "none")
    fail_usage(
        "learner.recompute = \"{}\": on cpu only \"none\"; the CPU's layers recompute what is cheap anyway",
        recompute);
  return std::make_unique<CpuPolicy>(config, trainable);
}

}  // namespace

Policy::Policy(const ModelConfig& config, const std::string& device, const std::string& dtype, bool trainable,
               const std::string& recompute)
    : impl_(device == "cpu" ? make_cpu_policy(config, dtype, trainable, recompute)
                            : make_gpu_policy(config, device, dtype, trainable, recompute)) {}
Policy::~Policy() = default;

const ModelConfig& Policy::config() const {
  return impl_->config();
}
void Policy::init_random(uint64_t seed) {
  impl_->load(random_weights(impl_->config(), seed));
}
void Policy::load(const WeightSet& weights) {
  impl_->load(weights);
}
WeightSet Policy::snapshot(Version version, DType dtype) const {
  return impl_->snapshot(version, dtype);
}
WeightSet Policy::publishable(Version version, DType dtype) {
  return impl_->publishable(version, dtype);
}

FlatArrays Policy::arrays() {
  return impl_->arrays();
}
std::span<float> Policy::parameters() {
  const FlatArrays a = impl_->arrays();
  if (a.on_gpu) throw std::logic_error("parameters() of a policy on a GPU");
  return {static_cast<float*>(a.weights), a.elements};
}
std::span<float> Policy::gradients() {
  const FlatArrays a = impl_->arrays();
  if (a.on_gpu) throw std::logic_error("gradients() of a policy on a GPU");
  return {a.gradients, a.elements};
}
void Policy::zero_gradients() {
  impl_->zero_gradients();
}

TokenScores Policy::score(const PackedBatch& batch, double temperature) const {
  return impl_->score(batch, temperature);
}
TokenScores Policy::forward_backward(const PackedBatch& batch, double temperature, bool entropy_gradient,
                                     const Loss& loss, const Complete& complete) {
  return impl_->forward_backward(batch, temperature, entropy_gradient, loss, complete);
}

size_t Policy::activation_bytes(int64_t tokens, int64_t predicted) const {
  return impl_->activation_bytes(tokens, predicted);
}
size_t Policy::take_peak_bytes() {
  return impl_->take_peak_bytes();
}

WeightSet random_weights(const ModelConfig& config, uint64_t seed) {
  Decoder decoder(config, torch::kCPU, torch::kFloat);
  decoder.init_random(seed);
  return decoder.snapshot(0, DType::f32);
}

void set_compute_threads(int threads) {
  at::set_num_threads(threads);
}

}  // namespace cohort
