// Rotary positions with the per-head norms in front of them, and SwiGLU.
#include <type_traits>

#include "learner/gpu/device_code.cuh"

namespace cohort::gpu {
namespace {

constexpr int kWarps = 8;  // of a block
constexpr int kHeadBlocks = 528;
constexpr int kMaxHalf = 4;  // a lane's pairs: heads of up to 256

// One warp a head; a lane has the pairs lane, lane + 32, … of (j, j + E/2).
template <class T>
__global__ void rotate_kernel(int64_t items, int heads, int kv_heads, int dim, const float* in, const T* bias,
                              const T* q_norm, const T* k_norm, float eps, const float* cos, const float* sin,
                              const int32_t* table_row, T* out, T* kept, float* head_inverse) {
  const int lane = threadIdx.x % 32, all = heads + 2 * kv_heads, half = dim / 2;
  const int64_t item = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (item >= items) return;
  const int64_t token = item / all;
  const int head = int(item % all);
  const float* from = in + item * dim;
  T* to = out + item * dim;
  float a[kMaxHalf], b[kMaxHalf], square = 0;
#pragma unroll
  for (int k = 0; k < kMaxHalf; ++k) {
    const int j = lane + 32 * k;
    a[k] = b[k] = 0;
    if (j >= half) continue;
    a[k] = from[j], b[k] = from[j + half];
    if (bias) a[k] += wide(bias[head * dim + j]), b[k] += wide(bias[head * dim + j + half]);
    square += a[k] * a[k] + b[k] * b[k];
  }
  const bool value = head >= heads + kv_heads;
  if (q_norm && !value) {
    const T* w = head < heads ? q_norm : k_norm;
    const float inv = rsqrtf(warp_sum(square) / float(dim) + eps);
    if (lane == 0) head_inverse[token * (heads + kv_heads) + head] = inv;
#pragma unroll
    for (int k = 0; k < kMaxHalf; ++k) {
      const int j = lane + 32 * k;
      if (j >= half) continue;
      kept[item * dim + j] = narrow<T>(a[k]), kept[item * dim + j + half] = narrow<T>(b[k]);
      a[k] *= inv * wide(w[j]), b[k] *= inv * wide(w[j + half]);
    }
  }
  const int64_t row = int64_t(table_row[token]) * half;
#pragma unroll
  for (int k = 0; k < kMaxHalf; ++k) {
    const int j = lane + 32 * k;
    if (j >= half) continue;
    const float c = value ? 1 : cos[row + j], s = value ? 0 : sin[row + j];
    to[j] = narrow<T>(a[k] * c - b[k] * s);
    to[j + half] = narrow<T>(b[k] * c + a[k] * s);
  }
}

template <class T>
__global__ void rotate_grad_kernel(int64_t items, int heads, int kv_heads, int dim, const T* dq, const T* dk,
                                   const T* dv, const T* in, const T* q_norm, const T* k_norm,
                                   const float* head_inverse, const float* cos, const float* sin,
                                   const int32_t* table_row, T* d_qkv, float* partial) {
  const int lane = threadIdx.x % 32, all = heads + 2 * kv_heads, half = dim / 2, normed = heads + kv_heads;
  const int64_t warp = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32, warps = int64_t(gridDim.x) * kWarps;
  float sums[2][2 * kMaxHalf] = {};  // of q_norm's and k_norm's gradient, this lane's elements
  for (int64_t item = warp; item < items; item += warps) {
    const int64_t token = item / all;
    const int head = int(item % all);
    const T* from = head < heads    ? dq + (token * heads + head) * dim
                    : head < normed ? dk + (token * kv_heads + head - heads) * dim
                                    : dv + (token * kv_heads + head - normed) * dim;
    T* to = d_qkv + item * dim;
    const bool value = head >= normed;
    const int64_t row = int64_t(table_row[token]) * half;
    float a[kMaxHalf], b[kMaxHalf];
#pragma unroll
    for (int k = 0; k < kMaxHalf; ++k) {
      const int j = lane + 32 * k;
      a[k] = b[k] = 0;
      if (j >= half) continue;
      const float c = value ? 1 : cos[row + j], s = value ? 0 : sin[row + j];
      const float x = wide(from[j]), y = wide(from[j + half]);
      a[k] = x * c + y * s, b[k] = y * c - x * s;
    }
    if (q_norm && !value) {
      const T* w = head < heads ? q_norm : k_norm;
      const float inv = head_inverse[token * normed + head];
      const int which = head < heads ? 0 : 1;
      float dot = 0, u[kMaxHalf] = {}, v[kMaxHalf] = {};
#pragma unroll
      for (int k = 0; k < kMaxHalf; ++k) {
        const int j = lane + 32 * k;
        if (j >= half) continue;
        u[k] = wide(in[item * dim + j]) * inv, v[k] = wide(in[item * dim + j + half]) * inv;
        const float gu = a[k] * u[k], gv = b[k] * v[k];
        sums[0][k] += which == 0 ? gu : 0, sums[1][k] += which == 0 ? 0 : gu;
        sums[0][kMaxHalf + k] += which == 0 ? gv : 0, sums[1][kMaxHalf + k] += which == 0 ? 0 : gv;
        a[k] *= wide(w[j]), b[k] *= wide(w[j + half]);
        dot += a[k] * u[k] + b[k] * v[k];
      }
      const float mean = warp_sum(dot) / float(dim);
#pragma unroll
      for (int k = 0; k < kMaxHalf; ++k) a[k] = inv * (a[k] - u[k] * mean), b[k] = inv * (b[k] - v[k] * mean);
    }
#pragma unroll
    for (int k = 0; k < kMaxHalf; ++k) {
      const int j = lane + 32 * k;
      if (j >= half) continue;
      to[j] = narrow<T>(a[k]), to[j + half] = narrow<T>(b[k]);
    }
  }
  if (!partial) return;
#pragma unroll
  for (int which = 0; which < 2; ++which)
#pragma unroll
    for (int k = 0; k < kMaxHalf; ++k) {
      const int j = lane + 32 * k;
      if (j >= half) continue;
      float* to = partial + (which * warps + warp) * dim;
      to[j] = sums[which][k], to[j + half] = sums[which][kMaxHalf + k];
    }
}

// The rotation, or its gradient, where there are no head norms: a thread has N pairs. q: all of qkv in float32, or dq beside dk
// and dv in T.
template <class T, int N, bool kGrad, class From = std::conditional_t<kGrad, T, float>>
__global__ void turn_kernel(uint32_t items, uint32_t heads, uint32_t kv_heads, uint32_t dim, const From* q,
                            const From* k, const From* v, const T* bias, const float* cos, const float* sin,
                            const int32_t* table_row, T* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= items) return;
  const uint32_t half = dim / 2, packs = half / N, all = heads + 2 * kv_heads, normed = heads + kv_heads;
  const uint32_t head_row = i / packs, at = (i - head_row * packs) * N, token = head_row / all,
                 head = head_row - token * all;
  const From* from = !kGrad          ? q + int64_t(head_row) * dim
                     : head < heads  ? q + (int64_t(token) * heads + head) * dim
                     : head < normed ? k + (int64_t(token) * kv_heads + head - heads) * dim
                                     : v + (int64_t(token) * kv_heads + head - normed) * dim;
  float a[N], b[N], c[N], s[N];
  load(a, from + at);
  load(b, from + half + at);
  if (!kGrad && bias) {
    load(c, bias + head * dim + at);
    load(s, bias + head * dim + half + at);
#pragma unroll
    for (int j = 0; j < N; ++j) a[j] += c[j], b[j] += s[j];
  }
  if (head < normed) {
    const int64_t row = int64_t(table_row[token]) * half;
    load(c, cos + row + at);
    load(s, sin + row + at);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float x = a[j], y = b[j], sine = kGrad ? -s[j] : s[j];
      a[j] = x * c[j] - y * sine, b[j] = y * c[j] + x * sine;
    }
  }
  T* to = out + int64_t(head_row) * dim + at;
  store(to, a);
  store(to + half, b);
}

// False where it does not apply.
template <bool kGrad>
bool turn(Type type, int64_t tokens, const Heads& h, const void* q, const void* k, const void* v,
          const void* bias, const float* cos, const float* sin, const int32_t* table_row, void* out) {
  constexpr int kPairs = 8;
  const int64_t items = tokens * (h.heads + 2 * h.kv_heads) * (h.dim / 2 / kPairs);
  if (h.q_norm || h.dim % (2 * kPairs) != 0 || items > INT32_MAX) return false;
  with_type(type, [&](auto t) {
    using T = decltype(t);
    using From = std::conditional_t<kGrad, T, float>;
    turn_kernel<T, kPairs, kGrad><<<blocks_for(items, 256), 256>>>(
        uint32_t(items), uint32_t(h.heads), uint32_t(h.kv_heads), uint32_t(h.dim),
        static_cast<const From*>(q), static_cast<const From*>(k), static_cast<const From*>(v),
        static_cast<const T*>(bias), cos, sin, table_row, static_cast<T*>(out));
  });
  launched("turning heads");
  return true;
}

template <class T, int N>
__global__ void swiglu_kernel(int64_t packs, int64_t inner, const T* gate_up, T* act) {
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= packs * N) return;
  const int64_t row = i / inner, column = i - row * inner;
  float g[N], u[N];
  load(g, gate_up + row * 2 * inner + column);
  load(u, gate_up + row * 2 * inner + inner + column);
#pragma unroll
  for (int j = 0; j < N; ++j) g[j] = g[j] * (1 / (1 + expf(-g[j]))) * u[j];  // as swiglu_grad does
  store(act + i, g);
}

template <class T, int N>
__global__ void swiglu_grad_kernel(int64_t packs, int64_t inner, T* gate_up, T* d_act) {
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= packs * N) return;
  const int64_t row = i / inner, column = i - row * inner;
  T *gate = gate_up + row * 2 * inner + column, *up = gate + inner;
  float g[N], u[N], d[N], act[N];
  load(g, gate);
  load(u, up);
  load(d, d_act + i);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float sigmoid = 1 / (1 + expf(-g[j])), silu = g[j] * sigmoid;
    act[j] = silu * u[j];
    g[j] = d[j] * u[j] * sigmoid * (1 + g[j] * (1 - sigmoid));
    u[j] = d[j] * silu;
  }
  store(gate, g);
  store(up, u);
  store(d_act + i, act);
}

}  // namespace

void rotate_qkv(Type type, int64_t tokens, const Heads& h, const float* in, const void* bias,
                const float* cos, const float* sin, const int32_t* table_row, void* out, void* kept,
                float* head_inverse) {
  const int64_t items = tokens * (h.heads + 2 * h.kv_heads);
  if (items == 0 || turn<false>(type, tokens, h, in, nullptr, nullptr, bias, cos, sin, table_row, out))
    return;
  with_type(type, [&](auto t) {
    using T = decltype(t);
    rotate_kernel<T><<<blocks_for(items, kWarps), 32 * kWarps>>>(
        items, int(h.heads), int(h.kv_heads), int(h.dim), in, static_cast<const T*>(bias),
        static_cast<const T*>(h.q_norm), static_cast<const T*>(h.k_norm), h.eps, cos, sin, table_row,
        static_cast<T*>(out), static_cast<T*>(kept), head_inverse);
  });
  launched("rotate_qkv");
}

int64_t head_scratch(int64_t dim) {
  return int64_t(2) * kHeadBlocks * kWarps * dim;
}
void rotate_qkv_grad(Type type, int64_t tokens, const Heads& h, const void* dq, const void* dk,
                     const void* dv, const void* in, const float* head_inverse, const float* cos,
                     const float* sin, const int32_t* table_row, void* d_qkv, float* d_q_norm,
                     float* d_k_norm, float* scratch) {
  const int64_t items = tokens * (h.heads + 2 * h.kv_heads);
  if (items == 0 || turn<true>(type, tokens, h, dq, dk, dv, nullptr, cos, sin, table_row, d_qkv)) return;
  with_type(type, [&](auto t) {
    using T = decltype(t);
    rotate_grad_kernel<T><<<kHeadBlocks, 32 * kWarps>>>(
        items, int(h.heads), int(h.kv_heads), int(h.dim), static_cast<const T*>(dq),
        static_cast<const T*>(dk), static_cast<const T*>(dv), static_cast<const T*>(in),
        static_cast<const T*>(h.q_norm), static_cast<const T*>(h.k_norm), head_inverse, cos, sin, table_row,
        static_cast<T*>(d_qkv), h.q_norm ? scratch : nullptr);
  });
  launched("rotate_qkv_grad");
  if (!h.q_norm) return;
  constexpr int64_t kRows = int64_t(kHeadBlocks) * kWarps;
  launch_add_partials(kRows, h.dim, scratch, d_q_norm);
  launch_add_partials(kRows, h.dim, scratch + kRows * h.dim, d_k_norm);
}

void swiglu(Type type, int64_t rows, int64_t inner, const void* gate_up, void* act) {
  if (rows == 0) return;
  with_pack(type, inner, [&](auto t, auto n) {
    using T = decltype(t);
    constexpr int N = decltype(n)::value;
    const int64_t packs = rows * inner / N;
    swiglu_kernel<T, N>
        <<<blocks_for(packs, 256), 256>>>(packs, inner, static_cast<const T*>(gate_up), static_cast<T*>(act));
  });
  launched("swiglu");
}

void swiglu_grad(Type type, int64_t rows, int64_t inner, void* gate_up, void* d_act) {
  if (rows == 0) return;
  with_pack(type, inner, [&](auto t, auto n) {
    using T = decltype(t);
    constexpr int N = decltype(n)::value;
    const int64_t packs = rows * inner / N;
    swiglu_grad_kernel<T, N>
        <<<blocks_for(packs, 256), 256>>>(packs, inner, static_cast<T*>(gate_up), static_cast<T*>(d_act));
  });
  launched("swiglu_grad");
}

}  // namespace cohort::gpu
