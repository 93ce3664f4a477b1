// Four or eight warps walk a split's pages by turns, each with its own ring of half pages, keys and values by turns, in shared memory (no
// block-wide barrier in the loop) and its own running softmax; they are merged at the end. Query heads are the 16 rows of the
// matrix instructions, a page is its 16 columns. Pages of earlier tokens are on their way before the QKV product that this
// kernel depends on has finished. How many halves the ring has changes no result: few for many blocks, so that four are on a
// multiprocessor and 256 sequences of two heads fill the chip once, more where there are few. How many warps there are changes the
// order of sums: eight where there are few blocks, so that each has fewer pages one after the other.
#include "kernels/decode_attention.h"
#include "kernels/qkv_head.cuh"

namespace cohort::cuda {
namespace {

constexpr int kRows = 16;

template <int kDim, int kHalves, int kWarps>
struct Shared {
  static constexpr int kHalf = kPageTokens * kDim * 2;  // bytes of one head's keys
  static constexpr int kRing = kWarps * kHalves * kHalf;
  static constexpr int kQuery = kRows * kDim * 2;
  static constexpr int kNew = 2 * kDim * 2;                       // the new key and value
  static constexpr int kMerge = kWarps * kRows * (kDim + 2) * 4;  // over the ring, when it is drained
  static constexpr int kBytes = (kRing > kMerge ? kRing : kMerge) + kQuery + kNew;
};

// Behind the sums of all splits: each split's maximum and weight.
__device__ __forceinline__ float2* split_totals(const DecodeAttentionParams& p, int64_t head) {
  return reinterpret_cast<float2*>(p.partial + int64_t(p.count) * p.heads * p.splits * (p.kv.head_dim)) +
         head * p.splits;
}

// By one block: the sums of the splits of `group` heads, in their order, kRound splits' factors at a time in shared memory
// (scratch: kRows * kRound floats). Many loads of 16 bytes are under way in each thread.
template <int kDim, int kWarps>
__device__ void merge_splits(const DecodeAttentionParams& p, int64_t first_head, int group, int splits,
                             float* scratch) {
  constexpr int kRound = 64, kAtOnce = kDim > 64 ? 8 : 16, kVectors = kDim / 4;
  constexpr int kItems = (kRows * kVectors + kWarps * 32 - 1) / (kWarps * 32);
  __shared__ float best[kRows], weight[kRows];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int m = warp; m < group; m += kWarps) {
    const float2* totals = split_totals(p, first_head + m);
    float top = -INFINITY, sum = 0;
    for (int s = lane; s < splits; s += 32) top = fmaxf(top, __ldcg(&totals[s].x));
    top = warp_max(top);
    for (int s = lane; s < splits; s += 32) {
      const float2 t = __ldcg(totals + s);
      sum += exp2f(t.x - top) * t.y;
    }
    sum = warp_sum(sum);
    if (lane == 0) best[m] = top, weight[m] = sum;
  }
  float4 total[kItems] = {};
  for (int first = 0; first < splits; first += kRound) {
    __syncthreads();
    const int here = min(kRound, splits - first);
    for (int i = threadIdx.x; i < group * kRound; i += kWarps * 32) {
      const int m = i / kRound, s = i % kRound;
      if (s < here) scratch[i] = exp2f(__ldcg(&split_totals(p, first_head + m)[first + s].x) - best[m]);
    }
    __syncthreads();
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int i = item * kWarps * 32 + threadIdx.x, m = i / kVectors;
      if (m >= group) break;
      const float4* from = reinterpret_cast<const float4*>(p.partial) +
                           ((first_head + m) * p.splits + first) * kVectors + i % kVectors;
      for (int s = 0; s < here; s += kAtOnce) {
        float4 part[kAtOnce];
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u)
          if (s + u < here) part[u] = __ldcg(from + (s + u) * kVectors);
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u)
          if (s + u < here) {
            const float factor = scratch[m * kRound + s + u];
            total[item].x += factor * part[u].x, total[item].y += factor * part[u].y;
            total[item].z += factor * part[u].z, total[item].w += factor * part[u].w;
          }
      }
    }
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int i = item * kWarps * 32 + threadIdx.x, m = i / kVectors;
    if (m >= group) break;
    const float inverse = 1 / weight[m];
    *reinterpret_cast<uint2*>(p.out + (first_head + m) * kDim + i % kVectors * 4) =
        uint2{pack(total[item].x * inverse, total[item].y * inverse),
              pack(total[item].z * inverse, total[item].w * inverse)};
  }
}

template <int kDim, int kHalves, int kBlocks, int kWarps>
__global__ void __launch_bounds__(kWarps * 32, kBlocks) decode_attention_kernel(DecodeAttentionParams p) {
  constexpr int kChunks = kDim / 8;  // 16-byte chunks a token
  constexpr int kPairs = kDim > 64 ? 2 : 1;
  constexpr int kSteps = kDim / 16;
  using S = Shared<kDim, kHalves, kWarps>;
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char* query = shared + (S::kRing > S::kMerge ? S::kRing : S::kMerge);
  bf16* fresh = reinterpret_cast<bf16*>(query + S::kQuery);
  __shared__ int last_block;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int kv_head = blockIdx.x, row_index = blockIdx.y, split = blockIdx.z;
  const int group = p.heads / p.kv.kv_heads;
  // The rows and the table are written by the step's first kernel, which has finished long ago: see device.cuh.
  const Row& row = p.rows[row_index];
  const int slot = row.slot, position = row.position;
  const int length = position + 1;
  const int begin = split * p.split_tokens, end = min(length, begin + p.split_tokens);
  if (slot < 0 || begin >= length) return;
  const int first_page = begin / kPageTokens, pages = (end - begin + kPageTokens - 1) / kPageTokens;
  const int32_t* table = p.kv.table + slot * p.kv.table_stride + first_page;

  unsigned char* ring = shared + warp * kHalves * S::kHalf;
  const int mine = pages > warp ? (pages - warp + kWarps - 1) / kWarps : 0;
  const int32_t my_page = lane < mine ? table[warp + lane * kWarps] : 0;  // of this warp's page number `lane`
  // This warp's i-th half page, an even one keys, into a place of the ring; a group of copies also where there is none.
  const auto fetch = [&](int i, int place) {
    const int32_t page = __shfl_sync(0xffffffffu, my_page, i / 2 % 32);
    if (i < 2 * mine) {
      const bf16* from = p.kv.head(page, i % 2, kv_head);
#pragma unroll
      for (int c = lane; c < kPageTokens * kChunks; c += 32)
        copy_16(shared_address(ring + place * S::kHalf + swizzled<kChunks>(c / kChunks, c % kChunks)),
                from + c * 8);
    }
    copy_commit();
  };
#pragma unroll
  for (int i = 0; i < kHalves; ++i) fetch(i, i);
  for (int c = threadIdx.x; c < (kRows - group) * kChunks; c += kWarps * 32)  // rows that are no heads
    *reinterpret_cast<uint4*>(query + swizzled<kChunks>(group + c / kChunks, c % kChunks)) =
        uint4{0, 0, 0, 0};
  float2 turns[kPairs];
  load_turns(p.rope, position, kDim, turns);

  const bool has_new = end == length;
  const int32_t new_page = table[pages - 1];
  dependency_wait();
  dependents_launch();

  // Queries into shared memory (scaled later, in fp32), the new key and value into shared memory and their page.
  // All of a warp's heads are loaded before the first is used.
  const int items = group + (has_new ? 2 : 0);
  constexpr int kRounds = (kRows + 2 + kWarps - 1) / kWarps;
  HeadPairs<kPairs> pairs[kRounds];
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const int item = warp + r * kWarps;
    const int head =
        item < group ? kv_head * group + item : p.heads + (item - group) * p.kv.kv_heads + kv_head;
    if (item < items) pairs[r].load(p.qkv, row_index, head, kDim);
  }
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const int item = warp + r * kWarps;
    if (item >= items) break;
    pairs[r].add_bias();
    if (item <= group) {  // queries and the key
      if (const bf16* norm = item < group ? p.rope.q_norm : p.rope.k_norm)
        pairs[r].normalise(norm, p.rope.eps, kDim);
      pairs[r].rotate(turns);
    }
    if (item < group) {
      unsigned char* to = query;
      pairs[r].store(kDim, [to, item](int i, float v) {
        *reinterpret_cast<bf16*>(to + swizzled<kChunks>(item, i / 8) + i % 8 * 2) = __float2bfloat16_rn(v);
      });
    } else {
      const int value = item - group;
      bf16* to = p.kv.head(new_page, value, kv_head) + position % kPageTokens * kDim;
      bf16* near = fresh + value * kDim;
      pairs[r].store(kDim, [to, near](int i, float v) { to[i] = near[i] = __float2bfloat16_rn(v); });
    }
  }
  __syncthreads();

  // With 128 a head there are no registers for all of the queries.
  constexpr bool kKeep = kDim <= 64;
  uint32_t q[kKeep ? kSteps : 1][4];
  const auto load_query = [&](int k) {
    load_matrix_4(shared_address(query + swizzled<kChunks>(lane % 16, 2 * k + lane / 16)), q[kKeep ? k : 0]);
  };
  if constexpr (kKeep)
#pragma unroll
    for (int k = 0; k < kSteps; ++k) load_query(k);

  constexpr float kLog2e = 1.4426950408889634f;
  const float scale = p.scale * kLog2e;
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};  // of matrix rows lane / 4 and lane / 4 + 8
  float out[kDim / 8][4] = {};
  int place = 0;  // in the ring
  const auto next_place = [&] { place = place + 1 == kHalves ? 0 : place + 1; };
  for (int i = 0; i < mine; ++i) {
    copy_wait<kHalves - 1>();
    __syncwarp();
    unsigned char* keys = ring + place * S::kHalf;
    const int page = warp + i * kWarps;
    // This page was fetched before its newest token was there.
    const bool newest = has_new && page == pages - 1;
    if (newest) {
      for (int c = lane; c < kChunks; c += 32)
        *reinterpret_cast<uint4*>(keys + swizzled<kChunks>(position % kPageTokens, c)) =
            *reinterpret_cast<const uint4*>(fresh + c * 8);
      __syncwarp();
    }
    float s[2][4] = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      uint32_t b[4];
      load_matrix_4(
          shared_address(keys + swizzled<kChunks>((lane / 16) * 8 + lane % 8, 2 * k + (lane / 8) % 2)), b);
      if constexpr (!kKeep) load_query(k);
      multiply(s[0], q[kKeep ? k : 0], b[0], b[1]);
      multiply(s[1], q[kKeep ? k : 0], b[2], b[3]);
    }
    __syncwarp();  // all lanes are done with the keys before their place is filled again
    fetch(2 * i + kHalves, place);
    next_place();
    const int left = end - begin - page * kPageTokens;  // tokens of this page
    float best[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int token = n * 8 + (lane % 4) * 2 + (j & 1);
        s[n][j] = token < left ? s[n][j] * scale : -INFINITY;
        best[j >> 1] = fmaxf(best[j >> 1], s[n][j]);
      }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 1));
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 2));
    }
    if (__any_sync(0xffffffffu, best[0] > top[0] || best[1] > top[1])) {
      const float shrink[2] = {exp2f(top[0] - best[0]), exp2f(top[1] - best[1])};
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
        for (int j = 0; j < 4; ++j) out[n][j] *= shrink[j >> 1];
      total[0] *= shrink[0], total[1] *= shrink[1];
      top[0] = best[0], top[1] = best[1];
    }
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[n][j] = exp2f(s[n][j] - top[j >> 1]);
        total[j >> 1] += s[n][j];
      }
    copy_wait<kHalves - 1>();
    __syncwarp();
    unsigned char* values = ring + place * S::kHalf;
    if (newest) {
      for (int c = lane; c < kChunks; c += 32)
        *reinterpret_cast<uint4*>(values + swizzled<kChunks>(position % kPageTokens, c)) =
            *reinterpret_cast<const uint4*>(fresh + kDim + c * 8);
      // behind it lies whatever the page held before, NaN perhaps: 0 * NaN is not 0
      for (int t = position % kPageTokens + 1; t < kPageTokens; ++t)
        for (int c = lane; c < kChunks; c += 32)
          *reinterpret_cast<uint4*>(values + swizzled<kChunks>(t, c)) = uint4{0, 0, 0, 0};
      __syncwarp();
    }
    const uint32_t weights[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]),
                                 pack(s[1][2], s[1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t b[4];
      load_matrix_4_transposed(
          shared_address(values + swizzled<kChunks>((lane / 8) % 2 * 8 + lane % 8, n + lane / 16)), b);
      multiply(out[n], weights, b[0], b[1]);
      multiply(out[n + 1], weights, b[2], b[3]);
    }
    __syncwarp();
    fetch(2 * i + 1 + kHalves, place);
    next_place();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] += __shfl_xor_sync(0xffffffffu, total[r], 1);
    total[r] += __shfl_xor_sync(0xffffffffu, total[r], 2);
  }
  copy_wait<0>();
  __syncthreads();

  // Merge the warps, in their order. [warp][row][kDim sums, top, total]
  constexpr int kWidth = kDim + 2;
  float* merge = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int m = lane / 4 + 8 * r;
    if (m >= group) continue;
    float* to = merge + (warp * kRows + m) * kWidth;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      to[n * 8 + (lane % 4) * 2] = out[n][2 * r];
      to[n * 8 + (lane % 4) * 2 + 1] = out[n][2 * r + 1];
    }
    if (lane % 4 == 0) to[kDim] = top[r], to[kDim + 1] = total[r];
  }
  __syncthreads();
  const int splits = (length + p.split_tokens - 1) / p.split_tokens;
  for (int i = threadIdx.x; i < group * kDim; i += kWarps * 32) {
    const int m = i / kDim, d = i % kDim;
    float best = -INFINITY, sum = 0, weight = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) best = fmaxf(best, merge[(w * kRows + m) * kWidth + kDim]);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float* from = merge + (w * kRows + m) * kWidth;
      const float factor = exp2f(from[kDim] - best);
      sum += factor * from[d], weight += factor * from[kDim + 1];
    }
    const int64_t head = int64_t(row_index) * p.heads + kv_head * group + m;
    if (splits == 1) {
      p.out[head * kDim + d] = __float2bfloat16_rn(sum / weight);
    } else {
      p.partial[(head * p.splits + split) * kDim + d] = sum;
      if (d == 0) split_totals(p, head)[split] = float2{best, weight};
    }
  }
  if (splits == 1) return;

  __threadfence();
  __syncthreads();
  int32_t* counter = p.counters + row_index * p.kv.kv_heads + kv_head;
  if (threadIdx.x == 0) last_block = atomicAdd(counter, 1) == splits - 1;
  __syncthreads();
  if (!last_block) return;
  __threadfence();
  if (threadIdx.x == 0) *counter = 0;
  merge_splits<kDim, kWarps>(p, int64_t(row_index) * p.heads + kv_head * group, group, splits, merge);
}

template <int kDim, int kHalves, int kBlocks, int kWarps>
void run(const DecodeAttentionParams& p, cudaStream_t stream, bool early) {
  constexpr int bytes = Shared<kDim, kHalves, kWarps>::kBytes;
  allow_shared_memory<decode_attention_kernel<kDim, kHalves, kBlocks, kWarps>>(bytes);
  launch(decode_attention_kernel<kDim, kHalves, kBlocks, kWarps>,
         dim3(unsigned(p.kv.kv_heads), unsigned(p.count), unsigned(p.splits)), kWarps * 32, bytes, stream,
         early, p);
}

}  // namespace

void decode_attention(const DecodeAttentionParams& p, cudaStream_t stream, bool early) {
  const bool few = int64_t(p.count) * p.kv.kv_heads * p.splits <= 264;  // two a multiprocessor
  const bool alone = few && !p.same_bits;
  switch (p.kv.head_dim) {
    case 32:
      return run<32, 6, 4, 4>(p, stream, early);
    case 64:
      return alone ? run<64, 4, 2, 8>(p, stream, early)
             : few ? run<64, 8, 2, 4>(p, stream, early)
                   : run<64, 6, 4, 4>(p, stream, early);
    case 128:
      return alone ? run<128, 3, 2, 8>(p, stream, early)
             : few ? run<128, 6, 2, 4>(p, stream, early)
                   : run<128, 3, 4, 4>(p, stream, early);
    default:
      call_failed("head_dim must be 32, 64 or 128", "decode_attention", __FILE__, __LINE__);
  }
}

}  // namespace cohort::cuda
