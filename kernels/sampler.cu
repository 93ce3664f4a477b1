#include "kernels/device.cuh"
#include "kernels/sampler.h"

namespace cohort::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = kSamplerPiece / kThreads;  // 16
constexpr int kMaxPieces = 512;                  // a vocabulary of two million
constexpr float kMinusInf = -INFINITY;

__device__ __forceinline__ float settled(float l) {
  return l > kMinusInf ? l : kMinusInf;
}  // NaN counts as -inf
// (l - top) / temperature; with an infinite top only its like remain.
__device__ __forceinline__ float scaled(float l, float top, float inverse_temperature) {
  if (isinf(top)) return l == top && top > 0 ? 0.0f : kMinusInf;
  return (settled(l) - top) * inverse_temperature;
}

__device__ void deliver(const SamplerParams& p, int row_index, const Row& row, int32_t token, float logprob) {
  if (!row.sample) return;
  SampledToken* results = p.results + (p.turn ? ((*p.turn - 1) & 1) * p.capacity : 0);
  results[row_index] = {token, logprob};
  if (p.last_token && row.forced < 0) p.last_token[row.slot] = token < 0 ? 0 : token;
}

// Sums over the block in a fixed order; the result in every thread.
template <class T, int kBlock>
__device__ T block_sum(T v, T* scratch) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
  __syncthreads();
  T total = 0;
  for (int i = 0; i < kBlock / 32; ++i) total += scratch[i];
  return total;
}
// What the threads before this one hold, and by `total` what all hold.
template <class T, int kBlock>
__device__ T block_prefix(T v, T* scratch, T& total) {
  T sum = v;
#pragma unroll
  for (int o = 1; o < 32; o <<= 1) {
    const T below = __shfl_up_sync(0xffffffffu, sum, o);
    if (int(threadIdx.x % 32) >= o) sum += below;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 31) scratch[threadIdx.x / 32] = sum;
  __syncthreads();
  T before = 0;
  total = 0;
  for (int i = 0; i < kBlock / 32; ++i) {
    if (i < int(threadIdx.x / 32)) before += scratch[i];
    total += scratch[i];
  }
  return before + (sum - v);
}

__global__ void __launch_bounds__(kThreads, 4) sample_kernel(SamplerParams p, int pieces, int pieces_each) {
  __shared__ float tops[kThreads / 32];
  __shared__ int bests[kThreads / 32];
  __shared__ float warp_sums[kThreads / 32];
  __shared__ double scratch[kThreads / 32];
  __shared__ float sums[kMaxPieces], piece_tops[kMaxPieces];
  __shared__ int piece_bests[kMaxPieces];
  __shared__ int last_block, chosen_piece;
  __shared__ double before_piece, whole;
  __shared__ int chosen;
  dependency_wait();
  dependents_launch();
  const int row_index = blockIdx.y;
  const Row& row = p.rows[row_index];
  if (row.slot < 0 || !row.sample) return;
  const float* logits = p.logits + row_index * p.stride;
  const float inverse_temperature = row.greedy ? 1.0f : row.inverse_temperature;
  const int first = blockIdx.x * pieces_each, end = min(pieces, first + pieces_each);

  float4 next[kEach / 4];
  const auto fetch = [&](int piece) {
#pragma unroll
    for (int v = 0; v < kEach / 4; ++v) {
      const int64_t i = int64_t(piece) * kSamplerPiece + v * kThreads * 4 + threadIdx.x * 4;
      next[v] = i < p.vocab ? __ldcg(reinterpret_cast<const float4*>(logits + i))
                            : float4{kMinusInf, kMinusInf, kMinusInf, kMinusInf};
    }
  };
  fetch(first);
  float top;
  int best;
  for (int piece = first; piece < end; ++piece) {
    float l[kEach];
    top = kMinusInf, best = 0x7fffffff;
#pragma unroll
    for (int v = 0; v < kEach / 4; ++v) {
      const int64_t i = int64_t(piece) * kSamplerPiece + v * kThreads * 4 + threadIdx.x * 4;
      const float e[4] = {next[v].x, next[v].y, next[v].z, next[v].w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        l[v * 4 + j] = i + j < p.vocab ? settled(e[j]) : kMinusInf;
        if (l[v * 4 + j] > top) top = l[v * 4 + j], best = int(i) + j;
      }
    }
    if (piece + 1 < end) fetch(piece + 1);  // on its way while this one is added up
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) {
      const float other = __shfl_xor_sync(0xffffffffu, top, o);
      const int id = __shfl_xor_sync(0xffffffffu, best, o);
      if (other > top || (other == top && id < best)) top = other, best = id;
    }
    // Each warp relative to its own maximum, then one thread puts the eight together: one barrier.
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      sum += l[j] == kMinusInf ? 0.0f : __expf(scaled(l[j], top, inverse_temperature));
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
      tops[threadIdx.x / 32] = top, bests[threadIdx.x / 32] = best, warp_sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
#pragma unroll
      for (int w = 1; w < kThreads / 32; ++w)
        if (tops[w] > top || (tops[w] == top && bests[w] < best)) top = tops[w], best = bests[w];
      float total = 0;
#pragma unroll
      for (int w = 0; w < kThreads / 32; ++w)
        total += tops[w] == top ? warp_sums[w]
                 : tops[w] == kMinusInf || isinf(top)
                     ? 0.0f
                     : warp_sums[w] * __expf((tops[w] - top) * inverse_temperature);
      p.pieces[int64_t(row_index) * pieces + piece] = {top, total, best, 0};
    }
    __syncthreads();  // before the warps' results are overwritten
  }
  if (threadIdx.x == 0) {
    __threadfence();
    last_block = atomicAdd(p.counters + row_index, end - first) == pieces - (end - first);
  }
  __syncthreads();
  if (!last_block) return;
  __threadfence();
  if (threadIdx.x == 0) p.counters[row_index] = 0;
  if (row.truncates(p.vocab)) return;  // the second kernel's

  // The row's maximum, then the pieces' sums relative to it.
  const SamplerPiece* all = p.pieces + int64_t(row_index) * pieces;
  for (int i = threadIdx.x; i < pieces; i += kThreads) {
    const int4 raw = __ldcg(reinterpret_cast<const int4*>(all + i));
    piece_tops[i] = __int_as_float(raw.x), sums[i] = __int_as_float(raw.y), piece_bests[i] = raw.z;
  }
  __syncthreads();
  top = kMinusInf, best = 0x7fffffff;
  for (int i = 0; i < pieces; ++i)
    if (piece_tops[i] > top) top = piece_tops[i], best = piece_bests[i];
  if (top == kMinusInf) {
    if (threadIdx.x == 0) deliver(p, row_index, row, -1, 0);
    return;
  }
  for (int i = threadIdx.x; i < pieces; i += kThreads) {
    const float t = piece_tops[i];
    if (t != top)
      sums[i] = t == kMinusInf || isinf(top) ? 0.0f : sums[i] * __expf((t - top) * inverse_temperature);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double mass = 0;
    for (int i = 0; i < pieces; ++i) mass += sums[i];
    whole = mass;
    const double target = row.uniform * mass;
    double before = 0;
    int at = 0, last_nonempty = 0;
    for (; at < pieces; ++at) {
      if (sums[at] > 0) last_nonempty = at;
      if (before + sums[at] > target) break;
      before += sums[at];
    }
    if (at == pieces) at = last_nonempty, before = mass;  // rounding at the very end of the line
    chosen_piece = at, before_piece = before;
    chosen = -1;
  }
  __syncthreads();
  if (row.greedy || row.forced >= 0) {
    if (threadIdx.x == 0) {
      const int32_t token = row.forced >= 0 ? row.forced : best;
      deliver(p, row_index, row, token, float(scaled(logits[token], top, inverse_temperature) - log(whole)));
    }
    return;
  }
  // Walk the piece: 16 neighbouring entries a thread.
  const int64_t begin = int64_t(chosen_piece) * kSamplerPiece + threadIdx.x * kEach;
  float e[kEach];
  double mine = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const float x = begin + j < p.vocab ? scaled(logits[begin + j], top, inverse_temperature) : kMinusInf;
    e[j] = x == kMinusInf ? 0.0f : __expf(x);
    mine += e[j];
  }
  double ignored;
  double before = before_piece + block_prefix<double, kThreads>(mine, scratch, ignored);
  const double target = row.uniform * whole;
  // The first entry whose running sum passes the target; where rounding leaves none, the last that has any mass.
  int crossing = 0x7fffffff, last = -1;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (e[j] <= 0) continue;
    before += e[j];
    last = int(begin) + j;
    if (before > target && crossing == 0x7fffffff) crossing = last;
  }
  __shared__ int first_crossing;
  if (threadIdx.x == 0) first_crossing = 0x7fffffff;
  __syncthreads();
  if (crossing != 0x7fffffff) atomicMin(&first_crossing, crossing);
  if (last >= 0) atomicMax(&chosen, last);
  __syncthreads();
  if (threadIdx.x == 0) {
    const int32_t token = first_crossing != 0x7fffffff ? first_crossing : chosen;
    deliver(p, row_index, row, token, float(scaled(logits[token], top, inverse_temperature) - log(whole)));
  }
}

// ---- Truncation: one block a row ---------------------------------------------------------------------------------
// Cuts are found by radix selection on the bits of -x >= 0, whose order as integers is the order of falling x. Masses are
// added as integers (31 binary places), so that their sum does not depend on the order in which threads arrive.

constexpr int kWide = 1024;
constexpr int kBins = 2048;
constexpr double kUnit = 2147483648.0;  // 2^31

struct Cut {
  uint32_t key;  // entries with a smaller key stay, those with a larger go
  int64_t ties;  // of those with this key, how many stay (lowest ids first)
};

struct TruncateShared {
  uint32_t count[kBins], low[kBins], high[kBins];
  unsigned long long prefix_scratch[kWide / 32];
  double double_scratch[kWide / 32];
  int64_t count_scratch[kWide / 32];
  uint32_t digit;
  unsigned long long taken;
  int first, last;
};

__device__ __forceinline__ uint32_t key_of(float x) {
  return __float_as_uint(x == 0 ? 0.0f : -x);
}

// The key at which the running sum of weight (1 an entry, or its mass), largest entries first, reaches `wanted`.
// `weight_before` is the sum of the entries with smaller keys.
template <bool kMass, class Keep>
__device__ uint32_t select(const float* logits, int64_t vocab, float top, float inverse_temperature,
                           unsigned long long wanted, Keep keep, TruncateShared& s,
                           unsigned long long& weight_before) {
  constexpr int kShift[3] = {21, 10, 0};
  constexpr uint32_t kMask[3] = {2047, 2047, 1023};
  uint32_t found = 0;
  weight_before = 0;
  for (int pass = 0; pass < 3; ++pass) {
    for (int i = threadIdx.x; i < kBins; i += kWide) s.count[i] = s.low[i] = s.high[i] = 0;
    __syncthreads();
    const uint32_t above = pass == 0 ? 0 : found >> (pass == 1 ? 21 : 10);
    for (int64_t i = threadIdx.x; i < vocab; i += kWide) {
      const float x = scaled(logits[i], top, inverse_temperature);
      if (x == kMinusInf || !keep(i, x)) continue;
      const uint32_t key = key_of(x);
      if (pass > 0 && key >> (pass == 1 ? 21 : 10) != above) continue;
      const uint32_t bin = key >> kShift[pass] & kMask[pass];
      if constexpr (kMass) {
        const auto mass = uint32_t(fminf(__expf(x), 1.0f) * float(kUnit));
        const uint32_t old = atomicAdd(&s.low[bin], mass);
        if (old + mass < old) atomicAdd(&s.high[bin], 1u);
      } else {
        atomicAdd(&s.low[bin], 1u);
      }
      atomicOr(&s.count[bin], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned long long sum = weight_before;
      uint32_t bin = 0, last_used = 0;
      unsigned long long before_last = sum;
      for (bin = 0; bin <= kMask[pass]; ++bin) {
        if (!s.count[bin]) continue;
        const unsigned long long here = (static_cast<unsigned long long>(s.high[bin]) << 32) + s.low[bin];
        last_used = bin, before_last = sum;
        if (sum + here >= wanted) break;
        sum += here;
      }
      s.digit = last_used, s.taken = before_last;
    }
    __syncthreads();
    found |= s.digit << kShift[pass];
    weight_before = s.taken;
    __syncthreads();
  }
  return found;
}

__global__ void __launch_bounds__(kWide) truncate_kernel(SamplerParams p, int pieces) {
  extern __shared__ __align__(16) unsigned char raw[];
  TruncateShared& s = *reinterpret_cast<TruncateShared*>(raw);
  dependency_wait();
  dependents_launch();
  const int row_index = blockIdx.x;
  const Row row = p.rows[row_index];
  if (row.slot < 0 || !row.truncates(p.vocab)) return;
  const float* logits = p.logits + row_index * p.stride;
  const SamplerPiece* all = p.pieces + int64_t(row_index) * pieces;
  float top = kMinusInf;
  for (int i = 0; i < pieces; ++i) top = fmaxf(top, __ldcg(&all[i].top));
  if (top == kMinusInf) {
    if (threadIdx.x == 0) deliver(p, row_index, row, -1, 0);
    return;
  }
  const float it = row.inverse_temperature;
  // top-k: ties with the k-th stay
  uint32_t k_key = 0x7f800000u;
  if (row.top_k > 0 && row.top_k < p.vocab) {
    unsigned long long ignored;
    k_key = select<false>(
        logits, p.vocab, top, it, row.top_k, [](int64_t, float) { return true; }, s, ignored);
  }
  const float min_p = fminf(row.min_p, 1.0f);
  // top-p, on what top-k left
  uint32_t p_key = 0x7f800000u;
  int64_t p_ties = INT64_MAX;
  if (row.top_p < 1) {
    unsigned long long mine = 0;
    for (int64_t i = threadIdx.x; i < p.vocab; i += kWide) {
      const float x = scaled(logits[i], top, it);
      if (x != kMinusInf && key_of(x) <= k_key) mine += uint32_t(fminf(__expf(x), 1.0f) * float(kUnit));
    }
    const unsigned long long mass = block_sum<unsigned long long, kWide>(mine, s.prefix_scratch);
    const auto wanted = static_cast<unsigned long long>(double(row.top_p) * double(mass));
    unsigned long long before;
    p_key = select<true>(
        logits, p.vocab, top, it, wanted, [k_key](int64_t, float x) { return key_of(x) <= k_key; }, s,
        before);
    const auto each = static_cast<unsigned long long>(
        uint32_t(fminf(__expf(-__uint_as_float(p_key)), 1.0f) * float(kUnit)));
    p_ties = each == 0 ? INT64_MAX : wanted <= before ? 1 : int64_t((wanted - before + each - 1) / each);
    if (p_ties < 1) p_ties = 1;
  }
  // Walk the survivors in the order of their ids; a thread has a run of neighbours, a multiple of four long.
  const int64_t run = ((p.vocab + kWide - 1) / kWide + 3) / 4 * 4;
  const int64_t begin = threadIdx.x * run, end = begin + run < p.vocab ? begin + run : p.vocab;
  int64_t ties = 0;
  for (int64_t i = begin; i < end; ++i) {
    const float x = scaled(logits[i], top, it);
    ties += x != kMinusInf && key_of(x) == p_key && p_key <= k_key;
  }
  int64_t tie_total;
  const int64_t ties_before = block_prefix<int64_t, kWide>(ties, s.count_scratch, tie_total);
  auto walk = [&](auto each) {
    int64_t rank = ties_before;
    for (int64_t i = begin; i < end; ++i) {
      const float x = scaled(logits[i], top, it);
      if (x == kMinusInf) continue;
      const uint32_t key = key_of(x);
      if (key > k_key || key > p_key) continue;
      if (key == p_key && rank++ >= p_ties) continue;
      const float e = __expf(x);
      if (e <= 0 || e < min_p) continue;
      if (!each(i, x, e)) return;
    }
  };
  double mine = 0;
  walk([&](int64_t, float, float e) { return mine += e, true; });
  double total;
  double before = block_prefix<double, kWide>(mine, s.double_scratch, total);
  const double target = row.uniform * total;
  if (threadIdx.x == 0) s.first = 0x7fffffff, s.last = -1;
  __syncthreads();
  int crossing = -1, last = -1;
  walk([&](int64_t i, float, float e) {
    before += e;
    last = int(i);
    if (before > target) return crossing = int(i), false;
    return true;
  });
  if (crossing >= 0) atomicMin(&s.first, crossing);
  if (last >= 0) atomicMax(&s.last, last);
  __syncthreads();
  if (threadIdx.x == 0) {
    const int token = s.first != 0x7fffffff ? s.first : s.last;
    deliver(p, row_index, row, token, float(scaled(logits[token], top, it) - log(total)));
  }
}

}  // namespace

void sample_rows(const SamplerParams& p, cudaStream_t stream, bool early) {
  const auto pieces = unsigned((p.vocab + kSamplerPiece - 1) / kSamplerPiece);
  if (pieces > kMaxPieces || p.stride % 4 != 0 || p.stride < p.vocab)
    call_failed("the vocabulary is too large, or rows of logits do not begin at 16 bytes", "sample_rows",
                __FILE__, __LINE__);
  // Several pieces a block where there are blocks enough; what a piece gives does not depend on it.
  const unsigned each = p.count >= 256 ? 4 : 1;
  launch(sample_kernel, dim3((pieces + each - 1) / each, unsigned(p.count)), kThreads, 0, stream, early, p,
         int(pieces), int(each));
  if (p.truncation)
    launch(truncate_kernel, unsigned(p.count), kWide, sizeof(TruncateShared), stream, early, p, int(pieces));
}

}  // namespace cohort::cuda
