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

__global__ void embed_kernel(const Row* rows, const bf16* embedding, int hidden, bf16* x) {
  dependency_wait();
  dependents_launch();
  const Row& row = rows[blockIdx.x];
  uint4* to = reinterpret_cast<uint4*>(x + int64_t(blockIdx.x) * hidden);
  const uint4* from =
      row.slot < 0 ? nullptr : reinterpret_cast<const uint4*>(embedding + int64_t(row.token) * hidden);
  for (int i = threadIdx.x; i < hidden / 8; i += blockDim.x) to[i] = from ? from[i] : uint4{0, 0, 0, 0};
}

__global__ void gather_kernel(const int32_t* index, const bf16* from, int hidden, bf16* to, const Row* rows,
                              Row* rows_to) {
  dependency_wait();
  dependents_launch();
  const int32_t source = index[blockIdx.x];
  if (threadIdx.x == 0) {
    if (source >= 0)
      rows_to[blockIdx.x] = rows[source];
    else
      rows_to[blockIdx.x].slot = -1;
  }
  const uint4* a = source < 0 ? nullptr : reinterpret_cast<const uint4*>(from + int64_t(source) * hidden);
  uint4* b = reinterpret_cast<uint4*>(to + int64_t(blockIdx.x) * hidden);
  for (int i = threadIdx.x; i < hidden / 8; i += blockDim.x) b[i] = a ? a[i] : uint4{0, 0, 0, 0};
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

void embed(const Row* rows, int count, const bf16* embedding, int hidden, bf16* x, cudaStream_t stream,
           bool early) {
  launch(embed_kernel, count, 128, 0, stream, early, rows, embedding, hidden, x);
}

void gather_rows(const int32_t* index, int count, const bf16* from, int hidden, bf16* to, const Row* rows,
                 Row* rows_to, cudaStream_t stream, bool early) {
  launch(gather_kernel, count, 128, 0, stream, early, index, from, hidden, to, rows, rows_to);
}

void share_slot(const ShareSlotParams& p, cudaStream_t stream) {
  launch(share_slot_kernel, unsigned(p.layers) + 1, 256, 0, stream, false, p);
}

bool kernels_fit_device() {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, share_slot_kernel) == cudaSuccess) return true;
  cudaGetLastError();
  return false;
}

}  // namespace cohort::cuda
