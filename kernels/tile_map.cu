// The host's side of a tiled copy.
#include <array>

#include "kernels/hopper.cuh"

namespace cohort::cuda {
namespace {

constexpr int kBoxColumns = 64;

// `size`, `box`: elements, the columns first; `stride`: bytes between the elements of each dimension but the first.
template <size_t kDimensions>
CUtensorMap encoded(const bf16* matrix, const std::array<cuuint64_t, kDimensions>& size,
                    const std::array<cuuint64_t, kDimensions - 1>& stride,
                    const std::array<cuuint32_t, kDimensions>& box) {
  using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                              const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                              CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault,
                                                &result));
    if (result != cudaDriverEntryPointSuccess)
      call_failed("the driver is too old", "cuTensorMapEncodeTiled", __FILE__, __LINE__);
    return reinterpret_cast<Encode>(function);
  }();
  CUtensorMap map;
  std::array<cuuint32_t, kDimensions> one;
  one.fill(1);
  const CUresult code =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kDimensions, const_cast<bf16*>(matrix), size.data(),
             stride.data(), box.data(), one.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (code != CUDA_SUCCESS)
    call_failed("a matrix the copy engine does not take", "cuTensorMapEncodeTiled", __FILE__, __LINE__);
  return map;
}

}  // namespace

CUtensorMap tile_map(const bf16* matrix, int64_t rows, int64_t columns, int box_rows) {
  return encoded<2>(matrix, {cuuint64_t(columns), cuuint64_t(rows)}, {cuuint64_t(columns) * 2},
                    {kBoxColumns, cuuint32_t(box_rows)});
}

CUtensorMap pair_map(const bf16* matrix, int64_t rows, int64_t columns, int box_rows) {
  const auto row = cuuint64_t(columns) * 2;
  return encoded<4>(matrix, {cuuint64_t(columns), 8, 2, cuuint64_t(rows / 16)},
                    {row, cuuint64_t(rows / 2) * row, 8 * row},
                    {kBoxColumns, 8, 2, cuuint32_t(box_rows / 16)});
}

}  // namespace cohort::cuda
