// The step's first kernels: rows from pinned memory, embedding, and gathering the rows that are sampled.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

// A step's rows go through two pinned buffers by turns, and so do its results, so that the CPU writes step n+1 while step
// n runs. `turn` (device) counts steps; it says which buffer, so that one CUDA graph serves both.
struct PrepareParams {
  const Row* pinned = nullptr;  // [2][capacity], device-visible host memory
  int64_t capacity = 0;
  Row* rows = nullptr;       // [count], device: with every token known
  int32_t* table = nullptr;  // [slot][table_stride]
  int64_t table_stride = 0;
  const int32_t* last_token = nullptr;  // [slot]
  uint32_t* turn = nullptr;             // [2]: steps begun; blocks of this launch that are done
  int32_t count = 0;
};
// rows[i] = pinned[turn % 2][i] with token >= 0, new pages entered into the table, turn + 1. The results of this step
// belong to (turn - 1) % 2 from then on.
void prepare_rows(const PrepareParams& p, cudaStream_t stream);

// x[i] = embedding[rows[i].token], zeros for padding; with a norm also what the product after it needs, see GemmOut::residual.
struct EmbedParams {
  const Row* rows = nullptr;
  int count = 0, hidden = 0;  // hidden: a multiple of 8
  const __nv_bfloat16* embedding = nullptr;
  float* x = nullptr;                   // [count][hidden]
  const __nv_bfloat16* norm = nullptr;  // [hidden] or null
  __nv_bfloat16* scaled = nullptr;      // [count][hidden] = x * norm
  float* squares = nullptr;             // [ceil(hidden / 64)][count]
};
void embed(const EmbedParams& p, cudaStream_t stream, bool early);
void embed_reference(const EmbedParams& p);

// to[i] = from[index[i]] (rows of `hidden` elements, a multiple of 8), rows_to[i] = rows[index[i]], and the sums of squares
// likewise where there are any; padding for index -1.
struct GatherParams {
  const int32_t* index = nullptr;
  int count = 0, hidden = 0;
  const __nv_bfloat16* from = nullptr;
  __nv_bfloat16* to = nullptr;
  const Row* rows = nullptr;
  Row* rows_to = nullptr;
  RowScale scale;
  float* squares_to = nullptr;  // [scale.parts][count]
};
void gather_rows(const GatherParams& p, cudaStream_t stream, bool early);

// `to` gets the first `whole` pages of `from` in its table, and where copy_to >= 0 that page after them, with the content of
// copy_from in every layer. base: [layers][pages][page_elements].
struct ShareSlotParams {
  __nv_bfloat16* base = nullptr;
  int64_t layer_stride = 0, page_elements = 0;
  int layers = 0;
  int32_t* table = nullptr;
  int64_t table_stride = 0;
  int32_t from = 0, to = 0, whole = 0, copy_from = -1, copy_to = -1;
};
void share_slot(const ShareSlotParams& p, cudaStream_t stream);

}  // namespace cohort::cuda
