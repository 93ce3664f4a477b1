#include "kernels/device.cuh"
#include "tests/bench/kernels/launches.h"

namespace cohort::bench {
namespace {

constexpr int kShared = 64 << 10;  // as a small product has

template <Order kOrder>
__global__ void __launch_bounds__(kLinkThreads)
    link_kernel(const uint4* in, uint4* out, uint32_t* counters, int index) {
  extern __shared__ uint4 shared[];
  if constexpr (kOrder == Order::dependent) cuda::dependency_wait();
  cuda::dependents_launch();
  if (kOrder == Order::counter && index > 0) {
    if (threadIdx.x == 0)
      for (uint32_t done = 0; done < gridDim.x;)
        asm volatile("ld.acquire.gpu.u32 %0, [%1];"
                     : "=r"(done)
                     : "l"(counters + kLinkPitch * (index - 1))
                     : "memory");
    __syncthreads();
  }
  const unsigned from = (blockIdx.x + 37) % gridDim.x;
  uint4 v = __ldcg(in + from * kLinkThreads + threadIdx.x);
  shared[threadIdx.x] = v;
  __syncthreads();
  v.x += shared[(threadIdx.x + 1) % kLinkThreads].y;
  out[blockIdx.x * kLinkThreads + threadIdx.x] = v;
  if constexpr (kOrder == Order::counter) {
    __syncthreads();
    if (threadIdx.x == 0)
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counters + kLinkPitch * index) : "memory");
  }
}

template <Order kOrder>
void run(const Link& link, cudaStream_t stream) {
  static const bool raised = [] {
    CUDA_CHECK(
        cudaFuncSetAttribute(link_kernel<kOrder>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
    return true;
  }();
  (void)raised;
  cuda::launch(link_kernel<kOrder>, link.blocks, kLinkThreads, kShared, stream,
               kOrder != Order::edges && link.index > 0, link.in, link.out, link.counters, link.index);
}

}  // namespace

void launch_link(Order order, const Link& link, cudaStream_t stream) {
  switch (order) {
    case Order::edges:
      return run<Order::edges>(link, stream);
    case Order::dependent:
      return run<Order::dependent>(link, stream);
    case Order::counter:
      return run<Order::counter>(link, stream);
  }
}

}  // namespace cohort::bench
