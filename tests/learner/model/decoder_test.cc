#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "learner/model/decoder.h"
#include "tests/learner/folder/temp_folder.h"
#include "tests/learner/model/small_config.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using nlohmann::json;
using torch::Tensor;

const bool one_thread = (torch::set_num_threads(1), true);

ModelConfig tiny(const std::string& type = "llama") {
  return test::small_config(type, {.head_dim = 6});
}

struct Packed {
  Tensor tokens, positions;
  std::vector<int64_t> cu_seqlens = {0};
};
Packed random_batch(const ModelConfig& c, const std::vector<int64_t>& lengths) {
  std::vector<Tensor> positions;
  Packed out;
  for (int64_t n : lengths) {
    positions.push_back(torch::arange(n));
    out.cu_seqlens.push_back(out.cu_seqlens.back() + n);
  }
  out.positions = torch::cat(positions);
  out.tokens = torch::randint(c.vocab_size, {out.cu_seqlens.back()}, torch::kLong);
  return out;
}
Tensor run(const Decoder& d, const Packed& b) {
  auto attention = make_packed_attention(d.config(), b.cu_seqlens);
  return d.forward(b.tokens, b.positions, *attention);
}
double relative_error(const Tensor& a, const Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

class GoldenLogits : public testing::TestWithParam<std::string> {};

TEST_P(GoldenLogits, EqualTransformers) {
  const std::string folder = std::string(COHORT_SOURCE_DIR) + "/tests/golden/logits/" + GetParam();
  const ModelConfig config = ModelConfig::read(folder);
  Decoder decoder(config, torch::kCPU, torch::kFloat);
  decoder.load(read_weights(folder, config, DType::f32));
  const auto ids = json::parse(std::ifstream(folder + "/golden.json"))["tokens"].get<std::vector<int64_t>>();
  const int64_t n = static_cast<int64_t>(ids.size());
  std::ifstream in(folder + "/logits.bin", std::ios::binary);
  Tensor expected = torch::empty({n, config.vocab_size});
  in.read(reinterpret_cast<char*>(expected.data_ptr()), static_cast<std::streamsize>(expected.nbytes()));
  ASSERT_TRUE(in) << "logits.bin";
  // three copies in one packed batch: neither neighbour shows
  Packed batch;
  Tensor tokens = torch::tensor(ids, torch::kLong);
  batch.tokens = torch::cat({tokens, tokens.flip(0), tokens});
  batch.positions = torch::arange(n).repeat({3});
  batch.cu_seqlens = {0, n, 2 * n, 3 * n};
  for (bool gradients : {false, true}) {
    torch::AutoGradMode mode(gradients);
    if (gradients)
      decoder.enable_gradients();
    else
      decoder.pack_for_inference();
    Tensor logits = decoder.logits(run(decoder, batch)).detach();
    EXPECT_LE(relative_error(logits.narrow(0, 0, n), expected), 1e-5);
    EXPECT_LE(relative_error(logits.narrow(0, 2 * n, n), expected), 1e-5);
    EXPECT_GT(relative_error(logits.narrow(0, n, n), expected), 1e-2);
  }
}

std::vector<std::string> golden_cases() {
  std::vector<std::string> out;
  for (auto& e : std::filesystem::directory_iterator(std::string(COHORT_SOURCE_DIR) + "/tests/golden/logits"))
    out.push_back(e.path().filename());
  std::sort(out.begin(), out.end());
  return out;
}
INSTANTIATE_TEST_SUITE_P(All, GoldenLogits, testing::ValuesIn(golden_cases()),
                         [](auto& i) { return i.param; });

// Every golden model through the decoder and out again; kept in $COHORT_EXPORT_TO where that is set, for
// tests/golden/check_export.py to load with transformers.
TEST(Export, EveryGoldenModelComesBackTheSame) {
  const char* keep = std::getenv("COHORT_EXPORT_TO");
  const TempFolder temporary;
  for (const std::string& name : golden_cases()) {
    const std::string from = std::string(COHORT_SOURCE_DIR) + "/tests/golden/logits/" + name;
    const std::string to = (keep ? std::string(keep) : temporary.path) + "/" + name;
    const ModelConfig config = ModelConfig::read(from);
    const WeightSet read = read_weights(from, config, DType::f32);
    Decoder decoder(config, torch::kCPU, torch::kFloat);
    decoder.load(read);
    write_model_folder(to, config, decoder.snapshot(0, DType::f32), DType::f32, "",
                       name == "llama_sharded" ? 12000 : 5ull << 30);
    EXPECT_EQ(read_weights(to, ModelConfig::read(to), DType::f32).data, read.data) << name;
    EXPECT_EQ(ModelConfig::read(to).to_json().substr(0, 60), config.to_json().substr(0, 60)) << name;
  }
}

TEST(Decoder, SnapshotAndLoadAreInverse) {
  Decoder a(tiny("qwen2"), torch::kCPU, torch::kFloat), b(tiny("qwen2"), torch::kCPU, torch::kFloat);
  a.init_random(7);
  WeightSet w = a.snapshot(3, DType::f32);
  EXPECT_EQ(w.manifest.version, 3u);
  b.load(w);
  EXPECT_TRUE(torch::equal(a.flat_parameters(), b.flat_parameters()));
  Decoder half(tiny("qwen2"), torch::kCPU, torch::kBFloat16);
  half.load(w);
  b.load(half.snapshot(4, DType::f32));
  EXPECT_TRUE(torch::equal(a.flat_parameters().to(torch::kBFloat16).to(torch::kFloat), b.flat_parameters()));
  b.load(a.snapshot(5, DType::bf16));
  EXPECT_TRUE(torch::equal(a.flat_parameters().to(torch::kBFloat16).to(torch::kFloat), b.flat_parameters()));
  ModelConfig wider = tiny("qwen2");
  wider.intermediate_size = 32;
  Decoder other(wider, torch::kCPU, torch::kFloat);
  EXPECT_THROW(other.load(w), Error);
}

TEST(Decoder, FirstWeightsAreTheSameEverywhere) {
  Decoder a(tiny(), torch::kCPU, torch::kFloat);
  a.init_random(7);
  const Tensor embed = a.flat_parameters().narrow(0, 0, 23 * 16);
  EXPECT_NEAR(embed.std().item<double>(), 0.3, 0.03);
  EXPECT_NEAR(embed.mean().item<double>(), 0, 0.05);
  // pinned: another machine, compiler or libm must give these very bits
  const WeightSet w = a.snapshot(0, DType::f32);
  EXPECT_EQ(w.manifest.checksum, 17545893882921285104u);
}

// Loss of a batch in float64, where a central difference is good to about 1e-9.
double loss_of(const Decoder& d, const Packed& b) {
  Tensor hidden = run(d, b);
  TokenStats stats = token_stats(d, hidden, b.tokens.flip(0), 0.8, true, 5);
  return (stats.logprobs_N.mean() + 0.1 * stats.entropy_N.mean()).item<double>();
}

TEST(Decoder, GradientEqualsFiniteDifferences) {
  torch::manual_seed(1);
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    Decoder d(tiny(type), torch::kCPU, torch::kDouble);
    d.init_random(11);
    d.flat_parameters().add_(torch::randn_like(d.flat_parameters()) *
                             0.05);  // biases and norms off their start
    d.enable_gradients();
    const Packed batch = random_batch(d.config(), {5, 1, 7});
    Tensor hidden = run(d, batch);
    TokenStats stats = token_stats(d, hidden, batch.tokens.flip(0), 0.8, true, 5);
    (stats.logprobs_N.mean() + 0.1 * stats.entropy_N.mean()).backward();
    torch::NoGradGuard no_grad;
    for (const TensorSpec& t : d.config().tensors(DType::f32)) {
      const int64_t count = static_cast<int64_t>(t.bytes) / 4, begin = static_cast<int64_t>(t.offset) / 4;
      for (int64_t i : {begin + count / 3, begin + count - 1}) {
        double* x = d.flat_parameters().data_ptr<double>() + i;
        const double old = *x, h = 1e-5;
        *x = old + h;
        const double up = loss_of(d, batch);
        *x = old - h;
        const double down = loss_of(d, batch);
        *x = old;
        const double numeric = (up - down) / (2 * h), exact = d.flat_gradients()[i].item<double>();
        EXPECT_NEAR(numeric, exact, 1e-8 + 1e-6 * std::abs(exact))
            << type << " " << t.name << " " << i - begin;
      }
    }
    // a second backward adds, zeroing clears
    Tensor once = d.flat_gradients().clone();
    {
      torch::AutoGradMode grad(true);
      TokenStats again = token_stats(d, run(d, batch), batch.tokens.flip(0), 0.8, true, 5);
      (again.logprobs_N.mean() + 0.1 * again.entropy_N.mean()).backward();
    }
    EXPECT_LE(relative_error(d.flat_gradients(), 2 * once), 1e-12);
    d.zero_gradients();
    EXPECT_EQ(d.flat_gradients().abs().max().item<double>(), 0);
  }
}

TEST(Decoder, Float32GradientsAgreeWithFloat64) {
  torch::manual_seed(1);
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    Decoder wide(tiny(type), torch::kCPU, torch::kDouble), narrow(tiny(type), torch::kCPU, torch::kFloat);
    wide.init_random(5), narrow.init_random(5);
    wide.enable_gradients(), narrow.enable_gradients();
    const Packed batch = random_batch(wide.config(), {33, 2, 1, 50, 17});
    for (Decoder* d : {&wide, &narrow}) {
      TokenStats s = token_stats(*d, run(*d, batch), batch.tokens.flip(0), 1.0);
      EXPECT_FALSE(s.entropy_N.requires_grad());
      s.logprobs_N.mean().backward();
    }
    EXPECT_LE(relative_error(narrow.flat_gradients().to(torch::kDouble), wide.flat_gradients()), 2e-6)
        << type;
  }
}

TEST(Decoder, ScoringFirstAndTrainingAfter) {
  Decoder d(tiny(), torch::kCPU, torch::kFloat);
  d.init_random(1);
  const Packed batch = random_batch(d.config(), {9});
  {
    torch::InferenceMode scoring;
    run(d, batch);
  }
  d.enable_gradients();
  token_stats(d, run(d, batch), batch.tokens, 1.0).logprobs_N.mean().backward();
  EXPECT_GT(d.flat_gradients().abs().max().item<double>(), 0);
}

TEST(Decoder, Bf16TrainsWithFloat32Gradients) {
  torch::manual_seed(1);
  Decoder wide(tiny(), torch::kCPU, torch::kFloat), narrow(tiny(), torch::kCPU, torch::kBFloat16);
  narrow.init_random(5);
  wide.load(narrow.snapshot(0, DType::bf16));
  wide.enable_gradients(), narrow.enable_gradients();
  const Packed batch = random_batch(wide.config(), {13, 20});
  for (Decoder* d : {&wide, &narrow}) {
    for (int i = 0; i < 2; ++i)
      token_stats(*d, run(*d, batch), batch.tokens.flip(0), 1.0).logprobs_N.mean().backward();
    EXPECT_EQ(d->flat_gradients().scalar_type(), torch::kFloat);
  }
  auto grad_of = [](const Decoder& d, DType layout, size_t i) {  // paddings differ, so tensor by tensor
    const TensorSpec t = d.config().tensors(layout)[i];
    const int64_t element = layout == DType::f32 ? 4 : 2;
    return d.flat_gradients().narrow(0, int64_t(t.offset) / element, int64_t(t.bytes) / element);
  };
  Tensor a = grad_of(narrow, DType::bf16, 0), b = grad_of(wide, DType::f32, 0);
  EXPECT_GT((a.dot(b) / a.norm() / b.norm()).item<double>(), 0.98);
  narrow.zero_gradients();
  EXPECT_EQ(narrow.flat_gradients().abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace cohort
