// A small untrained model folder: config.json of a Llama, a word-level tokenizer.json and
// generation_config.json, as transformers loads them. There are no weights in it: `cohort sft` starts such a
// folder from random ones.
#pragma once

#include <string>
#include <vector>

namespace cohort {

struct WordModelOptions {
  int layers = 3;
  int hidden_size = 128;
  int heads = 4;
  int kv_heads = 2;
  int intermediate_size = 352;
  int max_context = 256;  // max_position_embeddings
};

// Creates `folder` where it does not exist. Throws Error naming what could not be written, and for sizes that
// do not fit together.
void write_word_model(const std::string& folder, const std::vector<std::string>& words,
                      const WordModelOptions& options);

}  // namespace cohort
