#include "learner/folder/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cohort {
namespace {

// transformers raises a Python float to a float32 tensor: the exponent is rounded to float32 first, the power
// too.
std::vector<float> plain_frequencies(double base, int64_t dim) {
  std::vector<float> out(dim / 2);
  for (int64_t i = 0; i < dim / 2; ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    out[i] = 1.0f / std::pow(static_cast<float>(base), exponent);
  }
  return out;
}

// The dimension whose wave turns `rotations` times within the original context (YaRN, Peng et al. 2023).
double correction_dim(double rotations, double dim, double base, double context) {
  return dim * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
}

double yarn_scale(double scale, double mscale) {
  return scale <= 1 ? 1 : 0.1 * mscale * std::log(scale) + 1;
}

}  // namespace

std::vector<float> rope_inverse_frequencies(const ModelConfig& config, int64_t sequence_length) {
  const RopeScaling& rope = config.rope;
  const int64_t dim = config.head_dim;
  const double max_position = static_cast<double>(config.max_position_embeddings);
  if (rope.type == "dynamic") {
    double length = std::max(static_cast<double>(sequence_length), max_position);
    double grow = rope.factor * length / max_position - (rope.factor - 1);
    return plain_frequencies(config.rope_theta * std::pow(grow, double(dim) / double(dim - 2)), dim);
  }
  std::vector<float> f = plain_frequencies(config.rope_theta, dim);
  if (rope.type == "linear") {
    for (float& x : f) x /= static_cast<float>(rope.factor);
  } else if (rope.type == "yarn") {
    double context = static_cast<double>(rope.original_max_position_embeddings);
    double low = correction_dim(rope.beta_fast, double(dim), config.rope_theta, context);
    double high = correction_dim(rope.beta_slow, double(dim), config.rope_theta, context);
    if (rope.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, double(dim - 1));
    if (low == high) high += 0.001;
    for (size_t i = 0; i < f.size(); ++i) {
      float ramp = std::clamp(
          (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
      float interpolated = f[i] / static_cast<float>(rope.factor);
      f[i] = interpolated * ramp + f[i] * (1 - ramp);
    }
  } else if (rope.type == "llama3") {
    float context = static_cast<float>(rope.original_max_position_embeddings);
    float low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
    float factor = static_cast<float>(rope.factor);
    for (float& x : f) {
      float wavelength = 2 * std::numbers::pi_v<float> / x;
      if (wavelength > context / low) {
        x /= factor;
      } else if (wavelength >= context / high) {
        float smooth = (context / wavelength - low) / (high - low);
        x = (1 - smooth) * x / factor + smooth * x;
      }
    }
  }
  return f;
}

double rope_attention_factor(const ModelConfig& config) {
  const RopeScaling& rope = config.rope;
  if (rope.type != "yarn") return 1;
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0)
    return yarn_scale(rope.factor, *rope.mscale) / yarn_scale(rope.factor, *rope.mscale_all_dim);
  return yarn_scale(rope.factor, 1);
}

}  // namespace cohort
