// What tests change in random weights.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "learner/folder/model_config.h"
#include "transport/weights.h"

namespace cohort::test {

// f(values) of each tensor whose name ends so.
template <class F>
void change_tensors(WeightSet& set, const std::string& end, F f) {
  for (const TensorSpec& t : set.manifest.tensors) {
    if (!t.name.ends_with(end)) continue;
    std::byte* at = set.data.data() + t.offset;
    std::vector<float> values(t.bytes / (t.dtype == DType::f32 ? 4 : 2));
    convert_elements(at, t.dtype, reinterpret_cast<std::byte*>(values.data()), DType::f32, values.size());
    f(values);
    convert_elements(reinterpret_cast<const std::byte*>(values.data()), DType::f32, at, t.dtype,
                     values.size());
  }
  set.manifest.checksum = weight_checksum(set.data);
}

// Random weights have biases of 0.
inline void fill_biases(WeightSet& set, float deviation = 0.1f) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, deviation);
  change_tensors(set, ".bias",
                 [&](std::vector<float>& v) { std::ranges::generate(v, [&] { return normal(random); }); });
}

// Embeddings beside which what each of many layers adds is small. With 24 layers of the tests' small models a residual stream
// that is rounded to bf16 after each addition makes log-probs differ by 0.006 to 0.008 in the mean, one that is not by 0.001 to
// 0.0015.
inline void enlarge_embeddings(WeightSet& set) {
  change_tensors(set, "embed_tokens.weight", [](std::vector<float>& v) {
    for (float& x : v) x *= 64;
  });
}

}  // namespace cohort::test
