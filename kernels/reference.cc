// What each kernel computes, in plain loops on host memory. The kernels' tests compare with these.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/decode_attention.h"
#include "kernels/prefill_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/rows_kernels.h"
#include "kernels/swiglu.h"

namespace cohort::cuda {
namespace {

using bf16 = __nv_bfloat16;
float wide(bf16 x) {
  return __bfloat162float(x);
}
float rounded(float x) {
  return wide(__float2bfloat16_rn(x));
}

std::vector<float> head_of(const QkvSource& s, const RopeParams& rope, int64_t row, int position, int head,
                           int heads, int kv_heads, int d) {
  std::vector<float> x(static_cast<size_t>(d));
  for (int i = 0; i < d; ++i)
    x[size_t(i)] = s.rows[row * s.width + head * d + i] + (s.bias ? wide(s.bias[head * d + i]) : 0);
  if (head >= heads + kv_heads) return x;
  if (const bf16* norm = head < heads ? rope.q_norm : rope.k_norm) {
    double sum = 0;
    for (float v : x) sum += double(v) * v;
    const double scale = 1 / std::sqrt(sum / d + rope.eps);
    for (int i = 0; i < d; ++i) x[size_t(i)] = float(x[size_t(i)] * scale * wide(norm[i]));
  }
  std::vector<float> out(x.size());
  for (int i = 0; i < d / 2; ++i) {
    const float2 turn = rope.cos_sin[int64_t(position) * (d / 2) + i];
    const float a = x[size_t(i)], b = x[size_t(i + d / 2)];
    out[size_t(i)] = a * turn.x - b * turn.y;
    out[size_t(i + d / 2)] = b * turn.x + a * turn.y;
  }
  return out;
}

bf16* kv_element(const KvPages& kv, int32_t slot, int token, int value, int kv_head) {
  const int32_t page = kv.table[slot * kv.table_stride + token / kPageTokens];
  return kv.head(page, value, kv_head) + token % kPageTokens * kv.head_dim;
}

// One query over the first `length` tokens of a slot.
std::vector<double> attend(const KvPages& kv, int32_t slot, int length, int kv_head,
                           const std::vector<float>& q, float scale) {
  std::vector<double> scores, out(q.size());
  double best = -INFINITY, total = 0;
  for (int t = 0; t < length; ++t) {
    double dot = 0;
    const bf16* k = kv_element(kv, slot, t, 0, kv_head);
    for (size_t i = 0; i < q.size(); ++i) dot += double(q[i]) * wide(k[i]);
    scores.push_back(dot * scale);
    best = std::max(best, scores.back());
  }
  for (int t = 0; t < length; ++t) {
    const double e = std::exp(scores[size_t(t)] - best);
    const bf16* v = kv_element(kv, slot, t, 1, kv_head);
    total += e;
    for (size_t i = 0; i < q.size(); ++i) out[i] += e * wide(v[i]);
  }
  for (double& x : out) x /= total;
  return out;
}

void write_kv(const KvPages& kv, const QkvSource& qkv, const RopeParams& rope, int64_t row_index,
              const Row& row, int heads) {
  for (int h = 0; h < 2 * kv.kv_heads; ++h) {
    const auto x = head_of(qkv, rope, row_index, row.position, heads + h, heads, kv.kv_heads, kv.head_dim);
    bf16* to = kv_element(kv, row.slot, row.position, h / kv.kv_heads, h % kv.kv_heads);
    for (size_t i = 0; i < x.size(); ++i) to[i] = __float2bfloat16_rn(x[i]);
  }
}

}  // namespace

void embed_reference(const EmbedParams& p) {
  for (int r = 0; r < p.count; ++r)
    for (int i = 0; i < p.hidden; ++i) {
      const int64_t at = int64_t(r) * p.hidden + i;
      const Row& row = p.rows[r];
      p.x[at] = row.slot < 0 ? 0 : wide(p.embedding[int64_t(row.token) * p.hidden + i]);
      if (!p.norm) continue;
      p.scaled[at] = __float2bfloat16_rn(p.x[at] * wide(p.norm[i]));
      float& squares = p.squares[int64_t(i / 64) * p.count + r];
      squares = (i % 64 == 0 ? 0 : squares) + p.x[at] * p.x[at];
    }
}

void rms_norm_reference(const RmsNormParams& p) {
  for (int r = 0; r < p.rows; ++r) {
    float* x = p.x + int64_t(r) * p.hidden;
    double squares = 0;
    for (int i = 0; i < p.hidden; ++i) {
      if (p.bias) x[i] += wide(p.bias[i]);
      squares += double(x[i]) * x[i];
    }
    const auto scale = float(1 / std::sqrt(squares / p.hidden + p.eps));
    for (int i = 0; i < p.hidden; ++i)
      p.y[int64_t(r) * p.hidden + i] = __float2bfloat16_rn(x[i] * scale * wide(p.weight[i]));
  }
}

float row_scale_reference(const RowScale& s, int row) {
  double sum = 0;
  for (int i = 0; i < s.parts; ++i) sum += s.squares[int64_t(i) * s.rows + row];
  return s.squares ? float(1 / std::sqrt(sum / s.width + s.eps)) : 1.0f;
}

void swiglu_reference(const bf16* gate_up, const RowScale& scale, int rows, int width, bf16* h) {
  for (int r = 0; r < rows; ++r) {
    const float factor = row_scale_reference(scale, r);
    for (int i = 0; i < width; ++i) {
      const bf16* pair = gate_up + int64_t(r) * 2 * width + i;
      const float gate = wide(pair[0]) * factor, up = wide(pair[width]) * factor;
      h[int64_t(r) * width + i] = __float2bfloat16_rn(gate / (1 + std::exp(-gate)) * up);
    }
  }
}

void rope_write_reference(const RopeWriteParams& p) {
  for (int r = 0; r < p.count; ++r) {
    if (p.rows[r].slot < 0) continue;
    for (int h = 0; h < p.heads; ++h) {
      const auto x = head_of(p.qkv, p.rope, r, p.rows[r].position, h, p.heads, p.kv.kv_heads, p.kv.head_dim);
      for (size_t i = 0; i < x.size(); ++i)
        p.q[(int64_t(r) * p.heads + h) * p.kv.head_dim + int64_t(i)] = __float2bfloat16_rn(x[i]);
    }
    write_kv(p.kv, p.qkv, p.rope, r, p.rows[r], p.heads);
  }
}

void decode_attention_reference(const DecodeAttentionParams& p) {
  const int d = p.kv.head_dim, group = p.heads / p.kv.kv_heads;
  for (int r = 0; r < p.count; ++r) {
    const Row& row = p.rows[r];
    if (row.slot < 0) continue;
    write_kv(p.kv, p.qkv, p.rope, r, row, p.heads);
    for (int h = 0; h < p.heads; ++h) {
      auto q = head_of(p.qkv, p.rope, r, row.position, h, p.heads, p.kv.kv_heads, d);
      for (float& x : q) x = rounded(x);
      const auto out = attend(p.kv, row.slot, row.position + 1, h / group, q, p.scale);
      for (int i = 0; i < d; ++i)
        p.out[(int64_t(r) * p.heads + h) * d + i] = __float2bfloat16_rn(float(out[size_t(i)]));
    }
  }
}

void prefill_attention_reference(const PrefillAttentionParams& p) {
  const int d = p.kv.head_dim, group = p.heads / p.kv.kv_heads;
  for (int t = 0; t < p.count; ++t) {
    const PrefillTile& tile = p.tiles[t];
    const int end = std::min(tile.first + kPrefillTileRows, tile.tokens * group);
    for (int r = tile.first; r < end; ++r)
      for (int kv_head = 0; kv_head < p.kv.kv_heads; ++kv_head) {
        const int64_t at = (int64_t(tile.first_row + r / group) * p.heads + kv_head * group + r % group) * d;
        std::vector<float> q(static_cast<size_t>(d));
        for (int i = 0; i < d; ++i) q[size_t(i)] = wide(p.q[at + i]);
        const auto out = attend(p.kv, tile.slot, tile.past + r / group + 1, kv_head, q, p.scale);
        for (int i = 0; i < d; ++i) p.out[at + i] = __float2bfloat16_rn(float(out[size_t(i)]));
      }
  }
}

}  // namespace cohort::cuda
