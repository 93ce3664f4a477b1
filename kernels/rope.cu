#include "kernels/qkv_head.cuh"
#include "kernels/rope.h"

namespace cohort::cuda {
namespace {

// A warp a head; blocks of eight warps share a row's heads.
template <int kPairs>
__global__ void rope_write_kernel(RopeWriteParams p) {
  dependency_wait();
  dependents_launch();
  const int row_index = blockIdx.x, head = blockIdx.y * 8 + threadIdx.x / 32, d = p.kv.head_dim;
  const Row& row = p.rows[row_index];
  if (row.slot < 0 || head >= p.heads + 2 * p.kv.kv_heads) return;
  bf16* to;
  if (head < p.heads) {
    to = p.q + (int64_t(row_index) * p.heads + head) * d;
  } else {
    const int value = head >= p.heads + p.kv.kv_heads, kv_head = (head - p.heads) % p.kv.kv_heads;
    const int32_t page = p.kv.table[row.slot * p.kv.table_stride + row.position / kPageTokens];
    to = p.kv.head(page, value, kv_head) + row.position % kPageTokens * d;
  }
  HeadPairs<kPairs> pairs;
  pairs.load(p.qkv, row_index, head, d);
  if (head < p.heads + p.kv.kv_heads) {
    float2 turns[kPairs];
    load_turns(p.rope, row.position, d, turns);
    if (const bf16* norm = head < p.heads ? p.rope.q_norm : p.rope.k_norm)
      pairs.normalise(norm, p.rope.eps, d);
    pairs.rotate(turns);
  }
  pairs.store(d, [to](int i, float v) { to[i] = __float2bfloat16_rn(v); });
}

}  // namespace

void rope_write(const RopeWriteParams& p, cudaStream_t stream, bool early) {
  const dim3 grid(unsigned(p.count), unsigned(p.heads + 2 * p.kv.kv_heads + 7) / 8);
  auto kernel = p.kv.head_dim <= 64    ? rope_write_kernel<1>
                : p.kv.head_dim <= 128 ? rope_write_kernel<2>
                                       : rope_write_kernel<4>;
  launch(kernel, grid, 256, 0, stream, early, p);
}

}  // namespace cohort::cuda
