// Top-k, top-p and min-p: one block a row.
//
//   the pieces' maxima and sums say which pieces can have entries at or above the cut, and only these are read from here on:
//   those with the top_k largest maxima; or those without which less than half of 1 - top_p is missing, and if the cut turns out
//   not to lie among what they have, all of them;
//   a histogram over 2,048 equal steps of x = (l - top) / temperature finds the step in which the cut lies;
//   in one pass, the entries of the steps above it are added up by segments, a piece or 1,024 ids, and its own are listed;
//   the cut is found among these by comparing all with all or, where they are many, by radix selection on the bits of -x >= 0,
//   whose order as integers is the order of falling x; what of them is left is added to its segments;
//   the segment that the random number falls into is walked.
//
// Masses that several threads add up are integers, so that a sum does not depend on the order in which they arrive: with 31
// binary places where they decide a cut, with 40 in a segment's sum.
#include <cfloat>
#include <climits>

#include "kernels/sampler_parts.cuh"

namespace cohort::cuda {
namespace {

constexpr int kWide = 1024;
constexpr int kBins = 2 * kWide;
constexpr int kListed =
    4096;  // entries of the cut's step; with more of them the row's logits are read twice more
constexpr uint32_t kRanked = 256;       // of them are compared all with all
constexpr float kStepsPerUnit = 64;     // the last step holds all below -32
constexpr double kUnit = 2147483648.0;  // 2^31
constexpr float kNoMass = -22;          // x of no mass as an integer
constexpr int kSegment = 1024;
constexpr int kMostSegments = 2048;
constexpr double kSegmentUnit = 1099511627776.0;  // 2^40
constexpr int kKept = 4 * kWide;                  // pieces that stay in shared memory
constexpr int kMostRead = 1024;                   // pieces; with more of them all logits are read
constexpr double kPieceUnit =
    kUnit / (2 * kSamplerPiece);        // a piece's mass, at most kSamplerPiece, as 31 bits
constexpr uint32_t kAll = 0x7f800000u;  // the key of -inf

struct TruncateShared {
  uint32_t low[kBins], high[kBins];
  uint32_t list[kListed], places[kListed];  // keys, and RowLogits' places
  unsigned long long segments[kMostSegments];
  uint16_t read[kMostRead];  // pieces, in their order
  float2 pieces[kKept];
  unsigned long long scratch[kWide / 32];
  double double_scratch[kWide / 32];
  uint32_t listed, digit;
  unsigned long long taken;
  int first, last, crossing;
  uint32_t cut_key;
  int64_t ties;
};

__device__ __forceinline__ uint32_t key_of(float x) {
  return __float_as_uint(x == 0 ? 0.0f : -x);
}
__device__ __forceinline__ int step_of(float x) {
  return min(kBins - 1, int(-x * kStepsPerUnit));
}
// A step has the x in (its end, the end of the step before it].
__device__ __forceinline__ float end_of(int step) {
  return step == kBins - 1 ? kMinusInf : -float(step + 1) / kStepsPerUnit;
}
__device__ __forceinline__ uint32_t mass_of(float x) {
  return uint32_t(fminf(__expf(x), 1.0f) * float(kUnit));
}

// A row's logits. What is read of them comes by segments; an entry's place, segment * segment_length() + where in it, is in the
// order of ids.
struct RowLogits {
  const float* logits;
  int64_t vocab;
  float top, inverse_temperature, min_p;
  int piece;
  const uint16_t* read;
  int pieces_read = -1;       // of `read`; -1: all logits are
  int last_step = kBins - 1;  // all entries of the steps up to here are among what is read

  __device__ __forceinline__ int segment_length() const { return pieces_read >= 0 ? piece : kSegment; }
  __device__ __forceinline__ int segments() const {
    return pieces_read >= 0 ? pieces_read : int((vocab + kSegment - 1) / kSegment);
  }
  __device__ __forceinline__ int begin_of(int segment) const {
    return (pieces_read >= 0 ? read[segment] : segment) * segment_length();
  }
  __device__ __forceinline__ float at(int64_t i) const { return scaled(logits[i], top, inverse_temperature); }
  __device__ __forceinline__ float kept(float x) const {  // its mass, if min-p leaves it
    const float e = __expf(x);
    return e < min_p ? 0.0f : e;
  }
  // A logit below which x is less than this. -inf where x of an infinite top says nothing of the distance.
  __device__ __forceinline__ float lowest(float x) const {
    const float distance = x / inverse_temperature, bound = top + distance;
    return isinf(top) || isinf(x) ? kMinusInf : bound + 1e-5f * distance - 1e-5f * (1 + fabsf(top));
  }
  // The sum of f(place, x) over a segment's finite x whose logits are not below `low`, in a fixed order: done(segment, sum) by one
  // lane. Warps take segments by turns.
  template <class F, class Done>
  __device__ __forceinline__ void each(float low, F f, Done done) const {
    constexpr int kAhead = 4;
    const int lane = threadIdx.x % 32, length = segment_length(), count = segments();
    const float least = fmaxf(low, -FLT_MAX);
    for (int g = threadIdx.x / 32; g < count; g += kWide / 32) {
      const int begin = begin_of(g), end = min(begin + length, int(vocab));
      double sum = 0;
      for (int first = begin + lane * 4; first < end; first += kAhead * 128) {
        float4 v[kAhead];
#pragma unroll
        for (int u = 0; u < kAhead; ++u)
          v[u] = first + u * 128 < end ? *reinterpret_cast<const float4*>(logits + first + u * 128)
                                       : float4{kMinusInf, kMinusInf, kMinusInf, kMinusInf};
        float of_these = 0;
#pragma unroll
        for (int u = 0; u < kAhead; ++u) {
          const int i = first + u * 128;
          if (i + 4 > end) {
            if (i + 1 >= end) v[u].y = kMinusInf;
            if (i + 2 >= end) v[u].z = kMinusInf;
            v[u].w = kMinusInf;
          }
          const float e[4] = {v[u].x, v[u].y, v[u].z, v[u].w};
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            if (!(e[j] >= least)) continue;
            const float x = scaled(e[j], top, inverse_temperature);
            if (x != kMinusInf) of_these += f(g * length + i - begin + j, x);
          }
        }
        sum += of_these;
      }
      sum = warp_total(sum);
      if (lane == 0) done(g, sum);
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
// The first bin at which the running sum, from `before` on, reaches wanted(total); the last with any weight where none does, which
// is false then. Sets s.digit and the sum before it, s.taken.
template <class Wanted>
__device__ bool find_bin(TruncateShared& s, unsigned long long before, Wanted wanted) {
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
  const bool reached = s.first < kBins;
  const int found = reached ? s.first : s.last;
  if (found / 2 == int(threadIdx.x)) s.digit = uint32_t(found), s.taken = found % 2 ? at + a : at;
  __syncthreads();
  return reached;
}

struct Cut {
  uint32_t key;                       // entries with a smaller key stay, those with a larger go
  unsigned long long before, wanted;  // the weight of those with a smaller key, and what was to be reached
  int64_t ties;                       // entries with this key
  bool there;                         // whether it lies in what was read
};

// The key at which the running sum of weight, largest entries first, reaches wanted(sum of all), among entries whose key is
// at most `most` and whose x is at least `least`, below which it does not lie. Leaves in s.segments the sums of the entries in
// the steps above the cut's, and the cut's own in s.list, s.listed of them or, with more than kListed, not all.
template <bool kMass, class Wanted>
__device__ Cut find_cut(const RowLogits& row, uint32_t most, float least, Wanted wanted, TruncateShared& s) {
  const auto weight_of = [](float x) { return kMass ? mass_of(x) : 1u; };
  const float largest = -__uint_as_float(most);
  clear_bins(s);
  const auto nothing = [](int, double) {};
  row.each(
      row.lowest(fmaxf(fmaxf(largest, least), end_of(row.last_step))),
      [&](int, float x) {
        if (const int step = step_of(x); step <= row.last_step && x >= largest)
          add_to_bin(s, step, weight_of(x));
        return 0.0f;
      },
      nothing);
  Cut cut = {};
  cut.there = find_bin(s, 0, [&](unsigned long long total) { return cut.wanted = wanted(total); });
  if (!cut.there && row.pieces_read >= 0) return cut;
  const int step = int(s.digit);
  cut.before = s.taken;
  if (threadIdx.x == 0) s.listed = 0;
  __syncthreads();
  const float low = row.lowest(fmaxf(fmaxf(largest, least), end_of(step))), end = end_of(step),
              begin = end_of(step - 1);
  row.each(
      low,
      [&](int place, float x) {
        if (x > begin) return row.kept(x);
        if (x > end && x >= largest)
          if (const uint32_t at = atomicAdd(&s.listed, 1u); at < kListed)
            s.list[at] = key_of(x), s.places[at] = uint32_t(place);
        return 0.0f;
      },
      [&](int g, double sum) { s.segments[g] = static_cast<unsigned long long>(sum * kSegmentUnit); });
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
      row.each(
          low,
          [&](int, float x) {
            if (x > end && x <= begin && x >= largest) f(key_of(x));
            return 0.0f;
          },
          nothing);
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

// The pieces, neighbours a thread; its first ones are read from memory once.
struct Pieces {
  const SamplerPiece* all;
  float2* kept;
  int begin, end;
  __device__ Pieces(const SamplerPiece* of_row, int count, float2* place)
      : all(of_row), kept(place + threadIdx.x) {
    const int run = (count + kWide - 1) / kWide;
    begin = min(int(threadIdx.x) * run, count), end = min(begin + run, count);
    for (int i = begin; i < min(end, begin + kKept / kWide); ++i) kept[(i - begin) * kWide] = load(i);
  }
  __device__ __forceinline__ float2 load(int i) const {
    const int4 raw = __ldcg(reinterpret_cast<const int4*>(all + i));
    return {__int_as_float(raw.x), __int_as_float(raw.y)};
  }
  // f(piece, its maximum, its sum relative to that)
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    for (int i = begin; i < end; ++i) {
      const float2 piece = i - begin < kKept / kWide ? kept[(i - begin) * kWide] : load(i);
      f(i, piece.x, piece.y);
    }
  }
};
__device__ __forceinline__ int step_of_piece(const RowLogits& row, float top) {
  const float x = scaled(top, row.top, row.inverse_temperature);
  return x == kMinusInf ? kBins - 1 : step_of(x);
}
__device__ __forceinline__ float mass_of_piece(const RowLogits& row, float top, float sum) {
  const float x = scaled(top, row.top, row.inverse_temperature);
  return x == kMinusInf ? 0.0f : __expf(x) * sum;
}
// From here on only the pieces are read whose maxima lie in the steps up to this one; all logits where that is not much less.
__device__ void read_pieces(RowLogits& row, const Pieces& pieces, int count, int last_step,
                            TruncateShared& s) {
  if (last_step == kBins - 1) return;
  long long mine = 0, total;
  pieces.each([&](int, float top, float) { mine += step_of_piece(row, top) <= last_step; });
  auto at = block_prefix<long long, kWide>(mine, reinterpret_cast<long long*>(s.scratch), total);
  if (total > kMostRead || 2 * total > count) return;
  pieces.each([&](int i, float top, float) {
    if (step_of_piece(row, top) <= last_step) s.read[at++] = uint16_t(i);
  });
  row.pieces_read = int(total), row.last_step = last_step;
  __syncthreads();
}
// The first step by which the pieces have wanted(all) of their weight, 1 each or their mass.
template <bool kMass, class Wanted>
__device__ int step_of_pieces(const RowLogits& row, const Pieces& pieces, Wanted wanted, TruncateShared& s) {
  clear_bins(s);
  pieces.each([&](int, float top, float sum) {
    add_to_bin(s, step_of_piece(row, top),
               kMass ? uint32_t(mass_of_piece(row, top, sum) * float(kPieceUnit)) + 1 : 1);
  });
  find_bin(s, 0, wanted);
  return int(s.digit);
}
__device__ __forceinline__ void read_all(RowLogits& row) {
  row.pieces_read = -1, row.last_step = kBins - 1;
}

// The place of the keep-th entry with this key, in the order of ids.
__device__ int last_tie(const RowLogits& row, uint32_t key, int64_t keep, TruncateShared& s) {
  const int length = row.segment_length(), all = row.segments() * length, run = (all + kWide - 1) / kWide,
            begin = int(threadIdx.x) * run, end = min(begin + run, all);
  const auto is_tie = [&](int place) {
    const int id = row.begin_of(place / length) + place % length;
    const float x = id < int(row.vocab) ? row.at(id) : kMinusInf;
    return x != kMinusInf && key_of(x) == key;
  };
  long long mine = 0, total;
  for (int i = begin; i < end; ++i) mine += is_tie(i);
  long long rank = block_prefix<long long, kWide>(mine, reinterpret_cast<long long*>(s.scratch), total);
  if (rank < keep && rank + mine >= keep)
    for (int i = begin; i < end; ++i)
      if (is_tie(i) && ++rank == keep) s.crossing = i;
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
  const Pieces mine(p.pieces + int64_t(row_index) * pieces, pieces, s.pieces);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float top = kMinusInf;
  mine.each([&](int, float t, float) { top = fmaxf(top, t); });
  top = warp_max(top);
  float* warp_tops = reinterpret_cast<float*>(s.scratch);
  if (lane == 0) warp_tops[warp] = top;
  __syncthreads();
  top = warp_max(warp_tops[lane]);  // as many as lanes
  __syncthreads();
  if (top == kMinusInf) {
    if (threadIdx.x == 0) deliver(p, row_index, row, -1, 0);
    return;
  }
  RowLogits logits = {p.logits + row_index * p.stride, p.vocab, top,   row.inverse_temperature,
                      fminf(row.min_p, 1.0f),          p.piece, s.read};
  bool summed = false;  // s.segments and s.list are those of the last cut
  // top-k: ties with the k-th stay
  uint32_t most = kAll;
  if (row.top_k > 0 && row.top_k < p.vocab) {
    const auto wanted = [&](unsigned long long) { return static_cast<unsigned long long>(row.top_k); };
    if (row.top_k <= pieces)  // so many maxima are so many entries
      read_pieces(logits, mine, pieces, step_of_pieces<false>(logits, mine, wanted, s), s);
    most = find_cut<false>(logits, most, kMinusInf, wanted, s).key;
    summed = s.listed <= kListed;
  }
  // top-p, on what top-k left: of the entries at the cut, the lowest ids
  int last_place = INT_MAX;
  if (row.top_p < 1) {
    double whole = 0;  // the mass of all, where not all of it is added up in find_cut()
    float least = kNoMass;
    if (most == kAll) {
      mine.each([&](int, float t, float sum) { whole += mass_of_piece(logits, t, sum); });
      whole = block_sum<double, kWide>(whole, s.double_scratch);
      // as many entries as there are, each less than this, have less than top-p leaves out
      least = fmaxf(least, logf(0.9f * (1 - row.top_p) * float(whole) / float(p.vocab)));
      const auto nearly = [&](unsigned long long sum) {
        return sum - static_cast<unsigned long long>((1 - double(row.top_p)) / 2 * double(sum));
      };
      read_pieces(logits, mine, pieces, step_of_pieces<true>(logits, mine, nearly, s), s);
    }
    const auto wanted = [&](unsigned long long of_read) {
      const bool parts = logits.pieces_read >= 0 || least > kNoMass;
      return static_cast<unsigned long long>(double(row.top_p) *
                                             (most == kAll && parts ? whole * kUnit : double(of_read)));
    };
    Cut cut = {};
    while (!(cut = find_cut<true>(logits, most, least, wanted, s)).there && logits.pieces_read >= 0)
      read_all(logits);
    const unsigned long long each = mass_of(-__uint_as_float(cut.key));
    int64_t keep = each == 0                  ? INT64_MAX
                   : cut.wanted <= cut.before ? 1
                                              : int64_t((cut.wanted - cut.before + each - 1) / each);
    if (keep < 1) keep = 1;
    most = cut.key;
    summed = s.listed <= kListed;
    if (keep < cut.ties) last_place = last_tie(logits, most, keep, s);
  }
  if (logits.min_p > 0 && most == kAll)
    read_pieces(logits, mine, pieces, step_of(logf(logits.min_p) - 0.01f), s);
  const float least = -__uint_as_float(most), low = logits.lowest(least);
  const auto weight_of = [&](int place, float x) {  // of what is left, else 0
    return x < least || (x == least && place > last_place) ? 0.0f : logits.kept(x);
  };
  const int length = logits.segment_length(), segments = logits.segments();
  if (summed) {
    for (uint32_t i = threadIdx.x; i < s.listed; i += kWide)
      if (const int place = int(s.places[i]); s.list[i] < most || (s.list[i] == most && place <= last_place))
        atomicAdd(&s.segments[place / length],
                  static_cast<unsigned long long>(logits.kept(-__uint_as_float(s.list[i])) * kSegmentUnit));
  } else {
    logits.each(low, weight_of, [&](int g, double sum) {
      s.segments[g] = static_cast<unsigned long long>(sum * kSegmentUnit);
    });
  }
  __syncthreads();
  const int pair = 2 * int(threadIdx.x);
  const unsigned long long a = pair < segments ? s.segments[pair] : 0,
                           b = pair + 1 < segments ? s.segments[pair + 1] : 0;
  unsigned long long total;
  const auto before = block_prefix<unsigned long long, kWide>(a + b, s.scratch, total);
  const double target = row.uniform * double(total);
  if (threadIdx.x == 0) s.first = kMostSegments, s.last = 0;
  __syncthreads();
  if (a > 0 && double(before + a) > target)
    atomicMin(&s.first, pair);
  else if (b > 0 && double(before + a + b) > target)
    atomicMin(&s.first, pair + 1);
  if (b > 0)
    atomicMax(&s.last, pair + 1);
  else if (a > 0)
    atomicMax(&s.last, pair);
  __syncthreads();
  const int segment = s.first < kMostSegments ? s.first : s.last;  // rounding at the very end of the line
  if (segment / 2 == int(threadIdx.x)) s.taken = segment % 2 ? before + a : before;
  __syncthreads();
  if (warp != 0) return;
  // The segment, neighbours a lane. The first whose running sum passes the target, else the last that has any weight.
  const int run = length / 32, first = logits.begin_of(segment);
  const auto weight_at = [&](int i) {
    const float x = first + i < int(p.vocab) ? logits.at(first + i) : kMinusInf;
    return x == kMinusInf ? 0.0f : weight_of(segment * length + i, x);
  };
  double sum = 0;
  int last = -1;
#pragma unroll 4
  for (int i = lane * run; i < lane * run + run; ++i) {
    const float e = weight_at(i);
    sum += e;
    if (e > 0) last = first + i;
  }
  double running = double(s.taken) / kSegmentUnit + (warp_prefix(sum) - sum);
  const double point = target / kSegmentUnit;
  int crossing = INT_MAX;
  for (int i = lane * run; i < lane * run + run && crossing == INT_MAX; ++i) {
    const float e = weight_at(i);
    running += e;
    if (e > 0 && running > point) crossing = first + i;
  }
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) {
    crossing = min(crossing, __shfl_xor_sync(0xffffffffu, crossing, o));
    last = max(last, __shfl_xor_sync(0xffffffffu, last, o));
  }
  if (lane == 0) {
    const int token = crossing != INT_MAX ? crossing : last;
    deliver(p, row_index, row, token, float(logits.at(token) - log(double(total) / kSegmentUnit)));
  }
}

}  // namespace

void truncate_rows(const SamplerParams& p, int pieces, cudaStream_t stream, bool early) {
  allow_shared_memory<truncate_kernel>(sizeof(TruncateShared));
  launch(truncate_kernel, unsigned(p.count), kWide, sizeof(TruncateShared), stream, early, p, pieces);
}

}  // namespace cohort::cuda
