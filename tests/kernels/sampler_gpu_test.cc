// The GPU's sampler against rollout/sampler.h, which defines what a sample is, and against known distributions.
#include <algorithm>
#include <map>
#include <numeric>

#include "kernels/hopper_gemm.h"
#include "kernels/sampler.h"
#include "rollout/sampler.h"
#include "tests/kernels/gpu.h"

namespace cohort::cuda {
namespace {

struct Sampling {
  double temperature = 1;
  int32_t top_k = 0;
  double top_p = 1, min_p = 0;
};
SamplingParams params_of(const Sampling& s) {
  SamplingParams p;
  p.temperature = s.temperature, p.top_k = s.top_k, p.top_p = s.top_p, p.min_p = s.min_p;
  return p;
}
Row row_of(const Sampling& s, double uniform) {
  Row r;
  r.slot = 0, r.sample = 1, r.uniform = uniform;
  r.greedy = s.temperature <= 0, r.inverse_temperature = r.greedy ? 1.0f : float(1 / s.temperature);
  r.top_p = float(s.top_p), r.min_p = float(s.min_p), r.top_k = s.top_k;
  return r;
}

// As the product that makes the logits leaves them.
std::vector<SamplerPiece> pieces_of(const std::vector<float>& logits, int64_t vocab, int piece,
                                    const std::vector<Row>& rows) {
  std::vector<SamplerPiece> all;
  for (size_t r = 0; r < rows.size(); ++r)
    for (int64_t first = 0; first < vocab; first += piece) {
      const float* l = logits.data() + int64_t(r) * vocab + first;
      const auto count = int(std::min<int64_t>(piece, vocab - first));
      SamplerPiece one = {-INFINITY, 0, 0x7fffffff, 0};
      for (int i = 0; i < count; ++i)
        if (l[i] > one.top) one.top = l[i], one.best = int32_t(first) + i;
      for (int i = 0; i < count && one.top > -INFINITY; ++i)
        if (l[i] > -INFINITY)
          one.sum += std::exp((l[i] - one.top) * (rows[r].greedy ? 1 : rows[r].inverse_temperature));
      all.push_back(one);
    }
  return all;
}

// Samples all rows at once; logits [rows][stride] with NaN between vocab and stride.
std::vector<SampledToken> run(const std::vector<float>& logits, int64_t vocab, const std::vector<Row>& rows,
                              int piece = kSamplerPiece) {
  const int64_t stride = (vocab + 3) / 4 * 4, count = int64_t(rows.size());
  Both<float> l(size_t(count * stride), NAN);
  for (int64_t i = 0; i < count; ++i)
    std::copy_n(logits.begin() + i * vocab, vocab, l.host.begin() + i * stride);
  Both<Row> r(rows.size());
  r.host = rows;
  Both<SamplerPiece> pieces(size_t(count * ((vocab + piece - 1) / piece)));
  if (piece != kSamplerPiece) pieces.host = pieces_of(logits, vocab, piece, rows);
  Both<int32_t> last(size_t{1});
  Both<SampledToken> results(rows.size(), {-5, 0});
  SamplerParams p;
  p.logits = l.up(), p.count = int(count), p.vocab = vocab, p.stride = stride, p.rows = r.up();
  p.pieces = pieces.up(), p.piece = piece, p.last_token = last.up(), p.results = results.up();
  for (const Row& row : rows) p.truncation |= row.truncates(vocab);
  if (piece == kSamplerPiece) sampler_pieces(p, nullptr, false);
  sample_rows(p, nullptr, true);
  return results.down();
}
// A random number within rounding of a boundary may fall to either side; that is rare.
size_t differences(const std::vector<float>& logits, int64_t vocab, const std::vector<Row>& rows,
                   const std::vector<Sampling>& of, int piece) {
  const auto got = run(logits, vocab, rows, piece);
  size_t different = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<float> copy(logits.begin() + int64_t(i) * vocab, logits.begin() + int64_t(i + 1) * vocab);
    const Sampled want = sample(copy, params_of(of[i]), rows[i].uniform);
    if (got[i].token != want.token) {
      ++different;
      continue;
    }
    EXPECT_NEAR(got[i].logprob, want.logprob, 2e-4)
        << "vocab " << vocab << " row " << i << " pieces of " << piece;
  }
  return different;
}

TEST(GpuSampler, AgreesWithTheCpu) {
  NEEDS_GPU();
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  const std::vector<Sampling> kinds = {{1},
                                       {0.7},
                                       {0},
                                       {1, 50},
                                       {1, 0, 0.9},
                                       {0.8, 40, .95},
                                       {1, 0, 1, 0.1},
                                       {1, 1},
                                       {1.3, 0, 0.999},
                                       {1, 0, 0},
                                       {0.5, 7, 0.5, 0.2},
                                       {1, 5000, 0.99, 1e-4}};
  for (int64_t vocab : {1, 3, 61, 4096, 4097, 32000, 151936})
    for (float spread : {1.0f, 6.0f, 15.0f}) {
      std::vector<Row> rows;
      std::vector<Sampling> of;
      for (const Sampling& s : kinds)
        for (int i = 0; i < (vocab > 10000 ? 3 : 12); ++i) {
          rows.push_back(row_of(s, uniform_at(3, rows.size(), 0, 0)));
          of.push_back(s);
        }
      std::vector<float> logits(rows.size() * size_t(vocab));
      for (float& l : logits) l = spread * normal(rng);
      if (vocab == 61 || vocab == 4097)  // ties, which real bf16 models have many of
        for (float& l : logits) l = std::round(l);
      for (int piece : {kSamplerPiece, 64}) {
        EXPECT_LE(differences(logits, vocab, rows, of, piece), rows.size() / 50)
            << "vocab " << vocab << " spread " << spread << " pieces of " << piece;
        if (testing::Test::HasFailure()) return;
      }
    }
}

// Ten pieces hold all large entries; but so much lies in their small ones that top-p's cut is below what those pieces decide.
TEST(GpuSampler, ACutBelowThePiecesThatAreRead) {
  NEEDS_GPU();
  std::mt19937 rng(4);
  const int64_t vocab = 200 * 64;
  for (float others : {-9.5f, -40.0f}) {
    std::vector<Row> rows;
    std::vector<Sampling> of;
    std::vector<float> logits;
    for (int i = 0; i < 64; ++i) {
      of.push_back(i % 2 ? Sampling{1, 0, 0.95} : Sampling{1, 0, 0.2});
      rows.push_back(row_of(of.back(), uniform_at(6, uint64_t(i), 0, 0)));
      for (int64_t id = 0; id < vocab; ++id) {
        const bool large = id / 64 % 20 == 7;
        const float jitter = float(rng() % 1000) * 1e-5f;  // no ties
        logits.push_back(jitter + (large ? id % 64 == 5 ? 0.0f : -3.0f : others));
      }
    }
    EXPECT_LE(differences(logits, vocab, rows, of, 64), 1u) << others;
  }
}

TEST(GpuSampler, ARowDoesNotDependOnItsBatch) {
  NEEDS_GPU();
  std::mt19937 rng(2);
  const int64_t vocab = 50000;
  std::vector<Row> rows;
  for (int i = 0; i < 40; ++i)
    rows.push_back(
        row_of(i % 2 ? Sampling{1} : Sampling{0.9, 100, 0.95, 0.01}, uniform_at(1, uint64_t(i), 0, 0)));
  std::vector<float> logits(rows.size() * size_t(vocab));
  fill(logits, rng, 3);
  const auto together = run(logits, vocab, rows);
  for (size_t i : {0, 1, 17, 38, 39}) {
    const auto alone =
        run({logits.begin() + int64_t(i) * vocab, logits.begin() + int64_t(i + 1) * vocab}, vocab, {rows[i]});
    EXPECT_EQ(alone[0].token, together[i].token);
    EXPECT_EQ(alone[0].logprob, together[i].logprob);
  }
}

TEST(GpuSampler, FrequenciesAreTheDistributions) {
  NEEDS_GPU();
  // probabilities known: logits are logs of integers; chi-squared with a bound at about 1e-6
  const std::vector<double> weights = {1, 2, 3, 4, 10, 20, 0.5, 7, 9, 13.5};
  const int64_t vocab = 5003;  // the rest is impossible
  const int draws = 40000;
  for (const Sampling& s : {Sampling{1}, Sampling{1, 4}, Sampling{1, 0, 0.75}, Sampling{1, 0, 1, 0.3}}) {
    std::vector<double> p(weights.size());
    std::vector<size_t> order(weights.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return weights[a] > weights[b]; });
    const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
    double before = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      const double w = weights[order[i]];
      const bool kept =
          (s.top_k == 0 || int(i) < s.top_k) && before < s.top_p * all && w >= s.min_p * weights[order[0]];
      if (kept) p[order[i]] = w;
      before += w;
    }
    const double kept = std::accumulate(p.begin(), p.end(), 0.0);
    std::vector<float> one(size_t(vocab), -INFINITY);
    for (size_t i = 0; i < weights.size(); ++i) one[i * 500] = float(std::log(weights[i])) + 3;
    std::map<int32_t, int> counts;
    for (int begin = 0; begin < draws; begin += 2000) {
      std::vector<Row> rows;
      std::vector<float> logits;
      for (int i = 0; i < 2000; ++i) {
        rows.push_back(row_of(s, uniform_at(9, 1, uint32_t(begin + i), 0)));
        logits.insert(logits.end(), one.begin(), one.end());
      }
      for (const SampledToken& t : run(logits, vocab, rows)) {
        ++counts[t.token];
        ASSERT_EQ(t.token % 500, 0);
        ASSERT_NEAR(t.logprob, std::log(p[size_t(t.token / 500)] / kept), 1e-4);
      }
    }
    double chi = 0;
    int degrees = -1;
    for (size_t i = 0; i < p.size(); ++i) {
      const double expected = draws * p[i] / kept, got = counts[int32_t(i * 500)];
      if (expected == 0) {
        EXPECT_EQ(got, 0) << i;
        continue;
      }
      chi += (got - expected) * (got - expected) / expected, ++degrees;
    }
    EXPECT_LT(chi, degrees + 5 * std::sqrt(2.0 * degrees) + 15)
        << "top_k " << s.top_k << " top_p " << s.top_p;
  }
}

// Pieces by the product that makes the logits, and the logits kept or computed again.
TEST(GpuSampler, ProductsWithPieces) {
  NEEDS_GPU();
  std::mt19937 rng(3);
  for (const auto& [m, vocab, width] :
       {std::tuple(70, 5003, 136), std::tuple(3, 61, 64), std::tuple(150, 1000, 1096)}) {
    Both<__nv_bfloat16> x(size_t(m * width)), w(size_t(vocab * width));
    fill(x.host, rng, 3 / std::sqrt(float(width))), fill(w.host, rng);
    const int64_t stride = (vocab + 3) / 4 * 4;
    Both<float> logits(size_t(m * stride), NAN), squares(size_t(2 * m));
    for (float& s : squares.host) s = 30 + float(rng() % 64);
    Both<Row> rows(static_cast<size_t>(m));
    std::vector<Sampling> of;
    for (int i = 0; i < m; ++i) {
      Row& r = rows.host[size_t(i)];
      const Sampling kinds[] = {{1},         {0},      {0.6},          {1},           {1}, {1, 0, 0.5},
                                {1, 0, 0.9}, {0.7, 5}, {1, 0, 1, 0.2}, {0.8, 20, 0.9}};
      of.push_back(kinds[i % 10]);
      r = row_of(of.back(), uniform_at(5, uint64_t(i), 0, 0));
      if (i % 7 == 3) r.forced = int32_t(rng() % uint32_t(vocab));
      if (i % 11 == 5) r.sample = 0;
    }
    HopperGemmParams g;
    g.x = x.up(), g.w = w.up(), g.m = m, g.n = vocab, g.k = width, g.kind = GemmOut::logits;
    g.scale = {squares.up(), 2, m, 64, 1e-6f}, g.out = logits.up(), g.stride = stride, g.rows = rows.up();
    SamplerParams p;
    p.count = m, p.vocab = vocab, p.stride = stride, p.rows = rows.device();
    Both<SampledToken> results(static_cast<size_t>(m), {-5, 0});
    p.results = results.up();
    for (const HopperGemmTile& tile : hopper_gemm_tiles(GemmOut::logits)) {
      p.piece = tile.piece();
      Both<SamplerPiece> pieces(size_t(m * ((vocab + p.piece - 1) / p.piece)));
      g.pieces = p.pieces = pieces.up();
      hopper_gemm(g, tile, nullptr, false);
      p.logits = logits.device(), p.truncation = true;
      sample_rows(p, nullptr, true);
      const auto kept = results.down();
      p.logits = nullptr, p.truncation = false, p.product = {x.device(), w.device(), width, g.scale};
      results.up();
      HopperGemmParams without = g;
      without.out = nullptr;
      hopper_gemm(without, tile, nullptr, false);
      sample_rows(p, nullptr, true);
      const auto again = results.down();
      const auto values = logits.down();
      size_t different = 0;
      for (size_t i = 0; i < kept.size(); ++i) {
        const Row& r = rows.host[i];
        if (!r.sample) {
          ASSERT_EQ(kept[i].token, -5);
          continue;
        }
        if (r.forced >= 0) {
          ASSERT_EQ(kept[i].token, r.forced);
          ASSERT_EQ(again[i].token, r.forced);
          ASSERT_NEAR(kept[i].logprob, again[i].logprob, 1e-4) << i;
          continue;
        }
        std::vector<float> row(values.begin() + int64_t(i) * stride,
                               values.begin() + int64_t(i) * stride + vocab);
        const Sampled want = sample(row, params_of(of[i]), r.uniform);
        const bool truncates = r.truncates(vocab);  // needs logits that are kept
        if (kept[i].token != want.token || (!truncates && again[i].token != want.token)) {
          ++different;
          continue;
        }
        ASSERT_NEAR(kept[i].logprob, want.logprob, 2e-4) << i;
        if (truncates) continue;
        ASSERT_NEAR(again[i].logprob, want.logprob, 2e-4) << i;
      }
      EXPECT_LE(different, kept.size() / 50 + 1);
    }
  }
}

TEST(GpuSampler, OddLogits) {
  NEEDS_GPU();
  const int64_t vocab = 8000;
  std::vector<float> logits(5 * vocab, 0.0f);
  std::fill_n(logits.begin(), vocab, NAN);  // nothing to sample
  for (int64_t i = 0; i < vocab; ++i) logits[size_t(vocab + i)] = i == 4500 ? 1.0f : NAN;
  logits[size_t(2 * vocab) + 7000] = INFINITY;
  std::fill_n(logits.begin() + 3 * vocab, vocab, -INFINITY);
  logits[size_t(4 * vocab) + 10] = logits[size_t(4 * vocab) + 5000] = 30;  // greedy: the lower id of a tie
  std::vector<Row> rows(5, row_of({1}, 0.7));
  rows[4] = row_of({0}, 0.7);
  const auto got = run(logits, vocab, rows);
  EXPECT_EQ(got[0].token, -1);
  EXPECT_EQ(got[1].token, 4500);
  EXPECT_EQ(got[2].token, 7000);
  EXPECT_EQ(got[3].token, -1);
  EXPECT_EQ(got[4].token, 10);
  EXPECT_NEAR(got[4].logprob, -std::log(2.0), 1e-4);
  // a forced token's log-prob
  Row forced = row_of({0}, 0.5);
  forced.forced = 3;
  std::vector<float> four(4);
  four = {std::log(1.0f), std::log(2.0f), std::log(3.0f), std::log(4.0f)};
  EXPECT_NEAR(run(four, 4, {forced})[0].logprob, std::log(0.4), 1e-5);
}

}  // namespace
}  // namespace cohort::cuda
