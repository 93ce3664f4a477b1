// Causal grouped-query attention of packed sequences, forward and backward, for training on Hopper: bf16 in and out, fp32
// sums, head sizes 64 and 128. Every sum's order depends on the shapes alone, so that two runs give the same bits. No Torch.
//
// Formulas: FlashAttention-2 (Dao 2023), algorithms 1 and 2; backward in two kernels, one of query tiles for dq and one of key
// tiles for dk and dv, of which each computes the probabilities again and keeps its sums in registers.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace cohort::cuda {

constexpr int kPackedTile = 128;  // tokens

// A tile of one sequence's tokens.
struct PackedTile {
  int32_t begin = 0, length = 0;  // the sequence's first row and its tokens
  int32_t first = 0;              // the tile's first token, counted in the sequence
  int32_t index = 0;              // of the tile among all of them, in the order of rows
};

// The tiles twice: first those that see most keys first (forward, dq), then those that most queries see first (dk, dv). Sequence i
// is rows [cu_seqlens[i], cu_seqlens[i + 1]); empty ones have no tile.
std::vector<PackedTile> packed_tiles(const std::vector<int64_t>& cu_seqlens);

struct PackedAttentionParams {
  const PackedTile* tiles = nullptr;  // packed_tiles() on the GPU: 2 * count
  int count = 0;
  int rows = 0;                        // of all sequences
  const __nv_bfloat16* qkv = nullptr;  // [rows][(heads + 2 kv_heads) * head_dim], rotated
  int heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 0;
  __nv_bfloat16* out = nullptr;  // [rows][heads * head_dim]
  // [heads][count][kPackedTile]: log2 of each query's sum of exp(scale · q · k), by tile index; infinite behind a sequence's end
  float* log_sums = nullptr;
  int multiprocessors = 132;
};
struct PackedAttentionGradParams {
  PackedAttentionParams forward;         // of the same call, out and log_sums as it left them
  const __nv_bfloat16* d_out = nullptr;  // [rows][heads * head_dim]
  __nv_bfloat16 *dq = nullptr, *dk = nullptr, *dv = nullptr;  // [rows][heads or kv_heads][head_dim]
  float* scratch = nullptr;  // packed_attention_grad_scratch() floats, aligned to 16 bytes
};
// Only launches. head_dim 64 or 128, heads a multiple of kv_heads; every pointer aligned to 16 bytes.
void packed_attention(const PackedAttentionParams& p, cudaStream_t stream);
void packed_attention_grad(const PackedAttentionGradParams& p, cudaStream_t stream);
// Of the forward call's shape; pointers are not read.
int64_t packed_attention_grad_scratch(const PackedAttentionParams& p);
bool packed_attention_takes(int64_t head_dim);

// In float64 but for what is rounded to bf16 on its way out; on the CPU, with host pointers.
void packed_attention_reference(const PackedAttentionParams& p);
void packed_attention_grad_reference(const PackedAttentionGradParams& p);

}  // namespace cohort::cuda
