// What the products do with a tile of sums that lies in shared memory, column after column (a column of the tile is a row of
// x): together with the other blocks of the cluster into what GemmOut asks for.
#pragma once

#include <type_traits>

#include "kernels/hopper.cuh"
#include "kernels/hopper_gemm.h"
#include "kernels/sampler_parts.cuh"

namespace cohort::cuda {

// kThreads multiply, kScaleWarps make the rows' factors.
template <int kThreads, int kRows, int kColumns, GemmOut kOut, int kPitch, int kScaleWarps = 1>
struct Epilogue {
  static constexpr int kRun = kRows / 4;           // threads that share a column, four rows each
  static constexpr int kAtOnce = kThreads / kRun;  // columns
  static_assert(kThreads % kRun == 0 || kOut == GemmOut::swiglu || kOut == GemmOut::logits);
  static constexpr int kBytes = kColumns * kPitch * 4;
  static constexpr int kMeet = kThreads + 32 * kScaleWarps;

  const HopperGemmParams& p;
  const int row0, column0;  // of w and of x
  const int thread = int(threadIdx.x), rank = int(blockIdx.z);
  // Columns that this block of the cluster finishes, from `first` on.
  const int share = (kColumns + p.splits - 1) / p.splits, first = rank * share,
            count = max(0, min(min(share, kColumns - first), p.m - column0 - first));
  const int local = thread % kRun * 4, n = row0 + local;  // this thread's four rows, of the tile and of w
  // residual
  uint2 bias = {}, norm = {};
  static constexpr int kAhead = 4;
  float4 old[kAhead] = {};  // of the next columns

  __device__ __forceinline__ static void barrier() {
    asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
  }
  // The same and the warps of make_scales(), which arrive and do not wait.
  __device__ __forceinline__ static void barrier_with_scales() {
    asm volatile("bar.sync 2, %0;" ::"n"(kMeet) : "memory");
  }
  // By warps of their own, while others multiply: the rows' 1 / rms, as row_scale(), for all columns at once.
  __device__ __forceinline__ static void make_scales(const HopperGemmParams& p, int column0, float* scales,
                                                     int scale_warp = 0) {
    constexpr int kEach = kColumns / 32 / kScaleWarps,
                  kParts = kScaleWarps > 1 ? 16 / kEach
                           : kColumns > 64 ? 8
                                           : 16;  // under way at once
    const int lane = int(threadIdx.x) % 32 + scale_warp * 32 * kEach;
    float sums[kEach] = {};
    if (kOut != GemmOut::residual && p.scale.squares)
      for (int first = 0; first < p.scale.parts; first += kParts) {
        float parts[kEach][kParts];
#pragma unroll
        for (int e = 0; e < kEach; ++e) {
          const int column = column0 + lane + 32 * e;
          const float* from = p.scale.squares + int64_t(first) * p.scale.rows + column;
#pragma unroll
          for (int i = 0; i < kParts; ++i)
            parts[e][i] = column < p.m && first + i < p.scale.parts ? __ldcg(from + i * p.scale.rows) : 0.0f;
        }
#pragma unroll
        for (int e = 0; e < kEach; ++e)
#pragma unroll
          for (int i = 0; i < kParts; ++i) sums[e] += parts[e][i];
      }
#pragma unroll
    for (int e = 0; e < kEach; ++e)
      scales[lane + 32 * e] = p.scale.squares ? rsqrtf(sums[e] / float(p.scale.width) + p.scale.eps) : 1.0f;
    asm volatile("bar.arrive 2, %0;" ::"n"(kMeet) : "memory");
  }
  __device__ __forceinline__ int column_at(int i) const {
    return first + i * kAtOnce + thread / kRun;
  }
  __device__ __forceinline__ bool mine(int column) const {
    return column - first < count && n < p.n;
  }
  // rows, residual
  __device__ __forceinline__ float4* out_at(int column) const {
    return reinterpret_cast<float4*>(static_cast<float*>(p.out) + int64_t(column0 + column) * p.n + n);
  }

  // Before dependency_wait(): weights.
  __device__ __forceinline__ void fetch_weights() {
    if constexpr (kOut == GemmOut::residual) {
      if (n >= p.n) return;
      if (p.bias) bias = *reinterpret_cast<const uint2*>(p.bias + n);
      if (p.norm) norm = *reinterpret_cast<const uint2*>(p.norm + n);
    }
  }
  // After it: what there is to add to.
  __device__ __forceinline__ void fetch_inputs() {
    if constexpr (kOut == GemmOut::residual) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (mine(column_at(i))) old[i] = *out_at(column_at(i));
    }
  }

  // By all blocks of the cluster, whose sums are in their tiles.
  __device__ __forceinline__ void finish(const float* tile, const float* scales) {
    barrier();
    if (p.splits > 1) cluster_barrier();
    if constexpr (kOut == GemmOut::rows)
      by_splits([&](auto splits) { put_rows<decltype(splits)::value>(tile, scales); });
    if constexpr (kOut == GemmOut::residual)
      by_splits([&](auto splits) { put_residual<decltype(splits)::value>(tile); });
    if constexpr (kOut == GemmOut::swiglu) put_swiglu(tile, scales);
    if constexpr (kOut == GemmOut::logits) {
      if (p.out) put_logits(tile, scales);
      if (p.pieces) put_pieces(tile, scales);
    }
    if (p.splits > 1) cluster_barrier();  // others may still read here
  }

  // Four sums each of columns `first`, `first + kAtOnce`, …, the splits (at most kSplits) in their order; all loads are under way
  // before the first is used.
  template <int kSplits, int kColumnsEach>
  __device__ __forceinline__ void sums_at(const float* tile, int first,
                                          float (&sums)[kColumnsEach][4]) const {
    float4 part[kColumnsEach][kSplits];
#pragma unroll
    for (int u = 0; u < kColumnsEach; ++u) {
      const float* at = tile + min(first + u * kAtOnce, kColumns - 1) * kPitch + local;
#pragma unroll
      for (int s = 0; s < kSplits; ++s)
        part[u][s] = kSplits == 1   ? *reinterpret_cast<const float4*>(at)
                     : s < p.splits ? load_peer(peer_address(shared_address(at), s))
                                    : float4{};
    }
#pragma unroll
    for (int u = 0; u < kColumnsEach; ++u) {
      float4 total = {};
#pragma unroll
      for (int s = 0; s < kSplits; ++s)
        total.x += part[u][s].x, total.y += part[u][s].y, total.z += part[u][s].z, total.w += part[u][s].w;
      sums[u][0] = total.x, sums[u][1] = total.y, sums[u][2] = total.z, sums[u][3] = total.w;
    }
  }
  // put(std::integral_constant<int, kSplits>) with the splits there are, or a few more.
  template <class Put>
  __device__ __forceinline__ void by_splits(Put put) const {
    if (p.splits == 1)
      put(std::integral_constant<int, 1>{});
    else if (p.splits == 2)
      put(std::integral_constant<int, 2>{});
    else if (p.splits <= 4)
      put(std::integral_constant<int, 4>{});
    else
      put(std::integral_constant<int, kMostGemmSplits>{});
  }

  template <int kSplits>
  __device__ __forceinline__ void put_rows(const float* tile, const float* scales) {
    constexpr int kEach = kSplits == 8 ? 1 : kSplits == 4 ? 2 : 4;
    for (int base = 0; base * kAtOnce < count; base += kEach) {
      float v[kEach][4];
      sums_at<kSplits>(tile, column_at(base), v);
#pragma unroll
      for (int u = 0; u < kEach; ++u) {
        const int column = column_at(base + u);
        if (!mine(column)) continue;
        const float scale = scales[column];
        *out_at(column) = float4{v[u][0] * scale, v[u][1] * scale, v[u][2] * scale, v[u][3] * scale};
      }
    }
  }

  template <int kSplits>
  __device__ __forceinline__ void put_residual(const float* tile) {
    constexpr int kEach = kSplits == 8 ? 1 : kSplits == 4 ? 2 : 4;
    static_assert(kAhead % kEach == 0);
    float b[4], weight[4];
    widen(bias, b), widen(norm, weight);
    for (int base = 0; base * kAtOnce < count; base += kAhead)
#pragma unroll
      for (int begin = 0; begin < kAhead; begin += kEach) {
        if ((base + begin) * kAtOnce >= count) break;
        float sums[kEach][4];
        sums_at<kSplits>(tile, column_at(base + begin), sums);
#pragma unroll
        for (int u = begin; u < begin + kEach; ++u) {
          const int column = column_at(base + u), later = column_at(base + u + kAhead);
          float squares = 0;
          if (mine(column)) {
            float(&v)[4] = sums[u - begin];
            const float was[4] = {old[u].x, old[u].y, old[u].z, old[u].w};
            if (mine(later)) old[u] = *out_at(later);
#pragma unroll
            for (int j = 0; j < 4; ++j) v[j] = was[j] + (v[j] + b[j]);
            *out_at(column) = float4{v[0], v[1], v[2], v[3]};
#pragma unroll
            for (int j = 0; j < 4; ++j) squares += v[j] * v[j];
            if (p.norm)
              *reinterpret_cast<uint2*>(p.scaled + int64_t(column0 + column) * p.n + n) =
                  uint2{pack(v[0] * weight[0], v[1] * weight[1]), pack(v[2] * weight[2], v[3] * weight[3])};
          }
#pragma unroll
          for (int o = 8; o > 0; o >>= 1) squares += __shfl_xor_sync(0xffffffffu, squares, o);
          if (p.norm && local % 64 == 0 && mine(column))
            p.squares[int64_t(n / 64) * p.m + column0 + column] = squares;
        }
      }
  }

  // Four results a thread: rows of gate and of up lie in runs of eight.
  __device__ __forceinline__ void put_swiglu(const float* tile, const float* scales) {
    constexpr int kResults = kRows / 2, kEach = kResults / 4;
    const int at = thread % kEach * 4, from = at / 8 * 16 + at % 8;
    if (row0 + from >= p.n) return;
#pragma unroll 4
    for (int column = thread / kEach; column < count; column += kThreads / kEach) {
      const float4 g = *reinterpret_cast<const float4*>(tile + column * kPitch + from),
                   u = *reinterpret_cast<const float4*>(tile + column * kPitch + from + 8);
      const float scale = scales[column];
      const float gate[4] = {g.x, g.y, g.z, g.w}, up[4] = {u.x, u.y, u.z, u.w};
      float h[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float x = gate[j] * scale;
        h[j] = __fdividef(x, 1.0f + __expf(-x)) * (up[j] * scale);
      }
      *reinterpret_cast<uint2*>(static_cast<bf16*>(p.out) + int64_t(column0 + column) * (p.n / 2) + row0 / 2 +
                                at) = uint2{pack(h[0], h[1]), pack(h[2], h[3])};
    }
  }

  __device__ __forceinline__ void put_logits(const float* tile, const float* scales) {
#pragma unroll 8
    for (int i = 0; i < kColumns / kAtOnce; ++i) {
      const int column = column_at(i);
      if (!mine(column)) continue;
      const float4 sum = *reinterpret_cast<const float4*>(tile + column * kPitch + local);
      float v[4] = {sum.x, sum.y, sum.z, sum.w};
      float* to = static_cast<float*>(p.out) + int64_t(column0 + column) * p.stride + n;
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] *= scales[column];
      if (n + 4 <= p.n)
        *reinterpret_cast<float4*>(to) = float4{v[0], v[1], v[2], v[3]};
      else
#pragma unroll
        for (int j = 0; j < 3; ++j)
          if (n + j < p.n) to[j] = v[j];
    }
  }

  // See kernels/sampler.h. kEach neighbouring threads have a column.
  __device__ __forceinline__ void put_pieces(const float* tile, const float* scales) {
    constexpr int kEach = kThreads / kColumns, kPart = kRows / kEach;
    static_assert(kThreads % kColumns == 0);
    const int column = thread / kEach, part = thread % kEach * kPart, m = column0 + column;
    const bool inside = m < p.m;
    const Row* row = inside ? p.rows + m : nullptr;
    const bool wanted = inside && row->slot >= 0 && row->sample;
    if (!__any_sync(0xffffffffu, wanted)) return;
    const float scale = wanted ? scales[column] : 1,
                inverse_temperature = wanted && !row->greedy ? row->inverse_temperature : 1;
    const float* from = tile + column * kPitch + part;
    const int left = p.n - row0 - part;  // rows of w that there are, from here on
    float top, sum = 0;
    int best = 0x7fffffff;
    if (left >= kPart) {
      // Four sums and maxima that do not wait for each other.
      float tops[4] = {kMinusInf, kMinusInf, kMinusInf, kMinusInf}, sums[4] = {};
#pragma unroll 8
      for (int i = 0; i < kPart; i += 4) {
        const float4 v = *reinterpret_cast<const float4*>(from + i);
        tops[0] = fmaxf(tops[0], v.x), tops[1] = fmaxf(tops[1], v.y), tops[2] = fmaxf(tops[2], v.z),
        tops[3] = fmaxf(tops[3], v.w);
      }
      top = fmaxf(fmaxf(tops[0], tops[1]), fmaxf(tops[2], tops[3]));
      const float factor = scale * inverse_temperature * 1.4426950408889634f, shift = top * factor;
#pragma unroll 8
      for (int i = 0; i < kPart; i += 4) {
        const float4 v = *reinterpret_cast<const float4*>(from + i);
        sums[0] += power_of_2(v.x * factor - shift), sums[1] += power_of_2(v.y * factor - shift);
        sums[2] += power_of_2(v.z * factor - shift), sums[3] += power_of_2(v.w * factor - shift);
      }
      sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      top *= scale;
    }
    // At the end of w, with infinities or NaN among the logits (the sum is NaN), or where the arg max is wanted.
    if (!(left >= kPart && sum >= 0) || (wanted && row->greedy)) {
      top = kMinusInf, sum = 0;
      for (int i = 0; i < min(kPart, left); ++i) {
        const float l = settled(from[i] * scale);
        if (l > top) top = l, best = row0 + part + i;
      }
      for (int i = 0; i < min(kPart, left) && top != kMinusInf; ++i) {
        const float l = settled(from[i] * scale);
        sum += isinf(top) ? float(l == top) : __expf((l - top) * inverse_temperature);
      }
    }
#pragma unroll
    for (int o = 1; o < kEach; o <<= 1) {
      const float other = __shfl_xor_sync(0xffffffffu, top, o),
                  other_sum = __shfl_xor_sync(0xffffffffu, sum, o);
      const int id = __shfl_xor_sync(0xffffffffu, best, o);
      const float higher = fmaxf(top, other);
      const auto mass = [&](float t, float s) {
        return t == higher                       ? s
               : t == kMinusInf || isinf(higher) ? 0.0f
                                                 : s * __expf((t - higher) * inverse_temperature);
      };
      sum = mass(top, sum) + mass(other, other_sum);  // of two: their order makes no difference
      best = top == other ? min(best, id) : top > other ? best : id;
      top = higher;
    }
    if (wanted && part == 0) p.pieces[int64_t(m) * gridDim.y + blockIdx.y] = {top, sum, best, 0};
  }
};

}  // namespace cohort::cuda
