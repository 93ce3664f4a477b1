#include <algorithm>
#include <array>

#include "kernels/gemm_epilogue.cuh"
#include "kernels/hopper_gemm_wide.h"

namespace cohort::cuda {
namespace {

constexpr int kStep = kGemmStep;

template <int kGroups, int kColumns, int kStages>
struct Ring {
  static constexpr int kWeights = kGroups * 64 * kStep * 2, kInputs = kColumns * kStep * 2;
  static constexpr int kStage = kWeights + kInputs;
  static constexpr int kBytes = kStages * kStage + 1024;  // tiles begin at multiples of 1024
};

// kGroups warpgroups multiply, 64 rows of weights each; one warp keeps the ring filled, one makes the rows' factors.
template <int kGroups, int kColumns, int kStages, GemmOut kOut>
__global__ void __launch_bounds__(kGroups * 128 + 64)
    hopper_gemm_kernel(const __grid_constant__ CUtensorMap weights,
                       const __grid_constant__ CUtensorMap inputs, const __grid_constant__ HopperGemmParams p,
                       const int k_split) {
  using R = Ring<kGroups, kColumns, kStages>;
  // The pitch: a warp's eight rows of four columns are in different banks.
  using E = Epilogue<kGroups * 128, kGroups * 64, kColumns, kOut, kGroups * 64 + 4>;
  static_assert(E::kBytes <= kStages * R::kStage);
  extern __shared__ unsigned char raw[];
  __shared__ __align__(8) uint64_t barriers[2 * kStages];
  __shared__ float scales[kColumns];
  const uint32_t ring = (shared_address(raw) + 1023) & ~1023u;
  const auto full = [&](int s) { return shared_address(barriers + s); };
  const auto empty = [&](int s) { return shared_address(barriers + kStages + s); };
  // Blocks that share weights are neighbours, so that these come out of L2 the second time.
  const int column0 = blockIdx.x * kColumns, row0 = blockIdx.y * kGroups * 64, split = blockIdx.z;
  const int k0 = split * k_split, steps = (min(p.k, k0 + k_split) - k0 + kStep - 1) / kStep;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) barrier_init(full(s), 1), barrier_init(empty(s), kGroups * 4);
    barrier_init_done();
  }
  __syncthreads();

  if (warp > kGroups * 4) {
    dependency_wait();
    E::make_scales(p, column0, scales);
    if (p.splits > 1) cluster_barrier(), cluster_barrier();  // those of Epilogue::finish
    return;
  }
  if (warp == kGroups * 4) {
    const auto fetch_weights = [&](int step) {
      const int s = step % kStages;
      barrier_expect(full(s), R::kStage);
      if constexpr (kOut == GemmOut::swiglu)
        copy_pairs(ring + s * R::kStage, &weights, full(s), k0 + step * kStep, row0);
      else
        copy_tile(ring + s * R::kStage, &weights, full(s), k0 + step * kStep, row0);
    };
    const auto fetch_inputs = [&](int step) {
      const int s = step % kStages;
      copy_tile(ring + s * R::kStage + R::kWeights, &inputs, full(s), k0 + step * kStep, column0);
    };
    if (lane == 0) {
      const int ahead = min(steps, kStages);
      for (int step = 0; step < ahead; ++step) fetch_weights(step);
      fetch_map(&inputs);
      dependency_wait();
      dependents_launch();
      for (int step = 0; step < ahead; ++step) fetch_inputs(step);
      for (int step = ahead; step < steps; ++step) {
        barrier_wait(empty(step % kStages), (step / kStages - 1) & 1);
        fetch_weights(step);
        fetch_inputs(step);
      }
    }
    __syncwarp();
    if (p.splits > 1) cluster_barrier(), cluster_barrier();
    return;
  }

  E epilogue{p, row0, column0};
  epilogue.fetch_weights();
  dependency_wait();
  epilogue.fetch_inputs();
  const int group = warp / 4;
  float d[kColumns / 2];
  for (int step = 0; step < steps; ++step) {
    const int s = step % kStages;
    barrier_wait(full(s), step / kStages & 1);
    const uint64_t a = tile_descriptor(ring + s * R::kStage + group * 64 * kStep * 2);
    const uint64_t b = tile_descriptor(ring + s * R::kStage + R::kWeights);
    multiply_begin();
#pragma unroll
    for (int k = 0; k < kStep / 16; ++k) Multiply<kColumns>::run(d, a + 2 * k, b + 2 * k, step > 0 || k > 0);
    multiply_commit();
    if (step > 0) {  // the tiles of the step before are free once its products are done
      multiply_wait<1>();
      if (lane == 0) barrier_arrive(empty((step - 1) % kStages));
    }
  }
  multiply_wait<0>();
  float* tile = reinterpret_cast<float*>(raw + (ring - shared_address(raw)));
  E::barrier_with_scales();  // nobody multiplies what lies there
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float* to = tile + (j * 8 + lane % 4 * 2 + c) * (kGroups * 64 + 4) + warp * 16 + lane / 4;
      to[0] = d[4 * j + c], to[8] = d[4 * j + 2 + c];
    }
  epilogue.finish(tile, scales);
}

template <int kGroups, int kColumns, int kStages, GemmOut kOut>
void run(const HopperGemmParams& p, cudaStream_t stream, bool early) {
  constexpr int bytes = Ring<kGroups, kColumns, kStages>::kBytes;
  allow_shared_memory<hopper_gemm_kernel<kGroups, kColumns, kStages, kOut>>(bytes);
  const dim3 grid(unsigned(p.m + kColumns - 1) / kColumns, unsigned(p.n + kGroups * 64 - 1) / (kGroups * 64),
                  unsigned(p.splits));
  launch_cluster(hopper_gemm_kernel<kGroups, kColumns, kStages, kOut>, grid, p.splits, kGroups * 128 + 64,
                 bytes, stream, early,
                 (kOut == GemmOut::swiglu ? pair_map : tile_map)(p.w, p.n, p.k, kGroups * 64),
                 tile_map(p.x, p.m, p.k, kColumns), p, gemm_split_length(p.k, p.splits));
}

template <int kGroups, int kColumns, int kStages>
bool run_one(const HopperGemmParams& p, const HopperGemmTile& tile, cudaStream_t stream, bool early) {
  if (tile != HopperGemmTile{kGroups * 64, kColumns, kStages}) return false;
  switch (p.kind) {
    case GemmOut::swiglu:
      return run<kGroups, kColumns, kStages, GemmOut::swiglu>(p, stream, early), true;
    case GemmOut::rows:
      if constexpr (kGroups <= 2)
        return run<kGroups, kColumns, kStages, GemmOut::rows>(p, stream, early), true;
      break;
    case GemmOut::residual:
      if constexpr (kGroups <= 2)
        return run<kGroups, kColumns, kStages, GemmOut::residual>(p, stream, early), true;
      break;
    case GemmOut::logits:
      if constexpr (kGroups <= 2 && kStages > 3)
        return run<kGroups, kColumns, kStages, GemmOut::logits>(p, stream, early), true;
      break;
  }
  return false;
}

// In the order that they are tried: of x as the narrow side, then as the wide one. Small rings leave room for the next kernel's.
constexpr std::array<HopperGemmTile, 6> kTiles = {
    {{64, 64, 6}, {64, 64, 12}, {128, 64, 4}, {64, 128, 4}, {128, 128, 6}, {128, 256, 4}}};
constexpr std::array<HopperGemmTile, 2> kSmallRings = {{{64, 64, 3}, {128, 128, 3}}};
// They fill the chip about once at 64, 256 or 512 rows.
constexpr std::array<HopperGemmTile, 3> kManyWeights = {{{192, 64, 6}, {192, 128, 5}, {256, 128, 4}}};

template <size_t... kCounts>
constexpr auto joined(const std::array<HopperGemmTile, kCounts>&... lists) {
  std::array<HopperGemmTile, (kCounts + ...)> all;
  auto to = all.begin();
  ((to = std::copy(lists.begin(), lists.end(), to)), ...);
  return all;
}
constexpr auto kRowTiles = joined(kTiles, kSmallRings, kWideRowTiles);
constexpr auto kSwigluTiles = joined(kTiles, kSmallRings, kManyWeights, kWideSwigluTiles);
constexpr auto kLogitTiles = joined(kTiles, kWideLogitTiles);

}  // namespace

std::span<const HopperGemmTile> hopper_gemm_tiles(GemmOut kind) {
  switch (kind) {
    case GemmOut::swiglu:
      return kSwigluTiles;
    case GemmOut::logits:
      return kLogitTiles;
    default:
      return kRowTiles;
  }
}

HopperGemmTile hopper_gemm_default(int m) {
  return m <= 64    ? HopperGemmTile{64, 64, 6}
         : m <= 128 ? HopperGemmTile{128, 128, 6}
                    : HopperGemmTile{128, 256, 4};
}

int hopper_gemm_splits(int n, int k, int multiprocessors) {
  const int tiles = (n + 63) / 64, steps = (k + kStep - 1) / kStep;
  const int splits = std::clamp(multiprocessors / tiles, 1, std::min(steps, kMostGemmSplits));
  const int length = (steps + splits - 1) / splits;
  return (steps + length - 1) / length;
}

std::vector<int> hopper_gemm_split_choices(const HopperGemmTile& tile, GemmOut kind, int m, int n, int k,
                                           int multiprocessors) {
  if (kind != GemmOut::rows && kind != GemmOut::residual) return {1};
  const int steps = (k + kStep - 1) / kStep;
  const auto none_empty = [&](int wanted) {
    const int length = (steps + wanted - 1) / wanted;
    return (steps + length - 1) / length;
  };
  if (tile.wide_inputs) {  // one block a multiprocessor: as many as fill the chip once
    const int tiles = (m + tile.inputs - 1) / tile.inputs * ((n + tile.weights - 1) / tile.weights);
    int splits = 1;
    while (2 * splits <= std::min(steps, kMostGemmSplits) && 2 * splits * tiles <= multiprocessors)
      splits *= 2;
    return {none_empty(splits)};
  }
  const int most = hopper_gemm_splits(n, k, multiprocessors),
            tiles =
                (n + tile.weights - 1) / tile.weights;  // of which more splits fill the chip than of 64 rows
  std::vector<int> choices;
  for (int wanted : {std::clamp(multiprocessors / tiles, 1, std::min(steps, kMostGemmSplits)), most,
                     (most + 1) / 2, (most + 3) / 4, 1})
    if (const int splits = none_empty(wanted); choices.empty() || choices.back() > splits)
      choices.push_back(splits);
  return choices;
}

void hopper_gemm(const HopperGemmParams& p, const HopperGemmTile& tile, cudaStream_t stream, bool early) {
  const int length = gemm_split_length(p.k, p.splits);
  const bool splits = p.kind == GemmOut::rows || p.kind == GemmOut::residual,
             swiglu = p.kind == GemmOut::swiglu;
  const int multiple = swiglu ? 16 : p.kind == GemmOut::logits ? 1 : 4;
  if (p.m < 1 || p.n < 1 || p.k < 8 || p.k % 8 != 0 || p.n % multiple != 0 || p.splits < 1 ||
      p.splits > (splits ? kMostGemmSplits : 1) || (p.splits - 1) * length >= p.k ||
      (p.kind == GemmOut::logits && p.stride % 4 != 0))
    call_failed("a shape it does not do", "hopper_gemm", __FILE__, __LINE__);
  if (run_one<1, 64, 3>(p, tile, stream, early) || run_one<1, 64, 6>(p, tile, stream, early) ||
      run_one<1, 64, 12>(p, tile, stream, early) || run_one<2, 64, 4>(p, tile, stream, early) ||
      run_one<1, 128, 4>(p, tile, stream, early) || run_one<2, 128, 3>(p, tile, stream, early) ||
      run_one<2, 128, 6>(p, tile, stream, early) || run_one<2, 256, 4>(p, tile, stream, early) ||
      run_one<3, 64, 6>(p, tile, stream, early) || run_one<3, 128, 5>(p, tile, stream, early) ||
      run_one<4, 128, 4>(p, tile, stream, early))
    return;
  if (hopper_gemm_wide(p, tile, stream, early)) return;
  call_failed("no such tile", "hopper_gemm", __FILE__, __LINE__);
}

}  // namespace cohort::cuda
