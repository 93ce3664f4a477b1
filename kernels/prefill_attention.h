// Causal grouped-query attention of prompt chunks over paged KV: each chunk's tokens attend to all that their slot holds
// before them and to each other's past. The chunk's keys and values are in the pages already (rope_write).
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

// `tokens` consecutive tokens of one slot, rows first_row … of the step; past = tokens in the slot before them.
struct PrefillChunk {
  int32_t slot = 0, first_row = 0, tokens = 0, past = 0;
};
// A tile of (token, query head of the group) rows of one chunk; a block has one of them and one kv head at a time.
struct PrefillTile {
  int32_t slot = 0, first_row = 0, tokens = 0, past = 0;
  int32_t first = 0;  // first of the tile's rows, counted token * group + head
};
constexpr int kPrefillTileRows = 128;
// The order in which the blocks of prefill_attention() come to about as much work each; results do not depend on it. group: query
// heads of a kv head.
void most_keys_first(PrefillTile* tiles, int count, int group);

struct PrefillAttentionParams {
  const PrefillTile* tiles = nullptr;  // device (or pinned)
  int count = 0;
  const __nv_bfloat16* q = nullptr;  // [rows][heads * head_dim], rotated
  int heads = 0;
  KvPages kv;
  float scale = 0;
  __nv_bfloat16* out = nullptr;  // as q
  int multiprocessors = 132;     // blocks that take several tiles: no more than fill the chip
};
// head_dim 32, 64 or 128.
void prefill_attention(const PrefillAttentionParams& p, cudaStream_t stream, bool early);
void prefill_attention_reference(const PrefillAttentionParams& p);

}  // namespace cohort::cuda
