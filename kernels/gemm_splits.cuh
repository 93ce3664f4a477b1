// One of two ways in which the sums of a cluster's blocks, which have a part of a product's k each, come together: each block
// finishes some of the tile's columns, in units, and the others write theirs of these into its shared memory, 16 bytes a lane,
// counted by a barrier there. So a sum travels once and nobody waits for a reader; the other way (Epilogue::finish) needs no
// room of its own.
#pragma once

#include "kernels/hopper.cuh"
#include "kernels/hopper_gemm.h"

namespace cohort::cuda {

// kColumnsOfTile columns in units of kColumnsOfUnit, which have kFragments fragments: four sums of each lane of a warp.
template <int kColumnsOfTile, int kColumnsOfUnit, int kFragments>
struct SplitSums {
  static constexpr int kColumns = kColumnsOfTile, kUnit = kColumnsOfUnit, kUnits = kColumns / kUnit;
  static constexpr int kBytesOfUnit = kFragments * 512;
  // Those of a block, the last ones may have fewer.
  __host__ __device__ static constexpr int units(int splits) { return (kUnits + splits - 1) / splits; }
  // What a block needs for them.
  __host__ __device__ static constexpr int bytes(int splits) {
    return splits > 1 ? splits * units(splits) * kBytesOfUnit : 0;
  }
  __host__ __device__ static constexpr int most_bytes() {
    int most = 0;
    for (int splits = 2; splits <= kMostGemmSplits; ++splits)
      if (bytes(splits) > most) most = bytes(splits);
    return most;
  }

  const int splits, rank;
  const uint32_t place, arrived;  // in shared memory: bytes(splits) of them and a barrier of count 1
  const int each = units(splits), mine = max(0, min(each, kUnits - rank * each));

  // By one thread, before the cluster meets.
  __device__ __forceinline__ void expect() const {
    barrier_init(arrived, 1);
    barrier_expect(arrived, splits * mine * kBytesOfUnit);
  }
  __device__ __forceinline__ void push(int unit, int fragment, const float* four) const {
    const int owner = unit / each, slot = rank * each + unit - owner * each;
    const uint32_t to = place + (slot * kFragments + fragment) * 512 + threadIdx.x % 32 * 16;
    store_peer(peer_address(to, owner), four, peer_address(arrived, owner));
  }
  __device__ __forceinline__ void wait() const {
    if (mine > 0) barrier_wait(arrived, 0);
  }
  // In the splits' order, four of them under way at once.
  __device__ __forceinline__ void sum(int my_unit, int fragment, float* four) const {
    four[0] = four[1] = four[2] = four[3] = 0;
#pragma unroll
    for (int first = 0; first < kMostGemmSplits; first += 4) {
      float4 part[4];
#pragma unroll
      for (int s = 0; s < 4; ++s)
        part[s] = first + s < splits
                      ? load_shared(place + (((first + s) * each + my_unit) * kFragments + fragment) * 512 +
                                    threadIdx.x % 32 * 16)
                      : float4{};
#pragma unroll
      for (int s = 0; s < 4; ++s)
        four[0] += part[s].x, four[1] += part[s].y, four[2] += part[s].z, four[3] += part[s].w;
    }
  }
};

}  // namespace cohort::cuda
