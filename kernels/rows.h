// What the kernels know of a step's rows and of the paged KV cache. Shared by host and device.
//
// A row is one token of one sequence. All kernels of a step take the same array of rows; padding rows (slot < 0) cost
// their share of the matrix products and are skipped everywhere else.
//
// The cache: one pool of pages, a page holds kPageTokens tokens of one layer's keys and values,
//   [layer][page][key, value][kv head][kPageTokens][head_dim],
// so a page of one head is one contiguous run. table[slot][i] is the page of the slot's tokens 16 i … 16 i + 15.
#pragma once

#include <cuda_bf16.h>

#include <cstddef>
#include <cstdint>

namespace cohort::cuda {

constexpr int kPageTokens = 16;

// Written by the CPU into pinned memory, copied by the step's first kernel. 64 bytes.
struct Row {
  double uniform = 0;     // the random number of the token to be sampled
  int32_t slot = -1;      // < 0: padding
  int32_t position = 0;   // of this token in its sequence
  int32_t token = -1;     // < 0: the token that was sampled last in this slot
  int32_t new_page = -1;  // >= 0: the page for this position, entered into the table first
  float inverse_temperature = 1;
  int32_t greedy = 0;
  float top_p = 1, min_p = 0;
  int32_t top_k = 0;    // 0: off
  int32_t forced = -1;  // >= 0: no sampling, the log-prob of this token is wanted
  int32_t sample = 0;   // the result is written back
  int32_t unused[3] = {};

#ifdef __CUDACC__
  __host__ __device__
#endif
      bool
      truncates(int64_t vocab) const {
    return sample && !greedy && forced < 0 && (top_p < 1 || min_p > 0 || (top_k > 0 && top_k < vocab));
  }
};
static_assert(sizeof(Row) == 64);

struct SampledToken {
  int32_t token = 0;  // < 0: no finite logit
  float logprob = 0;
};

struct KvPages {
  __nv_bfloat16* base = nullptr;  // of one layer
  const int32_t* table = nullptr;
  int64_t table_stride = 0;  // pages a slot can have
  int32_t kv_heads = 0, head_dim = 0;

#ifdef __CUDACC__
  __host__ __device__
#endif
      int64_t
      page_elements() const {
    return int64_t(2) * kv_heads * kPageTokens * head_dim;
  }
#ifdef __CUDACC__
  __host__ __device__
#endif
      // First element of a page's keys (value = 0) or values (1) of one head.
      __nv_bfloat16*
      head(int32_t page, int value, int32_t kv_head) const {
    return base + page * page_elements() + (int64_t(value) * kv_heads + kv_head) * kPageTokens * head_dim;
  }
};

// The output of the QKV product for a step's rows, in fp32: rounded once, with bias, norm and rotation in it.
struct QkvSource {
  const float* rows = nullptr;          // [rows][width]
  int width = 0;                        // (heads + 2 kv_heads) * head_dim
  const __nv_bfloat16* bias = nullptr;  // [width] or null, still to be added
};

// Sums of squares of rows, a part after the other, for 1 / sqrt(sum / width + eps) of each: the part of RMSNorm that a product
// may leave to whoever reads its output. None: 1.
struct RowScale {
  const float* squares = nullptr;  // [parts][rows]
  int parts = 0, rows = 0, width = 1;
  float eps = 1e-6f;
};
float row_scale_reference(const RowScale& s, int row);  // on host memory

// RoPE and, for Qwen3, the norm over each head's query and key.
struct RopeParams {
  const float2* cos_sin = nullptr;        // [position][head_dim / 2], fp32, attention factor in it
  const __nv_bfloat16* q_norm = nullptr;  // [head_dim] or null
  const __nv_bfloat16* k_norm = nullptr;
  float eps = 1e-6f;
};

}  // namespace cohort::cuda
