#include <algorithm>

#include "kernels/device.cuh"
#include "kernels/small_gemm.h"

namespace cohort::cuda {
namespace {

constexpr int kStep = 64;  // of k: rows of 128 bytes in shared memory
constexpr int kColumns = 64;

template <int kM>
struct Tile {
  static constexpr int kWarpsM = kM >= 32 ? 2 : 1, kWarpsN = 4 / kWarpsM;
  static constexpr int kMTiles = kM / kWarpsM / 16, kNTiles = kColumns / kWarpsN / 8;
  static constexpr int kStage = (kColumns + kM) * kStep * 2;
  static constexpr int kStages = kM > 64 ? 4 : 6;
  static constexpr int kBytes = kStage * kStages;
};

template <int kM, SmallGemmOut kOut>
__global__ void __launch_bounds__(128) small_gemm_kernel(SmallGemmParams p, int k_split) {
  using T = Tile<kM>;
  extern __shared__ __align__(128) unsigned char shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_m = warp / T::kWarpsN * (kM / T::kWarpsM), warp_n = warp % T::kWarpsN * (kColumns / T::kWarpsN);
  const int n0 = blockIdx.x * kColumns, k0 = blockIdx.y * k_split, k1 = min(p.k, k0 + k_split);
  const int steps = (k1 - k0 + kStep - 1) / kStep;

  auto fetch = [&](unsigned char* to, const bf16* from, int rows_here, int first, int rows, int step) {
    for (int c = threadIdx.x; c < rows_here * 8; c += 128) {
      const int r = c / 8, k = k0 + step * kStep + c % 8 * 8;
      const bool valid = first + r < rows && k < k1;
      copy_16(shared_address(to + swizzled<8>(r, c % 8)), from + (valid ? int64_t(first + r) * p.k + k : 0), valid);
    }
  };
  auto stage = [&](int step) { return shared + step % T::kStages * T::kStage; };
  auto fetch_w = [&](int step) { fetch(stage(step), p.w, kColumns, n0, p.n, step); };
  auto fetch_x = [&](int step) { fetch(stage(step) + kColumns * kStep * 2, p.x, kM, 0, p.m, step); };

#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s)
    if (s < steps) fetch_w(s);
  dependency_wait();
  dependents_launch();
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < steps) fetch_x(s);
    copy_commit();
  }

  float c[T::kMTiles][T::kNTiles][4] = {};
  for (int step = 0; step < steps; ++step) {
    copy_wait<T::kStages - 2>();
    __syncthreads();  // the step's tiles are there, and everyone is done with the place filled next
    if (step + T::kStages - 1 < steps) fetch_w(step + T::kStages - 1), fetch_x(step + T::kStages - 1);
    copy_commit();
    const unsigned char *w = stage(step), *x = w + kColumns * kStep * 2;
#pragma unroll
    for (int k = 0; k < kStep / 16; ++k) {
      uint32_t a[T::kMTiles][4], b[T::kNTiles / 2][4];
#pragma unroll
      for (int m = 0; m < T::kMTiles; ++m)
        load_matrix_4(shared_address(x + swizzled<8>(warp_m + m * 16 + lane % 16, 2 * k + lane / 16)), a[m]);
#pragma unroll
      for (int n = 0; n < T::kNTiles / 2; ++n)
        load_matrix_4(
            shared_address(w + swizzled<8>(warp_n + n * 16 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2)), b[n]);
#pragma unroll
      for (int m = 0; m < T::kMTiles; ++m)
#pragma unroll
        for (int n = 0; n < T::kNTiles; ++n) multiply(c[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
    }
  }
  copy_wait<0>();

#pragma unroll
  for (int m = 0; m < T::kMTiles; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_m + m * 16 + lane / 4 + 8 * half;
      if (row >= p.m) continue;
      if constexpr (kOut == SmallGemmOut::swiglu) {
#pragma unroll
        for (int n = 0; n < T::kNTiles; n += 2) {  // gate, and beside it up
          const int column = n0 + warp_n + n * 8;
          if (column >= p.n) continue;
          float h[2];
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const float gate = c[m][n][2 * half + j];
            h[j] = gate / (1.0f + __expf(-gate)) * c[m][n + 1][2 * half + j];
          }
          bf16* to = static_cast<bf16*>(p.out) + int64_t(row) * (p.n / 2) + column / 2 + lane % 4 * 2;
          *reinterpret_cast<uint32_t*>(to) = pack(h[0], h[1]);
        }
      } else {
        const int64_t at = kOut == SmallGemmOut::partial ? (int64_t(blockIdx.y) * p.m + row) * p.n : row * p.stride;
#pragma unroll
        for (int n = 0; n < T::kNTiles; ++n) {
          const int column = n0 + warp_n + n * 8 + lane % 4 * 2;
          if (column >= p.n) continue;
          *reinterpret_cast<float2*>(static_cast<float*>(p.out) + at + column) =
              float2{c[m][n][2 * half], c[m][n][2 * half + 1]};
        }
      }
    }
}

int split_length(int k, int splits) {
  const int steps = (k + kStep - 1) / kStep;
  return (steps + splits - 1) / splits * kStep;
}

template <int kM, SmallGemmOut kOut>
void run(const SmallGemmParams& p, cudaStream_t stream, bool early) {
  static const bool raised = [] {
    CUDA_CHECK(cudaFuncSetAttribute(small_gemm_kernel<kM, kOut>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile<kM>::kBytes));
    return true;
  }();
  (void)raised;
  launch(small_gemm_kernel<kM, kOut>, dim3(unsigned(p.n + kColumns - 1) / kColumns, unsigned(p.splits)), 128,
         Tile<kM>::kBytes, stream, early, p, split_length(p.k, p.splits));
}

template <SmallGemmOut kOut>
void run(const SmallGemmParams& p, cudaStream_t stream, bool early) {
  if (p.m <= 16) return run<16, kOut>(p, stream, early);
  if (p.m <= 32) return run<32, kOut>(p, stream, early);
  if (p.m <= 64) return run<64, kOut>(p, stream, early);
  return run<128, kOut>(p, stream, early);
}

}  // namespace

int small_gemm_splits(int n, int k, int multiprocessors) {
  const int tiles = (n + kColumns - 1) / kColumns, steps = (k + kStep - 1) / kStep;
  int splits = std::clamp(multiprocessors / tiles, 1, std::min(steps, 16));
  const int length = (steps + splits - 1) / splits;
  return (steps + length - 1) / length;  // none empty
}

void small_gemm(const SmallGemmParams& p, SmallGemmOut out, cudaStream_t stream, bool early) {
  if (p.m < 1 || p.m > kSmallGemmRows || p.n % 2 != 0 || p.k % 8 != 0 || (out == SmallGemmOut::swiglu && p.n % 16 != 0) ||
      (out != SmallGemmOut::partial && p.splits != 1))
    call_failed("a shape it does not do", "small_gemm", __FILE__, __LINE__);
  switch (out) {
    case SmallGemmOut::partial: return run<SmallGemmOut::partial>(p, stream, early);
    case SmallGemmOut::full: return run<SmallGemmOut::full>(p, stream, early);
    case SmallGemmOut::swiglu: return run<SmallGemmOut::swiglu>(p, stream, early);
  }
}

}  // namespace cohort::cuda
