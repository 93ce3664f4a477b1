// The products whose wide side is x: two warpgroups multiply 64 or 128 rows of x each by 128 to 160 rows of w, with up to 160
// sums a thread in registers that a third warpgroup, which only keeps the ring filled, has given away.
//
// Many rows need large tiles: at the full rate of the products one of 128 by 128 asks for 160 bytes of shared memory a cycle,
// operands and copies together, 256 by 144 for 137; there are 128. How many rows of w a tile has is chosen so that the tiles of
// a shape fill the chip once or twice. Where k is not split, a block takes one tile after the other while the next one's first
// steps are fetched, and results leave straight from the registers.
#include <algorithm>
#include <type_traits>

#include "kernels/gemm_epilogue.cuh"
#include "kernels/hopper_gemm_wide.h"

namespace cohort::cuda {
namespace {

constexpr int kMultiply = 256, kThreads = kMultiply + 128, kScaleWarps = 2;
constexpr int kFewRegisters = 56, kManyRegisters = 224;  // 65,536 for all threads

template <int kInputs, int kWeights, int kStages>
struct Ring {
  static constexpr int kInputBytes = kInputs * kGemmStep * 2, kWeightBytes = kWeights * kGemmStep * 2;
  static constexpr int kStage = kInputBytes + kWeightBytes;
  static constexpr int kBytes = kStages * kStage + 1024;  // tiles begin at multiples of 1024
};

// Four neighbouring lanes have words 0 to 3 of four runs each; the lane's own run of four.
__device__ __forceinline__ uint4 own_run(const uint32_t (&word)[4], int quarter) {
  const bool odd = quarter & 1, high = quarter & 2;
  const uint32_t a = __shfl_xor_sync(0xffffffffu, odd ? word[0] : word[1], 1),
                 b = __shfl_xor_sync(0xffffffffu, odd ? word[2] : word[3], 1);
  const uint2 low_pair = odd ? uint2{a, word[1]} : uint2{word[0], a},
              high_pair = odd ? uint2{b, word[3]} : uint2{word[2], b};
  const uint32_t c = __shfl_xor_sync(0xffffffffu, high ? low_pair.x : high_pair.x, 2),
                 d = __shfl_xor_sync(0xffffffffu, high ? low_pair.y : high_pair.y, 2);
  return high ? uint4{c, d, high_pair.x, high_pair.y} : uint4{low_pair.x, low_pair.y, c, d};
}

// Straight from the sums of 64 rows of x, of which a thread has two: `first` and 8 on, of the block's.
template <int kWeights>
__device__ __forceinline__ void put_swiglu(const HopperGemmParams& p, const float (&d)[kWeights / 2],
                                           int column0, int first, int row0, const float* scales) {
  constexpr int kRuns = kWeights / 16;  // of eight results
  const int quarter = threadIdx.x % 4, runs = (p.n - row0) / 16;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int column = first + 8 * r;
    const bool inside = column0 + column < p.m;
    const float scale = scales[column];
    bf16* to = static_cast<bf16*>(p.out) + int64_t(column0 + column) * (p.n / 2) + row0 / 2;
    const auto word = [&](int run) {
      float h[2];
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float gate = d[8 * run + 2 * r + c] * scale, up = d[8 * run + 4 + 2 * r + c] * scale;
        h[c] = __fdividef(gate, 1.0f + __expf(-gate)) * up;
      }
      return pack(h[0], h[1]);
    };
#pragma unroll
    for (int run = 0; run < kRuns; run += 4) {
      if (run + 4 <= kRuns) {
        const uint32_t words[4] = {word(run), word(run + 1), word(run + 2), word(run + 3)};
        const uint4 own = own_run(words, quarter);
        if (inside && run + quarter < runs) *reinterpret_cast<uint4*>(to + (run + quarter) * 8) = own;
      } else {
#pragma unroll
        for (int i = run; i < kRuns; ++i)
          if (const uint32_t w = word(i); inside && i < runs)
            *reinterpret_cast<uint32_t*>(to + i * 8 + quarter * 2) = w;
      }
    }
  }
}

// How the two rows of a thread are sampled.
struct Wanted {
  float inverse_temperature[2];
  bool wanted[2], greedy[2];
  __device__ __forceinline__ void load(const HopperGemmParams& p, int row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Row* at = p.pieces && row + 8 * r < p.m ? p.rows + row + 8 * r : nullptr;
      wanted[r] = at && at->slot >= 0 && at->sample;
      greedy[r] = wanted[r] && at->greedy;
      inverse_temperature[r] = wanted[r] && !greedy[r] ? at->inverse_temperature : 1;
    }
  }
};

template <int kWeights>
__device__ __forceinline__ void put_logits(const HopperGemmParams& p, const float (&d)[kWeights / 2],
                                           int column0, int first, int row0, const float* scales) {
  const int quarter = threadIdx.x % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int column = first + 8 * r;
    if (column0 + column >= p.m) continue;
    const float scale = scales[column];
    float* to = static_cast<float*>(p.out) + int64_t(column0 + column) * p.stride;
#pragma unroll
    for (int j = 0; j < kWeights / 8; ++j) {
      const int n = row0 + j * 8 + quarter * 2;
      const float a = d[4 * j + 2 * r] * scale, b = d[4 * j + 2 * r + 1] * scale;
      if (n + 1 < p.n)
        *reinterpret_cast<float2*>(to + n) = float2{a, b};
      else if (n < p.n)
        to[n] = a;
    }
  }
}

// See kernels/sampler.h: pieces of 64 logits, of which four neighbouring lanes have 16 each.
template <int kWeights>
__device__ __forceinline__ void put_pieces(const HopperGemmParams& p, const float (&d)[kWeights / 2],
                                           int column0, int first, int row0, const float* scales,
                                           const Wanted& rows) {
  constexpr int kPieces = kWeights / 64;
  const int quarter = threadIdx.x % 4, pieces = (p.n + 63) / 64;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int column = first + 8 * r;
    const bool wanted = rows.wanted[r], greedy = rows.greedy[r];
    if (!__any_sync(0xffffffffu, wanted)) continue;
    const float scale = scales[column], inverse_temperature = rows.inverse_temperature[r];
#pragma unroll
    for (int q = 0; q < kPieces; ++q) {
      const int left = p.n - row0 - q * 64;  // rows of w that there are, from here on
      if (left <= 0) break;
      const auto at = [&](int i) { return d[32 * q + i / 2 * 4 + 2 * r + i % 2]; };  // of 16
      const auto quad_max = [](float v) {
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
        return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
      };
      const auto quad_sum = [](float v) {
        v += __shfl_xor_sync(0xffffffffu, v, 1);
        return v + __shfl_xor_sync(0xffffffffu, v, 2);
      };
      float tops[4] = {at(0), at(1), at(2), at(3)}, sums[4] = {};
#pragma unroll
      for (int i = 4; i < 16; ++i) tops[i % 4] = fmaxf(tops[i % 4], at(i));
      float top = quad_max(fmaxf(fmaxf(tops[0], tops[1]), fmaxf(tops[2], tops[3])));
      const float factor = scale * inverse_temperature * 1.4426950408889634f, shift = top * factor;
#pragma unroll
      for (int i = 0; i < 16; ++i) sums[i % 4] += power_of_2(at(i) * factor - shift);
      float sum = quad_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
      top *= scale;
      int best = 0x7fffffff;
      // At the end of w, with infinities or NaN among the logits (the sum is NaN), or where the arg max is wanted.
      const bool slow = !(left >= 64 && sum >= 0) || greedy;
      if (__any_sync(0xffffffffu, slow)) {
        const auto logit = [&](int i) {
          return i / 2 * 8 + quarter * 2 + i % 2 < left ? settled(at(i) * scale) : kMinusInf;
        };
        float highest = kMinusInf, total = 0;
        int id = 0x7fffffff;
#pragma unroll
        for (int i = 0; i < 16; ++i)
          if (logit(i) > highest) highest = logit(i), id = row0 + q * 64 + i / 2 * 8 + quarter * 2 + i % 2;
#pragma unroll
        for (int o = 1; o < 4; o <<= 1) {
          const float other = __shfl_xor_sync(0xffffffffu, highest, o);
          const int its = __shfl_xor_sync(0xffffffffu, id, o);
          if (other > highest || (other == highest && its < id)) highest = other, id = its;
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          const float l = logit(i);
          total += l == kMinusInf   ? 0.0f
                   : isinf(highest) ? float(l == highest)
                                    : __expf((l - highest) * inverse_temperature);
        }
        total = quad_sum(total);
        if (slow) top = highest, sum = total, best = id;
      }
      if (wanted && quarter == q)
        p.pieces[int64_t(column0 + column) * pieces + row0 / 64 + q] = {top, sum, best, 0};
    }
  }
}

template <int kInputs, int kWeights, int kStages, GemmOut kOut>
__global__ void __launch_bounds__(kThreads, 1)
    wide_gemm_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap inputs,
                     const __grid_constant__ HopperGemmParams p, const int k_split, const int tiles) {
  using R = Ring<kInputs, kWeights, kStages>;
  constexpr bool kTogether = kOut == GemmOut::rows || kOut == GemmOut::residual;  // with the other splits
  constexpr int kPitch = kWeights + 8;  // floats: four rows of eight columns are in different banks
  using E = Epilogue<kMultiply, kWeights, kInputs, kOut, kPitch, kScaleWarps>;
  static_assert(!kTogether || E::kBytes <= kStages * R::kStage);
  static_assert(R::kBytes <= 227 * 1024 - 2048);
  extern __shared__ unsigned char raw[];
  __shared__ __align__(8) uint64_t barriers[2 * kStages];
  __shared__ float scales[kInputs];
  const uint32_t ring = (shared_address(raw) + 1023) & ~1023u;
  const auto full = [&](int s) { return shared_address(barriers + s); };
  const auto empty = [&](int s) { return shared_address(barriers + kStages + s); };
  const int column0 = blockIdx.x * kInputs, k0 = int(blockIdx.z) * k_split,
            steps = (min(p.k, k0 + k_split) - k0 + kGemmStep - 1) / kGemmStep;
  const int begin = blockIdx.y, stride = gridDim.y, mine = (tiles - begin + stride - 1) / stride;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  if (threadIdx.x == kMultiply) {
    for (int s = 0; s < kStages; ++s) barrier_init(full(s), 1), barrier_init(empty(s), kMultiply / 32);
    barrier_init_done();
  }
  __syncthreads();

  if (warp >= kMultiply / 32) {
    fewer_registers<kFewRegisters>();
    if (warp == kMultiply / 32 && lane == 0) {
      const auto fetch_weights = [&](int s, int i) {
        barrier_expect(full(s), R::kStage);
        const uint32_t to = ring + s * R::kStage + R::kInputBytes;
        const int k = k0 + i % steps * kGemmStep, row0 = (begin + i / steps * stride) * kWeights;
        if constexpr (kOut == GemmOut::swiglu)
          copy_pairs(to, &weights, full(s), k, row0);
        else
          copy_tile(to, &weights, full(s), k, row0);
      };
      const auto fetch_inputs = [&](int s, int i) {
        const int k = k0 + i % steps * kGemmStep;
        copy_tile(ring + s * R::kStage, &inputs, full(s), k, column0);
      };
      const int all = mine * steps, ahead = min(all, kStages);
      for (int i = 0; i < ahead; ++i) fetch_weights(i, i);
      fetch_map(&inputs);
      dependency_wait();
      dependents_launch();
      for (int i = 0; i < ahead; ++i) fetch_inputs(i, i);
      int s = 0, parity = 0;
      for (int i = ahead; i < all; ++i) {
        barrier_wait(empty(s), parity);
        fetch_weights(s, i);
        fetch_inputs(s, i);
        if (++s == kStages) s = 0, parity ^= 1;
      }
    } else if (warp > kMultiply / 32 && warp <= kMultiply / 32 + kScaleWarps) {
      dependency_wait();
      E::make_scales(p, column0, scales, warp - kMultiply / 32 - 1);
    }
    __syncwarp();
    if (kTogether && p.splits > 1) cluster_barrier(), cluster_barrier();  // those of Epilogue::finish
  } else {
    more_registers<kManyRegisters>();
    constexpr int kHalves = kInputs / 128;
    const int group = warp / 4, first = group * kHalves * 64 + warp % 4 * 16 + lane / 4;  // row of x
    E epilogue{p, begin * kWeights, column0};
    if constexpr (kTogether) epilogue.fetch_weights();
    dependency_wait();
    if constexpr (kTogether) epilogue.fetch_inputs();
    Wanted rows[kHalves];
    if constexpr (kOut == GemmOut::logits)
#pragma unroll
      for (int h = 0; h < kHalves; ++h) rows[h].load(p, column0 + first + h * 64);
    float d[kHalves][kWeights / 2];
    int s = 0, parity = 0;
    const auto release = [&](int stage) {
      if (lane == 0) barrier_arrive(empty(stage));
    };
    for (int i = 0; i < mine; ++i) {
      int before = 0;
      for (int step = 0; step < steps; ++step) {
        barrier_wait(full(s), parity);
        const uint64_t a = tile_descriptor(ring + s * R::kStage + group * kHalves * 64 * kGemmStep * 2);
        const uint64_t b = tile_descriptor(ring + s * R::kStage + R::kInputBytes);
        multiply_begin();
#pragma unroll
        for (int k = 0; k < kGemmStep / 16; ++k)
#pragma unroll
          for (int h = 0; h < kHalves; ++h)
            Multiply<kWeights>::run(d[h], a + (64 * kGemmStep * 2 >> 4) * h + 2 * k, b + 2 * k,
                                    step > 0 || k > 0);
        multiply_commit();
        if (step > 0) {  // the tiles of the step before are free once its products are done
          multiply_wait<1>();
          release(before);
        }
        before = s;
        if (++s == kStages) s = 0, parity ^= 1;
      }
      multiply_wait<0>();
      if (!kTogether) release(before);
      if (i == 0) E::barrier_with_scales();  // also: nobody multiplies what lies in the ring
      const int row0 = (begin + i * stride) * kWeights;
      if constexpr (kTogether) {
        float* tile = reinterpret_cast<float*>(raw + (ring - shared_address(raw)));
#pragma unroll
        for (int h = 0; h < kHalves; ++h)
#pragma unroll
          for (int j = 0; j < kWeights / 8; ++j)
#pragma unroll
            for (int r = 0; r < 2; ++r)
              *reinterpret_cast<float2*>(tile + (first + h * 64 + 8 * r) * kPitch + j * 8 + lane % 4 * 2) =
                  float2{d[h][4 * j + 2 * r], d[h][4 * j + 2 * r + 1]};
        epilogue.finish(tile, scales);
      } else {
#pragma unroll
        for (int h = 0; h < kHalves; ++h)
          if constexpr (kOut == GemmOut::swiglu) {
            put_swiglu<kWeights>(p, d[h], column0, first + h * 64, row0, scales);
          } else {
            if (p.out) put_logits<kWeights>(p, d[h], column0, first + h * 64, row0, scales);
            if (p.pieces) put_pieces<kWeights>(p, d[h], column0, first + h * 64, row0, scales, rows[h]);
          }
      }
    }
  }
}

template <int kInputs, int kWeights, int kStages, GemmOut kOut>
void run(const HopperGemmParams& p, cudaStream_t stream, bool early) {
  constexpr int bytes = Ring<kInputs, kWeights, kStages>::kBytes;
  auto kernel = wide_gemm_kernel<kInputs, kWeights, kStages, kOut>;
  allow_shared_memory<wide_gemm_kernel<kInputs, kWeights, kStages, kOut>>(bytes);
  const int columns = (p.m + kInputs - 1) / kInputs, tiles = (p.n + kWeights - 1) / kWeights;
  int blocks = tiles;  // along y
  if (kOut == GemmOut::swiglu || kOut == GemmOut::logits)
    blocks = std::clamp(p.multiprocessors / columns, 1, tiles);
  launch_cluster(kernel, dim3(unsigned(columns), unsigned(blocks), unsigned(p.splits)), p.splits, kThreads,
                 bytes, stream, early,
                 (kOut == GemmOut::swiglu ? pair_map : tile_map)(p.w, p.n, p.k, kWeights),
                 tile_map(p.x, p.m, p.k, kInputs), p, gemm_split_length(p.k, p.splits), tiles);
}

template <int kInputs, int kWeights, int kStages, GemmOut... kOuts>
bool run_one(const HopperGemmParams& p, const HopperGemmTile& tile, cudaStream_t stream, bool early) {
  if (tile != HopperGemmTile{kWeights, kInputs, kStages, true}) return false;
  const auto of = [&](auto kind) {
    constexpr GemmOut kOut = decltype(kind)::value;
    if (p.kind != kOut) return false;
    run<kInputs, kWeights, kStages, kOut>(p, stream, early);
    return true;
  };
  return (of(std::integral_constant<GemmOut, kOuts>{}) || ...);
}

}  // namespace

bool hopper_gemm_wide(const HopperGemmParams& p, const HopperGemmTile& tile, cudaStream_t stream,
                      bool early) {
  return run_one<128, 128, 6, GemmOut::rows, GemmOut::residual>(p, tile, stream, early) ||
         run_one<128, 160, 6, GemmOut::swiglu>(p, tile, stream, early) ||
         run_one<256, 144, 4, GemmOut::swiglu>(p, tile, stream, early) ||
         run_one<256, 160, 4, GemmOut::swiglu>(p, tile, stream, early) ||
         run_one<256, 128, 4, GemmOut::logits>(p, tile, stream, early);
}

}  // namespace cohort::cuda
