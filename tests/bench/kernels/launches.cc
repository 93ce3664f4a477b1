// What one short kernel after another costs at least.
#include "tests/bench/kernels/launches.h"

#include "tests/bench/kernels/bench.h"

namespace cohort::bench {
namespace {

double chain(Clock& clock, Order order, unsigned blocks) {
  constexpr int kLaunches = 200;
  Array<uint4> a(blocks * size_t{kLinkThreads}), b(a.size());
  Array<uint32_t> counters(kLaunches * kLinkPitch);
  return clock
      .time(kLaunches,
            [&](int i) {
              if (i == 0)
                CUDA_CHECK(
                    cudaMemsetAsync(counters.get(), 0, counters.size() * sizeof(uint32_t), clock.stream));
              launch_link(order, {blocks, (i % 2 ? b : a).get(), (i % 2 ? a : b).get(), counters.get(), i},
                          clock.stream);
            })
      .us;
}

}  // namespace

void bench_launches(Clock& clock) {
  fmt::print("| blocks | by an edge, µs | by dependent launch | by a counter |\n| --- | --- | --- | --- |\n");
  for (unsigned blocks : {72u, 132u})
    fmt::print("| {} | {:.2f} | {:.2f} | {:.2f} |\n", blocks, chain(clock, Order::edges, blocks),
               chain(clock, Order::dependent, blocks), chain(clock, Order::counter, blocks));
}

}  // namespace cohort::bench
