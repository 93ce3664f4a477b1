// CudaModel's matrix products: their operands, and which kernel each of them takes for a number of rows.
#include <algorithm>
#include <array>

#include "kernels/cuda_check.h"
#include "kernels/rms_norm.h"
#include "kernels/swiglu.h"
#include "rollout/cuda_model.h"

namespace cohort {

cuda::GemmParams CudaModel::product(const CudaBatch& batch, int which, size_t layer) const {
  const ModelConfig& c = config_;
  const Layer& l = layers_[layer];
  cuda::GemmParams p;
  p.m = batch.rows;
  const auto set = [&](const bf16* x, const bf16* w, int64_t n, int64_t k, void* y) {
    p.x = x, p.w = w, p.n = n, p.k = k, p.y = y, p.stride = n;
  };
  switch (which) {
    case kQkv:
      set(y_.as<bf16>(), l.qkv, qkv_width_, c.hidden_size, qkv_.as<void>());
      p.bias = l.qkv_bias;
      break;
    case kOutput:
      set(attention_.as<bf16>(), l.o, c.hidden_size, c.num_heads * c.head_dim, x_.as<void>());
      p.bias = l.o_bias, p.add = true;
      break;
    case kGateUp:
      set(y_.as<bf16>(), l.gate_up, 2 * c.intermediate_size, c.hidden_size, gate_up_.as<void>());
      p.bias = l.gate_up_bias;
      break;
    case kDown:
      set(h_.as<bf16>(), l.down, c.hidden_size, c.intermediate_size, x_.as<void>());
      p.bias = l.down_bias, p.add = true;
      break;
    default:
      set(batch.all_sampled ? y_.as<bf16>() : sampled_y_.as<bf16>(), head_, c.vocab_size, c.hidden_size,
          logits_.as<void>());
      p.m = batch.all_sampled ? batch.rows : batch.sampled;
      p.stride = logits_stride_, p.fp32 = true;
  }
  return p;
}

cuda::HopperGemmParams CudaModel::hopper(const CudaBatch& batch, int which, size_t layer, int splits) const {
  const cuda::GemmParams g = product(batch, which, layer);
  cuda::HopperGemmParams p;
  p.x = g.x, p.w = g.w, p.m = int(g.m), p.n = int(g.n), p.k = int(g.k), p.splits = splits;
  p.kind = which == kHead     ? cuda::GemmOut::full
           : which == kGateUp ? cuda::GemmOut::swiglu
                              : cuda::GemmOut::partial;
  p.out = which == kHead ? g.y : which == kGateUp ? h_.as<void>() : partial_.as<void>();
  p.stride = g.stride;
  return p;
}

// The fastest tile and number of splits, by a few runs over the layers' weights by turns (so that they are not in L2).
CudaModel::Choice CudaModel::measure(const CudaBatch& batch, int which, cudaStream_t stream) {
  const cuda::GemmParams g = product(batch, which, 0);
  // The attention has more of them to add up for each block than a norm.
  int most =
      which == kHead || which == kGateUp ? 1 : cuda::hopper_gemm_splits(int(g.n), int(g.k), multiprocessors_);
  const int steps = (int(g.k) + 63) / 64;
  const auto none_empty = [&](int splits) {
    const int length = (steps + splits - 1) / splits;
    return (steps + length - 1) / length;
  };
  if (which == kQkv) most = none_empty(std::min(most, 4));
  Choice best{cuda::hopper_gemm_default(int(g.m)), most, true};
  if (limits_.batch_invariant) {
    best.tile = cuda::hopper_gemm_default(64);  // one kernel whatever the rows
    return best;
  }
  cudaEvent_t begin, end;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  size_t layer = 0;
  // Repetitions with early launches overlap more than a step's products do; with few rows they come closer to it.
  const bool early = limits_.early_launch && g.m <= 64;
  const auto time = [&](const Choice& c) {
    const auto once = [&] {
      layer = (layer + 1) % layers_.size();
      if (c.hopper)
        cuda::hopper_gemm(hopper(batch, which, layer, c.splits), c.tile, stream, early);
      else
        gemm_.run(product(batch, which, layer), stream);
      // with what else depends on the choice
      if (!c.hopper && which == kGateUp)
        cuda::swiglu(gate_up_.as<bf16>(), batch.rows, int(config_.intermediate_size), h_.as<bf16>(), stream,
                     early);
      if (which != kOutput && which != kDown) return;
      cuda::RmsNormParams norm;
      norm.x = x_.as<bf16>(), norm.y = y_.as<bf16>(), norm.weight = layers_[layer].post_norm,
      norm.eps = 1e-6f;
      norm.rows = batch.rows, norm.hidden = int(config_.hidden_size);
      if (c.hopper) norm.partial = partial_.as<float>(), norm.splits = c.splits;
      cuda::rms_norm(norm, stream, early);
    };
    once();
    std::array<float, 5> ms;
    for (float& t : ms) {
      CUDA_CHECK(cudaEventRecord(begin, stream));
      for (int i = 0; i < 4; ++i) once();
      CUDA_CHECK(cudaEventRecord(end, stream));
      CUDA_CHECK(cudaEventSynchronize(end));
      CUDA_CHECK(cudaEventElapsedTime(&t, begin, end));
    }
    std::sort(ms.begin(), ms.end());
    // the attention reads the sums of a QKV product out of L2, at about two bytes a picosecond
    const double sums = which == kQkv && c.hopper ? 4.0 * double(c.splits) * double(g.m * g.n) : 0;
    return ms[2] + float(4 * sums / 2e12 * 1e3);
  };
  float shortest = 1e30f;
  const auto consider = [&](const Choice& c) {
    const float ms = time(c);
    if (ms < shortest) shortest = ms, best = c;
  };
  for (const cuda::HopperGemmTile& tile : cuda::hopper_gemm_tiles()) {
    if (tile.columns >= 2 * std::max<int64_t>(g.m, 64)) continue;
    int last = 0;
    for (int wanted : {most, (most + 1) / 2, (most + 3) / 4, 1})
      if (const int splits = none_empty(wanted); splits != last) consider({tile, last = splits, true});
  }
  std::vector<const bf16*> cold;
  for (size_t i = 0; i < layers_.size(); ++i) cold.push_back(product(batch, which, i).w);
  gemm_.prepare(g, stream, cold);
  consider({{}, 1, false});
  CUDA_CHECK(cudaEventDestroy(begin));
  CUDA_CHECK(cudaEventDestroy(end));
  return best;
}

CudaModel::Choice CudaModel::choice(int which, int64_t rows) const {
  const auto found = choices_.find({which, rows});
  return found == choices_.end() ? Choice{} : found->second;
}

void CudaModel::prepare(const CudaBatch& batch, cudaStream_t stream) {
  for (int which = kQkv; which <= kHead; ++which) {
    const cuda::GemmParams g = product(batch, which, 0);
    if (g.m == 0 || choices_.contains({which, g.m})) continue;
    if (g.m <= limits_.hopper_rows && !config_.mlp_bias) {
      choices_[{which, g.m}] = measure(batch, which, stream);
      continue;
    }
    std::vector<const bf16*> cold;
    for (size_t i = 0; i < layers_.size(); ++i) cold.push_back(product(batch, which, i).w);
    gemm_.prepare(g, stream, cold);
  }
}

}  // namespace cohort
