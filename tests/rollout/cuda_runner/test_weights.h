// A small model, weights of it that differ for every version, and what a runner makes of them.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "rollout/model_runner.h"
#include "transport/weights.h"

namespace cohort {

inline ModelConfig test_shape() {
  ModelConfig c;
  c.model_type = "llama";
  c.vocab_size = 4096, c.hidden_size = 512, c.intermediate_size = 1024, c.num_layers = 8;
  c.num_heads = 8, c.num_kv_heads = 2, c.head_dim = 64, c.max_position_embeddings = 2048;
  return c;
}

// Random bf16 of about 0.1, other ones for every version: log-probs of two versions are far apart.
inline WeightSet test_weights(Version version) {
  WeightSet set;
  set.manifest.version = version;
  set.manifest.tensors = test_shape().tensors(DType::bf16);
  const TensorSpec& last = set.manifest.tensors.back();
  set.manifest.total_bytes = (last.offset + last.bytes + 63) / 64 * 64;
  set.data.resize(set.manifest.total_bytes);
  std::mt19937_64 rng(version);
  for (const TensorSpec& t : set.manifest.tensors)
    for (uint64_t i = 0; i < t.bytes / 2; ++i) {
      const uint64_t r = rng();
      reinterpret_cast<uint16_t*>(set.data.data() + t.offset)[i] =
          uint16_t((r >> 63) << 15 | (121 + (r >> 20) % 4) << 7 | ((r >> 40) & 127));
    }
  return set;
}

inline std::unique_ptr<ModelRunner> test_runner(const std::string& device = "cuda") {
  RunnerOptions o;
  o.max_slots = 4, o.max_context = 256, o.device = device, o.dtype = "bfloat16";
  return make_cuda_runner(test_shape(), nullptr, o);
}

inline std::vector<float> scores_of(ModelRunner& r) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 100; ++i) tokens.push_back(i * 37 % 4096);
  return r.score(tokens);
}

}  // namespace cohort
