// The tokenizers of tests/golden/tokenizers.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/rollout/tokenizer/folders.h"

namespace cohort::test {

inline const std::string kGolden = std::string(COHORT_SOURCE_DIR) + "/tests/golden/";

// SmolLM2's tokenizer.json again: all tokens but the head's follow from the merges, in their order.
inline std::string smollm2_json() {
  auto document =
      nlohmann::ordered_json::parse(read_file(kGolden + "tokenizers/smollm2/tokenizer_head.json"));
  auto& model = document["model"];
  std::istringstream in(read_file(kGolden + "tokenizers/smollm2/merges.txt"));
  size_t next = model["vocab"].size();
  std::map<std::string, size_t> vocab = model["vocab"];
  std::vector<std::string> merges;
  for (std::string line; std::getline(in, line);) {
    const size_t space = line.find(' ');
    vocab[line.substr(0, space) + line.substr(space + 1)] = next++;
    merges.push_back(line);
  }
  model["vocab"] = vocab;
  model["merges"] = merges;
  return document.dump();
}

// "smollm2", "qwen2" or "llama3", read once.
inline std::shared_ptr<const Tokenizer> family(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Tokenizer>> all;
  auto& t = all[name];
  if (!t)
    t = name == "smollm2" ? tokenizer_of(smollm2_json()) : Tokenizer::read(kGolden + "tokenizers/" + name);
  return t;
}

}  // namespace cohort::test
