// RMSNorm, biases, rows in and out.
#include <algorithm>
#include <type_traits>

#include "learner/gpu/device_code.cuh"

namespace cohort::gpu {
namespace {

constexpr int kNormBlocks =
    528;  // four a multiprocessor; each keeps one partial sum of the weight's gradient
constexpr int kBiasBlocks = 128;
constexpr int kPartialRows = 32;  // of threads

template <class T, int N>
__global__ void norm_kernel(int width, const float* x, const T* w, float eps, T* kept, T* y, float* inverse) {
  __shared__ float shared[32];
  const int64_t row = int64_t(blockIdx.x) * width;
  float square = 0, a[N], b[N];
  for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    load(a, x + row + i);
    store(kept + row + i, a);
#pragma unroll
    for (int j = 0; j < N; ++j) square += a[j] * a[j];
  }
  const float inv = rsqrtf(block_sum(square, shared) / float(width) + eps);
  if (threadIdx.x == 0) inverse[blockIdx.x] = inv;
  for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    load(a, x + row + i);
    load(b, w + i);
#pragma unroll
    for (int j = 0; j < N; ++j) a[j] *= inv * b[j];
    store(y + row + i, a);
  }
}

// Blocks take rows in turn; a thread owns the same columns of all of them, so the weight's sums need no other order.
template <class T, int N>
__global__ void norm_grad_kernel(int64_t rows, int width, const T* dy, const T* x, const T* w,
                                 const float* inverse, const T* residual, T* dx, float* partial) {
  extern __shared__ float sums[];  // width
  __shared__ float shared[32];
  for (int i = threadIdx.x; i < width; i += blockDim.x) sums[i] = 0;
  __syncthreads();
  float g[N], a[N], b[N];
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const int64_t row = r * width;
    const float inv = inverse[r];
    float dot = 0;
    for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
      load(g, dy + row + i);
      load(a, x + row + i);
      load(b, w + i);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float scaled = a[j] * inv;
        dot += g[j] * b[j] * scaled;
        sums[i + j] += g[j] * scaled;
      }
    }
    const float mean = block_sum(dot, shared) / float(width);
    for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
      load(g, dy + row + i);
      load(a, x + row + i);
      load(b, w + i);
#pragma unroll
      for (int j = 0; j < N; ++j) g[j] = inv * (g[j] * b[j] - a[j] * inv * mean);
      if (residual) {
        load(b, residual + row + i);
#pragma unroll
        for (int j = 0; j < N; ++j) g[j] += b[j];
      }
      store(dx + row + i, g);
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < width; i += blockDim.x) partial[int64_t(blockIdx.x) * width + i] = sums[i];
}

// The same for rows of which each thread has one pack: nothing is read twice, and a thread keeps its columns' sums.
template <class T>
__global__ void norm_grad_pack_kernel(int64_t rows, int width, const T* dy, const T* x, const T* w,
                                      const float* inverse, const T* residual, T* dx, float* partial) {
  __shared__ float shared[32];
  const int i = threadIdx.x * 8;
  const bool inside = i < width;
  float sums[8] = {}, weight[8] = {}, g[8] = {}, a[8] = {}, more[8] = {};
  if (inside) load(weight, w + i);
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const int64_t at = r * width + i;
    const float inv = inverse[r];
    float dot = 0;
    if (inside) {
      load(g, dy + at);
      load(a, x + at);
      if (residual) load(more, residual + at);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        a[j] *= inv;
        sums[j] += g[j] * a[j];
        g[j] *= weight[j];
        dot += g[j] * a[j];
      }
    }
    const float mean = block_sum(dot, shared) / float(width);
    if (!inside) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) g[j] = inv * (g[j] - a[j] * mean) + more[j];
    store(dx + at, g);
  }
  if (inside) store(partial + int64_t(blockIdx.x) * width + i, sums);
}

template <class T, int N>
__global__ void add_bias_kernel(int64_t packs, int columns, T* x, const T* bias) {
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= packs * N) return;
  float a[N], b[N];
  load(a, x + i);
  load(b, bias + i % columns);
#pragma unroll
  for (int j = 0; j < N; ++j) a[j] += b[j];
  store(x + i, a);
}

// 32 packs of columns by 8 rows at a time.
template <class T, int N>
__global__ void column_sums_kernel(int64_t rows, int columns, const T* d, float* partial) {
  __shared__ float shared[8][32 * N];
  const int column = (blockIdx.x * 32 + threadIdx.x) * N;
  float sum[N] = {}, a[N];
  if (column < columns)
    for (int64_t r = int64_t(blockIdx.y) * 8 + threadIdx.y; r < rows; r += int64_t(gridDim.y) * 8) {
      load(a, d + r * columns + column);
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] += a[j];
    }
#pragma unroll
  for (int j = 0; j < N; ++j) shared[threadIdx.y][threadIdx.x * N + j] = sum[j];
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    float all = 0;
    for (int y = 0; y < 8; ++y) all += shared[y][threadIdx.x * N + j];
    partial[int64_t(blockIdx.y) * columns + column + j] = all;
  }
}

template <class T, int N, bool kGather>
__global__ void rows_kernel(int width, const T* x, const int32_t* index, T* out) {
  const int64_t here = int64_t(blockIdx.x) * width, there = int64_t(index[blockIdx.x]) * width;
  const T* from = x + (kGather ? there : here);
  T* to = out + (kGather ? here : there);
  for (int i = threadIdx.x * N; i < width; i += blockDim.x * N)
    *reinterpret_cast<Pack<T, N>*>(to + i) = *reinterpret_cast<const Pack<T, N>*>(from + i);
}

template <class T>
__global__ void embed_grad_kernel(int width, const int32_t* token, const int32_t* begin, const int32_t* order,
                                  const T* dx, float* d_embed) {
  const int first = begin[blockIdx.x], last = begin[blockIdx.x + 1];
  float* out = d_embed + int64_t(token[blockIdx.x]) * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    float sum = 0;
#pragma unroll 4
    for (int j = first; j < last; ++j) sum += wide(dx[int64_t(order[j]) * width + i]);
    out[i] += sum;
  }
}

}  // namespace

__global__ void add_partials(int64_t rows, int64_t columns, const float* partial, float* out) {
  __shared__ float shared[kPartialRows][32];
  const int64_t column = int64_t(blockIdx.x) * 32 + threadIdx.x;
  float sum = 0;
  if (column < columns)
#pragma unroll 8
    for (int64_t r = threadIdx.y; r < rows; r += kPartialRows) sum += partial[r * columns + column];
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int y = 1; y < kPartialRows; ++y) sum += shared[y][threadIdx.x];
  out[column] += sum;
}
void launch_add_partials(int64_t rows, int64_t columns, const float* partial, float* out) {
  add_partials<<<blocks_for(columns, 32), dim3(32, kPartialRows)>>>(rows, columns, partial, out);
  launched("adding partial sums");
}

void rms_norm(Type type, int64_t rows, int64_t width, const float* x, const void* w, float eps, void* kept,
              void* y, float* inverse) {
  if (rows == 0) return;
  with_pack(type, width, [&](auto t, auto n) {
    using T = decltype(t);
    constexpr int N = decltype(n)::value;
    norm_kernel<T, N><<<unsigned(rows), threads_for(width / N)>>>(
        int(width), x, static_cast<const T*>(w), eps, static_cast<T*>(kept), static_cast<T*>(y), inverse);
  });
  launched("rms_norm");
}

static bool pack_a_thread(int64_t width) {
  return width % 8 == 0 && width <= 2048;
}
// As many as a Hopper GPU runs at once by the kernel's registers: the loads of their rows hide each other.
static int64_t blocks_of_packs(int64_t width) {
  return 132 * (1024 / threads_for(width / 8));
}
int64_t norm_scratch(int64_t width) {
  return (pack_a_thread(width) ? blocks_of_packs(width) : kNormBlocks) * width;
}
void rms_norm_grad(Type type, int64_t rows, int64_t width, const void* dy, const void* x, const void* w,
                   const float* inverse, const void* residual, void* dx, float* d_w, float* scratch) {
  if (rows == 0) return;
  if (pack_a_thread(width)) {
    const int64_t some = std::min(rows, blocks_of_packs(width));
    with_type(type, [&](auto t) {
      using T = decltype(t);
      norm_grad_pack_kernel<T><<<unsigned(some), threads_for(width / 8)>>>(
          rows, int(width), static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const T*>(w),
          inverse, static_cast<const T*>(residual), static_cast<T*>(dx), scratch);
    });
    launched("rms_norm_grad");
    launch_add_partials(some, width, scratch, d_w);
    return;
  }
  const int64_t blocks = rows < kNormBlocks ? rows : kNormBlocks;
  with_pack(type, width, [&](auto t, auto n) {
    using T = decltype(t);
    constexpr int N = decltype(n)::value;
    const auto kernel = norm_grad_kernel<T, N>;
    const size_t shared = size_t(width) * sizeof(float);
    if (shared > 40 << 10)
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)),
            "rms_norm_grad");
    kernel<<<unsigned(blocks), threads_for(width / N), shared>>>(
        rows, int(width), static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const T*>(w),
        inverse, static_cast<const T*>(residual), static_cast<T*>(dx), scratch);
  });
  launched("rms_norm_grad");
  launch_add_partials(blocks, width, scratch, d_w);
}

void add_bias(Type type, int64_t rows, int64_t columns, void* x, const void* bias) {
  if (rows == 0) return;
  with_pack(type, columns, [&](auto t, auto n) {
    using T = decltype(t);
    constexpr int N = decltype(n)::value;
    const int64_t packs = rows * columns / N;
    add_bias_kernel<T, N><<<blocks_for(packs, 256), 256>>>(packs, int(columns), static_cast<T*>(x),
                                                           static_cast<const T*>(bias));
  });
  launched("add_bias");
}

int64_t bias_scratch(int64_t columns) {
  return kBiasBlocks * columns;
}
void bias_grad(Type type, int64_t rows, int64_t columns, const void* d, float* d_bias, float* scratch) {
  if (rows == 0) return;
  with_pack(type, columns, [&](auto t, auto n) {
    using T = decltype(t);
    constexpr int N = decltype(n)::value;
    column_sums_kernel<T, N><<<dim3(blocks_for(columns, 32 * N), kBiasBlocks), dim3(32, 8)>>>(
        rows, int(columns), static_cast<const T*>(d), scratch);
  });
  launched("bias_grad");
  launch_add_partials(kBiasBlocks, columns, scratch, d_bias);
}

template <bool kGather>
static void move_rows(Type type, int64_t rows, int64_t width, const void* x, const int32_t* index,
                      void* out) {
  if (rows == 0) return;
  with_pack(type, width, [&](auto t, auto n) {
    using T = decltype(t);
    constexpr int N = decltype(n)::value;
    rows_kernel<T, N, kGather><<<unsigned(rows), threads_for(width / N)>>>(
        int(width), static_cast<const T*>(x), index, static_cast<T*>(out));
  });
  launched("moving rows");
}
void gather_rows(Type type, int64_t rows, int64_t width, const void* x, const int32_t* index, void* out) {
  move_rows<true>(type, rows, width, x, index, out);
}
void scatter_rows(Type type, int64_t rows, int64_t width, const void* x, const int32_t* index, void* out) {
  move_rows<false>(type, rows, width, x, index, out);
}

void embed_grad(Type type, int64_t distinct, int64_t width, const int32_t* token, const int32_t* begin,
                const int32_t* order, const void* dx, float* d_embed) {
  if (distinct == 0) return;
  with_type(type, [&](auto t) {
    using T = decltype(t);
    embed_grad_kernel<T><<<unsigned(distinct), threads_for(width)>>>(int(width), token, begin, order,
                                                                     static_cast<const T*>(dx), d_embed);
  });
  launched("embed_grad");
}

}  // namespace cohort::gpu
