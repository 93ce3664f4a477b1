// The copy engine, barriers and matrix instructions of Hopper, and the host's side of a tiled copy.
#pragma once

#include <cuda.h>  // CUtensorMap; the function that fills it is found at run time, so nothing links to the driver

#include "kernels/device.cuh"

namespace cohort::cuda {

// ---- Barriers in shared memory ---------------------------------------------------------------------------------------
__device__ __forceinline__ void barrier_init(uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
// After the initialisation, before anyone uses them.
__device__ __forceinline__ void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_expect(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_wait(uint32_t barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// ---- Clusters --------------------------------------------------------------------------------------------------------
// By all threads of all blocks of the cluster. What a block's threads wrote to its shared memory before they met at a barrier of
// their own is seen by the others after this one; no fence, which would wait for their writes to global memory.
__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;" ::: "memory");
}
// The same place in the shared memory of another block.
__device__ __forceinline__ uint32_t peer_address(uint32_t address, int rank) {
  uint32_t peer;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(peer) : "r"(address), "r"(rank));
  return peer;
}
__device__ __forceinline__ float4 load_peer(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

// ---- Registers -------------------------------------------------------------------------------------------------------
// By all four warps of a warpgroup: how many registers its threads have from here on.
template <int kCount>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

// ---- Tiled copies ----------------------------------------------------------------------------------------------------
// The box of `map` at (column, row) into shared memory; `barrier` counts its bytes.
__device__ __forceinline__ void copy_tile(uint32_t to, const CUtensorMap* map, uint32_t barrier, int column,
                                          int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
      "%4}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(column), "r"(row)
      : "memory");
}
// `bytes` in one piece; both sides at multiples of 16.
__device__ __forceinline__ void copy_bytes(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}
// So that the first copy by it does not wait for the map itself.
__device__ __forceinline__ void fetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// A row-major bf16 matrix read in boxes of 64 columns (128 bytes) and box_rows rows, swizzled as the matrix instructions
// want it; zeros outside.
CUtensorMap tile_map(const bf16* matrix, int64_t rows, int64_t columns, int box_rows);
// The same of a matrix whose second half of rows belongs to the first: a box has eight rows of the first half, the same eight of
// the second, the next eight, … so that a thread of the product holds both of a pair. rows a multiple of 16.
__device__ __forceinline__ void copy_pairs(uint32_t to, const CUtensorMap* map, uint32_t barrier, int column,
                                           int row) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %5, "
      "%5, %4}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(column), "r"(row / 16), "r"(0)
      : "memory");
}
CUtensorMap pair_map(const bf16* matrix, int64_t rows, int64_t columns, int box_rows);

// ---- Matrix instructions of four warps -------------------------------------------------------------------------------
// A tile of rows of 128 bytes, swizzled, at a multiple of 1024.
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t address) {
  return (uint64_t(address & 0x3ffff) >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 |
         uint64_t(1) << 62;
}
// The same tile read with its rows as the sum's dimension; columns beyond 64 are another tile, `next` bytes on.
__device__ __forceinline__ uint64_t column_descriptor(uint32_t address, int next) {
  return (uint64_t(address & 0x3ffff) >> 4) | uint64_t(next >> 4) << 16 | uint64_t(1024 >> 4) << 32 |
         uint64_t(1) << 62;
}
__device__ __forceinline__ void multiply_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void multiply_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void multiply_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#define OUT_4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define OUT_8(i) OUT_4(i), OUT_4((i) + 4)
#define OUT_16(i) OUT_8(i), OUT_8((i) + 8)
#define OUT_32(i) OUT_16(i), OUT_16((i) + 16)
#define NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_16 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_32 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define NAMES_48 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_64 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define NAMES_80 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define NAMES_96 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define NAMES_112 \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define NAMES_8_64 "%64, %65, %66, %67, %68, %69, %70, %71"
// d (64 x kColumns, fp32) = a (64 x 16) * b (kColumns x 16)^T, plus d where accumulate. d[4 j + 2 r + c] of a thread is row
// 16 * warp + lane / 4 + 8 r, column 8 j + lane % 4 * 2 + c.
template <int kColumns>
struct Multiply;
// names: of the kColumns / 2 sums; a, b, accumulate: the operands behind them
#define MULTIPLY(columns, names, a_name, b_name, accumulate_name, ...)                            \
  template <>                                                                                     \
  struct Multiply<columns> {                                                                      \
    static __device__ __forceinline__ void run(float (&d)[columns / 2], uint64_t a, uint64_t b,   \
                                               int accumulate) {                                  \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " accumulate_name                            \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" names \
                   "}, " a_name ", " b_name ", p, 1, 1, 0, 0;\n}\n"                               \
                   : __VA_ARGS__                                                                  \
                   : "l"(a), "l"(b), "r"(accumulate));                                            \
    }                                                                                             \
  }
MULTIPLY(64, NAMES_0 ", " NAMES_16, "%32", "%33", "%34", OUT_32(0));
MULTIPLY(128, NAMES_0 ", " NAMES_16 ", " NAMES_32 ", " NAMES_48, "%64", "%65", "%66", OUT_32(0), OUT_32(32));
MULTIPLY(144, NAMES_0 ", " NAMES_16 ", " NAMES_32 ", " NAMES_48 ", " NAMES_8_64, "%72", "%73", "%74",
         OUT_32(0), OUT_32(32), OUT_8(64));
MULTIPLY(160, NAMES_0 ", " NAMES_16 ", " NAMES_32 ", " NAMES_48 ", " NAMES_64, "%80", "%81", "%82", OUT_32(0),
         OUT_32(32), OUT_16(64));
MULTIPLY(256,
         NAMES_0 ", " NAMES_16 ", " NAMES_32 ", " NAMES_48 ", " NAMES_64 ", " NAMES_80 ", " NAMES_96
                 ", " NAMES_112,
         "%128", "%129", "%130", OUT_32(0), OUT_32(32), OUT_32(64), OUT_32(96));
#undef MULTIPLY
// d (64 x kColumns, fp32) += a (64 x 16, in registers as a fragment of the smaller instructions) * b (16 x kColumns), whose rows
// lie one after the other: column_descriptor().
template <int kColumns>
struct MultiplyTransposed;
template <>
struct MultiplyTransposed<64> {
  static __device__ __forceinline__ void run(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_0 ", " NAMES_16
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"
                 : OUT_16(0), OUT_16(16)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
};
template <>
struct MultiplyTransposed<128> {
  static __device__ __forceinline__ void run(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_0 ", " NAMES_16 ", " NAMES_32
                 ", " NAMES_48 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
                 : OUT_16(0), OUT_16(16), OUT_16(32), OUT_16(48)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
};
#undef OUT_4
#undef OUT_8
#undef OUT_16
#undef OUT_32
#undef NAMES_0
#undef NAMES_16
#undef NAMES_32
#undef NAMES_48
#undef NAMES_64
#undef NAMES_80
#undef NAMES_96
#undef NAMES_112
#undef NAMES_8_64

}  // namespace cohort::cuda
