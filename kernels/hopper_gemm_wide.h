// The part of hopper_gemm.h in which x is the wide side of the matrix instruction; for hopper_gemm.cu alone.
#pragma once

#include <array>

#include "kernels/hopper_gemm.h"

namespace cohort::cuda {

constexpr int kGemmStep = 64;  // of k: one swizzled row of 128 bytes
constexpr int gemm_split_length(int k, int splits) {
  const int steps = (k + kGemmStep - 1) / kGemmStep;
  return (steps + splits - 1) / splits * kGemmStep;
}

constexpr std::array<HopperGemmTile, 1> kWideRowTiles = {{{128, 128, 6, true}}};
constexpr std::array<HopperGemmTile, 3> kWideSwigluTiles = {
    {{160, 128, 6, true}, {144, 256, 4, true}, {160, 256, 4, true}}};
constexpr std::array<HopperGemmTile, 1> kWideLogitTiles = {{{128, 256, 4, true}}};

// False: no such tile.
bool hopper_gemm_wide(const HopperGemmParams& p, const HopperGemmTile& tile, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
