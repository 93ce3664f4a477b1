#include "kernels/rows_kernels.h"

#include "kernels/device.cuh"

namespace cohort::cuda {
namespace {

__global__ void prepare_kernel(PrepareParams p) {
  dependency_wait();  // last_token is the step before's
  dependents_launch();
  const uint32_t turn = *reinterpret_cast<volatile uint32_t*>(p.turn);
  const Row* from = p.pinned + (turn & 1) * p.capacity;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < p.count) {
    Row row = from[i];
    if (row.slot >= 0) {
      if (row.token < 0) row.token = p.last_token[row.slot];
      if (row.new_page >= 0) p.table[row.slot * p.table_stride + row.position / kPageTokens] = row.new_page;
    }
    p.rows[i] = row;
  }
  __syncthreads();
  if (threadIdx.x == 0) {  // the last block to be done turns the page
    __threadfence();
    if (atomicAdd(p.turn + 1, 1) == gridDim.x - 1) {
      p.turn[1] = 0;
      p.turn[0] = turn + 1;
    }
  }
}

// One block a row, eight neighbouring threads have 64 elements at a time.
__global__ void embed_kernel(EmbedParams p) {
  dependency_wait();
  dependents_launch();
  const int vectors = p.hidden / 8, row = blockIdx.x;
  const int64_t at = int64_t(row) * vectors;
  const bool padding = p.rows[row].slot < 0;
  const uint4* from =
      reinterpret_cast<const uint4*>(p.embedding) + int64_t(padding ? 0 : p.rows[row].token) * vectors;
  for (int first = 0; first < vectors; first += blockDim.x) {
    const int i = first + threadIdx.x;
    float squares = 0;
    if (i < vectors) {
      float x[8], w[8];
      widen(padding ? uint4{0, 0, 0, 0} : from[i], x);
      store_8(p.x + (at + i) * 8, x);
      if (p.norm) {
        widen(reinterpret_cast<const uint4*>(p.norm)[i], w);
#pragma unroll
        for (int j = 0; j < 8; ++j) squares += x[j] * x[j], x[j] *= w[j];
        reinterpret_cast<uint4*>(p.scaled)[at + i] = narrow(x);
      }
    }
    if (!p.norm) continue;
#pragma unroll
    for (int o = 4; o > 0; o >>= 1) squares += __shfl_xor_sync(0xffffffffu, squares, o);
    if (i % 8 == 0 && i < vectors) p.squares[int64_t(i / 8) * p.count + row] = squares;
  }
}

__global__ void gather_kernel(GatherParams p) {
  dependency_wait();
  dependents_launch();
  const int row = blockIdx.x;
  const int32_t source = p.index[row];
  if (threadIdx.x == 0) {
    if (source >= 0)
      p.rows_to[row] = p.rows[source];
    else
      p.rows_to[row].slot = -1;
  }
  const uint4* a = source < 0 ? nullptr : reinterpret_cast<const uint4*>(p.from + int64_t(source) * p.hidden);
  uint4* b = reinterpret_cast<uint4*>(p.to + int64_t(row) * p.hidden);
  for (int i = threadIdx.x; i < p.hidden / 8; i += blockDim.x) b[i] = a ? a[i] : uint4{0, 0, 0, 0};
  for (int i = threadIdx.x; i < p.scale.parts; i += blockDim.x)
    p.squares_to[int64_t(i) * p.count + row] =
        source < 0 ? 0 : p.scale.squares[int64_t(i) * p.scale.rows + source];
}

// The last block does the table, the others a layer each.
__global__ void share_slot_kernel(ShareSlotParams p) {
  dependency_wait();
  dependents_launch();
  if (int(blockIdx.x) == p.layers) {
    const int32_t* from = p.table + p.from * p.table_stride;
    int32_t* to = p.table + p.to * p.table_stride;
    for (int i = threadIdx.x; i < p.whole; i += blockDim.x) to[i] = from[i];
    if (threadIdx.x == 0 && p.copy_to >= 0) to[p.whole] = p.copy_to;
  } else if (p.copy_to >= 0) {
    bf16* layer = p.base + blockIdx.x * p.layer_stride;
    const uint4* a = reinterpret_cast<const uint4*>(layer + p.copy_from * p.page_elements);
    uint4* b = reinterpret_cast<uint4*>(layer + p.copy_to * p.page_elements);
    for (int i = threadIdx.x; i < p.page_elements / 8; i += blockDim.x) b[i] = a[i];
  }
}

}  // namespace

void prepare_rows(const PrepareParams& p, cudaStream_t stream) {
  launch(prepare_kernel, (p.count + 127) / 128, 128, 0, stream, false, p);
}

void embed(const EmbedParams& p, cudaStream_t stream, bool early) {
  launch(embed_kernel, p.count, 128, 0, stream, early, p);
}

void gather_rows(const GatherParams& p, cudaStream_t stream, bool early) {
  launch(gather_kernel, p.count, 128, 0, stream, early, p);
}

void share_slot(const ShareSlotParams& p, cudaStream_t stream) {
  launch(share_slot_kernel, unsigned(p.layers) + 1, 256, 0, stream, false, p);
}

}  // namespace cohort::cuda
