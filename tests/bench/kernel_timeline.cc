// Which kernel adds how much to a program's run: a library that CUDA loads into it (CUPTI's kernel records).
//   CUDA_INJECTION64_PATH=build-cuda/tests/libkernel_timeline.so build-cuda/tests/rollout_bench --model 0.5b --batch 64 --runs 1
// At the program's end, for kernels between 80% and 97% of the time from its first to its last: each kernel's launches and microseconds, divided by the steps
// (launches of sample_kernel). Kernels overlap, so what counts is what a kernel adds to the end of all before it.
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

struct Record {
  uint64_t begin, end;
  const std::string* name;
};
std::mutex mutex;
std::map<std::string, std::string> names;  // mangled with its grid, to what is printed
std::vector<Record> records;

// With its grid, which tells products apart.
const std::string& printed(const CUpti_ActivityKernel9& k) {
  std::string& name = names[std::string(k.name) + '/' + std::to_string(k.gridX) + ' ' +
                            std::to_string(k.gridY) + ' ' + std::to_string(k.gridZ)];
  if (!name.empty()) return name;
  int status = 0;
  char* plain = abi::__cxa_demangle(k.name, nullptr, nullptr, &status);
  name = status == 0 ? plain : k.name;
  std::free(plain);
  if (name.starts_with("void ")) name = name.substr(5);
  for (const char* cut : {"cohort::cuda::(anonymous namespace)::", "cohort::cuda::"})
    for (size_t at; (at = name.find(cut)) != std::string::npos;) name.erase(at, std::string(cut).size());
  name = name.substr(0, std::min(name.find('('), size_t{60}));
  return name +=
         " [" + std::to_string(k.gridX) + " " + std::to_string(k.gridY) + " " + std::to_string(k.gridZ) + "]";
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* most) {
  *size = size_t{8} << 20, *most = 0;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, *size));
}
void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* a = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &a) == CUPTI_SUCCESS) {
    if (a->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* k = reinterpret_cast<const CUpti_ActivityKernel9*>(a);
    records.push_back({k->start, k->end, &printed(*k)});
  }
  std::free(buffer);
}

void print_timeline() {
  cuptiActivityFlushAll(1);
  const std::lock_guard lock(mutex);
  std::sort(records.begin(), records.end(),
            [](const Record& a, const Record& b) { return a.begin < b.begin; });
  if (records.empty()) return;
  const uint64_t first = records.front().begin, last = records.back().end;
  struct Sum {
    double added = 0, alone = 0;
    size_t launches = 0;
  };
  std::map<std::string, Sum> sums;
  uint64_t done = 0;
  size_t steps = 0;
  double gaps = 0, all = 0;
  for (const Record& r : records) {
    const bool middle =
        r.begin > first + (last - first) / 100 * 80 && r.begin < first + (last - first) / 100 * 97;
    if (middle && done > 0) {
      Sum& sum = sums[*r.name];
      const uint64_t from = std::max(r.begin, done);
      if (r.end > done) sum.added += double(r.end - from) * 1e-3;
      if (r.begin > done) gaps += double(r.begin - done) * 1e-3;
      sum.alone += double(r.end - r.begin) * 1e-3, ++sum.launches;
      all += double(std::max(r.end, done) - done) * 1e-3;
      steps += r.name->find("choose_kernel") != std::string::npos;
    }
    done = std::max(done, r.end);
  }
  const double n = steps ? double(steps) : 1;
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, sum] : sums) order.emplace_back(sum.added, name);
  std::sort(order.rbegin(), order.rend());
  std::printf("| kernel | launches a step | adds, us a step | each runs, us |\n| --- | --- | --- | --- |\n");
  for (const auto& [added, name] : order)
    std::printf("| %s | %.1f | %.1f | %.2f |\n", name.c_str(), double(sums[name].launches) / n, added / n,
                sums[name].alone / double(sums[name].launches));
  std::printf("| gaps | | %.1f | |\n| all, of %zu steps | | %.1f | |\n", gaps / n, steps, all / n);
  std::fflush(stdout);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjection() {
  if (cuptiActivityRegisterCallbacks(give_buffer, take_buffer) != CUPTI_SUCCESS ||
      cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) != CUPTI_SUCCESS) {
    std::fprintf(stderr, "kernel_timeline: CUPTI gives no kernel records here\n");
    return 0;
  }
  std::atexit(print_timeline);
  return 1;
}
