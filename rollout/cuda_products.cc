// CudaModel's matrix products: their operands. Which kernel each of them takes is cuda_choices.cc's.
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
      p.fp32 = true;  // the bias is added by what reads it
      break;
    case kOutput:
      set(attention_.as<bf16>(), l.o, c.hidden_size, c.num_heads * c.head_dim, x_.as<void>());
      p.fp32 = p.add = true;
      break;
    case kGateUp:
      set(y_.as<bf16>(), l.gate_up, 2 * c.intermediate_size, c.hidden_size, gate_up_.as<void>());
      p.bias = l.gate_up_bias;
      break;
    case kDown:
      set(h_.as<bf16>(), l.down, c.hidden_size, c.intermediate_size, x_.as<void>());
      p.fp32 = p.add = true;
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
  p.x = g.x, p.w = g.w, p.m = int(g.m), p.n = int(g.n), p.k = int(g.k), p.splits = choice.splits,
  p.multiprocessors = multiprocessors_;
  p.out = g.y;
  const auto before_norm = [&](const bf16* bias, const bf16* norm) {
    p.kind = cuda::GemmOut::residual;
    p.bias = bias, p.norm = norm, p.scaled = y_.as<bf16>(), p.squares = squares_.as<float>();
  };
  const bool fused_rows = fused(batch.rows);
  if (fused_rows) p.scale = scale_of(squares_, batch.rows);
  switch (which) {
    case kQkv:
      p.kind = cuda::GemmOut::rows;
      break;
    case kOutput:
      before_norm(weights().layers[layer].o_bias, weights().layers[layer].post_norm);
      break;
    case kGateUp:
      p.kind = cuda::GemmOut::swiglu, p.out = h_.as<void>();
      break;
    case kDown:
      before_norm(weights().layers[layer].down_bias, layer + 1 < weights().layers.size()
                                                         ? weights().layers[layer + 1].input_norm
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

void CudaModel::prepare_blas(const CudaBatch& batch, int which, cudaStream_t stream) {
  std::vector<const bf16*> cold;
  for (size_t i = 0; i < weights().layers.size(); ++i) cold.push_back(product(batch, which, i).w);
  gemm_.prepare(product(batch, which, 0), stream, cold);
}

CudaModel::Choice CudaModel::choice(int which, int64_t rows) const {
  const auto found = choices_.find({which, rows});
  return found == choices_.end() ? Choice{} : found->second;
}

}  // namespace cohort
