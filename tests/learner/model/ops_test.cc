// Each operation against its plain ATen form, values and gradients, over odd shapes.
#include "learner/model/ops.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

using torch::Tensor;
namespace reference = ops::reference;

double relative_error(const Tensor& a, const Tensor& b) {
  if (b.numel() == 0) return a.numel();
  return ((a - b).abs().max() / (b.abs().max() + 1e-3))
      .item<double>();  // an exact zero: only its rounding counts
}

// Runs both forms on the same inputs with the same random upstream gradients.
template <class Fused, class Plain>
void expect_same(const std::vector<Tensor>& inputs, Fused fused, Plain plain, const std::string& what) {
  std::vector<Tensor> a, b;
  for (const Tensor& x : inputs) {
    a.push_back(x.detach().clone().requires_grad_(x.is_floating_point()));
    b.push_back(x.detach()
                    .to(x.is_floating_point() ? torch::kDouble : x.scalar_type())
                    .clone()
                    .requires_grad_(x.is_floating_point()));
  }
  std::vector<Tensor> ya = fused(a), yb = plain(b);
  ASSERT_EQ(ya.size(), yb.size());
  Tensor la = torch::zeros({}), lb = torch::zeros({}, torch::kDouble);
  for (size_t i = 0; i < ya.size(); ++i) {
    ASSERT_EQ(ya[i].sizes(), yb[i].sizes()) << what;
    EXPECT_LE(relative_error(ya[i].detach().to(torch::kDouble), yb[i].detach()), 5e-6)
        << what << " output " << i;
    if (!ya[i].requires_grad()) continue;
    Tensor upstream = torch::randn(ya[i].sizes());
    la = la + (ya[i] * upstream).sum();
    lb = lb + (yb[i] * upstream.to(torch::kDouble)).sum();
  }
  la.backward(), lb.backward();
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].requires_grad()) continue;
    ASSERT_TRUE(a[i].grad().defined()) << what << " input " << i;
    EXPECT_LE(relative_error(a[i].grad().to(torch::kDouble), b[i].grad()), 1e-5) << what << " gradient " << i;
  }
}

TEST(Ops, RmsNorm) {
  torch::manual_seed(1);
  for (auto [rows, width] :
       {std::pair<int64_t, int64_t>{1, 2}, {3, 7}, {65, 128}, {130, 33}, {2, 576}, {9, 16}})
    expect_same(
        {torch::randn({rows, width}) * 3, torch::randn({width})},
        [](auto& x) { return std::vector<Tensor>{ops::rms_norm(x[0], x[1], 1e-5)}; },
        [](auto& x) { return std::vector<Tensor>{reference::rms_norm(x[0], x[1], 1e-5)}; },
        "rms_norm " + std::to_string(rows) + "x" + std::to_string(width));
}

TEST(Ops, Swiglu) {
  torch::manual_seed(1);
  for (auto [rows, width] : {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {64, 352}, {33, 48}, {2, 1536}})
    expect_same(
        {torch::randn({rows, 2 * width}) * 4}, [](auto& x) { return std::vector<Tensor>{ops::swiglu(x[0])}; },
        [](auto& x) { return std::vector<Tensor>{reference::swiglu(x[0])}; },
        "swiglu " + std::to_string(width));
  // far out: no NaN, no infinity
  Tensor far = torch::tensor({-200.f, -88.f, 0.f, 88.f, 200.f, 1.f, 1.f, 1.f, 1.f, 1.f}).view({1, 10});
  EXPECT_LE(relative_error(ops::swiglu(far), reference::swiglu(far)), 1e-6);
}

struct QkvCase {
  int64_t rows, width, heads, kv_heads, dim;
};
const QkvCase kQkvCases[] = {
    {1, 3, 1, 1, 2}, {5, 8, 3, 1, 6}, {1100, 20, 4, 2, 32}, {33, 40, 9, 3, 64}, {7, 16, 2, 2, 12}};

// cos and sin in the dtype of x
Tensor like(const Tensor& table, const Tensor& x) {
  return table.to(x.scalar_type());
}

TEST(Ops, NormQkv) {
  torch::manual_seed(1);
  for (QkvCase s : kQkvCases)
    for (bool norm : {false, true})
      for (bool bias : {false, true}) {
        Tensor angle = torch::rand({s.rows, s.dim / 2}) * 6;
        const int64_t row = (s.heads + 2 * s.kv_heads) * s.dim;
        std::vector<Tensor> in = {torch::randn({s.rows, s.width}), torch::randn({s.width}),
                                  torch::randn({row, s.width}) * 0.4};
        if (norm) in.push_back(torch::randn({s.dim})), in.push_back(torch::randn({s.dim}));
        if (bias) in.push_back(torch::randn({row}));
        auto with = [&](auto f) {
          return [=](const std::vector<Tensor>& x) {
            auto [q, k, v] = f(x[0], x[1], x[2], bias ? x.back() : Tensor(), like(angle.cos(), x[0]),
                               like(angle.sin(), x[0]), s.heads, s.kv_heads, norm ? x[3] : Tensor(),
                               norm ? x[4] : Tensor(), 1e-6);
            return std::vector<Tensor>{q, k, v};
          };
        };
        expect_same(in, with(ops::norm_qkv), with(reference::norm_qkv),
                    "norm_qkv " + std::to_string(s.dim) + (norm ? " norm" : "") + (bias ? " bias" : ""));
      }
}

TEST(Ops, SplitRotateWithoutGradient) {
  torch::manual_seed(1);
  torch::NoGradGuard no_grad;
  for (QkvCase s : kQkvCases)
    for (bool norm : {false, true}) {
      Tensor angle = torch::rand({s.rows, s.dim / 2}) * 6,
             x = torch::randn({s.rows, (s.heads + 2 * s.kv_heads) * s.dim});
      Tensor q_norm = norm ? torch::randn({s.dim}) : Tensor(),
             k_norm = norm ? torch::randn({s.dim}) : Tensor();
      auto [q, k, v] =
          ops::split_rotate(x, angle.cos(), angle.sin(), s.heads, s.kv_heads, q_norm, k_norm, 1e-6);
      auto [rq, rk, rv] =
          reference::split_rotate(x, angle.cos(), angle.sin(), s.heads, s.kv_heads, q_norm, k_norm, 1e-6);
      EXPECT_LE(relative_error(q, rq), 2e-6);
      EXPECT_LE(relative_error(k, rk), 2e-6);
      EXPECT_TRUE(torch::equal(v, rv));
    }
}

TEST(Ops, NormMlp) {
  torch::manual_seed(1);
  struct Shape {
    int64_t rows, width, inner;
  };
  for (Shape s : {Shape{1, 2, 1}, {5, 12, 7}, {700, 16, 100}, {33, 128, 352}, {129, 20, 2000}})
    expect_same(
        {torch::randn({s.rows, s.width}), torch::randn({s.width}), torch::randn({2 * s.inner, s.width}) * 0.3,
         torch::randn({s.width, s.inner}) * 0.3},
        [](auto& x) { return std::vector<Tensor>{ops::norm_mlp(x[0], x[1], x[2], x[3], 1e-5)}; },
        [](auto& x) { return std::vector<Tensor>{reference::norm_mlp(x[0], x[1], x[2], x[3], 1e-5)}; },
        "norm_mlp " + std::to_string(s.inner));
}

TEST(Ops, PackedAttention) {
  torch::manual_seed(1);
  struct Shape {
    int64_t heads, kv_heads, dim;
    std::vector<int64_t> lengths;
  };
  for (Shape s : {Shape{1, 1, 2, {1}},
                  {3, 1, 6, {4, 1, 9}},
                  {4, 2, 32, {75, 1, 33, 16, 17, 150}},
                  {9, 3, 64, {20, 300}},
                  {4, 4, 12, {0, 5, 0, 31}},
                  {4, 1, 128, {65}},
                  {6, 2, 32, {129}}}) {
    std::vector<int64_t> cu = {0};
    for (int64_t n : s.lengths) cu.push_back(cu.back() + n);
    const int64_t rows = cu.back();
    auto with = [&](auto f) {
      return [=](const std::vector<Tensor>& x) { return std::vector<Tensor>{f(x[0], x[1], x[2], cu)}; };
    };
    expect_same({torch::randn({rows, s.heads, s.dim}), torch::randn({rows, s.kv_heads, s.dim}),
                 torch::randn({rows, s.kv_heads, s.dim})},
                with(ops::packed_attention), with(reference::packed_attention),
                "attention " + std::to_string(rows));
  }
}

TEST(Ops, TokenStats) {
  torch::manual_seed(1);
  for (int64_t vocab : {2, 17, 120, 333})
    for (bool entropy : {false, true})
      for (int64_t chunk : {3, 64}) {
        Tensor targets = torch::randint(vocab, {50}, torch::kLong);
        auto out = [&](std::tuple<Tensor, Tensor> s) {
          return entropy ? std::vector<Tensor>{std::get<0>(s), std::get<1>(s)}
                         : std::vector<Tensor>{std::get<0>(s)};
        };
        expect_same(
            {torch::randn({50, 24}), torch::randn({vocab, 24})},
            [&](auto& x) { return out(ops::token_stats(x[0], x[1], targets, 0.7, entropy, chunk)); },
            [&](auto& x) { return out(reference::token_stats(x[0], x[1], targets, 0.7)); },
            "token_stats " + std::to_string(vocab));
      }
}

}  // namespace
}  // namespace cohort
