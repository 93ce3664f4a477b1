// What the tests of kernels share: host vectors with a copy on the GPU, random values, and the error that counts.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda_check.h"

namespace cohort::cuda {

inline bool have_gpu() {
  int count = 0;
  const bool have = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();
  return have;
}
#define NEEDS_GPU() \
  if (!::cohort::cuda::have_gpu()) GTEST_SKIP() << "no GPU"

// One array on both sides. The GPU's is `guard` elements longer; their bytes are checked by down().
template <class T>
class Both {
 public:
  explicit Both(size_t n = 0, T value = T{}) : host(n, value) {
    CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&device_), bytes() + kGuard));
    CUDA_CHECK(cudaMemset(reinterpret_cast<char*>(device_) + bytes(), 0x5a, kGuard));
  }
  Both(const Both&) = delete;
  ~Both() { cudaFree(device_); }
  T* up() {
    if (!host.empty()) CUDA_CHECK(cudaMemcpy(device_, host.data(), bytes(), cudaMemcpyHostToDevice));
    return device_;
  }
  // The GPU's content; what is behind it must be as it was.
  std::vector<T> down() const {
    CUDA_CHECK(cudaDeviceSynchronize());
    std::vector<T> out(host.size());
    if (!out.empty()) CUDA_CHECK(cudaMemcpy(out.data(), device_, bytes(), cudaMemcpyDeviceToHost));
    unsigned char guard[kGuard];
    CUDA_CHECK(cudaMemcpy(guard, reinterpret_cast<char*>(device_) + bytes(), kGuard, cudaMemcpyDeviceToHost));
    for (unsigned char g : guard) EXPECT_EQ(g, 0x5a) << "written behind its end";
    return out;
  }
  T* device() const { return device_; }

  std::vector<T> host;

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes() const { return host.size() * sizeof(T); }
  T* device_ = nullptr;
};

inline float number(float x) {
  return x;
}
inline float number(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
inline __nv_bfloat16 bf(float x) {
  return __float2bfloat16_rn(x);
}

template <class T>
void fill(std::vector<T>& v, std::mt19937& rng, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  for (T& x : v) {
    if constexpr (std::is_same_v<T, float>)
      x = normal(rng);
    else
      x = bf(normal(rng));
  }
}

// ||a - b|| / ||b||; infinite where a has a NaN.
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = double(number(a[i])) - double(number(b[i]));
    if (std::isnan(d)) return INFINITY;
    difference += d * d, norm += double(number(b[i])) * double(number(b[i]));
  }
  return std::sqrt(difference / (norm > 0 ? norm : 1));
}

}  // namespace cohort::cuda
