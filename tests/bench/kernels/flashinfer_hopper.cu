// FlashInfer's prefill on Hopper's own instructions ("FA3"), over the paged cache.
#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>
#include <flashinfer/attention/scheduler.cuh>
#include <flashinfer/cutlass_utils.cuh>

#include "kernels/cuda_check.h"
#include "tests/bench/kernels/flashinfer.h"
#include "tests/bench/kernels/peer_plan.h"

namespace cohort::bench {
namespace {

namespace fi = flashinfer;
using bf16 = __nv_bfloat16;
using Element = cutlass::bfloat16_t;
using Params = fi::BatchPrefillPagedParams<Element, Element, Element, int32_t>;

class Fa3 : public PeerAttention {
 public:
  Fa3(const PeerBatch& b, cudaStream_t stream) : batch_(b), plan_(b) {
    CUDA_CHECK(fi::PrefillSM90Plan(plan_.floats, PeerPlan::kFloats, plan_.ints, plan_.pinned, PeerPlan::kInts,
                                   info_, plan_.query_starts.data(), plan_.page_starts.data(),
                                   const_cast<int32_t*>(b.lengths.data()),
                                   uint32_t(plan_.query_starts.back()), uint32_t(b.lengths.size()),
                                   uint32_t(b.heads), uint32_t(b.kv_heads), uint32_t(b.head_dim),
                                   uint32_t(b.head_dim), cuda::kPageTokens, true, false, 2, stream));
    CUDA_CHECK(cudaStreamSynchronize(stream));
  }
  void run(const bf16* q, const bf16* layer, bf16* out, bool early, cudaStream_t stream) override {
    if (batch_.head_dim == 64)
      run<64>(q, layer, out, early, stream);
    else
      run<128>(q, layer, out, early, stream);
  }

 private:
  template <int kDim>
  void run(const bf16* q, const bf16* layer, bf16* out, bool early, cudaStream_t stream) {
    const int64_t head = int64_t(cuda::kPageTokens) * kDim;
    Params p = {};
    const auto element = [](const bf16* x) { return reinterpret_cast<Element*>(const_cast<bf16*>(x)); };
    p.q_ptr = element(q), p.k_ptr = element(layer), p.v_ptr = element(layer + batch_.kv_heads * head),
    p.o_ptr = element(out);
    const auto at = [&](int64_t offset) {
      return reinterpret_cast<int32_t*>(static_cast<char*>(plan_.ints) + offset);
    };
    p.qo_tile_indices = at(info_.qo_tile_indices_offset), p.qo_indptr = at(info_.qo_indptr_offset);
    p.kv_indptr = at(info_.kv_indptr_offset), p.kv_indices = plan_.pages;
    p.qo_lens = at(info_.qo_len_offset), p.kv_lens = at(info_.kv_len_offset);
    p.head_indices = at(info_.head_indices_offset), p.work_indptr = at(info_.work_indptr_offset);
    p.batch_indices = at(info_.batch_indices_offset);
    p.additional_params.sm_scale = 1 / std::sqrt(float(kDim));
    p.q_stride_n = p.o_stride_n = batch_.heads * kDim, p.q_stride_h = p.o_stride_h = kDim;
    p.k_stride_n = p.v_stride_n = kDim, p.k_stride_h = p.v_stride_h = head;
    p.k_page_stride = p.v_page_stride = 2 * batch_.kv_heads * head;
    p.nnz_qo = plan_.query_starts.back(), p.num_qo_heads = batch_.heads, p.num_kv_heads = batch_.kv_heads;
    p.group_size = batch_.heads / batch_.kv_heads, p.page_size = cuda::kPageTokens, p.window_left = -1,
    p.causal = true;
    if (info_.same_schedule_for_all_heads)
      CUDA_CHECK((fi::BatchPrefillWithPagedKVCacheDispatched<kDim, kDim, fi::MaskMode::kCausal, false, true,
                                                             fi::DefaultAttention<false>>(p, early, stream)));
    else
      CUDA_CHECK((fi::BatchPrefillWithPagedKVCacheDispatched<kDim, kDim, fi::MaskMode::kCausal, false, false,
                                                             fi::DefaultAttention<false>>(p, early, stream)));
  }
  PeerBatch batch_;
  PeerPlan plan_;
  fi::PrefillPlanSM90Info info_;
};

}  // namespace

std::unique_ptr<PeerAttention> peer_hopper_attention(const PeerBatch& batch, cudaStream_t stream) {
  return std::make_unique<Fa3>(batch, stream);
}

}  // namespace cohort::bench
