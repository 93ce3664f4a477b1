// How a token is drawn, for a vocabulary of any size:
//   1. one vectorised pass finds the largest logit of each block of 64 (and by that the largest of all);
//   2. nothing truncates: exp and block sums in one vectorised pass, then a walk over block sums and one
//   block;
//   3. something truncates: a bound gathers the few candidates that can survive, selection (never a full
//   sort) finds
//      the cut, and the walk goes over the survivors in the order of their ids, so that a token does not
//      depend on how the selection happened to permute them.
#include "rollout/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "transport/base/error.h"

namespace cohort {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * c[2];
    c = {uint32_t(b >> 32) ^ c[1] ^ k[0], uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ k[1], uint32_t(a)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

double uniform_at(uint64_t seed, GroupId group, uint32_t index, uint32_t position) {
  const auto r = philox4x32({position, index, uint32_t(group), uint32_t(group >> 32)},
                            {uint32_t(seed), uint32_t(seed >> 32)});
  // 52 bits and a half: with 53 the largest value would round to 1.
  const uint64_t bits = (uint64_t{r[0]} << 20) | (r[1] >> 12);
  return (double(bits) + 0.5) * 0x1p-52;
}

namespace {

constexpr size_t kBlock = 64;  // four runs of 16 lanes
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

// exp(x) for x <= 0 to about 1e-7 relative; below -87 it is 0 (its true value is under 1e-37 of the largest).
// Cody-Waite reduction and a polynomial on [-ln2/2, ln2/2], without branches, so that a loop over it
// vectorises.
[[gnu::always_inline]] inline float exp_nonpositive(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float n =
      (clamped * 1.44269504f + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: rounds to the nearest integer
  float r = clamped - n * 0.693359375f;
  r -= n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scaled = p * std::bit_cast<float>((int32_t(n) + 127) << 23);
  return x < -87.0f ? 0.0f : scaled;
}

struct Passes {
  // Largest entry of each block; NaN counts as -inf, since a comparison with it is false.
  void (*block_max)(const float* x, size_t n, float* out);
  // x = (x - max) / temperature, e = exp(x), the sum of each block's e.
  void (*scale_exp)(float* x, float* e, size_t n, float max, float inverse_temperature, float* block_sums);
};

// The whole blocks' loops have a constant length and no dependence between entries (sums go into 16 lanes):
// the form the compiler turns into vector code.
[[gnu::always_inline]] inline float max_of(const float* x, size_t count) {
  float best = kMinusInf;
  for (size_t i = 0; i < count; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

[[gnu::always_inline]] inline void block_max_body(const float* x, size_t n, float* out) {
  const size_t whole = n / kBlock;
  for (size_t b = 0; b < whole; ++b) {
    const float* p = x + b * kBlock;
    float lane[16];
    for (size_t j = 0; j < 16; ++j) lane[j] = p[j] > kMinusInf ? p[j] : kMinusInf;
    for (size_t i = 16; i < kBlock; i += 16)
      for (size_t j = 0; j < 16; ++j) lane[j] = p[i + j] > lane[j] ? p[i + j] : lane[j];
    out[b] = max_of(lane, 16);
  }
  if (whole * kBlock < n) out[whole] = max_of(x + whole * kBlock, n - whole * kBlock);
}

[[gnu::always_inline]] inline void scale_exp_run(float* __restrict x, float* __restrict e, size_t count,
                                                 float max, float inverse_temperature) {
  for (size_t i = 0; i < count; ++i) {
    const float v = (x[i] - max) * inverse_temperature;
    const float settled = v <= 0.0f ? v : kMinusInf;  // NaN
    x[i] = settled;
    e[i] = exp_nonpositive(settled);
  }
}

[[gnu::always_inline]] inline void scale_exp_body(float* x, float* e, size_t n, float max,
                                                  float inverse_temperature, float* block_sums) {
  const size_t whole = n / kBlock;
  for (size_t b = 0; b < whole; ++b) {
    scale_exp_run(x + b * kBlock, e + b * kBlock, kBlock, max, inverse_temperature);
    const float* q = e + b * kBlock;
    float lane[16];
    for (size_t j = 0; j < 16; ++j) lane[j] = (q[j] + q[j + 16]) + (q[j + 32] + q[j + 48]);
    float sum = 0;
    for (float part : lane) sum += part;
    block_sums[b] = sum;
  }
  if (whole * kBlock < n) {
    scale_exp_run(x + whole * kBlock, e + whole * kBlock, n - whole * kBlock, max, inverse_temperature);
    float sum = 0;
    for (size_t i = whole * kBlock; i < n; ++i) sum += e[i];
    block_sums[whole] = sum;
  }
}

void block_max_any(const float* x, size_t n, float* out) {
  block_max_body(x, n, out);
}
void scale_exp_any(float* x, float* e, size_t n, float max, float it, float* sums) {
  scale_exp_body(x, e, n, max, it, sums);
}
#if defined(__x86_64__)
// Chosen at run time by hand: target_clones would need ifunc, which the sanitizers do not get on with.
[[gnu::target("avx2,fma")]] void block_max_avx2(const float* x, size_t n, float* out) {
  block_max_body(x, n, out);
}
[[gnu::target("avx2,fma")]] void scale_exp_avx2(float* x, float* e, size_t n, float max, float it,
                                                float* sums) {
  scale_exp_body(x, e, n, max, it, sums);
}
#endif

const Passes& passes() {
  static const Passes chosen = [] {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      return Passes{block_max_avx2, scale_exp_avx2};
#endif
    return Passes{block_max_any, scale_exp_any};
  }();
  return chosen;
}

struct Candidate {
  float x;  // (logit - max) / temperature
  float e;  // exp(x)
  int32_t id;
};
bool before(const Candidate& a, const Candidate& b) {
  return a.x != b.x ? a.x > b.x : a.id < b.id;
}

// Kept between calls: a step samples hundreds of rows and allocates for none of them.
struct Scratch {
  std::vector<float> block_max, block_sum, e, maxima;
  std::vector<Candidate> candidates, order;
};
Scratch& scratch() {
  thread_local Scratch s;
  return s;
}

Sampled walk_all(std::span<const float> x, const Scratch& s, double total, double uniform) {
  const size_t n = x.size();
  const double target = uniform * total;
  double before_block = 0;
  size_t block = 0, last_nonempty = 0;
  for (; block < s.block_sum.size(); ++block) {
    if (s.block_sum[block] > 0) last_nonempty = block;
    if (before_block + s.block_sum[block] > target) break;
    before_block += s.block_sum[block];
  }
  if (block == s.block_sum.size()) {  // rounding at the very end of the line
    block = last_nonempty;
    before_block = total;
  }
  double sum = before_block;
  size_t chosen = 0;
  for (size_t i = block * kBlock; i < std::min(n, (block + 1) * kBlock); ++i) {
    if (s.e[i] <= 0) continue;
    chosen = i;
    sum += s.e[i];
    if (sum > target) break;
  }
  return {int32_t(chosen), float(x[chosen] - std::log(total))};
}

Sampled walk_candidates(const std::vector<Candidate>& kept, double uniform) {
  double total = 0;
  for (const Candidate& c : kept) total += c.e;
  const double target = uniform * total;
  double sum = 0;
  const Candidate* chosen = &kept.front();
  for (const Candidate& c : kept) {
    if (c.e <= 0) continue;
    chosen = &c;
    sum += c.e;
    if (sum > target) break;
  }
  return {chosen->id, float(chosen->x - std::log(total))};
}

// The candidates of the smallest prefix (in the order of `before`) whose mass reaches `mass`: halving with
// nth_element, so linear time however flat the distribution is.
void cut_at_mass(std::vector<Candidate>& candidates, std::vector<Candidate>& order, double mass) {
  order = candidates;
  size_t low = 0, high = order.size();  // the cut's last member is in [low, high)
  double mass_before = 0;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(order.begin() + long(low), order.begin() + long(middle), order.begin() + long(high),
                     before);
    double upper = 0;
    for (size_t i = low; i < middle; ++i) upper += order[i].e;
    if (mass_before + upper >= mass) {
      high = middle;
    } else {
      mass_before += upper;
      low = middle;
    }
  }
  const Candidate last = order[low];
  std::erase_if(candidates, [&](const Candidate& c) { return before(last, c); });
}

// A +inf logit leaves room for nothing but its like.
void settle_infinities(std::span<float> logits_V) {
  for (float& l : logits_V) l = l == std::numeric_limits<float>::infinity() ? 0.0f : kMinusInf;
}

}  // namespace

Sampled sample(std::span<float> logits_V, const SamplingParams& params, double uniform) {
  Scratch& s = scratch();
  const size_t n = logits_V.size();
  const size_t blocks = (n + kBlock - 1) / kBlock;
  s.block_max.resize(blocks);
  s.block_sum.resize(blocks);
  s.e.resize(n);

  passes().block_max(logits_V.data(), n, s.block_max.data());
  float max = kMinusInf;
  for (float m : s.block_max) max = std::max(max, m);
  if (max == kMinusInf)
    fail("the model gave no finite logit to sample from: its weights hold NaN or infinities");
  if (std::isinf(max)) {
    settle_infinities(logits_V);
    passes().block_max(logits_V.data(), n, s.block_max.data());
    max = 0;
  }

  const bool greedy = params.temperature <= 0;
  const float inverse_temperature = greedy ? 1.0f : float(1.0 / params.temperature);
  const auto exp_all = [&] {
    passes().scale_exp(logits_V.data(), s.e.data(), n, max, inverse_temperature, s.block_sum.data());
    double total = 0;
    for (float sum : s.block_sum) total += sum;
    return total;
  };

  if (greedy) {
    const double total = exp_all();
    const auto best = std::find(logits_V.begin(), logits_V.end(), 0.0f);
    return {int32_t(best - logits_V.begin()), float(-std::log(total))};
  }

  const bool by_k = params.top_k > 0 && size_t(params.top_k) < n;
  const bool by_p = params.top_p < 1;
  const bool by_min = params.min_p > 0;
  if (!by_k && !by_p && !by_min) return walk_all(logits_V, s, exp_all(), uniform);

  // A lower bound, in x, on what can survive.
  float bound = kMinusInf;
  double total = 0;  // mass before top-p, where all of the vocabulary takes part
  bool scaled = false;
  if (by_k) {
    // The k-th largest block maximum is at most the k-th largest logit.
    if (size_t(params.top_k) <= blocks) {
      s.maxima = s.block_max;
      const auto kth = s.maxima.begin() + (params.top_k - 1);
      std::nth_element(s.maxima.begin(), kth, s.maxima.end(), std::greater<>());
      bound = *kth;  // still a logit
    }
  } else if (by_p) {
    total = exp_all();
    scaled = true;
    // All entries below this together weigh less than 1 - top_p, so the nucleus ends before the first of
    // them.
    const double mass = std::max(0.0, 1.0 - params.top_p) * total / double(n);
    bound = mass > 0 ? float(std::log(mass)) - 1e-3f : kMinusInf;
  } else {
    bound = float(std::log(std::min(1.0, params.min_p)) / inverse_temperature) + max - 1e-3f * std::abs(max) -
            1e-3f;
  }
  s.candidates.clear();
  for (size_t b = 0; b < blocks; ++b) {
    const float block_bound = scaled ? (s.block_max[b] - max) * inverse_temperature : s.block_max[b];
    if (!(block_bound >= bound)) continue;
    for (size_t i = b * kBlock; i < std::min(n, (b + 1) * kBlock); ++i) {
      const float l = logits_V[i];
      if (!(l >= bound) || l == kMinusInf) continue;
      if (scaled) {
        s.candidates.push_back({l, s.e[i], int32_t(i)});
      } else {
        const float x = (l - max) * inverse_temperature;
        s.candidates.push_back({x, exp_nonpositive(x), int32_t(i)});
      }
    }
  }

  if (by_k) {
    if (s.candidates.size() > size_t(params.top_k)) {
      s.order = s.candidates;
      const auto kth = s.order.begin() + (params.top_k - 1);
      std::nth_element(s.order.begin(), kth, s.order.end(), before);
      const float cut = kth->x;  // ties with the k-th stay, as in vLLM and transformers
      std::erase_if(s.candidates, [&](const Candidate& c) { return c.x < cut; });
    }
    for (const Candidate& c : s.candidates) total += c.e;
  }
  if (by_p) cut_at_mass(s.candidates, s.order, params.top_p * total);
  if (by_min) {
    const float cut = float(std::min(1.0, params.min_p));  // the largest has e = 1
    std::erase_if(s.candidates, [&](const Candidate& c) { return c.e < cut; });
  }
  return walk_candidates(s.candidates, uniform);
}

}  // namespace cohort
