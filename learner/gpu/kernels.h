// The GPU learner's kernels: forward and backward of what lies between a decoder's matrix products, and AdamW. Plain
// pointers to GPU memory; every call only launches, on the default stream. No Torch.
//
// T is float or bf16 (activations and weights); the residual stream, sums, statistics and gradients of parameters are always
// float32, and so is all arithmetic: what is written in T is rounded once. Sums are added up in an order that depends on the
// shapes alone, so that two runs give the same bits. References: the ATen forms
// in learner/model/ops_reference.cc (tests/learner/gpu/kernels_test.cc compares, in float64).
//
// Shapes: T tokens (rows), D width, I the MLP's inner width, H query and K kv heads of dimension E, V vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>

#include "learner/adam_runs.h"

namespace cohort::gpu {

enum class Type : uint8_t { f32, bf16 };
inline size_t size_of(Type t) {
  return t == Type::f32 ? 4 : 2;
}

// y_TD = w · x · inverse, inverse_T = 1 / rms of x_TD (the residual stream); kept_TD = x, for the gradient.
void rms_norm(Type type, int64_t rows, int64_t width, const float* x, const void* w, float eps, void* kept,
              void* y, float* inverse);
// dx_TD = gradient through the norm + residual (may be null, may be dx); d_w_D (float32) += . `scratch` of
// norm_scratch(width) floats.
void rms_norm_grad(Type type, int64_t rows, int64_t width, const void* dy, const void* x, const void* w,
                   const float* inverse, const void* residual, void* dx, float* d_w, float* scratch);
int64_t norm_scratch(int64_t width);

// x_T(C) += bias_C
void add_bias(Type type, int64_t rows, int64_t columns, void* x, const void* bias);
// d_bias_C (float32) += sum over rows of d_T(C). `scratch` of bias_scratch(columns) floats.
void bias_grad(Type type, int64_t rows, int64_t columns, const void* d, float* d_bias, float* scratch);
int64_t bias_scratch(int64_t columns);

struct Heads {
  int64_t heads = 0, kv_heads = 0, dim = 0;
  const void *q_norm = nullptr, *k_norm = nullptr;  // E each, or null: per-head norms before the rotation
  float eps = 0;
};
// out = rotate(norm(in + bias)) for q and k, in + bias for v; rows of (H+2K)E. cos, sin: [rows of the table][E/2]; token t
// uses row table_row[t]. With head norms for their gradient: kept = in + bias of q and k (v's place is not written),
// head_inverse_T(H+K).
void rotate_qkv(Type type, int64_t tokens, const Heads& heads, const float* in, const void* bias,
                const float* cos, const float* sin, const int32_t* table_row, void* out, void* kept,
                float* head_inverse);
// d_qkv_T((H+2K)E) from dq_THE, dk_TKE, dv_TKE. With head norms `in` is what rotate_qkv kept, and d_q_norm_E,
// d_k_norm_E (float32) +=. `scratch` of head_scratch(dim) floats.
void rotate_qkv_grad(Type type, int64_t tokens, const Heads& heads, const void* dq, const void* dk,
                     const void* dv, const void* in, const float* head_inverse, const float* cos,
                     const float* sin, const int32_t* table_row, void* d_qkv, float* d_q_norm,
                     float* d_k_norm, float* scratch);
int64_t head_scratch(int64_t dim);

// act_TI = silu(gate) · up of gate_up_T(2I) = [gate | up].
void swiglu(Type type, int64_t rows, int64_t inner, const void* gate_up, void* act);
// gate_up becomes its own gradient and d_act becomes the activation (for the down projection's weight gradient).
void swiglu_grad(Type type, int64_t rows, int64_t inner, void* gate_up, void* d_act);

// out_N(D) = x[index_N]; and back: out[index_N] = x_N(D), the index without repetitions.
void gather_rows(Type type, int64_t rows, int64_t width, const void* x, const int32_t* index, void* out);
void scatter_rows(Type type, int64_t rows, int64_t width, const void* x, const int32_t* index, void* out);
// d_embed[token[u]] (float32) += sum of dx[order[j]], j in [begin[u], begin[u + 1]): one block a distinct token, so that
// no order is left to chance.
void embed_grad(Type type, int64_t distinct, int64_t width, const int32_t* token, const int32_t* begin,
                const int32_t* order, const void* dx, float* d_embed);

// Of logits_NV (float32, rows `stride` apart) under temperature: log-prob of the target, entropy, log of the normaliser.
void token_stats(int64_t rows, int64_t vocab, int64_t stride, const float* logits, float inverse_temperature,
                 const int32_t* targets, float* logprobs, float* entropy, float* normaliser);
// logits become d loss / d logits in place; for bf16 a row's gradient lies at the beginning of its row, so that its rows
// are 2 · stride bf16 apart. grad_entropy may be null.
void token_stats_grad(Type type, int64_t rows, int64_t vocab, int64_t stride, float* logits,
                      float inverse_temperature, const int32_t* targets, const float* normaliser,
                      const float* entropy, const float* grad_logprobs, const float* grad_entropy);

// One launch for all runs (in GPU memory). weights: of `type`; for float32 it may be that master is weights itself.
void adamw(Type type, size_t runs, const AdamRun* run, const AdamFactors& factors, const float* gradients,
           float* master, float* first, float* second, void* weights);
// partial[0 .. kSquareParts) = partial sums of squares, in float64.
constexpr size_t kSquareParts = 512;
void sum_of_squares(const float* x, size_t count, double* partial);

void convert(Type from, const void* x, Type to, void* y, size_t count);

}  // namespace cohort::gpu
