// One short kernel of a chain: each block reads what another block of the kernel before wrote (L2 holds it) and writes as much.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace cohort::bench {

constexpr int kLinkThreads = 192, kLinkPitch = 32;
// How a kernel waits for the one before: by a plain edge of the graph, by programmatic dependent launch, or by a counter in
// memory, which is what one kernel for a whole step would have between its parts.
enum class Order { edges, dependent, counter };
struct Link {
  unsigned blocks = 0;
  const uint4* in = nullptr;  // [blocks][kLinkThreads]
  uint4* out = nullptr;
  uint32_t* counters = nullptr;  // of each kernel, kLinkPitch apart, 0 before the chain
  int index = 0;                 // in the chain
};
void launch_link(Order order, const Link& link, cudaStream_t stream);

}  // namespace cohort::bench
