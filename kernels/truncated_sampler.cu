// Top-k, top-p and min-p: one block a row, three passes over its logits without top-k, five with it.
//
//   a histogram over 2,048 equal steps of x = (l - top) / temperature finds the step in which the cut lies;
//   the entries of that step are collected in shared memory and the cut is found among them by radix selection on the bits of
//   -x >= 0, whose order as integers is the order of falling x;
//   what is left is added up by segments of 1,024 ids, and the segment that the random number falls into is walked.
//
// Masses that decide a cut are added as integers (31 binary places), so that their sum does not depend on the order in which
// threads arrive.
#include "kernels/sampler_parts.cuh"

namespace cohort::cuda {
namespace {

constexpr int kWide = 1024;
constexpr int kBins = 2 * kWide;
constexpr int kListed = 4096;  // entries of the cut's step; with more of them the row's logits are read again
constexpr float kStepsPerUnit = 64;     // the last step holds all below -32
constexpr double kUnit = 2147483648.0;  // 2^31
constexpr int kSegment = 1024;
constexpr int kMostSegments = 2048;
constexpr uint32_t kAll = 0x7f800000u;  // the key of -inf

struct TruncateShared {
  union {
    struct {
      uint32_t low[kBins], high[kBins];
      uint32_t list[kListed];
    };
    double segments[kMostSegments];
  };
  unsigned long long scratch[kWide / 32];
  double double_scratch[kWide / 32];
  uint32_t listed, digit;
  unsigned long long taken;
  int first, last, crossing;
};

__device__ __forceinline__ uint32_t key_of(float x) {
  return __float_as_uint(x == 0 ? 0.0f : -x);
}
__device__ __forceinline__ int step_of(float x) {
  return min(kBins - 1, int(-x * kStepsPerUnit));
}
__device__ __forceinline__ uint32_t mass_of(float x) {
  return uint32_t(fminf(__expf(x), 1.0f) * float(kUnit));
}

struct RowLogits {
  const float* logits;
  int64_t vocab;
  float top, inverse_temperature;

  __device__ __forceinline__ float at(int64_t i) const { return scaled(logits[i], top, inverse_temperature); }
  // f(id, x) for every finite x, by all threads; several loads of each are under way together.
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    constexpr int kAhead = 4;
    for (int64_t begin = threadIdx.x * 4; begin < vocab; begin += kAhead * kWide * 4) {
      float4 v[kAhead];
#pragma unroll
      for (int u = 0; u < kAhead; ++u)
        if (begin + u * kWide * 4 < vocab)
          v[u] = *reinterpret_cast<const float4*>(logits + begin + u * kWide * 4);
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const float e[4] = {v[u].x, v[u].y, v[u].z, v[u].w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int64_t i = begin + u * kWide * 4 + j;
          if (i >= vocab) continue;
          const float x = scaled(e[j], top, inverse_temperature);
          if (x != kMinusInf) f(i, x);
        }
      }
    }
  }
};

// Bins of weight (1 an entry, or its mass) as 64-bit sums.
__device__ __forceinline__ void clear_bins(TruncateShared& s) {
  for (int i = threadIdx.x; i < kBins; i += kWide) s.low[i] = s.high[i] = 0;
  __syncthreads();
}
__device__ __forceinline__ void add_to_bin(TruncateShared& s, int bin, uint32_t weight) {
  const uint32_t old = atomicAdd(&s.low[bin], weight);
  if (old + weight < old) atomicAdd(&s.high[bin], 1u);
}
// The first bin at which the running sum, from `before` on, reaches wanted(total); the last with any weight where none does. Sets
// s.digit and, the sum before it, s.taken.
template <class Wanted>
__device__ void find_bin(TruncateShared& s, unsigned long long before, Wanted wanted) {
  __syncthreads();
  const auto sum_of = [&](int bin) {
    return (static_cast<unsigned long long>(s.high[bin]) << 32) + s.low[bin];
  };
  const int bin = 2 * int(threadIdx.x);
  const unsigned long long a = sum_of(bin), b = sum_of(bin + 1);
  unsigned long long total;
  const unsigned long long at = before + block_prefix<unsigned long long, kWide>(a + b, s.scratch, total);
  const unsigned long long target = wanted(before + total);
  if (threadIdx.x == 0) s.first = kBins, s.last = 0;
  __syncthreads();
  if (a > 0 && at + a >= target)
    atomicMin(&s.first, bin);
  else if (b > 0 && at + a + b >= target)
    atomicMin(&s.first, bin + 1);
  if (b > 0)
    atomicMax(&s.last, bin + 1);
  else if (a > 0)
    atomicMax(&s.last, bin);
  __syncthreads();
  const int found = s.first < kBins ? s.first : s.last;
  if (found / 2 == int(threadIdx.x)) s.digit = uint32_t(found), s.taken = found % 2 ? at + a : at;
  __syncthreads();
}

struct Cut {
  uint32_t key;                       // entries with a smaller key stay, those with a larger go
  unsigned long long before, wanted;  // the weight of those with a smaller key, and what was to be reached
  int64_t ties;                       // entries with this key
};

// The key at which the running sum of weight, largest entries first, reaches wanted(sum of all), among entries whose key is
// at most `most`.
template <bool kMass, class Wanted>
__device__ Cut find_cut(const RowLogits& row, uint32_t most, Wanted wanted, TruncateShared& s) {
  const auto weight_of = [](float x) { return kMass ? mass_of(x) : 1u; };
  clear_bins(s);
  row.each([&](int64_t, float x) {
    if (key_of(x) <= most) add_to_bin(s, step_of(x), weight_of(x));
  });
  Cut cut = {};
  find_bin(s, 0, [&](unsigned long long total) { return cut.wanted = wanted(total); });
  const int step = int(s.digit);
  cut.before = s.taken;
  if (threadIdx.x == 0) s.listed = 0;
  __syncthreads();
  row.each([&](int64_t, float x) {
    if (step_of(x) != step || key_of(x) > most) return;
    const uint32_t at = atomicAdd(&s.listed, 1u);
    if (at < kListed) s.list[at] = key_of(x);
  });
  __syncthreads();
  const uint32_t listed = s.listed;
  const auto each_in_step = [&](auto f) {
    if (listed <= kListed) {
      for (uint32_t i = threadIdx.x; i < listed; i += kWide) f(s.list[i]);
    } else {
      row.each([&](int64_t, float x) {
        if (step_of(x) == step && key_of(x) <= most) f(key_of(x));
      });
    }
  };
  constexpr int kShift[3] = {21, 10, 0};
  constexpr uint32_t kMask[3] = {2047, 2047, 1023};
  for (int pass = 0; pass < 3; ++pass) {
    const int fixed = pass == 0 ? 32 : pass == 1 ? 21 : 10;  // bits above these are known
    clear_bins(s);
    each_in_step([&](uint32_t key) {
      if (fixed == 32 || key >> fixed == cut.key >> fixed)
        add_to_bin(s, int(key >> kShift[pass] & kMask[pass]), weight_of(-__uint_as_float(key)));
    });
    find_bin(s, cut.before, [&](unsigned long long) { return cut.wanted; });
    cut.key |= s.digit << kShift[pass];
    cut.before = s.taken;
    __syncthreads();
  }
  long long ties = 0;
  each_in_step([&](uint32_t key) { ties += key == cut.key; });
  cut.ties = block_sum<long long, kWide>(ties, reinterpret_cast<long long*>(s.scratch));
  __syncthreads();
  return cut;
}

// The id of the keep-th entry with this key, in the order of ids.
__device__ int64_t last_tie(const RowLogits& row, uint32_t key, int64_t keep, TruncateShared& s) {
  const int64_t run = (row.vocab + kWide - 1) / kWide, begin = threadIdx.x * run,
                end = min(begin + run, row.vocab);
  const auto is_tie = [&](int64_t i) {
    const float x = row.at(i);
    return x != kMinusInf && key_of(x) == key;
  };
  long long mine = 0, total;
  for (int64_t i = begin; i < end; ++i) mine += is_tie(i);
  long long rank = block_prefix<long long, kWide>(mine, reinterpret_cast<long long*>(s.scratch), total);
  if (rank < keep && rank + mine >= keep)
    for (int64_t i = begin; i < end; ++i)
      if (is_tie(i) && ++rank == keep) s.crossing = int(i);
  __syncthreads();
  return s.crossing;
}

__global__ void __launch_bounds__(kWide) truncate_kernel(SamplerParams p, int pieces) {
  extern __shared__ __align__(16) unsigned char raw[];
  TruncateShared& s = *reinterpret_cast<TruncateShared*>(raw);
  dependency_wait();
  dependents_launch();
  const int row_index = blockIdx.x;
  const Row row = p.rows[row_index];
  if (row.slot < 0 || !row.truncates(p.vocab)) return;
  const SamplerPiece* all = p.pieces + int64_t(row_index) * pieces;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float top = kMinusInf;
  for (int i = threadIdx.x; i < pieces; i += kWide) top = fmaxf(top, __ldcg(&all[i].top));
  top = warp_max(top);
  float* warp_tops = reinterpret_cast<float*>(s.scratch);
  if (lane == 0) warp_tops[warp] = top;
  __syncthreads();
  for (int w = 0; w < kWide / 32; ++w) top = fmaxf(top, warp_tops[w]);
  __syncthreads();
  if (top == kMinusInf) {
    if (threadIdx.x == 0) deliver(p, row_index, row, -1, 0);
    return;
  }
  const RowLogits logits = {p.logits + row_index * p.stride, p.vocab, top, row.inverse_temperature};
  // top-k: ties with the k-th stay
  uint32_t most = kAll;
  if (row.top_k > 0 && row.top_k < p.vocab)
    most =
        find_cut<false>(
            logits, most, [&](unsigned long long) { return static_cast<unsigned long long>(row.top_k); }, s)
            .key;
  // top-p, on what top-k left: of the entries at the cut, the lowest ids
  int64_t last_id = INT64_MAX;
  if (row.top_p < 1) {
    const Cut cut = find_cut<true>(
        logits, most,
        [&](unsigned long long total) {
          return static_cast<unsigned long long>(double(row.top_p) * double(total));
        },
        s);
    const unsigned long long each = mass_of(-__uint_as_float(cut.key));
    int64_t keep = each == 0                  ? INT64_MAX
                   : cut.wanted <= cut.before ? 1
                                              : int64_t((cut.wanted - cut.before + each - 1) / each);
    if (keep < 1) keep = 1;
    most = cut.key;
    if (keep < cut.ties) last_id = last_tie(logits, most, keep, s);
  }
  const float min_p = fminf(row.min_p, 1.0f);
  const auto weight_of = [&](int64_t i, float l) {  // of what is left, else 0
    const float x = scaled(l, top, row.inverse_temperature);
    if (x == kMinusInf) return 0.0f;
    const uint32_t key = key_of(x);
    if (key > most || (key == most && i > last_id)) return 0.0f;
    const float e = __expf(x);
    return e < min_p ? 0.0f : e;
  };
  // Segments by turns of warps, each added up in a fixed order.
  const int segments = int((p.vocab + kSegment - 1) / kSegment);
  __syncthreads();
  for (int g = warp; g < segments; g += kWide / 32) {
    double sum = 0;
    float4 v[kSegment / 128];
#pragma unroll
    for (int u = 0; u < kSegment / 128; ++u) {
      const int64_t i = int64_t(g) * kSegment + u * 128 + lane * 4;
      if (i < p.vocab) v[u] = *reinterpret_cast<const float4*>(logits.logits + i);
    }
#pragma unroll
    for (int u = 0; u < kSegment / 128; ++u) {
      const int64_t i = int64_t(g) * kSegment + u * 128 + lane * 4;
      const float e[4] = {v[u].x, v[u].y, v[u].z, v[u].w};
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (i + j < p.vocab) sum += weight_of(i + j, e[j]);
    }
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (lane == 0) s.segments[g] = sum;
  }
  __syncthreads();
  const int mine = 2 * int(threadIdx.x);
  const double a = mine < segments ? s.segments[mine] : 0, b = mine + 1 < segments ? s.segments[mine + 1] : 0;
  double total;
  const double before = block_prefix<double, kWide>(a + b, s.double_scratch, total);
  const double target = row.uniform * total;
  if (threadIdx.x == 0) s.first = kMostSegments, s.last = 0;
  __syncthreads();
  if (a > 0 && before + a > target)
    atomicMin(&s.first, mine);
  else if (b > 0 && before + a + b > target)
    atomicMin(&s.first, mine + 1);
  if (b > 0)
    atomicMax(&s.last, mine + 1);
  else if (a > 0)
    atomicMax(&s.last, mine);
  __syncthreads();
  const int segment = s.first < kMostSegments ? s.first : s.last;  // rounding at the very end of the line
  if (segment / 2 == int(threadIdx.x)) s.double_scratch[0] = segment % 2 ? before + a : before;
  __syncthreads();
  if (warp != 0) return;
  // The segment: 32 neighbours a lane. The first whose running sum passes the target, else the last that has any weight.
  const int64_t begin = int64_t(segment) * kSegment + lane * (kSegment / 32);
  double sum = 0;
  int last = -1;
  for (int j = 0; j < kSegment / 32; ++j) {
    const float e = begin + j < p.vocab ? weight_of(begin + j, logits.logits[begin + j]) : 0.0f;
    sum += e;
    if (e > 0) last = int(begin) + j;
  }
  double running = sum;
#pragma unroll
  for (int o = 1; o < 32; o <<= 1) {
    const double below = __shfl_up_sync(0xffffffffu, running, o);
    if (lane >= o) running += below;
  }
  running = s.double_scratch[0] + (running - sum);
  int crossing = 0x7fffffff;
  for (int j = 0; j < kSegment / 32 && crossing == 0x7fffffff; ++j) {
    const float e = begin + j < p.vocab ? weight_of(begin + j, logits.logits[begin + j]) : 0.0f;
    running += e;
    if (e > 0 && running > target) crossing = int(begin) + j;
  }
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) {
    crossing = min(crossing, __shfl_xor_sync(0xffffffffu, crossing, o));
    last = max(last, __shfl_xor_sync(0xffffffffu, last, o));
  }
  if (lane == 0) {
    const int token = crossing != 0x7fffffff ? crossing : last;
    deliver(p, row_index, row, token, float(logits.at(token) - log(total)));
  }
}

}  // namespace

void truncate_rows(const SamplerParams& p, int pieces, cudaStream_t stream, bool early) {
  launch(truncate_kernel, unsigned(p.count), kWide, sizeof(TruncateShared), stream, early, p, pieces);
}

}  // namespace cohort::cuda
