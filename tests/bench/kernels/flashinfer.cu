// The peers without CUTLASS. Each call is what FlashInfer's own binding does with the same arguments.
#include "tests/bench/kernels/flashinfer.h"

#include <flashinfer/activation.cuh>
#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/scheduler.cuh>
#include <flashinfer/attention/variants.cuh>
#include <flashinfer/norm.cuh>
#include <flashinfer/page.cuh>
#include <flashinfer/pos_enc.cuh>
#include <flashinfer/sampling.cuh>

#include "kernels/cuda_check.h"
#include "tests/bench/kernels/peer_plan.h"

namespace cohort::bench {
namespace {

namespace fi = flashinfer;
using bf16 = __nv_bfloat16;
using Cache = fi::paged_kv_t<bf16, int32_t>;

Cache cache_of(bf16* layer, int kv_heads, int head_dim, int batch, const int32_t* pages,
               const int32_t* starts, const int32_t* last) {
  const int64_t head = int64_t(cuda::kPageTokens) * head_dim;
  const int64_t strides[3] = {2 * kv_heads * head, head, head_dim};
  return Cache(uint32_t(kv_heads), cuda::kPageTokens, uint32_t(head_dim), uint32_t(batch),
               fi::QKVLayout::kHND, layer, layer + kv_heads * head, strides, const_cast<int32_t*>(pages),
               const_cast<int32_t*>(starts), const_cast<int32_t*>(last));
}

class Fa2 : public PeerAttention {
 public:
  Fa2(const PeerBatch& b, cudaStream_t stream) : batch_(b), plan_(b) {
    CUDA_CHECK(fi::PrefillPlan<int32_t>(
        plan_.floats, PeerPlan::kFloats, plan_.ints, plan_.pinned, PeerPlan::kInts, info_,
        plan_.query_starts.data(), plan_.page_starts.data(), uint32_t(plan_.query_starts.back()),
        uint32_t(b.lengths.size()), uint32_t(b.heads), uint32_t(b.kv_heads), uint32_t(b.head_dim),
        uint32_t(b.head_dim), cuda::kPageTokens, false, 2, -1, -1, false, 0, 0, stream));
    CUDA_CHECK(cudaStreamSynchronize(stream));
  }
  void run(const bf16* q, const bf16* layer, bf16* out, bool early, cudaStream_t stream) override {
    const bool prompts = plan_.query_starts.back() > int32_t(batch_.lengths.size());
    if (batch_.head_dim == 64)
      prompts ? run<64, 128, fi::MaskMode::kCausal>(q, layer, out, early, stream)
              : run<64, 16, fi::MaskMode::kNone>(q, layer, out, early, stream);
    else
      prompts ? run<128, 128, fi::MaskMode::kCausal>(q, layer, out, early, stream)
              : run<128, 16, fi::MaskMode::kNone>(q, layer, out, early, stream);
  }

 private:
  template <int kDim, int kTile, fi::MaskMode kMask>
  void run(const bf16* q, const bf16* layer, bf16* out, bool early, cudaStream_t stream) {
    if (info_.cta_tile_q != kTile)
      cuda::call_failed("another tile than was compiled", "PrefillPlan", __FILE__, __LINE__);
    fi::BatchPrefillPagedParams<bf16, bf16, bf16, int32_t> p(
        const_cast<bf16*>(q),
        cache_of(const_cast<bf16*>(layer), batch_.kv_heads, kDim, int(batch_.lengths.size()), plan_.pages,
                 plan_.device_page_starts, plan_.last),
        nullptr, plan_.device_query_starts, nullptr, nullptr, out, nullptr, nullptr, uint32_t(batch_.heads),
        batch_.heads * kDim, kDim, -1, 0.0f, 1 / std::sqrt(float(kDim)), 1.0f, 1e4f);
    const auto at = [&](int64_t offset) {
      return reinterpret_cast<int32_t*>(static_cast<char*>(plan_.ints) + offset);
    };
    p.request_indices = at(info_.request_indices_offset),
    p.qo_tile_indices = at(info_.qo_tile_indices_offset);
    p.kv_tile_indices = at(info_.kv_tile_indices_offset), p.o_indptr = at(info_.o_indptr_offset);
    p.kv_chunk_size_ptr = at(info_.kv_chunk_size_ptr_offset);
    p.padded_batch_size = uint32_t(info_.padded_batch_size),
    p.max_total_num_rows = uint32_t(info_.total_num_rows);
    bf16* sums = nullptr;
    float* logs = nullptr;
    if (info_.split_kv) {
      p.merge_indptr = at(info_.merge_indptr_offset);
      sums = reinterpret_cast<bf16*>(static_cast<char*>(plan_.floats) + info_.v_offset);
      logs = reinterpret_cast<float*>(static_cast<char*>(plan_.floats) + info_.s_offset);
    }
    CUDA_CHECK((
        fi::BatchPrefillWithPagedKVCacheDispatched<true, kTile, kDim, kDim, fi::PosEncodingMode::kNone, false,
                                                   kMask, fi::DefaultAttention<false, false, false, false>>(
            p, sums, logs, early, stream)));
  }
  PeerBatch batch_;
  PeerPlan plan_;
  fi::PrefillPlanInfo info_;
};

__device__ __forceinline__ float silu(const float& x) {
  return x / (1.0f + __expf(-x));
}

}  // namespace

std::unique_ptr<PeerAttention> peer_attention(const PeerBatch& batch, cudaStream_t stream) {
  return std::make_unique<Fa2>(batch, stream);
}

void peer_norm(const bf16* x, const bf16* weight, bf16* y, int rows, int hidden, bool early,
               cudaStream_t stream) {
  CUDA_CHECK(fi::norm::RMSNorm(const_cast<bf16*>(x), const_cast<bf16*>(weight), y, uint32_t(rows),
                               uint32_t(hidden), uint32_t(hidden), uint32_t(hidden), 1e-6f, early, stream));
}

void peer_rope_write(const PeerRope& p, cudaStream_t stream) {
  const size_t d = size_t(p.head_dim), width = size_t(p.heads + 2 * p.kv_heads) * d;
  bf16* q = const_cast<bf16*>(p.qkv);
  bf16 *k = q + size_t(p.heads) * d, *v = k + size_t(p.kv_heads) * d;
  CUDA_CHECK(fi::BatchQKApplyRotaryPosIdsCosSinCache(
      q, k, p.q, p.k, const_cast<float*>(p.cos_sin), const_cast<int32_t*>(p.positions), uint32_t(p.rows),
      uint32_t(p.heads), uint32_t(p.kv_heads), uint32_t(d), uint32_t(d), width, d, width, d,
      size_t(p.heads) * d, d, size_t(p.kv_heads) * d, d, false, stream));
  CUDA_CHECK(
      fi::AppendPagedKVCache(cache_of(p.layer, p.kv_heads, p.head_dim, p.batch, p.pages, p.starts, p.last),
                             p.k, v, const_cast<int32_t*>(p.sequences), const_cast<int32_t*>(p.positions),
                             uint32_t(p.rows), size_t(p.kv_heads) * d, d, width, d, stream));
}

void peer_swiglu(const bf16* gate_then_up, int rows, int width, bf16* h, bool early, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = unsigned(rows), config.blockDim = unsigned(std::min(width / 8, 256)),
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = early;
  config.attrs = &attribute, config.numAttrs = 1;
  CUDA_CHECK(
      cudaLaunchKernelEx(&config, fi::activation::act_and_mul_kernel<bf16, silu, 8>, h, gate_then_up, width));
}

void peer_sample_token(const PeerSampler& p, cudaStream_t stream) {
  CUDA_CHECK((fi::sampling::SamplingFromLogits<float, int32_t>(p.logits, p.tokens, nullptr, uint32_t(p.rows),
                                                               uint32_t(p.vocab), true, nullptr, 7, nullptr,
                                                               0, stream)));
}
void peer_sample(const PeerSampler& p, bool early, cudaStream_t stream) {
  CUDA_CHECK(fi::sampling::OnlineSoftmax<float>(p.logits, p.probabilities, uint32_t(p.rows),
                                                uint32_t(p.vocab), nullptr, 1.0f, p.workspace,
                                                p.workspace_bytes, early, stream));
  CUDA_CHECK((fi::sampling::SamplingFromProb<float, int32_t>(p.probabilities, p.tokens, p.valid, nullptr,
                                                             uint32_t(p.rows), uint32_t(p.vocab), true,
                                                             nullptr, 7, nullptr, 0, stream)));
}
void peer_sample_top_p(const PeerSampler& p, float top_p, int top_k, bool early, cudaStream_t stream) {
  CUDA_CHECK(fi::sampling::OnlineSoftmax<float>(p.logits, p.probabilities, uint32_t(p.rows),
                                                uint32_t(p.vocab), nullptr, 1.0f, p.workspace,
                                                p.workspace_bytes, early, stream));
  if (top_k > 0)
    CUDA_CHECK((fi::sampling::TopKTopPSamplingFromProb<float, int32_t>(
        p.probabilities, nullptr, nullptr, p.tokens, p.valid, nullptr, uint32_t(p.rows), top_k, top_p,
        uint32_t(p.vocab), true, nullptr, 7, nullptr, 0, stream)));
  else
    CUDA_CHECK((fi::sampling::TopPSamplingFromProb<float, int32_t>(
        p.probabilities, p.tokens, p.valid, nullptr, nullptr, uint32_t(p.rows), top_p, uint32_t(p.vocab),
        true, nullptr, 7, nullptr, 0, stream)));
}

}  // namespace cohort::bench
