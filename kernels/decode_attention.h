// Grouped-query attention of single new tokens over paged KV, split over the context; with bias, norm, rotation and the
// write of the new key and value in its prologue.
//
// One block computes all query heads of one kv head of one row over one split of the context, so that each key and value
// is read once. A split is `split_tokens` long whatever the batch, and splits are merged in their order, so with same_bits a row's
// result depends on nothing but its own tokens. The last of a row's blocks to finish merges (a counter a row and kv head).
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

struct DecodeAttentionParams {
  const Row* rows = nullptr;
  int count = 0;
  QkvSource qkv;
  RopeParams rope;
  int heads = 0;  // heads / kv_heads at most 16
  KvPages kv;     // head_dim 32, 64 or 128; positions before the row's hold rotated keys
  float scale = 0;
  __nv_bfloat16* out = nullptr;  // [count][heads * head_dim]
  bool same_bits = false;        // whatever the number of rows: slower with few
  int split_tokens = 0;          // a multiple of kPageTokens, at most 2048
  int splits = 1;                // enough for the longest row: ceil((position + 1) / split_tokens)
  float* partial = nullptr;      // splits > 1: decode_attention_scratch() floats
  int32_t* counters = nullptr;   // [count * kv_heads], zero; left zero
};
constexpr bool decode_attention_supports(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  return heads / kv_heads <= 16 && (head_dim == 32 || head_dim == 64 || head_dim == 128);
}
constexpr int64_t decode_attention_scratch(int64_t rows, int64_t heads, int64_t head_dim, int64_t splits) {
  return splits > 1 ? rows * splits * heads * (head_dim + 2) : 0;  // sums, then maxima and weights
}
void decode_attention(const DecodeAttentionParams& p, cudaStream_t stream, bool early);
void decode_attention_reference(const DecodeAttentionParams& p);

}  // namespace cohort::cuda
