// The CPU's hot loops in float32, compiled three times (SSE2, AVX2 + FMA, AVX-512) and chosen when the
// program starts, so that one binary runs on any x86-64. No Torch. Pointers need no alignment; strides are in
// elements.
//
// Every result of a row depends on that row's inputs only, bit for bit: each output is one chain of
// multiply-adds over k in ascending order, whatever tile it falls into. Sampling the same completion alone or
// beside 100 others rests on it.
#pragma once

#include <cstdint>

namespace cohort::cpu {

// A matrix B[K × N] as panels of `panel` columns, [N/panel][K][panel], the last padded with zeros.
struct Kernels {
  const char* isa;
  int64_t panel;

  // panels of B with B[k][n] = b[n * row + k * column]: weight [N, K] gives row = K, column = 1; a row-major
  // [K, N] gives row = 1, column = its row length. panel_stride: floats from one panel to the next, at least
  // K * panel.
  void (*pack)(int64_t n, int64_t k, const float* b, int64_t row, int64_t column, float* panels,
               int64_t panel_stride);
  // C[m][n] = (add ? C[m][n] : 0) + sum over k of A[m][k] B[k][n]; A[m][k] = a[m * a_row + k * a_column].
  void (*gemm)(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_column,
               const float* panels, int64_t panel_stride, float* c, int64_t c_row, bool add);

  void (*rms_norm)(int64_t rows, int64_t width, const float* x, int64_t x_row, const float* w, float eps,
                   float* y, int64_t y_row,
                   float* inverse);  // inverse[rows]: 1 / rms, for the gradient; may be null
  // dx is set, to the gradient plus `residual` (rows dx_row apart; may be null); dw is added to.
  void (*rms_norm_grad)(int64_t rows, int64_t width, const float* dy, int64_t dy_row, const float* x,
                        int64_t x_row, const float* w, const float* inverse, const float* residual, float* dx,
                        int64_t dx_row, float* dw);
  void (*swiglu)(int64_t rows, int64_t width, const float* gate_up, float* y);
  // y: swiglu's value once more, which saves keeping it; may be null.
  void (*swiglu_grad)(int64_t rows, int64_t width, const float* gate_up, const float* dy, float* d_gate_up,
                      float* y);
  // x[rows][heads][dim] -> y, by the angles of the row: cos, sin [rows][dim/2]. sign -1 turns back (the
  // gradient).
  void (*rotate)(int64_t rows, int64_t heads, int64_t dim, const float* x, int64_t x_row, const float* cos,
                 const float* sin, float sign, float* y, int64_t y_row);
  // z = scale * logits: log softmax(z)[target], the softmax's entropy and the log of its normaliser.
  void (*token_stats)(int64_t rows, int64_t vocab, const float* logits, int64_t row, float scale,
                      const int64_t* targets, float* logprobs, float* entropy, float* normaliser);
  // logits become their gradient: scale * (g (onehot - p) - h p (log p + entropy)); h may be null.
  void (*token_stats_grad)(int64_t rows, int64_t vocab, float* logits, int64_t row, float scale,
                           const int64_t* targets, const float* normaliser, const float* entropy,
                           const float* g, const float* h);

  // One sequence and one kv head with its `group` query heads, causal: queries begin at position `past` of
  // the keys. q, out: [rows][group][dim], rows q_row / out_row apart. Keys as panels over the position
  // (B[e][t]), values as panels over the dimension (B[t][e]). lse [rows][group] lse_row apart, may be null.
  // scratch: attention_scratch(past + rows).
  void (*attention)(int64_t rows, int64_t past, int64_t group, int64_t dim, const float* q, int64_t q_row,
                    const float* key_panels, int64_t key_stride, const float* value_panels,
                    int64_t value_stride, float scale, float* out, int64_t out_row, float* lse,
                    int64_t lse_row, float* scratch);
  // The gradient for a whole sequence (past 0) from the plain tensors; dk, dv [rows][dim] are set, so is dq.
  // scratch: attention_grad_scratch(rows, dim).
  void (*attention_grad)(int64_t rows, int64_t group, int64_t dim, const float* q, int64_t q_row,
                         const float* k, const float* v, int64_t kv_row, const float* out, const float* d_out,
                         int64_t out_row, const float* lse, int64_t lse_row, float scale, float* dq,
                         int64_t dq_row, float* dk, float* dv, int64_t dkv_row, float* scratch);
};

// The best this machine runs; COHORT_CPU_ISA=baseline|avx2|avx512 in the environment asks for a lower one.
const Kernels& kernels();
const Kernels* kernels_named(const char* isa);  // null where this machine lacks it

constexpr int64_t kQueryBlock = 16;  // queries of one head whose scores are held at once
constexpr int64_t kMaxPanel = 32;
constexpr int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}
constexpr int64_t panels_size(int64_t n, int64_t k, int64_t panel) {
  return round_up(n, panel) * k;
}
constexpr int64_t attention_scratch(int64_t keys) {
  return kQueryBlock * round_up(keys, kMaxPanel);
}
constexpr int64_t attention_grad_scratch(int64_t rows, int64_t dim) {
  const int64_t rows_up = round_up(rows, kMaxPanel), dim_up = round_up(dim, kMaxPanel);
  return 2 * rows_up * dim            // K and V, panels over the position
         + rows_up * dim_up           // K, panels over the dimension
         + 2 * kQueryBlock * dim_up   // a block of Q and dOut
         + 2 * kQueryBlock * rows_up  // P and dS
         + kQueryBlock;
}

}  // namespace cohort::cpu
