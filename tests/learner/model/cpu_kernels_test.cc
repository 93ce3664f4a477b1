// The kernels of every instruction set this machine has, against double-precision loops, and the promise that
// a row's result does not depend on the other rows.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "learner/model/cpu/kernels.h"

namespace cohort::cpu {
namespace {

using Floats = std::vector<float>;

Floats random_floats(int64_t n, unsigned seed, float scale = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats out(static_cast<size_t>(n));
  for (float& x : out) x = normal(rng);
  return out;
}

class Kernel : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    k = kernels_named(GetParam());
    if (k == nullptr) GTEST_SKIP() << "this machine has no " << GetParam();
  }
  const Kernels* k = nullptr;
};
INSTANTIATE_TEST_SUITE_P(Isa, Kernel, testing::Values("baseline", "avx2", "avx512"),
                         [](auto& info) { return std::string(info.param); });

Floats packed(const Kernels& k, const Floats& b, int64_t n, int64_t depth) {
  Floats p(size_t(panels_size(n, depth, k.panel)), NAN);
  k.pack(n, depth, b.data(), depth, 1, p.data(), depth * k.panel);
  return p;
}

TEST_P(Kernel, ProductsOfOddShapes) {
  for (auto [m, n, depth] : {std::array<int64_t, 3>{1, 1, 1},
                             {2, 130, 3},
                             {1, 300, 33},
                             {7, 33, 128},
                             {8, 64, 5},
                             {9, 31, 16},
                             {37, 120, 64},
                             {64, 17, 200},
                             {3, 32, 1}}) {
    const Floats a = random_floats(m * depth, 1), b = random_floats(n * depth, 2),
                 start = random_floats(m * n, 3);
    const Floats panels = packed(*k, b, n, depth);
    Floats transposed(a.size());
    for (int64_t i = 0; i < m; ++i)
      for (int64_t x = 0; x < depth; ++x) transposed[size_t(x * m + i)] = a[size_t(i * depth + x)];
    for (bool add : {false, true}) {
      Floats c = start, c2 = start;
      k->gemm(m, n, depth, a.data(), depth, 1, panels.data(), depth * k->panel, c.data(), n, add);
      k->gemm(m, n, depth, transposed.data(), 1, m, panels.data(), depth * k->panel, c2.data(), n, add);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double exact = add ? start[size_t(i * n + j)] : 0, size = std::abs(exact);
          for (int64_t x = 0; x < depth; ++x) {
            const double term = double(a[size_t(i * depth + x)]) * b[size_t(j * depth + x)];
            exact += term, size += std::abs(term);
          }
          ASSERT_NEAR(c[size_t(i * n + j)], exact, 1e-6 * size + 1e-30) << m << " " << n << " " << depth;
        }
      EXPECT_EQ(c, c2) << "the layout of A shows";
    }
  }
}

TEST_P(Kernel, ARowsProductIsTheSameBitsInAnyBatch) {
  const int64_t m = 41, n = 300, depth = 128;
  const Floats a = random_floats(m * depth, 1), panels = packed(*k, random_floats(n * depth, 2), n, depth);
  Floats all(size_t(m * n));
  k->gemm(m, n, depth, a.data(), depth, 1, panels.data(), depth * k->panel, all.data(), n, false);
  for (int64_t rows = 1; rows <= 20; ++rows)
    for (int64_t first : {int64_t{0}, int64_t{5}, m - rows}) {
      Floats some(size_t(rows * n));
      k->gemm(rows, n, depth, a.data() + first * depth, depth, 1, panels.data(), depth * k->panel,
              some.data(), n, false);
      ASSERT_EQ(0, std::memcmp(some.data(), all.data() + first * n, some.size() * 4))
          << rows << " rows from " << first;
    }
}

TEST_P(Kernel, SwigluAndItsExponential) {
  Floats gate_up;
  std::vector<double> gates;
  for (double g = -95; g <= 95; g += 0.037) gates.push_back(float(g));
  const int64_t width = int64_t(gates.size());
  for (double g : gates) gate_up.push_back(float(g));
  for (int64_t i = 0; i < width; ++i) gate_up.push_back(1.5f);
  Floats y(gates.size()), again(gates.size()), d(gate_up.size()), ones(gates.size(), 1.0f);
  k->swiglu(1, width, gate_up.data(), y.data());
  k->swiglu_grad(1, width, gate_up.data(), ones.data(), d.data(), again.data());
  EXPECT_EQ(y, again);
  for (size_t i = 0; i < gates.size(); ++i) {
    const double s = 1 / (1 + std::exp(-gates[i]));
    ASSERT_NEAR(y[i], 1.5 * gates[i] * s, 4e-7 * std::abs(1.5 * gates[i] * s) + 1e-35) << gates[i];
    ASSERT_NEAR(d[i], 1.5 * s * (1 + gates[i] * (1 - s)), 2e-6) << gates[i];
    ASSERT_NEAR(d[gates.size() + i], gates[i] * s, 4e-7 * std::abs(gates[i] * s) + 1e-35) << gates[i];
  }
}

TEST_P(Kernel, TokenStatsWithMaskedLogits) {
  for (int64_t vocab : {1, 5, 16, 33, 120}) {
    Floats logits = random_floats(3 * vocab, 7, 4), logprobs(3), entropy(3), normaliser(3);
    if (vocab > 4) logits[1] = -INFINITY, logits[size_t(vocab) + 4] = -INFINITY;
    const std::vector<int64_t> targets = {0, vocab / 2, vocab - 1};
    k->token_stats(3, vocab, logits.data(), vocab, 0.5f, targets.data(), logprobs.data(), entropy.data(),
                   normaliser.data());
    for (int64_t r = 0; r < 3; ++r) {
      double top = -INFINITY, total = 0, h = 0;
      for (int64_t i = 0; i < vocab; ++i) top = std::max(top, 0.5 * logits[size_t(r * vocab + i)]);
      for (int64_t i = 0; i < vocab; ++i) total += std::exp(0.5 * logits[size_t(r * vocab + i)] - top);
      for (int64_t i = 0; i < vocab; ++i) {
        const double l = 0.5 * logits[size_t(r * vocab + i)] - top - std::log(total);
        if (std::isfinite(l)) h -= std::exp(l) * l;
      }
      EXPECT_NEAR(logprobs[size_t(r)],
                  0.5 * logits[size_t(r * vocab + targets[size_t(r)])] - top - std::log(total), 2e-6);
      EXPECT_NEAR(entropy[size_t(r)], h, 3e-6);
      EXPECT_NEAR(normaliser[size_t(r)], top + std::log(total), 2e-6);
    }
  }
}

TEST_P(Kernel, AttentionOverACacheInAnyPieces) {
  const int64_t dim = 10, group = 3, keys = 77, row = group * dim;
  const Floats q = random_floats(keys * row, 1), kk = random_floats(keys * dim, 2),
               v = random_floats(keys * dim, 3);
  const int64_t context = round_up(keys + 5, k->panel);
  Floats key_panels(size_t(context * dim)), value_panels(size_t(panels_size(dim, context, k->panel)));
  k->pack(keys, dim, kk.data(), dim, 1, key_panels.data(), dim * k->panel);
  k->pack(dim, keys, v.data(), 1, dim, value_panels.data(), context * k->panel);
  const float scale = 0.4f;
  Floats out(size_t(keys * row)), lse(size_t(keys * group)), scratch(size_t(attention_scratch(keys)));
  auto run = [&](int64_t past, int64_t rows, float* to) {
    k->attention(rows, past, group, dim, q.data() + past * row, row, key_panels.data(), dim * k->panel,
                 value_panels.data(), context * k->panel, scale, to, row, lse.data() + past * group, group,
                 scratch.data());
  };
  run(0, keys, out.data());
  for (int64_t t = 0; t < keys; ++t)
    for (int64_t h = 0; h < group; ++h) {
      std::vector<double> p;
      double total = 0;
      for (int64_t s = 0; s <= t; ++s) {
        double dot = 0;
        for (int64_t e = 0; e < dim; ++e)
          dot += double(q[size_t(t * row + h * dim + e)]) * kk[size_t(s * dim + e)];
        p.push_back(std::exp(scale * dot));
        total += p.back();
      }
      EXPECT_NEAR(lse[size_t(t * group + h)], std::log(total), 3e-6);
      for (int64_t e = 0; e < dim; ++e) {
        double o = 0;
        for (int64_t s = 0; s <= t; ++s) o += p[size_t(s)] / total * v[size_t(s * dim + e)];
        ASSERT_NEAR(out[size_t(t * row + h * dim + e)], o, 3e-6);
      }
    }
  // the same bits one token at a time and in pieces
  for (int64_t piece : {1, 5, 16, 40}) {
    Floats pieces(out.size());
    for (int64_t at = 0; at < keys; at += piece)
      run(at, std::min(piece, keys - at), pieces.data() + at * row);
    EXPECT_EQ(0, std::memcmp(pieces.data(), out.data(), out.size() * 4)) << piece;
  }
}

}  // namespace
}  // namespace cohort::cpu
