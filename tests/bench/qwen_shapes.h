// The shapes of Qwen2.5-0.5B and 1.5B, and of SmolLM2-135M, with random weights.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "learner/folder/model_config.h"
#include "transport/base/error.h"
#include "transport/weights.h"

namespace cohort {

inline ModelConfig qwen_shape(const std::string& name) {
  ModelConfig c;
  c.model_type = "qwen2";
  c.vocab_size = 151936, c.head_dim = 64, c.max_position_embeddings = 32768, c.rope_theta = 1e6;
  c.tie_word_embeddings = true, c.qkv_bias = true;
  if (name == "0.5b") {
    c.hidden_size = 896, c.intermediate_size = 4864, c.num_layers = 24, c.num_heads = 14, c.num_kv_heads = 2;
  } else if (name == "1.5b") {
    c.hidden_size = 1536, c.intermediate_size = 8960, c.num_layers = 28, c.num_heads = 12, c.num_kv_heads = 2,
    c.head_dim = 128;
  } else if (name == "135m") {
    c.model_type = "llama", c.vocab_size = 49152, c.rope_theta = 1e5, c.qkv_bias = false;
    c.hidden_size = 576, c.intermediate_size = 1536, c.num_layers = 30, c.num_heads = 9, c.num_kv_heads = 3;
  } else {
    fail_usage("--model {}: 135m, 0.5b or 1.5b", name);
  }
  return c;
}

inline std::shared_ptr<const WeightSet> random_bf16_weights(const ModelConfig& c) {
  auto set = std::make_shared<WeightSet>();
  set->manifest.tensors = c.tensors(DType::bf16);
  set->manifest.version = 1;
  lay_out(set->manifest);
  set->data.resize(set->manifest.total_bytes);
  // A block of random values, uniform in +-0.03 or so (sign, exponent of 2^-6 to 2^-13, seven bits), again and again.
  std::vector<uint16_t> block((1 << 20) + 7);
  uint64_t state = 1;
  for (uint16_t& v : block) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto exponent = uint16_t(121 - std::min<int>(7, __builtin_ctzll((state >> 20) | 128)));
    v = uint16_t((state >> 63) << 15 | uint16_t(exponent << 7) | ((state >> 50) & 127));
  }
  for (const TensorSpec& t : set->manifest.tensors) {
    auto* to = reinterpret_cast<uint16_t*>(set->data.data() + t.offset);
    const uint64_t count = t.bytes / 2;
    if (t.name.find("norm") != std::string::npos) {
      std::fill_n(to, count, uint16_t{0x3f80});
      continue;
    }
    for (uint64_t i = 0; i < count; i += block.size())
      std::copy_n(block.data(), std::min<uint64_t>(block.size(), count - i), to + i);
  }
  return set;
}

}  // namespace cohort
