// FlashAttention's loop. Query rows are tokens times the heads of one kv head, so that keys and values are read once for the
// group; a tile is 128 of them against 64 or 128 keys at a time, two key-value tiles in flight.
//
// Head sizes 64 and 128 take Hopper's instructions: one warp has the copy engine fetch pages, which lie in shared memory as
// the products want them, and two warpgroups have 64 rows each. As many blocks as fill the chip take tiles by turns: the keys
// and queries of a block's next tile are on their way while it computes. 32 takes the smaller mma instructions.
#include <algorithm>

#include "kernels/attention_parts.cuh"
#include "kernels/prefill_attention.h"

namespace cohort::cuda {
namespace {

constexpr int kWarps = kPrefillTileRows / 16;
constexpr int kKeys = 64;

template <int kDim>
constexpr int shared_bytes() {
  return (kPrefillTileRows + 2 * 2 * kKeys) * kDim * 2;
}

template <int kDim>
__global__ void __launch_bounds__(kWarps * 32) prefill_attention_kernel(PrefillAttentionParams p) {
  constexpr int kChunks = kDim / 8, kSteps = kDim / 16, kTile = kKeys * kDim * 2;
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char* query = shared;
  unsigned char* ring = shared + kPrefillTileRows * kDim * 2;  // [2][keys, values][kKeys][kDim]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = blockIdx.y;
  const int group = p.heads / p.kv.kv_heads;
  dependency_wait();
  dependents_launch();
  const PrefillTile tile = p.tiles[blockIdx.x];
  const int rows = tile.tokens * group;
  const int last_token = min(tile.first + kPrefillTileRows, rows) - 1;
  const int keys_end = tile.past + last_token / group + 1;
  const int blocks = (keys_end + kKeys - 1) / kKeys;
  const int32_t* table = p.kv.table + tile.slot * p.kv.table_stride;

  auto element = [&](int r) {  // where the tile's row r starts in q and out
    return (int64_t(tile.first_row + (tile.first + r) / group) * p.heads + kv_head * group +
            (tile.first + r) % group) *
           kDim;
  };
  auto fetch = [&](int block) {
    unsigned char* to = ring + (block & 1) * 2 * kTile;
    for (int c = threadIdx.x; c < kKeys * kChunks; c += kWarps * 32) {
      const int t = c / kChunks, token = block * kKeys + t;
      const bool valid = token < keys_end;
      const int32_t page = valid ? table[token / kPageTokens] : 0;
      const int64_t at = token % kPageTokens * kDim + c % kChunks * 8;
      copy_16(shared_address(to + swizzled<kChunks>(t, c % kChunks)), p.kv.head(page, 0, kv_head) + at,
              valid);
      copy_16(shared_address(to + kTile + swizzled<kChunks>(t, c % kChunks)),
              p.kv.head(page, 1, kv_head) + at, valid);
    }
  };
  for (int c = threadIdx.x; c < kPrefillTileRows * kChunks; c += kWarps * 32) {
    const int r = c / kChunks;
    const bool valid = tile.first + r < rows;
    copy_16(shared_address(query + swizzled<kChunks>(r, c % kChunks)),
            p.q + (valid ? element(r) + c % kChunks * 8 : 0), valid);
  }
  fetch(0);
  copy_commit();

  constexpr float kLog2e = 1.4426950408889634f;
  const float scale = p.scale * kLog2e;
  uint32_t q[kSteps][4];
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  float out[kDim / 8][4] = {};
  int limit[2];  // keys that this thread's two rows see
#pragma unroll
  for (int r = 0; r < 2; ++r) limit[r] = tile.past + (tile.first + warp * 16 + lane / 4 + 8 * r) / group + 1;

  for (int block = 0; block < blocks; ++block) {
    if (block + 1 < blocks) fetch(block + 1);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    if (block == 0) {
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
        load_matrix_4(shared_address(query + swizzled<kChunks>(warp * 16 + lane % 16, 2 * k + lane / 16)),
                      q[k]);
    }
    unsigned char* keys = ring + (block & 1) * 2 * kTile;
    unsigned char* values = keys + kTile;
    float s[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        uint32_t b[4];
        load_matrix_4(shared_address(keys + swizzled<kChunks>(n * 8 + (lane / 16) * 8 + lane % 8,
                                                              2 * k + (lane / 8) % 2)),
                      b);
        multiply(s[n], q[k], b[0], b[1]);
        multiply(s[n + 1], q[k], b[2], b[3]);
      }
    float best[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int token = block * kKeys + n * 8 + (lane % 4) * 2 + (j & 1);
        s[n][j] = token < limit[j >> 1] ? s[n][j] * scale : -INFINITY;
        best[j >> 1] = fmaxf(best[j >> 1], s[n][j]);
      }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 1));
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 2));
      // key 0 is seen by every row, so best is finite from the first block on
      const float shrink = exp2f(top[r] - best[r]);
      total[r] *= shrink, top[r] = best[r];
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) out[n][2 * r] *= shrink, out[n][2 * r + 1] *= shrink;
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[n][j] = exp2f(s[n][j] - top[j >> 1]);
        total[j >> 1] += s[n][j];
      }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const uint32_t weights[4] = {pack(s[2 * k][0], s[2 * k][1]), pack(s[2 * k][2], s[2 * k][3]),
                                   pack(s[2 * k + 1][0], s[2 * k + 1][1]),
                                   pack(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        uint32_t b[4];
        load_matrix_4_transposed(
            shared_address(values + swizzled<kChunks>(k * 16 + (lane / 8) % 2 * 8 + lane % 8, n + lane / 16)),
            b);
        multiply(out[n], weights, b[0], b[1]);
        multiply(out[n + 1], weights, b[2], b[3]);
      }
    }
    __syncthreads();  // before the tile's place is filled again
  }
  copy_wait<0>();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] += __shfl_xor_sync(0xffffffffu, total[r], 1);
    total[r] += __shfl_xor_sync(0xffffffffu, total[r], 2);
    const int m = warp * 16 + lane / 4 + 8 * r;
    if (tile.first + m >= rows) continue;
    bf16* to = p.out + element(m);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      *reinterpret_cast<uint32_t*>(to + n * 8 + (lane % 4) * 2) =
          pack(out[n][2 * r] / total[r], out[n][2 * r + 1] / total[r]);
  }
}

template <int kDim>
struct Hopper {
  static constexpr int kGroups = 2, kThreads = (kGroups + 1) * 128;  // the last of them fetches
  static constexpr int kKeys = kDim == 64 ? 64 : 128, kHalves = kDim / 64, kPages = kKeys / kPageTokens;
  static constexpr int kHalf = kKeys * 128;                                    // bytes of 64 columns of keys
  static constexpr int kKeysBytes = kHalves * kHalf, kStage = 2 * kKeysBytes;  // keys, values
  static constexpr int kStages = 2, kQuery = 64 * kDim * 2;                    // of one warpgroup
  static constexpr int kBytes = 2 * kGroups * kQuery + kStages * kStage + 1024;
  static constexpr int kBlocks = kDim == 64 ? 2 : 1;  // on a multiprocessor
  static constexpr int kRegisters = kDim == 64 ? 104 : 240, kFetchRegisters = 24;
};

template <int kDim>
__global__ void __launch_bounds__(Hopper<kDim>::kThreads, Hopper<kDim>::kBlocks)
    hopper_prefill_kernel(const __grid_constant__ CUtensorMap pool, PrefillAttentionParams p) {
  using H = Hopper<kDim>;
  extern __shared__ unsigned char raw[];
  __shared__ __align__(8) uint64_t barriers[2 * H::kStages];
  unsigned char* const shared = first_tile(raw);
  const uint32_t query = shared_address(shared), ring = query + 2 * H::kGroups * H::kQuery;
  const auto full = [&](int s) { return shared_address(barriers + s); };
  const auto empty = [&](int s) { return shared_address(barriers + H::kStages + s); };
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, heads_each = p.heads / p.kv.kv_heads;
  if (threadIdx.x == 0) {
    for (int s = 0; s < H::kStages; ++s) barrier_init(full(s), 1), barrier_init(empty(s), H::kGroups * 4);
    barrier_init_done();
  }
  __syncthreads();
  dependency_wait();
  dependents_launch();
  const uint64_t reciprocal = uint64_t(0xffffffffu / uint32_t(heads_each)) + 1;
  const auto token_of = [&](int row) { return int(uint64_t(uint32_t(row)) * reciprocal >> 32); };
  // This block's work by turns; every other turn goes through the blocks backwards, so that all have about as much.
  struct Work {
    PrefillTile tile;
    int kv_head, rows, keys_end, blocks;
  };
  const int works = p.count * p.kv.kv_heads;
  const auto work = [&](int turn, Work& w) {
    const int i = turn * int(gridDim.x) + int(turn % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
    if (i >= works) return false;
    w.tile = p.tiles[i / p.kv.kv_heads], w.kv_head = i % p.kv.kv_heads;
    w.rows = w.tile.tokens * heads_each;
    const int last_row = min(w.tile.first + kPrefillTileRows, w.rows) - 1;
    w.keys_end = w.tile.past + token_of(last_row) + 1;
    w.blocks = (w.keys_end + H::kKeys - 1) / H::kKeys;
    return true;
  };
  Work w;
  int n = 0;  // key tiles that came before

  if (warp >= H::kGroups * 4) {  // a lane has one of a tile's pages, keys or values, 64 columns
    fewer_registers<H::kFetchRegisters>();
    if (warp > H::kGroups * 4) return;
    const int page = lane % H::kPages, value = lane / H::kPages % 2, half = lane / H::kPages / 2;
    for (int turn = 0; work(turn, w); ++turn) {
      const int32_t* table = p.kv.table + w.tile.slot * p.kv.table_stride;
      const int pages = (w.keys_end + kPageTokens - 1) / kPageTokens;
      for (int block = 0; block < w.blocks; ++block, ++n) {
        const int s = n % H::kStages, at = block * H::kPages + page;
        // outside the pool: zeros
        const int row =
            at < pages ? ((table[at] * 2 + value) * p.kv.kv_heads + w.kv_head) * kPageTokens : -kPageTokens;
        if (n >= H::kStages) barrier_wait(empty(s), (n / H::kStages - 1) & 1);
        if (lane == 0) barrier_expect(full(s), H::kStage);
        __syncwarp();
        if (half < H::kHalves)
          copy_tile(ring + s * H::kStage + value * H::kKeysBytes + half * H::kHalf + page * kPageTokens * 128,
                    &pool, full(s), half * 64, row);
      }
    }
    return;
  }

  more_registers<H::kRegisters>();
  const int group = warp / 4, thread = threadIdx.x % 128;
  // Where this warpgroup's row r of a tile starts in q and out.
  const auto element = [&](const Work& of, int r) {
    const int at = of.tile.first + group * 64 + r, token = token_of(at);
    return (int64_t(of.tile.first_row + token) * p.heads + of.kv_head * heads_each + at -
            token * heads_each) *
           kDim;
  };
  const auto fetch_queries = [&](int turn) {
    Work next;
    if (work(turn, next)) {
      const uint32_t to = query + (turn % 2 * H::kGroups + group) * H::kQuery;
#pragma unroll 4
      for (int c = thread; c < 64 * kDim / 8; c += 128) {
        const int r = c / (kDim / 8), chunk = c % (kDim / 8);
        const bool valid = next.tile.first + group * 64 + r < next.rows;
        copy_16(to + in_tiles<64>(r, chunk), p.q + (valid ? element(next, r) + chunk * 8 : 0), valid);
      }
    }
    copy_commit();
  };

  const float scale = p.scale * 1.4426950408889634f;
  fetch_queries(0);
  for (int turn = 0; work(turn, w); ++turn) {
    copy_wait<0>();
    before_copy_engine_or_products();
    group_barrier(group);  // its queries are there, and nobody reads those of the turn before
    fetch_queries(turn + 1);
    const uint32_t my_query = query + (turn % 2 * H::kGroups + group) * H::kQuery;
    RunningSoftmax softmax;  // key 0 is in the first tile, and every row sees it
    float out[kDim / 2];
#pragma unroll
    for (float& o : out) o = 0;
    int limit[2];  // keys that this thread's two rows see
#pragma unroll
    for (int r = 0; r < 2; ++r)
      limit[r] = w.tile.past + token_of(w.tile.first + group * 64 + warp % 4 * 16 + lane / 4 + 8 * r) + 1;

    for (int block = 0; block < w.blocks; ++block, ++n) {
      const int s = n % H::kStages;
      const uint32_t keys = ring + s * H::kStage, values = keys + H::kKeysBytes;
      barrier_wait(full(s), n / H::kStages & 1);
      float scores[H::kKeys / 2];
      multiply_begin();
      multiply_rows<kDim, 64, H::kKeys>(scores, my_query, keys);
      multiply_commit();
      // What a page holds behind the last key may be NaN, and 0 * NaN is not 0.
      const int in_block = w.keys_end - block * H::kKeys;
      if (in_block < H::kKeys && in_block % kPageTokens != 0) {
        const int end = (in_block + kPageTokens - 1) / kPageTokens * kPageTokens;
        for (int c = thread; c < (end - in_block) * kDim / 8; c += 128) {
          const int t = in_block + c / (kDim / 8), chunk = c % (kDim / 8);
          *reinterpret_cast<uint4*>(shared + (values - query) + in_tiles<H::kKeys>(t, chunk)) =
              uint4{0, 0, 0, 0};
        }
        before_copy_engine_or_products();
        group_barrier(group);
      }
      multiply_wait<0>();
      if (block * H::kKeys + H::kKeys > limit[0]) {  // limit[0] <= limit[1]
#pragma unroll
        for (int j = 0; j < H::kKeys / 2; ++j) {
          const int token = block * H::kKeys + j / 4 * 8 + lane % 4 * 2 + (j & 1);
          if (token >= limit[j >> 1 & 1]) scores[j] = -INFINITY;
        }
      }
      softmax.add<H::kKeys>(scores, scale);
      uint32_t weights[H::kKeys / 16][4];
      pack_sums<H::kKeys>(scores, weights);
#pragma unroll
      for (int j = 0; j < kDim / 2; ++j) out[j] *= softmax.shrink[j >> 1 & 1];
      multiply_begin();
      multiply_columns<kDim, H::kKeys>(out, weights, values);
      multiply_commit();
      multiply_wait<0>();
      if (lane == 0) barrier_arrive(empty(s));
    }
    group_barrier(group);  // the queries' place is free
    softmax.finish();
    store_rows<kDim, 64>(out, softmax.total, shared + (my_query - query), w.rows - w.tile.first - group * 64,
                         [&](int r) { return p.out + element(w, r); });
  }
}

template <int kDim>
void run_hopper(const PrefillAttentionParams& p, cudaStream_t stream, bool early) {
  using H = Hopper<kDim>;
  allow_shared_memory<hopper_prefill_kernel<kDim>>(H::kBytes);
  // The layer's pages as one matrix of a token a row. How many there are is not known here, and only pages of the table are read.
  const CUtensorMap pool = tile_map(p.kv.base, int64_t{1} << 30, kDim, kPageTokens);
  launch(hopper_prefill_kernel<kDim>,
         unsigned(std::min(p.count * p.kv.kv_heads, H::kBlocks * p.multiprocessors)), H::kThreads, H::kBytes,
         stream, early, pool, p);
}

template <int kDim>
void run(const PrefillAttentionParams& p, cudaStream_t stream, bool early) {
  constexpr int bytes = shared_bytes<kDim>();
  allow_shared_memory<prefill_attention_kernel<kDim>>(bytes);
  launch(prefill_attention_kernel<kDim>, dim3(unsigned(p.count), unsigned(p.kv.kv_heads)), kWarps * 32, bytes,
         stream, early, p);
}

}  // namespace

void most_keys_first(PrefillTile* tiles, int count, int group) {
  const auto keys = [group](const PrefillTile& t) {
    return t.past + (std::min(t.first + kPrefillTileRows, t.tokens * group) - 1) / group;
  };
  std::stable_sort(tiles, tiles + count,
                   [&](const PrefillTile& a, const PrefillTile& b) { return keys(a) > keys(b); });
}

void prefill_attention(const PrefillAttentionParams& p, cudaStream_t stream, bool early) {
  if (p.count == 0) return;
  switch (p.kv.head_dim) {
    case 32:
      return run<32>(p, stream, early);
    case 64:
      return run_hopper<64>(p, stream, early);
    case 128:
      return run_hopper<128>(p, stream, early);
    default:
      call_failed("head_dim must be 32, 64 or 128", "prefill_attention", __FILE__, __LINE__);
  }
}

}  // namespace cohort::cuda
