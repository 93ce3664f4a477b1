#include "learner/policy.h"

#include <torch/torch.h>

#include "learner/model/decoder.h"
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

}  // namespace

struct Policy::Impl {
  Impl(const ModelConfig& config) : decoder(config, torch::kCPU, torch::kFloat) {}

  TokenStats stats(const PackedBatch& batch, double temperature, bool entropy_gradient) const {
    auto attention = make_packed_attention(decoder.config(), batch.cu_seqlens);
    const Tensor hidden =
        decoder.forward(host_tensor(batch.tokens), host_tensor(batch.positions), *attention);
    return token_stats(decoder, hidden.index_select(0, host_tensor(batch.rows)), host_tensor(batch.targets),
                       temperature, entropy_gradient);
  }

  Decoder decoder;
};

Policy::Policy(const ModelConfig& config, const std::string& device, const std::string& dtype,
               bool trainable) {
  if (device != "cpu") fail_usage("learner.device = \"{}\": this build trains on \"cpu\"", device);
  if (dtype != "float32")
    fail_usage("learner.dtype = \"{}\": on cpu the learner trains in \"float32\"", dtype);
  impl_ = std::make_unique<Impl>(config);
  if (trainable) impl_->decoder.enable_gradients();
}
Policy::~Policy() = default;

const ModelConfig& Policy::config() const {
  return impl_->decoder.config();
}
void Policy::init_random(uint64_t seed) {
  impl_->decoder.init_random(seed);
}
void Policy::load(const WeightSet& weights) {
  impl_->decoder.load(weights);
}
WeightSet Policy::snapshot(Version version, DType dtype) const {
  return impl_->decoder.snapshot(version, dtype);
}

std::span<float> Policy::parameters() {
  const Tensor flat = impl_->decoder.flat_parameters();
  return {flat.data_ptr<float>(), static_cast<size_t>(flat.numel())};
}
std::span<float> Policy::gradients() {
  const Tensor flat = impl_->decoder.flat_gradients();
  return {flat.data_ptr<float>(), static_cast<size_t>(flat.numel())};
}
void Policy::zero_gradients() {
  impl_->decoder.zero_gradients();
}

TokenScores Policy::score(const PackedBatch& batch, double temperature) const {
  const torch::NoGradGuard no_grad;
  const TokenStats stats = impl_->stats(batch, temperature, false);
  return {to_host(stats.logprobs_N), to_host(stats.entropy_N)};
}

TokenScores Policy::forward_backward(const PackedBatch& batch, double temperature, bool entropy_gradient,
                                     const Loss& loss) {
  const TokenStats stats = impl_->stats(batch, temperature, entropy_gradient);
  TokenScores scores{to_host(stats.logprobs_N), to_host(stats.entropy_N)};
  const auto n = static_cast<int64_t>(scores.logprobs.size());
  Tensor grad_logprobs = torch::zeros({n}), grad_entropy = torch::zeros({entropy_gradient ? n : 0});
  loss(scores, {grad_logprobs.data_ptr<float>(), static_cast<size_t>(grad_logprobs.numel())},
       {grad_entropy.data_ptr<float>(), static_cast<size_t>(grad_entropy.numel())});
  std::vector<Tensor> outputs{stats.logprobs_N}, gradients{grad_logprobs};
  if (entropy_gradient) outputs.push_back(stats.entropy_N), gradients.push_back(grad_entropy);
  torch::autograd::backward(outputs, gradients);
  return scores;
}

void set_compute_threads(int threads) {
  at::set_num_threads(threads);
}

}  // namespace cohort
