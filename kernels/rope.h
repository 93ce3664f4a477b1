// Rotary position embedding, Qwen3's query and key norms, and the write of keys and values into the cache's pages.
// For prompt chunks; the decode attention does the same in its prologue.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

struct RopeWriteParams {
  const Row* rows = nullptr;
  int count = 0;
  QkvSource qkv;  // row i of it belongs to rows[i]
  RopeParams rope;
  int heads = 0;
  KvPages kv;
  __nv_bfloat16* q = nullptr;  // [count][heads * head_dim], rotated
};
// head_dim 32, 64 or 128.
void rope_write(const RopeWriteParams& p, cudaStream_t stream, bool early);
void rope_write_reference(const RopeWriteParams& p);

}  // namespace cohort::cuda
