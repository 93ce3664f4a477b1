#include "learner/model/rope_table.h"

#include <algorithm>

#include "learner/folder/rope.h"

namespace cohort {

std::pair<torch::Tensor, torch::Tensor> RopeTable::compute(const torch::Tensor& positions,
                                                           int64_t length) const {
  std::vector<float> f = rope_inverse_frequencies(config_, length);
  torch::Tensor inverse = torch::tensor(f).to(device_);
  torch::Tensor angle = positions.to(torch::kFloat).unsqueeze(1) * inverse.unsqueeze(0);
  double scale = rope_attention_factor(config_);
  return {angle.cos() * scale, angle.sin() * scale};
}

std::pair<torch::Tensor, torch::Tensor> RopeTable::at(const torch::Tensor& positions) {
  torch::NoGradGuard no_grad;
  if (positions.numel() == 0) return compute(positions, 0);
  const int64_t last = positions.max().item<int64_t>();
  if (config_.rope.type == "dynamic" && last >= config_.max_position_embeddings) {
    // each run of consecutive positions is one sequence, whose length decides its frequencies
    torch::Tensor host = positions.cpu();
    const int64_t* p = host.data_ptr<int64_t>();
    const int64_t n = host.numel();
    std::vector<torch::Tensor> cos, sin;
    for (int64_t begin = 0, end; begin < n; begin = end) {
      for (end = begin + 1; end < n && p[end] == p[end - 1] + 1;) ++end;
      auto [c, s] = compute(positions.slice(0, begin, end), p[end - 1] + 1);
      cos.push_back(c), sin.push_back(s);
    }
    return {torch::cat(cos), torch::cat(sin)};
  }
  torch::Tensor cos, sin;
  {
    std::lock_guard lock(mutex_);
    if (!cos_.defined() || cos_.size(0) <= last) {
      torch::InferenceMode off(false);  // a table begun while scoring must serve training as well
      int64_t size = std::max<int64_t>(256, 2 * (last + 1));
      std::tie(cos_, sin_) = compute(torch::arange(size, torch::TensorOptions(torch::kLong).device(device_)),
                                     config_.max_position_embeddings);
    }
    cos = cos_, sin = sin_;
  }
  return {cos.index_select(0, positions), sin.index_select(0, positions)};
}

}  // namespace cohort
