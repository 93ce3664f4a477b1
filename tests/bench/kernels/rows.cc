// The kernels between products, and the sampler, beside FlashInfer's.
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/rows_kernels.h"
#include "kernels/sampler.h"
#include "kernels/swiglu.h"
#include "tests/bench/kernels/bench.h"
#include "tests/bench/kernels/flashinfer.h"

namespace cohort::bench {
namespace {

void norm(Clock& clock, const Shape& s, int rows) {
  const size_t n = size_t(rows) * size_t(s.hidden);
  Array<float> x(n);
  Array<bf16> other_x(n), y(n), weight{size_t(s.hidden)};
  fill_random(other_x), fill_random(weight);
  widen(other_x, x);
  cuda::RmsNormParams p;
  p.x = x.get(), p.weight = weight.get(), p.y = y.get(), p.rows = rows, p.hidden = s.hidden;
  const double bytes = 6.0 * double(n) + 2.0 * s.hidden;
  const std::string shape = fmt::format("{}, {} rows", s.name, rows);
#ifdef COHORT_WITH_FLASHINFER
  Array<bf16> other_y(n);
  cuda::rms_norm(p, clock.stream, false);
  peer_norm(other_x.get(), weight.get(), other_y.get(), rows, s.hidden, false, clock.stream);
  CUDA_CHECK(cudaStreamSynchronize(clock.stream));
  const double difference = distance(y.down(), other_y.down());
  const Pair theirs = time_both(clock, 24, [&](int, bool early) {
    peer_norm(other_x.get(), weight.get(), other_y.get(), rows, s.hidden, early, clock.stream);
  });
#endif
  const Pair ours = time_both(clock, 24, [&](int, bool early) { cuda::rms_norm(p, clock.stream, early); });
#ifdef COHORT_WITH_FLASHINFER
  print_row("RMSNorm", shape, bytes, false, ours, "FlashInfer, bf16", &theirs, difference);
#else
  print_row("RMSNorm", shape, bytes, false, ours);
#endif
}

void embedding(Clock& clock, const Shape& s, int rows) {
  Array<bf16> table(size_t(kVocab) * size_t(s.hidden));
  Array<float> x(size_t(rows) * size_t(s.hidden));
  std::vector<cuda::Row> host(static_cast<size_t>(rows));
  for (int i = 0; i < rows; ++i)
    host[size_t(i)].slot = i, host[size_t(i)].token = int32_t(int64_t(i) * 7919 % kVocab);
  Array<cuda::Row> device(host);
  print_row("embedding", fmt::format("{}, {} rows", s.name, rows), 6.0 * double(x.size()), false,
            time_both(clock, 24, [&](int, bool early) {
              cuda::embed({device.get(), rows, s.hidden, table.get(), x.get(), nullptr, nullptr, nullptr},
                          clock.stream, early);
            }));
}

void swiglu(Clock& clock, const Shape& s, int rows) {
  const size_t n = size_t(rows) * size_t(s.intermediate);
  const int copies = std::min(6, copies_of(6.0 * double(n)));
  Array<bf16> in(2 * n * size_t(copies)), out(n);
  fill_random(in);
  const Pair ours = time_both(clock, 2 * copies, [&](int i, bool early) {
    cuda::swiglu(in.get() + size_t(i % copies) * 2 * n, {}, rows, s.intermediate, out.get(), clock.stream,
                 early);
  });
  const std::string shape = fmt::format("{}, {} rows", s.name, rows);
#ifdef COHORT_WITH_FLASHINFER
  cuda::swiglu(in.get(), {}, rows, s.intermediate, out.get(), clock.stream, false);
  CUDA_CHECK(cudaStreamSynchronize(clock.stream));
  const std::vector<bf16> want = out.down();
  const auto peer = [&](int i, bool early) {
    peer_swiglu(in.get() + size_t(i % copies) * 2 * n, rows, s.intermediate, out.get(), early, clock.stream);
  };
  const Pair theirs = time_both(clock, 2 * copies, peer);
  peer(0, false);
  CUDA_CHECK(cudaStreamSynchronize(clock.stream));
  print_row("SwiGLU", shape, 6.0 * double(n), false, ours, "FlashInfer", &theirs, distance(want, out.down()));
#else
  print_row("SwiGLU", shape, 6.0 * double(n), false, ours);
#endif
}

// One sequence's prompt chunk: rotation and the write into its pages.
void rope(Clock& clock, const Shape& s, int rows) {
  const int width = (s.heads + 2 * s.kv_heads) * s.head_dim, pages = (rows + 15) / 16, half = s.head_dim / 2;
  Array<float> qkv(size_t(rows) * size_t(width));
  Array<bf16> rounded(qkv.size()), q(size_t(rows) * size_t(s.heads * s.head_dim)), other_q(q.size()),
      other_k(size_t(rows) * size_t(s.kv_heads * s.head_dim)),
      cache(size_t(pages) * size_t(2 * s.kv_heads * 16 * s.head_dim)), other_cache(cache.size());
  fill_random(rounded);
  widen(rounded, qkv);
  std::vector<int32_t> table, positions;
  std::vector<cuda::Row> host(static_cast<size_t>(rows));
  std::vector<float2> turns;
  std::vector<float> cos_sin(size_t(rows) * size_t(s.head_dim));
  for (int p = 0; p < pages; ++p) table.push_back(pages - 1 - p);
  for (int t = 0; t < rows; ++t) {
    host[size_t(t)].slot = 0, host[size_t(t)].position = t;
    positions.push_back(t);
    for (int i = 0; i < half; ++i) {
      const float angle = float(t) * std::pow(1e6f, -2.0f * float(i) / float(s.head_dim));
      turns.push_back({std::cos(angle), std::sin(angle)});
      cos_sin[size_t(t * s.head_dim + i)] = turns.back().x,
                                      cos_sin[size_t(t * s.head_dim + half + i)] = turns.back().y;
    }
  }
  Array<cuda::Row> device_rows(host);
  Array<int32_t> device_table(table), device_positions(positions), starts(std::vector<int32_t>{0, pages}),
      last(std::vector<int32_t>{rows - (pages - 1) * 16}), sequences(size_t{static_cast<size_t>(rows)});
  Array<float2> device_turns(turns);
  Array<float> device_cos_sin(cos_sin);
  cuda::RopeWriteParams p;
  p.rows = device_rows.get(), p.count = rows, p.qkv.rows = qkv.get(), p.qkv.width = width, p.heads = s.heads;
  p.rope.cos_sin = device_turns.get(), p.q = q.get();
  p.kv = {cache.get(), device_table.get(), pages, s.kv_heads, s.head_dim};
  const Pair ours = time_both(clock, 24, [&](int, bool early) { cuda::rope_write(p, clock.stream, early); });
  const double bytes = 6.0 * double(qkv.size());
  const std::string shape = fmt::format("{}, {} rows", s.name, rows);
#ifdef COHORT_WITH_FLASHINFER
  const PeerRope peer{rounded.get(),
                      device_cos_sin.get(),
                      device_positions.get(),
                      sequences.get(),
                      device_table.get(),
                      starts.get(),
                      last.get(),
                      rows,
                      1,
                      s.heads,
                      s.kv_heads,
                      s.head_dim,
                      other_cache.get(),
                      other_q.get(),
                      other_k.get()};
  const Pair theirs = time_both(clock, 24, [&](int, bool) { peer_rope_write(peer, clock.stream); });
  print_row("RoPE + KV write", shape, bytes, false, ours, "FlashInfer, bf16, 2 kernels", &theirs,
            std::max(distance(q.down(), other_q.down()), distance(cache.down(), other_cache.down())));
#else
  print_row("RoPE + KV write", shape, bytes, false, ours);
#endif
}

// spread: standard deviation of the logits; 3 leaves thousands of tokens within top-p 0.95, 7 a few, as a trained model mostly does.
void sampler(Clock& clock, int rows, float spread) {
  const auto n = size_t(rows) * kVocab;
  const int copies = copies_of(4.0 * double(n)),
            pieces = (kVocab + cuda::kSamplerPiece - 1) / cuda::kSamplerPiece;
  Array<float> logits(n * size_t(copies)), probabilities(n);
  fill_random(logits, spread);
  Array<cuda::SamplerPiece> sums(size_t(rows * pieces));
  Array<int32_t> tokens(size_t{static_cast<size_t>(rows)});
  Array<bool> valid(tokens.size());
  Array<cuda::SampledToken> results(tokens.size());
  Array<unsigned char> workspace(size_t{32} << 20);
  for (const auto& [what, top_p, top_k] :
       {std::tuple("sampler", 1.0f, 0), std::tuple("sampler, top-p 0.95", 0.95f, 0),
        std::tuple("sampler, top-k 50, top-p 0.95", 0.95f, 50)}) {
    std::vector<cuda::Row> host(static_cast<size_t>(rows));
    for (int i = 0; i < rows; ++i) {
      cuda::Row& r = host[size_t(i)];
      r.slot = i, r.sample = 1, r.uniform = (i + 0.5) / rows, r.top_p = top_p, r.top_k = top_k;
    }
    Array<cuda::Row> device(host);
    const auto mine = [&](int i, bool early) {
      cuda::SamplerParams p;
      p.logits = logits.get() + size_t(i % copies) * n, p.count = rows, p.vocab = kVocab, p.stride = kVocab;
      p.rows = device.get(), p.pieces = sums.get(), p.results = results.get();
      p.truncation = top_p < 1 || top_k > 0;
      cuda::sampler_pieces(p, clock.stream, early);
      cuda::sample_rows(p, clock.stream, early);
    };
    const Pair ours = time_both(clock, copies, mine);
    const std::string shape = fmt::format("{} rows, spread {}", rows, spread);
#ifdef COHORT_WITH_FLASHINFER
    const PeerSampler peer{logits.get(),    probabilities.get(), tokens.get(), valid.get(),
                           workspace.get(), workspace.size(),    rows,         kVocab};
    const auto theirs = [&](int i, bool early) {
      PeerSampler p = peer;
      p.logits += size_t(i % copies) * n;
      if (top_p < 1 || top_k > 0)
        peer_sample_top_p(p, top_p, top_k, early, clock.stream);
      else
        peer_sample(p, early, clock.stream);
    };
    const Pair other = time_both(clock, copies, theirs);
    double difference = -1;
    if (top_p >= 1 && top_k == 0) {  // their probability of our token against ours
      mine(0, false), theirs(0, false);
      CUDA_CHECK(cudaStreamSynchronize(clock.stream));
      const std::vector<cuda::SampledToken> sampled = results.down();
      for (size_t r = 0; r < size_t(rows); ++r) {
        float theirs_of = 0;
        CUDA_CHECK(cudaMemcpy(&theirs_of, probabilities.get() + r * kVocab + size_t(sampled[r].token), 4,
                              cudaMemcpyDeviceToHost));
        difference = std::max(difference, std::abs(std::log(double(theirs_of)) - double(sampled[r].logprob)));
      }
    }
    print_row(what, shape, 4.0 * double(n), false, ours, "softmax, then token", &other, difference);
    if (top_p >= 1 && top_k == 0) {
      const Pair token = time_both(clock, copies, [&](int i, bool) {
        PeerSampler p = peer;
        p.logits += size_t(i % copies) * n;
        peer_sample_token(p, clock.stream);
      });
      print_row(what, shape, 4.0 * double(n), false, ours, "token without log-prob", &token);
    }
#else
    print_row(what, shape, 4.0 * double(n), false, ours);
#endif
  }
}

}  // namespace

void bench_rows(Clock& clock) {
  for (const Shape& s : kShapes) {
    for (int rows : {64, 256, 512, 4096}) norm(clock, s, rows);
    for (int rows : {64, 512, 4096}) embedding(clock, s, rows);
    for (int rows : {256, 512, 4096}) swiglu(clock, s, rows);
    for (int rows : {128, 1024, 4096}) rope(clock, s, rows);
  }
}

void bench_sampler(Clock& clock) {
  for (float spread : {3.0f, 7.0f})
    for (int rows : {64, 256, 512}) sampler(clock, rows, spread);
}

}  // namespace cohort::bench
