// A small untrained model folder as transformers loads it: a Llama with random weights and a word-level
// tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cohort {

struct WordModelOptions {
  int layers = 3;
  int hidden_size = 128;
  int heads = 4;
  int kv_heads = 2;
  int intermediate_size = 352;
  int max_context = 256;   // max_position_embeddings
  double init_std = 0.02;  // of every matrix; norms begin at 1
  uint64_t seed = 1;
};

// Creates `folder` where it does not exist. Throws Error naming what could not be written, and for sizes that
// do not fit together.
void write_word_model(const std::string& folder, const std::vector<std::string>& words,
                      const WordModelOptions& options);

}  // namespace cohort
