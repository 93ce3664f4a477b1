// Configurations of models that fit a unit test.
#pragma once

#include <string>

#include "learner/folder/model_config.h"

namespace cohort::test {

struct ModelSize {
  int vocab = 23, hidden = 16, intermediate = 24, head_dim = 4, positions = 64;
  double initializer_range = 0.3;  // large: what differs must show
};

// Two layers, four heads on two kv heads, tied embeddings; biases and norms of q and k as the type has them.
inline ModelConfig small_config(const std::string& type, const ModelSize& size) {
  ModelConfig c;
  c.model_type = type;
  c.vocab_size = size.vocab, c.hidden_size = size.hidden, c.intermediate_size = size.intermediate;
  c.num_layers = 2, c.num_heads = 4, c.num_kv_heads = 2;
  c.head_dim = size.head_dim, c.max_position_embeddings = size.positions;
  c.initializer_range = size.initializer_range;
  c.qkv_bias = type == "qwen2", c.qk_norm = type == "qwen3";
  c.tie_word_embeddings = true;
  return c;
}

}  // namespace cohort::test
