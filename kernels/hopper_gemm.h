// Matrix products on Hopper's own instructions for the shapes of decoding, where reading the weights is most of the work:
// y [m][n] = x [m][k] * w [n][k]^T, bf16 in, fp32 accumulation.
//
// Two kernels. For few rows weights are the instruction's wide side (64 to 256 of their rows a block against up to 256 rows of
// x), from 128 rows on x can be (hopper_gemm_wide.cu). The copy engine
// fills a ring of tiles in shared memory and begins with the weights before the kernel that makes x has finished
// (programmatic dependent launch), so that memory stays busy across a step's many short kernels. The blocks that share a
// tile's k (splits) are a cluster and add up in each other's shared memory. Every sum runs over k in order, and which k a
// split covers depends on the weight's shape alone: a row's result does not depend on the others.
//
// RMSNorm is a factor a row and a factor a column, so no kernel of its own is needed between two products. The product before
// it (residual) leaves the sum of squares of each row, 64 columns at a time, and the row times the norm's weights; the
// product after it multiplies its sums by 1 / rms (RowScale).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/rows.h"
#include "kernels/sampler.h"

namespace cohort::cuda {

enum class GemmOut {
  rows,      // fp32 [m][n] = y / rms
  residual,  // fp32 [m][n] += y + bias, and what the norm after it needs
  swiglu,    // bf16 [m][n / 2]: silu(gate) * up, of y / rms; w has the n / 2 rows of gate, then those of up
  logits,    // fp32 [m][stride] = y / rms, and the sampler's pieces; out may be null
};
struct HopperGemmParams {
  const __nv_bfloat16* x = nullptr;  // 16-byte aligned, as all of these
  const __nv_bfloat16* w = nullptr;
  int m = 0, n = 0, k = 0;    // k a multiple of 8; n of 4 (swiglu: 16; logits: any)
  int splits = 1;             // rows and residual only, see hopper_gemm_splits()
  int multiprocessors = 132;  // blocks that take several tiles: no more than fill the chip
  void* out = nullptr;
  GemmOut kind = GemmOut::rows;
  RowScale scale;                       // all but residual
  const __nv_bfloat16* bias = nullptr;  // residual: [n] or null
  // residual: where norm is not null
  const __nv_bfloat16* norm = nullptr;  // [n]
  __nv_bfloat16* scaled = nullptr;      // [m][n] = out * norm
  float* squares = nullptr;             // [ceil(n / 64)][m]
  // logits
  int64_t stride = 0;         // a multiple of 4
  const Row* rows = nullptr;  // [m], with pieces
  // [m][ceil(n / piece)] or null, see HopperGemmTile. The arg max only for greedy rows.
  SamplerPiece* pieces = nullptr;
};
constexpr int kMostGemmSplits = 8;  // blocks of a cluster on any Hopper
// Which kernel: rows of w and of x a block takes, tiles in the ring, and which of the two is the instruction's wide side.
struct HopperGemmTile {
  int weights = 64, inputs = 64, stages = 6;
  bool wide_inputs = false;
  constexpr int piece() const { return wide_inputs ? 64 : weights; }  // logits of a SamplerPiece
  auto operator<=>(const HopperGemmTile&) const = default;
};
std::span<const HopperGemmTile> hopper_gemm_tiles(GemmOut kind);
// Without a measurement.
HopperGemmTile hopper_gemm_default(int m);
// How many splits fill the chip for a weight of this shape. None is empty.
int hopper_gemm_splits(int n, int k, int multiprocessors);
// What is worth a measurement with this tile. One where `kind` is not split.
std::vector<int> hopper_gemm_split_choices(const HopperGemmTile& tile, GemmOut kind, int m, int n, int k,
                                           int multiprocessors);

void hopper_gemm(const HopperGemmParams& p, const HopperGemmTile& tile, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
