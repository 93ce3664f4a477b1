// What the kernel benchmarks share: GPU arrays with random content, the time of a kernel among its like in a CUDA graph, and a
// row of the table.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda_check.h"

namespace cohort::bench {

using bf16 = __nv_bfloat16;

template <class T>
class Array {
 public:
  explicit Array(size_t n = 0) : size_(n) {
    CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&data_), std::max<size_t>(n, 1) * sizeof(T)));
    CUDA_CHECK(cudaMemset(data_, 0, std::max<size_t>(n, 1) * sizeof(T)));
  }
  explicit Array(const std::vector<T>& v) : Array(v.size()) {
    CUDA_CHECK(cudaMemcpy(data_, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  Array(const Array&) = delete;
  ~Array() { cudaFree(data_); }
  T* get() const { return data_; }
  size_t size() const { return size_; }
  std::vector<T> down() const {
    CUDA_CHECK(cudaDeviceSynchronize());
    std::vector<T> v(size_);
    CUDA_CHECK(cudaMemcpy(v.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return v;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

inline float number(float x) {
  return x;
}
inline float number(bf16 x) {
  return __bfloat162float(x);
}

// About normal, of this deviation: a block of values again and again (its length is prime, so rows differ).
template <class T>
void fill_random(Array<T>& to, float deviation = 1) {
  std::vector<T> block(std::min<size_t>(to.size(), 1048573));
  uint64_t state = 12345;
  for (T& v : block) {
    float sum = -6;
    for (int i = 0; i < 12; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += float(state >> 40) / float(1 << 24);
    }
    v = T(sum * deviation);
  }
  if (block.empty()) return;
  CUDA_CHECK(cudaMemcpy(to.get(), block.data(), block.size() * sizeof(T), cudaMemcpyHostToDevice));
  for (size_t have = block.size(); have < to.size(); have *= 2)
    CUDA_CHECK(cudaMemcpy(to.get() + have, to.get(), std::min(have, to.size() - have) * sizeof(T),
                          cudaMemcpyDeviceToDevice));
}

// The same values in fp32.
inline void widen(const Array<bf16>& from, Array<float>& to) {
  std::vector<float> wide;
  for (const bf16 v : from.down()) wide.push_back(number(v));
  CUDA_CHECK(cudaMemcpy(to.get(), wide.data(), wide.size() * sizeof(float), cudaMemcpyHostToDevice));
}

// ||a - b|| / ||b||
template <class T>
double distance(const std::vector<T>& a, const std::vector<T>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = double(number(a[i])) - number(b[i]);
    if (std::isnan(d)) return INFINITY;
    difference += d * d, norm += double(number(b[i])) * number(b[i]);
  }
  return std::sqrt(difference / (norm > 0 ? norm : 1));
}

struct Time {
  double us = 0, low = 0, high = 0;  // of one launch: median, lowest and highest of the repetitions
};

class Clock {
 public:
  Clock() {
    CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (cudaEvent_t* e : {&begin_, &end_}) CUDA_CHECK(cudaEventCreate(e));
  }
  // each(i) enqueues on `stream`; `launches` of them in one graph, so that the CPU is not in the figure. Use other data
  // for each i than L2 holds, as a decode step does.
  template <class F>
  Time time(int launches, F each) {
    each(0);  // attributes, plans
    CUDA_CHECK(cudaStreamSynchronize(stream));
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t runnable = nullptr;
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    for (int i = 0; i < launches; ++i) each(i);
    CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    CUDA_CHECK(cudaGraphInstantiate(&runnable, graph, 0));
    std::array<double, 7> us;
    CUDA_CHECK(cudaGraphLaunch(runnable, stream));
    for (double& t : us) {
      float ms = 0;
      CUDA_CHECK(cudaEventRecord(begin_, stream));
      CUDA_CHECK(cudaGraphLaunch(runnable, stream));
      CUDA_CHECK(cudaEventRecord(end_, stream));
      CUDA_CHECK(cudaEventSynchronize(end_));
      CUDA_CHECK(cudaEventElapsedTime(&ms, begin_, end_));
      t = 1e3 * double(ms) / launches;
    }
    std::sort(us.begin(), us.end());
    CUDA_CHECK(cudaGraphExecDestroy(runnable));
    CUDA_CHECK(cudaGraphDestroy(graph));
    return {us[3], us.front(), us.back()};
  }
  cudaStream_t stream = nullptr;

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// One kernel one after the other, and each launched while the one before ends (programmatic dependent launch), as in a step.
struct Pair {
  Time serial, early;
};
template <class F>
Pair time_both(Clock& clock, int launches, F each) {  // each(i, early)
  return {clock.time(launches, [&](int i) { each(i, false); }),
          clock.time(launches, [&](int i) { each(i, true); })};
}

// `work` bytes or, with flops, floating-point operations of one launch.
inline void print_row(const std::string& kernel, const std::string& shape, double work, bool flops,
                      const Pair& ours, const char* peer = "", const Pair* theirs = nullptr,
                      double difference = -1) {
  const auto rate = [&](const Time& t) { return work / t.us * 1e-6; };
  const char* unit = flops ? "TFLOP/s" : "TB/s";
  std::string line =
      fmt::format("| {} | {} | {:.2f} / {:.2f} ({:.2f}–{:.2f}) | {:.{}f} {} |", kernel, shape, ours.serial.us,
                  ours.early.us, ours.early.low, ours.early.high, rate(ours.early), flops ? 0 : 2, unit);
  if (theirs)
    line += fmt::format(" {}: {:.2f} / {:.2f} | {:.{}f} | {:.2f} / {:.2f} |", peer, theirs->serial.us,
                        theirs->early.us, rate(theirs->early), flops ? 0 : 2,
                        theirs->serial.us / ours.serial.us, theirs->early.us / ours.early.us);
  else
    line += " | | |";
  line += difference >= 0 ? fmt::format(" {:.1e} |\n", difference) : std::string(" |\n");
  fmt::print("{}", line);
  std::fflush(stdout);
}

struct Shape {
  const char* name;
  int hidden, intermediate, heads, kv_heads, head_dim;
};
constexpr std::array<Shape, 2> kShapes = {{{"0.5B", 896, 4864, 14, 2, 64}, {"1.5B", 1536, 8960, 12, 2, 128}}};
constexpr int kVocab = 151936;
constexpr double kColdBytes = 256e6;  // several times L2
inline int copies_of(double bytes) {
  return std::clamp(int(kColdBytes / bytes) + 1, 2, 28);
}

void bench_decode_attention(Clock& clock);
void bench_prefill_attention(Clock& clock);
void bench_rows(Clock& clock);  // norms, embedding, rotation and write, SwiGLU
void bench_sampler(Clock& clock);
void bench_products(Clock& clock, bool each);  // each: a line for every tile
void bench_launches(Clock& clock);

}  // namespace cohort::bench
