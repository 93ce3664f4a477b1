// Every kernel of the GPU learner against the ATen form in float64 on the CPU, on random inputs and odd shapes. Outputs
// are poisoned first, so that an element nobody wrote shows.
#include <random>

#include "learner/gpu/gemm.h"
#include "learner/gpu/kernels.h"
#include "learner/model/ops.h"
#include "tests/learner/gpu/gpu.h"

namespace cohort::gpu {
namespace {

using cohort::testing::relative_error;
using torch::Tensor;

struct Kind {
  Type type;
  torch::Dtype dtype;
  double tolerance;
  // Relative error of values that are rounded once, and not before: 1.7e-3 in bf16, two roundings make 2.4e-3. A few values may
  // all be rounded badly.
  double many_rounded_once;
  double rounded_once(int64_t values) const { return values > 1000 ? many_rounded_once : tolerance; }
};
const Kind kKinds[] = {{Type::f32, torch::kFloat, 2e-6, 2e-6}, {Type::bf16, torch::kBFloat16, 8e-3, 2e-3}};

// Random values that `dtype` holds exactly: on the GPU in dtype, on the CPU in float64.
struct Twin {
  Tensor gpu, cpu;
};
Twin random(std::initializer_list<int64_t> shape, torch::Dtype dtype, double scale = 1, double shift = 0) {
  const Tensor host = (torch::randn(shape) * scale + shift).to(dtype);
  return {host.to(torch::kCUDA), host.to(torch::kDouble).requires_grad_(true)};
}
Tensor poisoned(std::initializer_list<int64_t> shape, torch::Dtype dtype) {
  return torch::full(shape, NAN, torch::TensorOptions(dtype).device(torch::kCUDA));
}
Tensor gpu_ints(const std::vector<int32_t>& v) {
  return torch::tensor(v, torch::kInt32).to(torch::kCUDA);
}
float* floats(const Tensor& t) {
  return t.defined() ? t.data_ptr<float>() : nullptr;
}
const int32_t* ints(const Tensor& t) {
  return t.data_ptr<int32_t>();
}
Tensor zeros(int64_t n) {
  return torch::zeros({n}, torch::TensorOptions(torch::kCUDA));
}

TEST(GpuKernels, Norm) {
  NEEDS_GPU();
  for (const Kind& k : kKinds)
    for (auto [rows, width] : std::vector<std::pair<int64_t, int64_t>>{{1, 8},
                                                                       {3, 23},
                                                                       {9, 600},
                                                                       {700, 896},
                                                                       {4097, 896},
                                                                       {65, 1536},
                                                                       {2500, 1544},
                                                                       {33, 2048},
                                                                       {5, 12288}}) {
      SCOPED_TRACE(::testing::Message() << rows << "x" << width << " bytes " << size_of(k.type));
      const Twin x = random({rows, width}, torch::kFloat), w = random({width}, k.dtype, 0.2, 1),
                 dy = random({rows, width}, k.dtype), residual = random({rows, width}, k.dtype);
      Tensor kept = poisoned({rows, width}, k.dtype), y = poisoned({rows, width}, k.dtype),
             inverse = poisoned({rows}, torch::kFloat);
      rms_norm(k.type, rows, width, floats(x.gpu), w.gpu.data_ptr(), 1e-6f, kept.data_ptr(), y.data_ptr(),
               floats(inverse));
      EXPECT_EQ(relative_error(kept, x.gpu.to(k.dtype)), 0);
      const Tensor expected = ops::reference::rms_norm(x.cpu, w.cpu, 1e-6);
      EXPECT_LT(relative_error(y, expected), k.rounded_once(rows * width));

      const auto grads = torch::autograd::grad({expected}, {x.cpu, w.cpu}, {dy.cpu.detach()});
      Tensor dx = residual.gpu.clone(), d_w = torch::ones({width}, torch::kCUDA),
             scratch = poisoned({norm_scratch(width)}, torch::kFloat);
      rms_norm_grad(k.type, rows, width, dy.gpu.data_ptr(), kept.data_ptr(), w.gpu.data_ptr(),
                    floats(inverse), dx.data_ptr(), dx.data_ptr(), floats(d_w), floats(scratch));
      EXPECT_LT(relative_error(dx, grads[0] + residual.cpu), k.tolerance);
      EXPECT_LT(relative_error(d_w - 1, grads[1]), k.tolerance) << "adds to what is there";
    }
}

TEST(GpuKernels, BiasAndItsGradient) {
  NEEDS_GPU();
  for (const Kind& k : kKinds)
    for (auto [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{{1, 3}, {1000, 13}, {4097, 1152}}) {
      const Twin x = random({rows, columns}, k.dtype), bias = random({columns}, k.dtype);
      Tensor y = x.gpu.clone(), d = zeros(columns),
             scratch = poisoned({bias_scratch(columns)}, torch::kFloat);
      add_bias(k.type, rows, columns, y.data_ptr(), bias.gpu.data_ptr());
      EXPECT_LT(relative_error(y, x.cpu + bias.cpu), k.tolerance);
      bias_grad(k.type, rows, columns, x.gpu.data_ptr(), floats(d), floats(scratch));
      EXPECT_LT(relative_error(d, x.cpu.sum(0)), 1e-5);
    }
}

TEST(GpuKernels, RotationWithAndWithoutHeadNorms) {
  NEEDS_GPU();
  struct Shape {
    int64_t tokens, heads, kv, dim;
  };
  for (const Kind& k : kKinds)
    for (const Shape s : {Shape{1, 1, 1, 2}, Shape{37, 4, 2, 6}, Shape{29, 3, 1, 48}, Shape{513, 14, 2, 64},
                          Shape{100, 6, 3, 128}, Shape{9, 2, 1, 256}})
      for (bool norms : {false, true})
        for (bool with_bias : {false, true}) {
          SCOPED_TRACE(::testing::Message() << s.tokens << " tokens, dim " << s.dim << " norms " << norms
                                            << " bias " << with_bias << " bytes " << size_of(k.type));
          const int64_t all = s.heads + 2 * s.kv, half = s.dim / 2;
          const Twin given = random({s.tokens, all * s.dim}, torch::kFloat),
                     bias = random({all * s.dim}, k.dtype), q_norm = random({s.dim}, k.dtype, 0.2, 1),
                     k_norm = random({s.dim}, k.dtype, 0.2, 1);
          std::vector<int32_t> rows;
          std::mt19937 draw(1);
          for (int64_t t = 0; t < s.tokens; ++t) rows.push_back(int32_t(draw() % 50));
          const Tensor angle = torch::rand({50, half}) * 6, index = torch::tensor(rows, torch::kLong);
          const Tensor cos = angle.cos().to(torch::kCUDA), sin = angle.sin().to(torch::kCUDA),
                       table = gpu_ints(rows);
          const Heads heads{s.heads,
                            s.kv,
                            s.dim,
                            norms ? q_norm.gpu.data_ptr() : nullptr,
                            norms ? k_norm.gpu.data_ptr() : nullptr,
                            1e-6f};
          Tensor out = poisoned({s.tokens, all * s.dim}, k.dtype), kept = out.clone();
          Tensor inverse = poisoned({s.tokens, s.heads + s.kv}, torch::kFloat);
          rotate_qkv(k.type, s.tokens, heads, floats(given.gpu), with_bias ? bias.gpu.data_ptr() : nullptr,
                     floats(cos), floats(sin), ints(table), out.data_ptr(), norms ? kept.data_ptr() : nullptr,
                     norms ? floats(inverse) : nullptr);
          const Tensor none;
          const Tensor in = with_bias ? given.cpu + bias.cpu : given.cpu;
          const auto [q, kk, v] =
              ops::reference::split_rotate(in, cos.cpu().to(torch::kDouble).index_select(0, index),
                                           sin.cpu().to(torch::kDouble).index_select(0, index), s.heads, s.kv,
                                           norms ? q_norm.cpu : none, norms ? k_norm.cpu : none, 1e-6);
          const Tensor split = out.view({s.tokens, all, s.dim});
          EXPECT_LT(relative_error(split, torch::cat({q, kk, v}, 1)), k.rounded_once(out.numel()));

          const Twin dq = random({s.tokens, s.heads, s.dim}, k.dtype),
                     dk = random({s.tokens, s.kv, s.dim}, k.dtype),
                     dv = random({s.tokens, s.kv, s.dim}, k.dtype);
          std::vector<Tensor> of{given.cpu};
          if (norms) of.push_back(q_norm.cpu), of.push_back(k_norm.cpu);
          const auto grads =
              torch::autograd::grad({q, kk, v}, of, {dq.cpu.detach(), dk.cpu.detach(), dv.cpu.detach()});
          Tensor d = poisoned({s.tokens, all * s.dim}, k.dtype), d_q = zeros(s.dim), d_k = zeros(s.dim),
                 scratch = poisoned({head_scratch(s.dim)}, torch::kFloat);
          rotate_qkv_grad(k.type, s.tokens, heads, dq.gpu.data_ptr(), dk.gpu.data_ptr(), dv.gpu.data_ptr(),
                          kept.data_ptr(), floats(inverse), floats(cos), floats(sin), ints(table),
                          d.data_ptr(), floats(d_q), floats(d_k), floats(scratch));
          // A norm's gradient is what is left of rounded values that cancel: with a few of them it may be little.
          const double tolerance = norms ? 3 * k.tolerance : k.tolerance;
          EXPECT_LT(relative_error(d, grads[0]), tolerance);
          if (norms) {
            EXPECT_LT(relative_error(d_q, grads[1]), tolerance);
            EXPECT_LT(relative_error(d_k, grads[2]), tolerance);
          }
        }
}

TEST(GpuKernels, SwigluInPlace) {
  NEEDS_GPU();
  for (const Kind& k : kKinds)
    for (auto [rows, inner] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 21}, {300, 4864}}) {
      const Twin gate_up = random({rows, 2 * inner}, k.dtype, 2), d = random({rows, inner}, k.dtype);
      Tensor act = poisoned({rows, inner}, k.dtype), d_gate_up = gate_up.gpu.clone(), again = d.gpu.clone();
      swiglu(k.type, rows, inner, gate_up.gpu.data_ptr(), act.data_ptr());
      const Tensor expected = ops::reference::swiglu(gate_up.cpu);
      EXPECT_LT(relative_error(act, expected), k.rounded_once(rows * inner));
      swiglu_grad(k.type, rows, inner, d_gate_up.data_ptr(), again.data_ptr());
      EXPECT_LT(
          relative_error(d_gate_up, torch::autograd::grad({expected}, {gate_up.cpu}, {d.cpu.detach()})[0]),
          k.tolerance);
      EXPECT_EQ(relative_error(again, act), 0);
    }
}

TEST(GpuKernels, RowsAndTheEmbeddingsGradient) {
  NEEDS_GPU();
  for (const Kind& k : kKinds)
    for (int64_t width : {3, 64, 896}) {
      const Twin x = random({50, width}, k.dtype);
      const std::vector<int32_t> index{49, 0, 7, 8, 33};
      Tensor got = poisoned({5, width}, k.dtype), back = torch::zeros({50, width}, x.gpu.options());
      gather_rows(k.type, 5, width, x.gpu.data_ptr(), ints(gpu_ints(index)), got.data_ptr());
      const Tensor at = torch::tensor(index, torch::kLong);
      EXPECT_EQ(relative_error(got, x.cpu.index_select(0, at)), 0);
      scatter_rows(k.type, 5, width, got.data_ptr(), ints(gpu_ints(index)), back.data_ptr());
      EXPECT_EQ(relative_error(back.cpu().index_select(0, at), got), 0);
      EXPECT_NEAR(back.to(torch::kDouble).square().sum().item<double>(),
                  got.to(torch::kDouble).square().sum().item<double>(), 1e-3);

      // tokens 4, 9 and 11: rows {2, 5, 6}, {0}, {1, 3, 4}
      Tensor d = torch::ones({12, width}, torch::TensorOptions(torch::kCUDA));
      embed_grad(k.type, 3, width, ints(gpu_ints({4, 9, 11})), ints(gpu_ints({0, 3, 4, 7})),
                 ints(gpu_ints({2, 5, 6, 0, 1, 3, 4})), x.gpu.data_ptr(), floats(d));
      Tensor expected = torch::ones({12, width}, torch::kDouble);
      expected.index_add_(0, torch::tensor({9, 11, 4, 11, 11, 4, 4}, torch::kLong),
                          x.cpu.detach().narrow(0, 0, 7));
      EXPECT_LT(relative_error(d, expected), 1e-6);
    }
}

TEST(GpuKernels, LogProbAndEntropyAndTheirGradient) {
  NEEDS_GPU();
  for (const Kind& k : kKinds)
    for (auto [rows, vocab] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 2}, {5, 23}, {33, 4096}, {3, 151936}, {2, 50257}})
      for (double temperature : {1.0, 0.7}) {
        SCOPED_TRACE(::testing::Message() << rows << "x" << vocab << " bytes " << size_of(k.type));
        const Twin logits = random({rows, vocab}, torch::kFloat, 4);
        std::vector<int32_t> targets;
        for (int64_t r = 0; r < rows; ++r) targets.push_back(int32_t((r * 7919 + vocab - 1) % vocab));
        const Tensor target = gpu_ints(targets);
        Tensor logprob = poisoned({rows}, torch::kFloat), entropy = logprob.clone(),
               normaliser = logprob.clone();
        const float inverse = float(1 / temperature);
        token_stats(rows, vocab, vocab, floats(logits.gpu), inverse, ints(target), floats(logprob),
                    floats(entropy), floats(normaliser));
        const Tensor log_p = torch::log_softmax(logits.cpu * double(inverse), 1);
        const Tensor expected = log_p.gather(1, torch::tensor(targets, torch::kLong).unsqueeze(1)).squeeze(1);
        const Tensor expected_entropy = -(log_p.exp() * log_p).sum(1);
        EXPECT_LT((logprob.cpu() - expected).abs().max().item<double>(), 2e-5);
        EXPECT_LT((entropy.cpu() - expected_entropy).abs().max().item<double>(), 5e-5);

        const Twin g = random({rows}, torch::kFloat), h = random({rows}, torch::kFloat);
        for (bool with_entropy : {false, true}) {
          Tensor work = logits.gpu.clone();
          token_stats_grad(k.type, rows, vocab, vocab, floats(work), inverse, ints(target),
                           floats(normaliser), floats(entropy), floats(g.gpu),
                           with_entropy ? floats(h.gpu) : nullptr);
          const Tensor loss =
              (expected * g.cpu.detach()).sum() +
              (with_entropy ? (expected_entropy * h.cpu.detach()).sum() : torch::zeros({}, torch::kDouble));
          const Tensor d = torch::autograd::grad({loss}, {logits.cpu}, {}, /*retain_graph=*/true)[0];
          const Tensor mine = k.type == Type::f32 ? work : work.view(torch::kBFloat16).narrow(1, 0, vocab);
          // where the target is nearly certain, 1 - p keeps few of its bits: against the incoming gradient, not itself
          const double error = (mine.cpu().to(torch::kDouble) - d).norm().item<double>();
          EXPECT_LT(error,
                    (k.type == Type::f32 ? 1e-4 : 8e-3) * (d.norm() + 0.01 * g.cpu.norm()).item<double>());
        }
      }
}

TEST(GpuKernels, ProductsOfEveryLayout) {
  NEEDS_GPU();
  for (const Kind& k : kKinds)
    for (bool a_t : {false, true})
      for (bool b_t : {false, true})
        for (bool add : {false, true}) {
          const int64_t m = 37, n = 29, inner = 53;
          const Twin a = random(a_t ? std::initializer_list<int64_t>{inner, m}
                                    : std::initializer_list<int64_t>{m, inner},
                                k.dtype),
                     b = random(b_t ? std::initializer_list<int64_t>{n, inner}
                                    : std::initializer_list<int64_t>{inner, n},
                                k.dtype);
          // into the middle columns of a wider float32 matrix
          Tensor out = torch::full({m, n + 10}, 2.0, torch::TensorOptions(torch::kCUDA));
          const auto of = [&](const Tensor& t, bool transposed) {
            const Matrix x{t.data_ptr(), k.type, t.size(0), t.size(1), t.stride(0), false};
            return transposed ? x.t() : x;
          };
          gemm({floats(out) + 5, Type::f32, m, n, n + 10, false}, of(a.gpu, a_t), of(b.gpu, b_t), add);
          const Tensor expected =
              (a_t ? a.cpu.t() : a.cpu).matmul(b_t ? b.cpu.t() : b.cpu) + (add ? 2.0 : 0.0);
          EXPECT_LT(relative_error(out.narrow(1, 5, n), expected), 1e-6) << "exact products, float32 sums";
          EXPECT_EQ(out.narrow(1, 0, 5).sum().item<float>() + out.narrow(1, n + 5, 5).sum().item<float>(),
                    20.0f * m);
        }
}

TEST(GpuKernels, SumOfSquaresAndConversion) {
  NEEDS_GPU();
  for (int64_t n : {1, 3, 5000, 1000003}) {
    const Twin x = random({n}, torch::kFloat);
    Tensor partial =
        torch::full({int64_t(kSquareParts)}, NAN, torch::TensorOptions(torch::kDouble).device(torch::kCUDA));
    sum_of_squares(floats(x.gpu), size_t(n), partial.data_ptr<double>());
    EXPECT_NEAR(partial.sum().item<double>() / x.cpu.square().sum().item<double>(), 1, 1e-12);
    Tensor y = poisoned({n}, torch::kBFloat16);
    convert(Type::f32, x.gpu.data_ptr(), Type::bf16, y.data_ptr(), size_t(n));
    EXPECT_EQ(relative_error(y, x.gpu.to(torch::kBFloat16)), 0);
  }
}

}  // namespace
}  // namespace cohort::gpu
