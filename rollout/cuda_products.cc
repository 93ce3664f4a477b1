// CudaModel's matrix products: their operands, and which kernel each of them takes for a number of rows.
#include <algorithm>
#include <array>

#include "kernels/cuda_check.h"
#include "kernels/swiglu.h"
#include "rollout/cuda_model.h"

namespace cohort {

cuda::GemmParams CudaModel::product(const CudaBatch& batch, int which, size_t layer) const {
  const ModelConfig& c = config_;
  const Layer& l = weights().layers[layer];
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
      set(batch.all_sampled ? y_.as<bf16>() : sampled_y_.as<bf16>(), weights().head, c.vocab_size,
          c.hidden_size, logits_.as<void>());
      p.m = batch.all_sampled ? batch.rows : batch.sampled;
      p.stride = logits_stride_, p.fp32 = true;
  }
  return p;
}

cuda::HopperGemmParams CudaModel::hopper(const CudaBatch& batch, int which, size_t layer,
                                         const Choice& choice) const {
  const cuda::GemmParams g = product(batch, which, layer);
  cuda::HopperGemmParams p;
  p.x = g.x, p.w = g.w, p.m = int(g.m), p.n = int(g.n), p.k = int(g.k), p.splits = choice.splits;
  p.out = g.y, p.bias = g.bias;
  const auto before_norm = [&](const bf16* norm) {
    p.kind = cuda::GemmOut::residual;
    p.norm = norm, p.scaled = y_.as<bf16>(), p.squares = squares_.as<float>();
  };
  const bool fused_rows = fused(batch.rows);
  if (fused_rows) p.scale = scale_of(squares_, batch.rows);
  switch (which) {
    case kQkv:
      p.kind = cuda::GemmOut::rows;
      break;
    case kOutput:
      before_norm(weights().layers[layer].post_norm);
      break;
    case kGateUp:
      p.kind = cuda::GemmOut::swiglu, p.out = h_.as<void>();
      break;
    case kDown:
      before_norm(layer + 1 < weights().layers.size() ? weights().layers[layer + 1].input_norm
                                                      : weights().final_norm);
      break;
    default:
      p.kind = cuda::GemmOut::logits, p.stride = g.stride;
      if (!batch.truncation) p.out = nullptr;  // the pieces are enough
      if (fused_rows && !batch.all_sampled) p.scale = scale_of(sampled_squares_, batch.sampled);
      p.rows = batch.all_sampled ? rows_.as<cuda::Row>() : sampled_rows_.as<cuda::Row>();
      p.pieces = pieces_.as<cuda::SamplerPiece>();
  }
  return p;
}

// The fastest tile and number of splits, by a few runs over the layers' weights by turns (so that they are not in L2).
CudaModel::Choice CudaModel::measure(const CudaBatch& batch, int which, cudaStream_t stream) {
  const cuda::GemmParams g = product(batch, which, 0);
  const cuda::GemmOut kind = hopper(batch, which, 0, {}).kind;
  const bool splits = kind == cuda::GemmOut::rows || kind == cuda::GemmOut::residual;
  Choice best{cuda::hopper_gemm_default(int(g.m)),
              splits ? cuda::hopper_gemm_splits(int(g.n), int(g.k), multiprocessors_) : 1, true};
  if (limits_.batch_invariant) {
    best.tile = cuda::hopper_gemm_default(64);  // one kernel whatever the rows
    return best;
  }
  cudaEvent_t begin, end;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  // Each a graph of all layers, since launches one by one take the CPU longer than the GPU.
  const auto time = [&](const Choice& c) {
    const auto once = [&](size_t layer) {
      if (which == kHead)
        cuda::hopper_gemm(hopper(batch, which, 0, c), c.tile, stream, limits_.early_launch);
      else
        multiply(batch, which, layer, c, stream);
    };
    once(0);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t runnable = nullptr;
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    for (size_t layer = 0; layer < (which == kHead ? 3 : weights().layers.size()); ++layer) once(layer);
    CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    CUDA_CHECK(cudaGraphInstantiate(&runnable, graph, 0));
    CUDA_CHECK(cudaGraphLaunch(runnable, stream));
    std::array<float, 3> ms;
    for (float& t : ms) {
      CUDA_CHECK(cudaEventRecord(begin, stream));
      CUDA_CHECK(cudaGraphLaunch(runnable, stream));
      CUDA_CHECK(cudaEventRecord(end, stream));
      CUDA_CHECK(cudaEventSynchronize(end));
      CUDA_CHECK(cudaEventElapsedTime(&t, begin, end));
    }
    CUDA_CHECK(cudaGraphExecDestroy(runnable));
    CUDA_CHECK(cudaGraphDestroy(graph));
    std::sort(ms.begin(), ms.end());
    return ms[1];
  };
  float shortest = 1e30f;
  const auto consider = [&](const Choice& c) {
    const float ms = time(c);
    if (ms < shortest) shortest = ms, best = c;
  };
  for (const cuda::HopperGemmTile& tile : cuda::hopper_gemm_tiles(kind)) {
    if (tile.inputs >= 2 * std::max<int64_t>(g.m, 64)) continue;
    for (int count :
         cuda::hopper_gemm_split_choices(tile, kind, int(g.m), int(g.n), int(g.k), multiprocessors_))
      consider({tile, count, true});
  }
  if (which == kGateUp) {
    prepare_blas(batch, which, stream);
    consider({{}, 1, false});
  }
  CUDA_CHECK(cudaEventDestroy(begin));
  CUDA_CHECK(cudaEventDestroy(end));
  return best;
}

void CudaModel::prepare_blas(const CudaBatch& batch, int which, cudaStream_t stream) {
  std::vector<const bf16*> cold;
  for (size_t i = 0; i < weights().layers.size(); ++i) cold.push_back(product(batch, which, i).w);
  gemm_.prepare(product(batch, which, 0), stream, cold);
}

CudaModel::Choice CudaModel::choice(int which, int64_t rows) const {
  const auto found = choices_.find({which, rows});
  return found == choices_.end() ? Choice{} : found->second;
}

void CudaModel::prepare(const CudaBatch& batch, cudaStream_t stream) {
  for (int which = kQkv; which <= kHead; ++which) {
    const cuda::GemmParams g = product(batch, which, 0);
    if (g.m == 0 || choices_.contains({which, g.m})) continue;
    if (fused(g.m))
      choices_[{which, g.m}] = measure(batch, which, stream);
    else
      prepare_blas(batch, which, stream);
  }
}

}  // namespace cohort
