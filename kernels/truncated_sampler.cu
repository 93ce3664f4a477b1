// Top-k, top-p and min-p: one block a row.
//
//   the pieces' maxima and sums say which pieces can have entries at or above the cut, and only these are read from here on:
//   those with the top_k largest maxima; or those without which less than half of 1 - top_p is missing, and if the cut turns out
//   not to lie among what they have, all of them;
//   a histogram over 2,048 equal steps of x = (l - top) / temperature finds the step in which the cut lies;
//   the entries of that step are collected in shared memory and the cut is found among them by comparing all with all or, where
//   they are many, by radix selection on the bits of -x >= 0, whose order as integers is the order of falling x;
//   what is left is added up by segments, a piece or 1,024 ids, and the segment that the random number falls into is walked.
//
// Masses that decide a cut are added as integers (31 binary places), so that their sum does not depend on the order in which
// threads arrive.
#include "kernels/sampler_parts.cuh"

namespace cohort::cuda {
namespace {

constexpr int kWide = 1024;
constexpr int kBins = 2 * kWide;
constexpr int kListed = 4096;  // entries of the cut's step; with more of them the row's logits are read again
constexpr uint32_t kRanked = 256;       // of them are compared all with all
constexpr float kStepsPerUnit = 64;     // the last step holds all below -32
constexpr double kUnit = 2147483648.0;  // 2^31
constexpr float kNoMass = -22;          // x of no mass as an integer
constexpr int kSegment = 1024;
constexpr int kMostSegments = 2048;
constexpr int kMostRead = 1024;  // pieces; with more of them all logits are read
constexpr double kPieceUnit =
    kUnit / (2 * kSamplerPiece);        // a piece's mass, at most kSamplerPiece, as 31 bits
constexpr uint32_t kAll = 0x7f800000u;  // the key of -inf

struct TruncateShared {
  union {
    struct {
      uint32_t low[kBins], high[kBins];
      uint32_t list[kListed];
    };
    double segments[kMostSegments];
  };
  uint16_t read[kMostRead];  // pieces, in their order
  unsigned long long scratch[kWide / 32];
  double double_scratch[kWide / 32];
  uint32_t listed, digit;
  unsigned long long taken;
  int first, last, crossing;
  bool reached;
  uint32_t cut_key;
  int64_t ties;
};

__device__ __forceinline__ uint32_t key_of(float x) {
  return __float_as_uint(x == 0 ? 0.0f : -x);
}
__device__ __forceinline__ int step_of(float x) {
  return min(kBins - 1, int(-x * kStepsPerUnit));
}
// x of a step's end: the least that it holds.
__device__ __forceinline__ float end_of(int step) {
  return step == kBins - 1 ? kMinusInf : -float(step + 1) / kStepsPerUnit;
}
__device__ __forceinline__ uint32_t mass_of(float x) {
  return uint32_t(fminf(__expf(x), 1.0f) * float(kUnit));
}

struct RowLogits {
  const float* logits;
  int64_t vocab;
  float top, inverse_temperature;
  int piece;
  const uint16_t* read;
  int pieces_read = -1;       // of `read`; -1: all logits are
  int last_step = kBins - 1;  // all entries of the steps up to here are among what is read

  __device__ __forceinline__ float at(int64_t i) const { return scaled(logits[i], top, inverse_temperature); }
  // A logit below which x is less than this. -inf where x of an infinite top says nothing of the distance.
  __device__ __forceinline__ float lowest(float x) const {
    const float distance = x / inverse_temperature, bound = top + distance;
    return isinf(top) || isinf(x) ? kMinusInf : bound + 1e-5f * distance - 1e-5f * (1 + fabsf(top));
  }
  // f(id, x) for every finite x of what is read whose logit is not below `low`, by all threads; several loads of each are under
  // way together.
  template <class F>
  __device__ __forceinline__ void each(float low, F f) const {
    constexpr int kAhead = 4;
    const bool all = pieces_read < 0;
    const int of_piece = piece / 4, count = all ? int((vocab + 3) / 4) : pieces_read * of_piece;
    for (int first = int(threadIdx.x); first < count; first += kAhead * kWide) {
      float4 v[kAhead];
      int begin[kAhead];
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int n = first + u * kWide, listed = all ? 0 : n / of_piece;
        begin[u] = n >= count ? int(vocab) : all ? 4 * n : read[listed] * piece + (n - listed * of_piece) * 4;
        if (begin[u] < int(vocab)) v[u] = *reinterpret_cast<const float4*>(logits + begin[u]);
      }
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const float e[4] = {v[u].x, v[u].y, v[u].z, v[u].w};
        const int inside = int(vocab) - begin[u];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (j >= inside || !(e[j] >= low)) continue;
          const float x = scaled(e[j], top, inverse_temperature);
          if (x != kMinusInf) f(begin[u] + j, x);
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
// s.digit, the sum before it, s.taken, and whether it is reached.
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
  if (threadIdx.x == 0) s.reached = s.first < kBins;
  if (found / 2 == int(threadIdx.x)) s.digit = uint32_t(found), s.taken = found % 2 ? at + a : at;
  __syncthreads();
}

struct Cut {
  uint32_t key;                       // entries with a smaller key stay, those with a larger go
  unsigned long long before, wanted;  // the weight of those with a smaller key, and what was to be reached
  int64_t ties;                       // entries with this key
  bool there;                         // whether it lies in what was read
};

// The key at which the running sum of weight, largest entries first, reaches wanted(sum of all), among entries whose key is
// at most `most`.
template <bool kMass, class Wanted>
__device__ Cut find_cut(const RowLogits& row, uint32_t most, Wanted wanted, TruncateShared& s) {
  const auto weight_of = [](float x) { return kMass ? mass_of(x) : 1u; };
  const float largest = -__uint_as_float(most), least = kMass ? kNoMass : kMinusInf;
  clear_bins(s);
  row.each(row.lowest(fmaxf(fmaxf(largest, least), end_of(row.last_step))), [&](int, float x) {
    if (const int step = step_of(x); step <= row.last_step && key_of(x) <= most)
      add_to_bin(s, step, weight_of(x));
  });
  Cut cut = {};
  find_bin(s, 0, [&](unsigned long long total) { return cut.wanted = wanted(total); });
  cut.there = s.reached;
  if (!cut.there && row.pieces_read >= 0) return cut;
  const int step = int(s.digit);
  cut.before = s.taken;
  if (threadIdx.x == 0) s.listed = 0;
  __syncthreads();
  const float low = row.lowest(fmaxf(fmaxf(largest, least), end_of(step)));
  row.each(low, [&](int, float x) {
    if (step_of(x) != step || key_of(x) > most) return;
    const uint32_t at = atomicAdd(&s.listed, 1u);
    if (at < kListed) s.list[at] = key_of(x);
  });
  __syncthreads();
  const uint32_t listed = s.listed;
  if (cut.there && listed <= kRanked) {  // each against all of them
    if (threadIdx.x < listed) {
      const uint32_t mine = s.list[threadIdx.x], weight = weight_of(-__uint_as_float(mine));
      unsigned long long before = cut.before;
      int64_t ties = 0;
      for (uint32_t i = 0; i < listed; ++i) {
        const uint32_t other = s.list[i];
        if (other < mine) before += weight_of(-__uint_as_float(other));
        ties += other == mine;
      }
      if (weight > 0 && before < max(cut.wanted, 1ull) && before + uint64_t(ties) * weight >= cut.wanted)
        s.cut_key = mine, s.taken = before, s.ties = ties;  // the same from all ties
    }
    __syncthreads();
    cut.key = s.cut_key, cut.before = s.taken, cut.ties = s.ties;
    return cut;
  }
  const auto each_in_step = [&](auto f) {
    if (listed <= kListed) {
      for (uint32_t i = threadIdx.x; i < listed; i += kWide) f(s.list[i]);
    } else {
      row.each(low, [&](int, float x) {
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

// x of a piece's maximum and the piece's mass.
struct PieceAt {
  float x, mass;
  __device__ PieceAt(const RowLogits& row, const SamplerPiece* piece) {
    const int4 raw = __ldcg(reinterpret_cast<const int4*>(piece));
    x = scaled(__int_as_float(raw.x), row.top, row.inverse_temperature);
    mass = x == kMinusInf ? 0.0f : __expf(x) * __int_as_float(raw.y);
  }
  __device__ int step() const { return x == kMinusInf ? kBins - 1 : step_of(x); }
};
// From here on only the pieces are read whose maxima lie in the steps up to this one; all logits where that is not much less.
__device__ void read_pieces(RowLogits& row, const SamplerPiece* all, int pieces, int last_step,
                            TruncateShared& s) {
  const int run = (pieces + kWide - 1) / kWide, begin = int(threadIdx.x) * run,
            end = min(begin + run, pieces);
  long long mine = 0, total;
  for (int i = begin; i < end; ++i) mine += PieceAt(row, all + i).step() <= last_step;
  auto at = block_prefix<long long, kWide>(mine, reinterpret_cast<long long*>(s.scratch), total);
  if (last_step == kBins - 1 || total > kMostRead || 2 * total > pieces) return;
  for (int i = begin; i < end; ++i)
    if (PieceAt(row, all + i).step() <= last_step) s.read[at++] = uint16_t(i);
  row.pieces_read = int(total), row.last_step = last_step;
  __syncthreads();
}
// The first step by which the pieces have wanted(all) of their weight, 1 each or their mass.
template <bool kMass, class Wanted>
__device__ int step_of_pieces(const RowLogits& row, const SamplerPiece* all, int pieces, Wanted wanted,
                              TruncateShared& s) {
  clear_bins(s);
  for (int i = threadIdx.x; i < pieces; i += kWide) {
    const PieceAt piece(row, all + i);
    add_to_bin(s, piece.step(), kMass ? uint32_t(piece.mass * float(kPieceUnit)) + 1 : 1);
  }
  find_bin(s, 0, wanted);
  return int(s.digit);
}
__device__ __forceinline__ void read_all(RowLogits& row) {
  row.pieces_read = -1, row.last_step = kBins - 1;
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
  RowLogits logits = {p.logits + row_index * p.stride, p.vocab, top,
                      row.inverse_temperature,         p.piece, s.read};
  // top-k: ties with the k-th stay
  uint32_t most = kAll;
  if (row.top_k > 0 && row.top_k < p.vocab) {
    const auto wanted = [&](unsigned long long) { return static_cast<unsigned long long>(row.top_k); };
    if (row.top_k <= pieces)  // so many maxima are so many entries
      read_pieces(logits, all, pieces, step_of_pieces<false>(logits, all, pieces, wanted, s), s);
    most = find_cut<false>(logits, most, wanted, s).key;
  }
  // top-p, on what top-k left: of the entries at the cut, the lowest ids
  int64_t last_id = INT64_MAX;
  if (row.top_p < 1) {
    const auto share = [&](double total) {
      return static_cast<unsigned long long>(double(row.top_p) * total);
    };
    Cut cut = {};
    if (most == kAll) {
      double mine = 0;
      for (int i = threadIdx.x; i < pieces; i += kWide) mine += PieceAt(logits, all + i).mass;
      const double total = block_sum<double, kWide>(mine, s.double_scratch) * kUnit;
      const auto nearly = [&](unsigned long long sum) {
        return sum - static_cast<unsigned long long>((1 - double(row.top_p)) / 2 * double(sum));
      };
      read_pieces(logits, all, pieces, step_of_pieces<true>(logits, all, pieces, nearly, s), s);
      if (logits.pieces_read >= 0)
        cut = find_cut<true>(
            logits, most, [&](unsigned long long) { return share(total); }, s);
      if (!cut.there) read_all(logits);
    }
    if (!cut.there)
      cut = find_cut<true>(
          logits, most, [&](unsigned long long total) { return share(double(total)); }, s);
    const unsigned long long each = mass_of(-__uint_as_float(cut.key));
    int64_t keep = each == 0                  ? INT64_MAX
                   : cut.wanted <= cut.before ? 1
                                              : int64_t((cut.wanted - cut.before + each - 1) / each);
    if (keep < 1) keep = 1;
    most = cut.key;
    if (keep < cut.ties) last_id = last_tie(logits, most, keep, s);
  }
  const float min_p = fminf(row.min_p, 1.0f);
  if (min_p > 0 && logits.pieces_read < 0) read_pieces(logits, all, pieces, step_of(logf(min_p) - 0.01f), s);
  const float least = -__uint_as_float(most), low = logits.lowest(least);
  const auto weight_of = [&](int i, float l) {  // of what is left, else 0
    if (!(l >= low)) return 0.0f;
    const float x = scaled(l, top, row.inverse_temperature);
    if (x == kMinusInf || x < least || (x == least && i > last_id)) return 0.0f;
    const float e = __expf(x);
    return e < min_p ? 0.0f : e;
  };
  // Segments by turns of warps, each added up in a fixed order: the pieces that are read, or all ids.
  const bool by_pieces = logits.pieces_read >= 0;
  const int length = by_pieces ? p.piece : kSegment;
  const int segments = by_pieces ? logits.pieces_read : int((p.vocab + kSegment - 1) / kSegment);
  const auto begin_of = [&](int segment) { return (by_pieces ? s.read[segment] : segment) * length; };
  const auto vocab = int(p.vocab);
  __syncthreads();
  for (int g = warp; g < segments; g += kWide / 32) {
    const int begin = begin_of(g), end = min(begin + length, vocab);
    double sum = 0;
    float4 v[kSegment / 128];
#pragma unroll
    for (int u = 0; u < kSegment / 128; ++u)
      if (const int i = begin + u * 128 + lane * 4; i < end)
        v[u] = *reinterpret_cast<const float4*>(logits.logits + i);
#pragma unroll
    for (int u = 0; u < kSegment / 128; ++u) {
      const int i = begin + u * 128 + lane * 4;
      const float e[4] = {v[u].x, v[u].y, v[u].z, v[u].w};
      float four = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) four += i + j < end ? weight_of(i + j, e[j]) : 0.0f;
      sum += four;
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
  // The segment, neighbours a lane. The first whose running sum passes the target, else the last that has any weight.
  const int run = length / 32;
  const int begin = begin_of(segment) + lane * run;
  double sum = 0;
  int last = -1;
#pragma unroll 4
  for (int j = 0; j < run; ++j) {
    const float e = begin + j < vocab ? weight_of(begin + j, logits.logits[begin + j]) : 0.0f;
    sum += e;
    if (e > 0) last = begin + j;
  }
  double running = sum;
#pragma unroll
  for (int o = 1; o < 32; o <<= 1) {
    const double below = __shfl_up_sync(0xffffffffu, running, o);
    if (lane >= o) running += below;
  }
  running = s.double_scratch[0] + (running - sum);
  int crossing = 0x7fffffff;
  for (int j = 0; j < run && crossing == 0x7fffffff; ++j) {
    const float e = begin + j < vocab ? weight_of(begin + j, logits.logits[begin + j]) : 0.0f;
    running += e;
    if (e > 0 && running > target) crossing = begin + j;
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
