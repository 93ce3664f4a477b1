// FlashInfer's kernels on our data, as the peers of kernels_bench. Built where its headers are (fetch_flashinfer); none of it
// is part of the product. The paged cache is the same memory for both: FlashInfer takes it with its own strides.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/rows.h"

namespace cohort::bench {

// Which sequences a batch holds: new tokens (queries) and all tokens (keys, the new ones among them) of each, and the pages of
// each one after the other.
struct PeerBatch {
  std::vector<int32_t> new_tokens, lengths, pages;
  int heads = 0, kv_heads = 0, head_dim = 0;
};

class PeerAttention {
 public:
  virtual ~PeerAttention() = default;
  // q and out: [new tokens][heads * head_dim], q rotated; layer: the cache of one layer, new keys and values in it.
  virtual void run(const __nv_bfloat16* q, const __nv_bfloat16* layer, __nv_bfloat16* out, bool early,
                   cudaStream_t stream) = 0;
};
// Decoding with queries as rows of a matrix instruction (what its Python calls use_tensor_cores; its other decode kernel does
// not have groups of 7), and the same kernel for prompts: "FA2".
std::unique_ptr<PeerAttention> peer_attention(const PeerBatch& batch, cudaStream_t stream);
// "FA3": Hopper's instructions, prompts only.
std::unique_ptr<PeerAttention> peer_hopper_attention(const PeerBatch& batch, cudaStream_t stream);

// y = norm(x)
void peer_norm(const __nv_bfloat16* x, const __nv_bfloat16* weight, __nv_bfloat16* y, int rows, int hidden,
               bool early, cudaStream_t stream);

// Two kernels: rotation of queries and keys, then keys and values into the pages. qkv [rows][heads + 2 kv_heads][head_dim];
// cos_sin [position][cosines, sines].
struct PeerRope {
  const __nv_bfloat16* qkv = nullptr;
  const float* cos_sin = nullptr;
  const int32_t *positions = nullptr, *sequences = nullptr;            // [rows]
  const int32_t *pages = nullptr, *starts = nullptr, *last = nullptr;  // as FlashInfer lists pages
  int rows = 0, batch = 0, heads = 0, kv_heads = 0, head_dim = 0;
  __nv_bfloat16 *layer = nullptr, *q = nullptr,
                *k = nullptr;  // rotated: q [rows][heads][head_dim], k [rows][kv_heads]…
};
void peer_rope_write(const PeerRope& p, cudaStream_t stream);

void peer_swiglu(const __nv_bfloat16* gate_then_up, int rows, int width, __nv_bfloat16* h, bool early,
                 cudaStream_t stream);

// logits [rows][vocab]. Token only (no probability of it); probabilities and a token from them; the same with top-p.
struct PeerSampler {
  float *logits = nullptr, *probabilities = nullptr;
  int32_t* tokens = nullptr;
  bool* valid = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  int rows = 0, vocab = 0;
};
void peer_sample_token(const PeerSampler& p, cudaStream_t stream);
void peer_sample(const PeerSampler& p, bool early, cudaStream_t stream);
void peer_sample_top_p(const PeerSampler& p, float top_p, int top_k, bool early, cudaStream_t stream);

}  // namespace cohort::bench
