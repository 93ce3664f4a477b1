// Log-prob and entropy from a chunk of logits, AdamW, sums of squares, conversions.
#include <type_traits>

#include "learner/gpu/device_code.cuh"

namespace cohort::gpu {
namespace {

constexpr int kRowThreads = 1024;  // a block a row of logits

// The largest z so far, sum of exp(z - largest), sum of z · exp(z - largest).
struct Online {
  float largest = -INFINITY, sum = 0, weighted = 0;
  __device__ void add(float z) {
    if (z > largest) {
      const float shrink = expf(largest - z);  // 0 at the first element
      sum *= shrink, weighted *= shrink, largest = z;
    }
    const float e = expf(z - largest);
    sum += e, weighted += z * e;
  }
  __device__ void merge(const Online& o) {
    if (o.largest == -INFINITY) return;
    const float top = fmaxf(largest, o.largest);
    const float mine = largest == -INFINITY ? 0 : expf(largest - top), theirs = expf(o.largest - top);
    sum = sum * mine + o.sum * theirs;
    weighted = weighted * mine + o.weighted * theirs;
    largest = top;
  }
};

template <int N>
__global__ void __launch_bounds__(kRowThreads)
    stats_kernel(int64_t vocab, int64_t stride, const float* logits, float inverse_temperature,
                 const int32_t* targets, float* logprobs, float* entropy, float* normaliser) {
  __shared__ Online warps[32];
  const float* row = logits + blockIdx.x * stride;
  Online mine;
  float z[N];
  for (int64_t i = threadIdx.x * N; i < vocab; i += kRowThreads * N) {
    load(z, row + i);
#pragma unroll
    for (int j = 0; j < N; ++j) mine.add(z[j] * inverse_temperature);
  }
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    Online other;
    other.largest = __shfl_down_sync(0xffffffffu, mine.largest, step);
    other.sum = __shfl_down_sync(0xffffffffu, mine.sum, step);
    other.weighted = __shfl_down_sync(0xffffffffu, mine.weighted, step);
    mine.merge(other);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kRowThreads / 32; ++w) mine.merge(warps[w]);
  const float lse = mine.largest + logf(mine.sum);
  logprobs[blockIdx.x] = row[targets[blockIdx.x]] * inverse_temperature - lse;
  entropy[blockIdx.x] = lse - mine.weighted / mine.sum;
  normaliser[blockIdx.x] = lse;
}

// A tile is read by the whole block before any of it is written: the gradient of elements [i, i + tile) lands on bytes
// that held elements read in this tile or before (T no wider than float).
template <class T, int N>
__global__ void __launch_bounds__(kRowThreads)
    stats_grad_kernel(int64_t vocab, int64_t stride, float* logits, float inverse_temperature,
                      const int32_t* targets, const float* normaliser, const float* entropy,
                      const float* grad_logprobs, const float* grad_entropy) {
  float* row = logits + blockIdx.x * stride;
  T* out = reinterpret_cast<T*>(row);
  const float lse = normaliser[blockIdx.x], g = grad_logprobs[blockIdx.x], h = entropy[blockIdx.x],
              gh = grad_entropy ? grad_entropy[blockIdx.x] : 0;
  const int64_t target = targets[blockIdx.x];
  float z[N];
  for (int64_t tile = 0; tile < vocab; tile += kRowThreads * N) {
    const int64_t i = tile + threadIdx.x * N;
    const bool inside = i < vocab;
    if (inside) load(z, row + i);
    __syncthreads();
    if (inside) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float log_p = z[j] * inverse_temperature - lse, p = expf(log_p);
        z[j] = (g * ((i + j == target ? 1.0f : 0.0f) - p) - gh * p * (log_p + h)) * inverse_temperature;
      }
      store(out + i, z);
    }
  }
}

template <class T>
__global__ void adamw_kernel(const AdamRun* runs, AdamFactors f, const float* gradients, float* master,
                             float* first, float* second, T* weights) {
  const AdamRun run = runs[blockIdx.x];
  const float keep = run.decay ? f.keep : 1.0f;
  const float* g = gradients + run.weight;
  T* w = weights + run.weight;
  const bool own_master = static_cast<const void*>(master) != static_cast<const void*>(weights);
  float *p = master + (own_master ? run.state : run.weight), *m = first + run.state, *v = second + run.state;
  const auto update = [&](float& pi, float& mi, float& vi, float gi) {
    const float grad = f.scale * gi;
    mi = f.beta1 * mi + f.rest1 * grad;
    vi = f.beta2 * vi + f.rest2 * grad * grad;
    pi = keep * pi - f.step_size * mi / (sqrtf(vi) * f.root2 + f.eps);
  };
  const uint32_t whole = run.count / 4 * 4;
  for (uint32_t i = threadIdx.x * 4; i < whole; i += blockDim.x * 4) {
    float a[4], b[4], c[4], d[4];
    load(a, p + i), load(b, m + i), load(c, v + i), load(d, g + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) update(a[j], b[j], c[j], d[j]);
    store(p + i, a), store(m + i, b), store(v + i, c);
    if (own_master) store(w + i, a);
  }
  for (uint32_t i = whole + threadIdx.x; i < run.count; i += blockDim.x) {
    update(p[i], m[i], v[i], g[i]);
    w[i] = narrow<T>(p[i]);
  }
}

__global__ void squares_kernel(const float* x, size_t count, double* partial) {
  __shared__ double shared[256];
  double sum = 0;
  const size_t step = size_t(gridDim.x) * blockDim.x * 4, whole = count / 4 * 4;
  float a[4];
  for (size_t i = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * 4; i < whole; i += step) {
    load(a, x + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += double(a[j]) * double(a[j]);
  }
  if (blockIdx.x == 0)
    for (size_t i = whole + threadIdx.x; i < count; i += blockDim.x) sum += double(x[i]) * double(x[i]);
  shared[threadIdx.x] = sum;
  __syncthreads();
  for (int n = 128; n > 0; n /= 2) {
    if (threadIdx.x < n) shared[threadIdx.x] += shared[threadIdx.x + n];
    __syncthreads();
  }
  if (threadIdx.x == 0) partial[blockIdx.x] = shared[0];
}

template <class A, class B, int N>
__global__ void convert_kernel(const A* x, B* y, size_t packs) {
  const size_t step = size_t(gridDim.x) * blockDim.x;
  float a[N];
  for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < packs; i += step) {
    load(a, x + i * N);
    store(y + i * N, a);
  }
}

}  // namespace

void token_stats(int64_t rows, int64_t vocab, int64_t stride, const float* logits, float inverse_temperature,
                 const int32_t* targets, float* logprobs, float* entropy, float* normaliser) {
  if (rows == 0) return;
  const auto kernel = vocab % 4 == 0 && stride % 4 == 0 ? stats_kernel<4> : stats_kernel<1>;
  kernel<<<unsigned(rows), kRowThreads>>>(vocab, stride, logits, inverse_temperature, targets, logprobs,
                                          entropy, normaliser);
  launched("token_stats");
}

void token_stats_grad(Type type, int64_t rows, int64_t vocab, int64_t stride, float* logits,
                      float inverse_temperature, const int32_t* targets, const float* normaliser,
                      const float* entropy, const float* grad_logprobs, const float* grad_entropy) {
  if (rows == 0) return;
  with_type(type, [&](auto t) {
    using T = decltype(t);
    const auto kernel = vocab % 4 == 0 && stride % 4 == 0 ? stats_grad_kernel<T, 4> : stats_grad_kernel<T, 1>;
    kernel<<<unsigned(rows), kRowThreads>>>(vocab, stride, logits, inverse_temperature, targets, normaliser,
                                            entropy, grad_logprobs, grad_entropy);
  });
  launched("token_stats_grad");
}

void adamw(Type type, size_t runs, const AdamRun* run, const AdamFactors& factors, const float* gradients,
           float* master, float* first, float* second, void* weights) {
  if (runs == 0) return;
  with_type(type, [&](auto t) {
    using T = decltype(t);
    adamw_kernel<T>
        <<<unsigned(runs), 256>>>(run, factors, gradients, master, first, second, static_cast<T*>(weights));
  });
  launched("adamw");
}

void sum_of_squares(const float* x, size_t count, double* partial) {
  squares_kernel<<<kSquareParts, 256>>>(x, count, partial);
  launched("sum_of_squares");
}

void convert(Type from, const void* x, Type to, void* y, size_t count) {
  if (count == 0) return;
  with_type(from, [&](auto a) {
    with_type(to, [&](auto b) {
      using A = decltype(a);
      using B = decltype(b);
      const auto launch = [&](auto n) {
        constexpr int N = decltype(n)::value;
        convert_kernel<A, B, N><<<1056, 256>>>(static_cast<const A*>(x), static_cast<B*>(y), count / N);
      };
      if (count % 8 == 0)
        launch(std::integral_constant<int, 8>{});
      else
        launch(std::integral_constant<int, 1>{});
    });
  });
  launched("convert");
}

}  // namespace cohort::gpu
