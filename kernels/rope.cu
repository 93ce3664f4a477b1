#include "kernels/qkv_head.cuh"
#include "kernels/rope.h"

namespace cohort::cuda {
namespace {

// kThreads neighbours have a head, eight elements of each half a thread.
template <int kThreads>
__global__ void rope_write_kernel(RopeWriteParams p) {
  constexpr int kDim = kThreads * 16, kHalf = kDim / 2;
  dependency_wait();
  dependents_launch();
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, item = thread / kThreads;
  const int all = p.heads + 2 * p.kv.kv_heads, head = int(item % all), at = int(thread % kThreads) * 8;
  const int64_t row_index = item / all;
  if (row_index >= p.count || p.rows[row_index].slot < 0) return;  // a head's threads go together
  const Row& row = p.rows[row_index];
  const float* from = p.qkv.rows + row_index * p.qkv.width + head * kDim + at;
  float a[8], b[8];
  load_8(from, a), load_8(from + kHalf, b);
  if (const bf16* bias = p.qkv.bias) {
    float w[8], v[8];
    widen(*reinterpret_cast<const uint4*>(bias + head * kDim + at), w),
        widen(*reinterpret_cast<const uint4*>(bias + head * kDim + kHalf + at), v);
#pragma unroll
    for (int j = 0; j < 8; ++j) a[j] += w[j], b[j] += v[j];
  }
  if (head < p.heads + p.kv.kv_heads) {
    if (const bf16* norm = head < p.heads ? p.rope.q_norm : p.rope.k_norm) {
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += a[j] * a[j] + b[j] * b[j];
      const uint32_t together = ((1u << kThreads) - 1) << (threadIdx.x % 32 / kThreads * kThreads);
#pragma unroll
      for (int o = 1; o < kThreads; o <<= 1) sum += __shfl_xor_sync(together, sum, o);
      const float scale = rsqrtf(sum / float(kDim) + p.rope.eps);
      float w[8], v[8];
      widen(*reinterpret_cast<const uint4*>(norm + at), w),
          widen(*reinterpret_cast<const uint4*>(norm + kHalf + at), v);
#pragma unroll
      for (int j = 0; j < 8; ++j) a[j] *= scale * w[j], b[j] *= scale * v[j];
    }
    const float4* turns =
        reinterpret_cast<const float4*>(p.rope.cos_sin + int64_t(row.position) * kHalf + at);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const float4 t = turns[j / 2];
      const float x = a[j] * t.x - b[j] * t.y, y = a[j + 1] * t.z - b[j + 1] * t.w;
      b[j] = b[j] * t.x + a[j] * t.y, b[j + 1] = b[j + 1] * t.z + a[j + 1] * t.w;
      a[j] = x, a[j + 1] = y;
    }
  }
  bf16* to;
  if (head < p.heads) {
    to = p.q + (row_index * p.heads + head) * kDim;
  } else {
    const int value = head >= p.heads + p.kv.kv_heads, kv_head = (head - p.heads) % p.kv.kv_heads;
    const int32_t page = p.kv.table[row.slot * p.kv.table_stride + row.position / kPageTokens];
    to = p.kv.head(page, value, kv_head) + row.position % kPageTokens * kDim;
  }
  *reinterpret_cast<uint4*>(to + at) = narrow(a), *reinterpret_cast<uint4*>(to + kHalf + at) = narrow(b);
}

template <int kThreads>
void run(const RopeWriteParams& p, cudaStream_t stream, bool early) {
  const int64_t threads = int64_t(p.count) * (p.heads + 2 * p.kv.kv_heads) * kThreads;
  launch(rope_write_kernel<kThreads>, unsigned((threads + 255) / 256), 256, 0, stream, early, p);
}

}  // namespace

void rope_write(const RopeWriteParams& p, cudaStream_t stream, bool early) {
  if (p.kv.head_dim == 32) return run<2>(p, stream, early);
  if (p.kv.head_dim == 64) return run<4>(p, stream, early);
  if (p.kv.head_dim == 128) return run<8>(p, stream, early);
  call_failed("head_dim must be 32, 64 or 128", "rope_write", __FILE__, __LINE__);
}

}  // namespace cohort::cuda
