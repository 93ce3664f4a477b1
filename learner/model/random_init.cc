#include "learner/model/random_init.h"

#include <cmath>

namespace cohort {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014).
uint64_t next(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double between_minus_one_and_one(uint64_t& state) {
  return static_cast<double>(next(state) >> 11) * 0x1p-52 - 1;
}

// ln x by 2·atanh((m-1)/(m+1)), m in [0.5, 1): only + - · /, which every IEEE machine rounds alike; libm's
// does not.
double natural_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent), t = (m - 1) / (m + 1), t2 = t * t, sum = 0, power = t;
  for (int k = 1; k < 60; k += 2) {
    sum += power / k;
    power *= t2;
  }
  return 2 * sum + exponent * 0.693147180559945309;
}

}  // namespace

void fill_normal(float* out, size_t count, double deviation, uint64_t seed, uint64_t stream) {
  uint64_t state = seed;
  state = next(state) ^ (stream * 0xd1342543de82ef95);
  for (size_t i = 0; i < count;) {  // Marsaglia's polar method: two draws a pair
    double u = between_minus_one_and_one(state), v = between_minus_one_and_one(state), s = u * u + v * v;
    if (s >= 1 || s == 0) continue;
    double scale = deviation * std::sqrt(-2 * natural_log(s) / s);
    out[i++] = static_cast<float>(u * scale);
    if (i < count) out[i++] = static_cast<float>(v * scale);
  }
}

}  // namespace cohort
