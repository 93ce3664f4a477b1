// One producer warp has the copy engine fetch tiles into shared memory, two warpgroups of 64 rows each compute; as many blocks as
// fill the chip take the works (a tile of a head) by turns, the longest first.
//
//   forward  rows are queries; keys and values pass:     s = q kᵀ, p = softmax, out += p v
//   dq       rows are queries; keys and values pass:     s, dp = d_out vᵀ, ds = p (dp - delta), dq += ds k
//   dk, dv   rows are keys; queries and d_out pass:      sᵀ, dpᵀ, dv += pᵀ d_out, dk += dsᵀ q
//
// p and ds stay in registers: what a product leaves is what the next one takes as its first factor.
#include <algorithm>

#include "kernels/attention_parts.cuh"
#include "kernels/packed_attention.h"

namespace cohort::cuda {
namespace {

constexpr int kGroups = 2, kThreads = (kGroups + 1) * 128, kTile = kPackedTile;
constexpr float kLog2e = 1.4426950408889634f;
static_assert(kGroups * 64 == kTile);

// kRows rows of one head: a tile of 64 columns after the other. The map's boxes have 64 rows.
template <int kDim, int kRows>
__device__ __forceinline__ void copy_rows(uint32_t to, const CUtensorMap* map, uint32_t barrier, int head,
                                          int row) {
#pragma unroll
  for (int half = 0; half < kDim / 64; ++half)
#pragma unroll
    for (int r = 0; r < kRows; r += 64)
      copy_tile(to + (half * kRows + r) * 128, map, barrier, head * kDim + half * 64, row + r);
}
// The turn-th work of this block; every other turn goes through the blocks backwards, so that all have about as much.
__device__ __forceinline__ int work_of(int turn) {
  return turn * int(gridDim.x) + int(turn % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
}
// Of a ring or a single place: `full` counts the copy engine's bytes, `empty` the warps that are done with it.
__device__ __forceinline__ void make_barriers(uint64_t* barriers, int places) {
  if (threadIdx.x == 0) {
    for (int s = 0; s < places; ++s) {
      barrier_init(shared_address(barriers + 2 * s), 1);
      barrier_init(shared_address(barriers + 2 * s + 1), kGroups * 4);
    }
    barrier_init_done();
  }
  __syncthreads();
}
struct Place {
  uint32_t full, empty;
  int parity;
  bool first;  // nobody had it before
};
// The n-th use of a ring of kPlaces whose barriers begin at `barriers`.
template <int kPlaces>
__device__ __forceinline__ Place place(uint64_t* barriers, int n) {
  const int s = n % kPlaces;
  return {shared_address(barriers + 2 * s), shared_address(barriers + 2 * s + 1), n / kPlaces & 1,
          n < kPlaces};
}
__device__ __forceinline__ void fill_place(const Place& p, int bytes) {
  if (!p.first) barrier_wait(p.empty, p.parity ^ 1);
  barrier_expect(p.full, bytes);
}

// ---- Forward ---------------------------------------------------------------------------------------------------------
template <int kDim>
struct Forward {
  // While one tile's values are multiplied, the next one's scores become weights; two blocks lack the registers for it.
  static constexpr bool kAhead = kDim == 128;
  static constexpr int kKeys = kDim == 64 ? 64 : 128, kPlaces = 4;  // keys and values by turns
  static constexpr int kQuery = kTile * kDim * 2, kPlace = kKeys * kDim * 2;
  static constexpr int kBytes = 2 * kQuery + kPlaces * kPlace + 1024;
  static constexpr int kBlocks = kDim == 64 ? 2 : 1, kRegisters = kDim == 64 ? 104 : 240;
};

template <int kDim>
__global__ void __launch_bounds__(kThreads, Forward<kDim>::kBlocks)
    forward_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ PackedAttentionParams p) {
  using F = Forward<kDim>;
  extern __shared__ unsigned char raw[];
  __shared__ __align__(8) uint64_t barriers[2 * (F::kPlaces + 2)];
  unsigned char* const shared = first_tile(raw);
  const uint32_t query = shared_address(shared), ring = query + 2 * F::kQuery;
  uint64_t* const query_barriers = barriers + 2 * F::kPlaces;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group_heads = p.heads / p.kv_heads;
  make_barriers(barriers, F::kPlaces + 2);
  const int works = p.count * p.heads;
  int n = 0;  // tiles of keys and of values that came before
  const auto address = [&](int i) { return ring + i % F::kPlaces * F::kPlace; };

  if (warp >= kGroups * 4) {
    fewer_registers<24>();
    if (warp > kGroups * 4 || lane != 0) return;
    for (int turn = 0; work_of(turn) < works; ++turn) {
      const PackedTile tile = p.tiles[work_of(turn) / p.heads];
      const int head = work_of(turn) % p.heads, kv = p.heads + head / group_heads;
      const Place mine = place<2>(query_barriers, turn);
      fill_place(mine, F::kQuery);
      copy_rows<kDim, kTile>(query + turn % 2 * F::kQuery, &qkv, mine.full, head, tile.begin + tile.first);
      const int keys = min(tile.first + kTile, tile.length);
      for (int key = 0; key < keys; key += F::kKeys)
        for (int value = 0; value < 2; ++value, ++n) {
          const Place to = place<F::kPlaces>(barriers, n);
          fill_place(to, F::kPlace);
          copy_rows<kDim, F::kKeys>(address(n), &qkv, to.full, kv + value * p.kv_heads, tile.begin + key);
        }
    }
    return;
  }

  more_registers<F::kRegisters>();
  const int group = warp / 4, in_group = warp % 4 * 16 + lane / 4;
  const float scale = p.scale * kLog2e;
  for (int turn = 0; work_of(turn) < works; ++turn) {
    const PackedTile tile = p.tiles[work_of(turn) / p.heads];
    const int head = work_of(turn) % p.heads;
    const int row = tile.first + group * 64 + in_group;  // and row + 8
    const int tiles = (min(tile.first + kTile, tile.length) + F::kKeys - 1) / F::kKeys;
    const int my_tiles =
        min(tiles, (tile.first + group * 64 + 63) / F::kKeys + 1);  // that this group's queries see
    const Place mine = place<2>(query_barriers, turn);
    const uint32_t my_query = query + turn % 2 * F::kQuery + group * 64 * 128;
    barrier_wait(mine.full, mine.parity);
    RunningSoftmax softmax;  // key 0 is in the first tile, and every query sees it
    float out[kDim / 2], scores[F::kKeys / 2];
    uint32_t weights[F::kKeys / 16][4];
#pragma unroll
    for (float& o : out) o = 0;
    const auto wait = [&](int i) {
      const Place from = place<F::kPlaces>(barriers, i);
      barrier_wait(from.full, from.parity);
    };
    const auto release = [&](int i) {
      if (lane == 0) barrier_arrive(place<F::kPlaces>(barriers, i).empty);
    };
    const auto begin_scores = [&](int i) {
      wait(n + 2 * i);
      multiply_begin();
      multiply_rows<kDim, kTile, F::kKeys>(scores, my_query, address(n + 2 * i));
      multiply_commit();
    };
    const auto begin_out = [&](int i) {
      wait(n + 2 * i + 1);
      multiply_begin();
      multiply_columns<kDim, F::kKeys>(out, weights, address(n + 2 * i + 1));
      multiply_commit();
    };
    const auto use_scores = [&](int i) {
      const int key = i * F::kKeys;
      settled(scores);
      release(n + 2 * i);
      if (key + F::kKeys > tile.first + group * 64 + 1) {
#pragma unroll
        for (int j = 0; j < F::kKeys / 2; ++j)
          if (key + j / 4 * 8 + lane % 4 * 2 + (j & 1) > row + 8 * (j >> 1 & 1)) scores[j] = -INFINITY;
      }
      softmax.add<F::kKeys>(scores, scale);
    };
    const auto end_out = [&](int i) {
      multiply_wait<0>();
      settled(out);
      release(n + 2 * i + 1);
    };
    const auto make_weights = [&] {
#pragma unroll
      for (int j = 0; j < kDim / 2; ++j) out[j] *= softmax.shrink[j >> 1 & 1];
      pack_sums<F::kKeys>(scores, weights);
    };
    begin_scores(0);
    multiply_wait<0>();
    use_scores(0);
    make_weights();
    for (int i = 1; i < my_tiles; ++i) {
      if constexpr (F::kAhead) {
        begin_scores(i);
        begin_out(i - 1);
        multiply_wait<1>();
        use_scores(i);
        end_out(i - 1);
      } else {
        begin_out(i - 1);
        end_out(i - 1);
        begin_scores(i);
        multiply_wait<0>();
        use_scores(i);
      }
      make_weights();
    }
    begin_out(my_tiles - 1);
    end_out(my_tiles - 1);
    for (int i = 2 * my_tiles; i < 2 * tiles; ++i) wait(n + i), release(n + i);
    n += 2 * tiles;
    group_barrier(group);  // the queries' place is free
    softmax.finish();
#pragma unroll
    for (int r = 0; r < 2; ++r)
      if (lane % 4 == 0)
        p.log_sums[(int64_t(head) * p.count + tile.index) * kTile + group * 64 + in_group + 8 * r] =
            row + 8 * r < tile.length ? softmax.top[r] * scale + log2f(softmax.total[r]) : INFINITY;
    const int first = tile.first + group * 64;
    store_rows<kDim, kTile>(out, softmax.total, shared + (my_query - query), tile.length - first, [&](int r) {
      return p.out + (int64_t(tile.begin + first + r) * p.heads + head) * kDim;
    });
    before_copy_engine_or_products();
    __syncwarp();
    if (lane == 0) barrier_arrive(mine.empty);
  }
}

// ---- Backward --------------------------------------------------------------------------------------------------------
// delta [heads][count][kTile] = Σ out · d_out of each query's head; 0 behind a sequence's end. A block a tile and head.
template <int kDim>
__global__ void __launch_bounds__(256)
    delta_kernel(PackedAttentionParams p, const bf16* d_out, float* delta) {
  constexpr int kLanes = kDim / 8, kTimes = kTile * kLanes / 256;
  const PackedTile tile = p.tiles[blockIdx.x];
  const int head = blockIdx.y, lane = threadIdx.x % kLanes, first = threadIdx.x / kLanes;
  uint4 a[kTimes] = {}, b[kTimes] = {};  // all loads under way at once
#pragma unroll
  for (int i = 0; i < kTimes; ++i) {
    const int token = tile.first + first + i * (256 / kLanes);
    if (token >= tile.length) continue;
    const int64_t at = (int64_t(tile.begin + token) * p.heads + head) * kDim + lane * 8;
    a[i] = *reinterpret_cast<const uint4*>(p.out + at), b[i] = *reinterpret_cast<const uint4*>(d_out + at);
  }
#pragma unroll
  for (int i = 0; i < kTimes; ++i) {
    float x[8], y[8], sum = 0;
    widen(a[i], x), widen(b[i], y);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += x[j] * y[j];
#pragma unroll
    for (int o = kLanes / 2; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (lane == 0) delta[(int64_t(head) * p.count + tile.index) * kTile + first + i * (256 / kLanes)] = sum;
  }
}

template <int kDim>
struct QueryGrad {
  static constexpr int kKeys = 128, kStages = kDim == 64 ? 3 : 2;
  static constexpr int kRows = kTile * kDim * 2, kHalfStage = kKeys * kDim * 2;
  static constexpr int kBytes = 2 * kRows + kStages * 2 * kHalfStage + 1024;
};

template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    query_grad_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap d_out,
                      const __grid_constant__ PackedAttentionParams p, const float* delta, bf16* dq) {
  using G = QueryGrad<kDim>;
  extern __shared__ unsigned char raw[];
  __shared__ __align__(8) uint64_t barriers[2 * (G::kStages + 1)];
  unsigned char* const shared = first_tile(raw);
  const uint32_t rows = shared_address(shared), ring = rows + 2 * G::kRows;
  uint64_t* const row_barriers = barriers + 2 * G::kStages;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group_heads = p.heads / p.kv_heads;
  make_barriers(barriers, G::kStages + 1);
  const int works = p.count * p.heads;
  int n = 0;  // key tiles that came before

  if (warp >= kGroups * 4) {
    fewer_registers<24>();
    if (warp > kGroups * 4 || lane != 0) return;
    for (int turn = 0; work_of(turn) < works; ++turn) {
      const PackedTile tile = p.tiles[work_of(turn) / p.heads];
      const int head = work_of(turn) % p.heads, kv = p.heads + head / group_heads;
      const Place mine = place<1>(row_barriers, turn);
      fill_place(mine, 2 * G::kRows);
      copy_rows<kDim, kTile>(rows, &qkv, mine.full, head, tile.begin + tile.first);
      copy_rows<kDim, kTile>(rows + G::kRows, &d_out, mine.full, head, tile.begin + tile.first);
      const int keys = min(tile.first + kTile, tile.length);
      for (int key = 0; key < keys; key += G::kKeys, ++n) {
        const Place to = place<G::kStages>(barriers, n);
        const uint32_t at = ring + n % G::kStages * 2 * G::kHalfStage;
        fill_place(to, 2 * G::kHalfStage);
        copy_rows<kDim, G::kKeys>(at, &qkv, to.full, kv, tile.begin + key);
        copy_rows<kDim, G::kKeys>(at + G::kHalfStage, &qkv, to.full, kv + p.kv_heads, tile.begin + key);
      }
    }
    return;
  }

  more_registers<240>();
  const int group = warp / 4, in_group = group * 64 + warp % 4 * 16 + lane / 4;
  const float scale = p.scale * kLog2e;
  const uint32_t my_query = rows + group * 64 * 128, my_d_out = my_query + G::kRows;
  for (int turn = 0; work_of(turn) < works; ++turn) {
    const PackedTile tile = p.tiles[work_of(turn) / p.heads];
    const int head = work_of(turn) % p.heads;
    const int keys_end = min(tile.first + kTile, tile.length);
    const int64_t statistics = (int64_t(head) * p.count + tile.index) * kTile + in_group;
    const float log_sum[2] = {p.log_sums[statistics], p.log_sums[statistics + 8]};
    const float mean[2] = {delta[statistics], delta[statistics + 8]};
    const Place mine = place<1>(row_barriers, turn);
    barrier_wait(mine.full, mine.parity);
    float grad[kDim / 2];
#pragma unroll
    for (float& g : grad) g = 0;
    for (int key = 0; key < keys_end; key += G::kKeys, ++n) {
      const Place from = place<G::kStages>(barriers, n);
      const uint32_t keys = ring + n % G::kStages * 2 * G::kHalfStage;
      barrier_wait(from.full, from.parity);
      float s[G::kKeys / 2], dp[G::kKeys / 2];
      multiply_begin();
      multiply_rows<kDim, kTile, G::kKeys>(s, my_query, keys);
      multiply_commit();
      multiply_rows<kDim, kTile, G::kKeys>(dp, my_d_out, keys + G::kHalfStage);
      multiply_commit();
      multiply_wait<1>();
      settled(s);
#pragma unroll
      for (int j = 0; j < G::kKeys / 2; ++j) s[j] = power_of_2(s[j] * scale - log_sum[j >> 1 & 1]);
      if (key + G::kKeys > tile.first) {
#pragma unroll
        for (int j = 0; j < G::kKeys / 2; ++j)
          if (key + j / 4 * 8 + lane % 4 * 2 + (j & 1) > tile.first + in_group + 8 * (j >> 1 & 1)) s[j] = 0;
      }
      multiply_wait<0>();
      settled(dp);
#pragma unroll
      for (int j = 0; j < G::kKeys / 2; ++j) s[j] *= dp[j] - mean[j >> 1 & 1];
      uint32_t ds[G::kKeys / 16][4];
      pack_sums<G::kKeys>(s, ds);
      multiply_begin();
      multiply_columns<kDim, G::kKeys>(grad, ds, keys);
      multiply_commit();
      multiply_wait<0>();
      settled(grad);
      if (lane == 0) barrier_arrive(from.empty);
    }
    if (lane == 0) barrier_arrive(mine.empty);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int token = tile.first + in_group + 8 * r;
      if (token >= tile.length) continue;
      bf16* to = dq + (int64_t(tile.begin + token) * p.heads + head) * kDim + lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j)
        *reinterpret_cast<uint32_t*>(to + 8 * j) =
            pack(grad[4 * j + 2 * r] * p.scale, grad[4 * j + 2 * r + 1] * p.scale);
    }
  }
}

template <int kDim>
struct KeyGrad {
  static constexpr int kQueries = kDim == 64 ? 128 : 64, kStages = 3;
  static constexpr int kRows = kTile * kDim * 2, kHalfStage = kQueries * kDim * 2,
                       kStatistics = 2 * kQueries * 4;
  static constexpr int kBytes = 2 * kRows + kStages * (2 * kHalfStage + kStatistics) + 1024;
};
// Where dk and dv of a work go: bf16 where a work has all query heads of its kv head, else float32 sums of a part of them.
struct KeyGradOut {
  bf16 *dk, *dv;
  float* partial;  // [parts][2][rows][kv_heads * head_dim]
  int parts, heads_each;
};

template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    key_grad_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap d_out,
                    const __grid_constant__ PackedAttentionParams p, const float* delta, KeyGradOut to) {
  using G = KeyGrad<kDim>;
  extern __shared__ unsigned char raw[];
  __shared__ __align__(8) uint64_t barriers[2 * (G::kStages + 1)];
  unsigned char* const shared = first_tile(raw);
  const uint32_t rows = shared_address(shared), ring = rows + 2 * G::kRows,
                 statistics = ring + G::kStages * 2 * G::kHalfStage;
  uint64_t* const row_barriers = barriers + 2 * G::kStages;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group_heads = p.heads / p.kv_heads;
  make_barriers(barriers, G::kStages + 1);
  struct Work {
    PackedTile tile;
    int kv_head, part, first_head, last_head;
  };
  const int works = p.count * p.kv_heads * to.parts;
  const auto work = [&](int turn) {
    Work w;
    const int i = work_of(turn), rest = i % (p.kv_heads * to.parts);
    w.tile = p.tiles[p.count + i / (p.kv_heads * to.parts)];
    w.kv_head = rest / to.parts, w.part = rest % to.parts;
    w.first_head = w.kv_head * group_heads + w.part * to.heads_each;
    w.last_head = min(w.first_head + to.heads_each, (w.kv_head + 1) * group_heads);
    return w;
  };
  int n = 0;  // query tiles that came before

  if (warp >= kGroups * 4) {
    fewer_registers<24>();
    if (warp > kGroups * 4 || lane != 0) return;
    for (int turn = 0; work_of(turn) < works; ++turn) {
      const Work w = work(turn);
      const Place mine = place<1>(row_barriers, turn);
      fill_place(mine, 2 * G::kRows);
      copy_rows<kDim, kTile>(rows, &qkv, mine.full, p.heads + w.kv_head, w.tile.begin + w.tile.first);
      copy_rows<kDim, kTile>(rows + G::kRows, &qkv, mine.full, p.heads + p.kv_heads + w.kv_head,
                             w.tile.begin + w.tile.first);
      for (int head = w.first_head; head < w.last_head; ++head)
        for (int query = w.tile.first; query < w.tile.length; query += G::kQueries, ++n) {
          const Place next = place<G::kStages>(barriers, n);
          const uint32_t at = ring + n % G::kStages * 2 * G::kHalfStage,
                         sums = statistics + n % G::kStages * G::kStatistics;
          fill_place(next, 2 * G::kHalfStage + G::kStatistics);
          copy_rows<kDim, G::kQueries>(at, &qkv, next.full, head, w.tile.begin + query);
          copy_rows<kDim, G::kQueries>(at + G::kHalfStage, &d_out, next.full, head, w.tile.begin + query);
          const int64_t from =
              (int64_t(head) * p.count + w.tile.index - w.tile.first / kTile) * kTile + query;
          copy_bytes(sums, p.log_sums + from, G::kQueries * 4, next.full);
          copy_bytes(sums + G::kQueries * 4, delta + from, G::kQueries * 4, next.full);
        }
    }
    return;
  }

  more_registers<240>();
  const int group = warp / 4, in_group = group * 64 + warp % 4 * 16 + lane / 4;
  const float scale = p.scale * kLog2e;
  const uint32_t my_keys = rows + group * 64 * 128, my_values = my_keys + G::kRows;
  for (int turn = 0; work_of(turn) < works; ++turn) {
    const Work w = work(turn);
    const PackedTile& tile = w.tile;
    const Place mine = place<1>(row_barriers, turn);
    barrier_wait(mine.full, mine.parity);
    float dk[kDim / 2], dv[kDim / 2];
#pragma unroll
    for (int j = 0; j < kDim / 2; ++j) dk[j] = 0, dv[j] = 0;
    for (int head = w.first_head; head < w.last_head; ++head)
      for (int query = tile.first; query < tile.length; query += G::kQueries, ++n) {
        const Place from = place<G::kStages>(barriers, n);
        const uint32_t queries = ring + n % G::kStages * 2 * G::kHalfStage;
        barrier_wait(from.full, from.parity);
        if (query + G::kQueries > tile.first + group * 64) {
          const float* log_sum =
              reinterpret_cast<const float*>(shared + (statistics - rows) + n % G::kStages * G::kStatistics) +
              lane % 4 * 2;
          const float* mean = log_sum + G::kQueries;
          float s[G::kQueries / 2], dp[G::kQueries / 2];
          multiply_begin();
          multiply_rows<kDim, kTile, G::kQueries>(s, my_keys, queries);
          multiply_commit();
          multiply_rows<kDim, kTile, G::kQueries>(dp, my_values, queries + G::kHalfStage);
          multiply_commit();
          multiply_wait<1>();
          settled(s);
#pragma unroll
          for (int j = 0; j < G::kQueries / 8; ++j) {
            const float2 sum = *reinterpret_cast<const float2*>(log_sum + 8 * j);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              s[4 * j + 2 * r] = power_of_2(s[4 * j + 2 * r] * scale - sum.x);
              s[4 * j + 2 * r + 1] = power_of_2(s[4 * j + 2 * r + 1] * scale - sum.y);
            }
          }
          if (query < tile.first + group * 64 + 63) {
#pragma unroll
            for (int j = 0; j < G::kQueries / 2; ++j)
              if (query + j / 4 * 8 + lane % 4 * 2 + (j & 1) < tile.first + in_group + 8 * (j >> 1 & 1))
                s[j] = 0;
          }
          uint32_t weights[G::kQueries / 16][4];
          pack_sums<G::kQueries>(s, weights);
          multiply_begin();
          multiply_columns<kDim, G::kQueries>(dv, weights, queries + G::kHalfStage);
          multiply_commit();
          multiply_wait<1>();
          settled(dp);
#pragma unroll
          for (int j = 0; j < G::kQueries / 8; ++j) {
            const float2 delta_2 = *reinterpret_cast<const float2*>(mean + 8 * j);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              s[4 * j + 2 * r] *= dp[4 * j + 2 * r] - delta_2.x;
              s[4 * j + 2 * r + 1] *= dp[4 * j + 2 * r + 1] - delta_2.y;
            }
          }
          uint32_t ds[G::kQueries / 16][4];
          pack_sums<G::kQueries>(s, ds);
          multiply_begin();
          multiply_columns<kDim, G::kQueries>(dk, ds, queries);
          multiply_commit();
          multiply_wait<0>();
          settled(dk), settled(dv);
        }
        if (lane == 0) barrier_arrive(from.empty);
      }
    if (lane == 0) barrier_arrive(mine.empty);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int token = tile.first + in_group + 8 * r;
      if (token >= tile.length) continue;
      const int64_t at = (int64_t(tile.begin + token) * p.kv_heads + w.kv_head) * kDim + lane % 4 * 2;
      if (to.parts == 1) {
#pragma unroll
        for (int j = 0; j < kDim / 8; ++j) {
          *reinterpret_cast<uint32_t*>(to.dk + at + 8 * j) =
              pack(dk[4 * j + 2 * r] * p.scale, dk[4 * j + 2 * r + 1] * p.scale);
          *reinterpret_cast<uint32_t*>(to.dv + at + 8 * j) = pack(dv[4 * j + 2 * r], dv[4 * j + 2 * r + 1]);
        }
      } else {
        const int64_t all = int64_t(p.rows) * p.kv_heads * kDim;
        float* const part = to.partial + 2 * w.part * all + at;
#pragma unroll
        for (int j = 0; j < kDim / 8; ++j) {
          *reinterpret_cast<float2*>(part + 8 * j) = {dk[4 * j + 2 * r] * p.scale,
                                                      dk[4 * j + 2 * r + 1] * p.scale};
          *reinterpret_cast<float2*>(part + all + 8 * j) = {dv[4 * j + 2 * r], dv[4 * j + 2 * r + 1]};
        }
      }
    }
  }
}

// dk, dv = the parts' sums, eight values a thread.
__global__ void __launch_bounds__(256) add_parts_kernel(KeyGradOut to, int64_t all) {
  const int64_t at = (int64_t(blockIdx.x) * 256 + threadIdx.x) * 8;
  if (at >= all) return;
  const float* from = to.partial + blockIdx.y * all + at;
  float sum[8] = {};
  for (int part = 0; part < to.parts; ++part) {
    float x[8];
    load_8(from + 2 * part * all, x);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum[j] += x[j];
  }
  *reinterpret_cast<uint4*>((blockIdx.y ? to.dv : to.dk) + at) = narrow(sum);
}

// ---- Launches --------------------------------------------------------------------------------------------------------
unsigned blocks(int works, int a_multiprocessor, const PackedAttentionParams& p) {
  return unsigned(std::min(works, a_multiprocessor * p.multiprocessors));
}
// Enough works that the last ones are a small part: dk and dv of a kv head's queries in several parts if need be.
int heads_each(const PackedAttentionParams& p) {
  const int group = p.heads / p.kv_heads;
  int parts = 1;
  while (parts < group && p.count * p.kv_heads * parts < 4 * p.multiprocessors) ++parts;
  return (group + parts - 1) / parts;
}
int parts(const PackedAttentionParams& p) {
  const int group = p.heads / p.kv_heads;
  return (group + heads_each(p) - 1) / heads_each(p);
}
int64_t delta_size(const PackedAttentionParams& p) {
  return int64_t(p.heads) * p.count * kTile;
}
CUtensorMap qkv_map(const PackedAttentionParams& p) {
  return tile_map(p.qkv, p.rows, int64_t(p.heads + 2 * p.kv_heads) * p.head_dim, 64);
}

template <int kDim>
void run_forward(const PackedAttentionParams& p, cudaStream_t stream) {
  using F = Forward<kDim>;
  allow_shared_memory<forward_kernel<kDim>>(F::kBytes);
  launch(forward_kernel<kDim>, blocks(p.count * p.heads, F::kBlocks, p), kThreads, F::kBytes, stream, false,
         qkv_map(p), p);
}

template <int kDim>
void run_grad(const PackedAttentionGradParams& g, cudaStream_t stream) {
  const PackedAttentionParams& p = g.forward;
  float* const delta = g.scratch;
  const KeyGradOut to{g.dk, g.dv, g.scratch + delta_size(p), parts(p), heads_each(p)};
  const CUtensorMap qkv = qkv_map(p), d_out = tile_map(g.d_out, p.rows, int64_t(p.heads) * p.head_dim, 64);
  launch(delta_kernel<kDim>, dim3(unsigned(p.count), unsigned(p.heads)), 256, 0, stream, false, p, g.d_out,
         delta);
  allow_shared_memory<key_grad_kernel<kDim>>(KeyGrad<kDim>::kBytes);
  launch(key_grad_kernel<kDim>, blocks(p.count * p.kv_heads * to.parts, 1, p), kThreads,
         KeyGrad<kDim>::kBytes, stream, false, qkv, d_out, p, delta, to);
  if (to.parts > 1) {
    const int64_t all = int64_t(p.rows) * p.kv_heads * kDim;
    launch(add_parts_kernel, dim3(unsigned((all / 8 + 255) / 256), 2), 256, 0, stream, false, to, all);
  }
  allow_shared_memory<query_grad_kernel<kDim>>(QueryGrad<kDim>::kBytes);
  launch(query_grad_kernel<kDim>, blocks(p.count * p.heads, 1, p), kThreads, QueryGrad<kDim>::kBytes, stream,
         false, qkv, d_out, p, delta, g.dq);
}

}  // namespace

bool packed_attention_takes(int64_t head_dim) {
  return head_dim == 64 || head_dim == 128;
}

int64_t packed_attention_grad_scratch(const PackedAttentionParams& p) {
  const int n = parts(p);
  return delta_size(p) + (n > 1 ? int64_t(2) * n * p.rows * p.kv_heads * p.head_dim : 0);
}

void packed_attention(const PackedAttentionParams& p, cudaStream_t stream) {
  if (p.count == 0) return;
  if (p.head_dim == 64) return run_forward<64>(p, stream);
  if (p.head_dim == 128) return run_forward<128>(p, stream);
  call_failed("head_dim must be 64 or 128", "packed_attention", __FILE__, __LINE__);
}

void packed_attention_grad(const PackedAttentionGradParams& p, cudaStream_t stream) {
  if (p.forward.count == 0) return;
  if (p.forward.head_dim == 64) return run_grad<64>(p, stream);
  if (p.forward.head_dim == 128) return run_grad<128>(p, stream);
  call_failed("head_dim must be 64 or 128", "packed_attention_grad", __FILE__, __LINE__);
}

}  // namespace cohort::cuda
