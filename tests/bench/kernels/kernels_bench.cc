// Every kernel of a step at the shapes of Qwen2.5-0.5B and 1.5B: time, achieved bandwidth or arithmetic, and FlashInfer's beside
// it where the build has it (fetch_flashinfer, then configure again).
//   usage: kernels_bench [decode] [prefill] [rows] [sampler] [products | tiles] [launches]      all without arguments;
//   tiles: the products with a line for every tile
//
// A figure is the median of seven replays of a graph of launches over data that L2 does not hold (except the kernels between
// products, whose data comes out of L2 in a step too). "one after the other / overlapping": without and with programmatic
// dependent launch. Bytes are what must be read and written once. "difference": ||ours - theirs|| / ||theirs||, for the
// sampler the largest difference of log-probabilities of the sampled tokens.
#include <set>

#include "tests/bench/kernels/bench.h"
#include "transport/base/error.h"

namespace cohort::bench {
namespace {

double copy_bandwidth(Clock& clock) {
  Array<char> a(size_t{1} << 30), b(size_t{1} << 30);
  const Time t = clock.time(4, [&](int) {
    CUDA_CHECK(cudaMemcpyAsync(b.get(), a.get(), a.size(), cudaMemcpyDeviceToDevice, clock.stream));
  });
  return 2.0 * double(a.size()) / t.us * 1e-6;
}

}  // namespace
}  // namespace cohort::bench

int main(int argc, char** argv) {
  using namespace cohort::bench;
  return cohort::run_main("kernels_bench", [&] {
    std::set<std::string> wanted(argv + 1, argv + argc);
    const std::set<std::string> known = {"decode",   "prefill", "rows",    "sampler",
                                         "products", "tiles",   "launches"};
    for (const std::string& w : wanted)
      if (!known.contains(w))
        cohort::fail_usage("unknown argument {}: decode, prefill, rows, sampler, products, tiles or launches",
                           w);
    if (wanted.empty()) wanted = {"decode", "prefill", "rows", "sampler", "products", "launches"};
    Clock clock;
    cudaDeviceProp device;
    CUDA_CHECK(cudaGetDeviceProperties(&device, 0));
    fmt::print("{}; device-to-device copy {:.2f} TB/s\n\n", device.name, copy_bandwidth(clock));
    if (wanted.contains("decode") || wanted.contains("prefill") || wanted.contains("rows") ||
        wanted.contains("sampler"))
      fmt::print(
          "| kernel | shape | µs, one after the other / overlapping (lowest–highest) | rate | peer, µs | its "
          "rate | its time "
          "over ours | difference |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    if (wanted.contains("decode")) bench_decode_attention(clock);
    if (wanted.contains("prefill")) bench_prefill_attention(clock);
    if (wanted.contains("rows")) bench_rows(clock);
    if (wanted.contains("sampler")) bench_sampler(clock);
    fmt::print("\n");
    if (wanted.contains("products") || wanted.contains("tiles"))
      bench_products(clock, wanted.contains("tiles"));
    if (wanted.contains("launches")) bench_launches(clock);
    return 0;
  });
}
