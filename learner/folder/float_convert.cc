// float32 <-> bfloat16/float16, round to nearest, ties to even, NaN stays NaN (quiet), overflow of f16 is
// infinity.
#include <bit>
#include <cstring>

#include "learner/folder/model_config.h"

namespace cohort {
namespace {

uint16_t to_bf16(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float from_bf16(uint16_t h) {
  return std::bit_cast<float>(static_cast<uint32_t>(h) << 16);
}

uint16_t to_f16(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);  // 65536 and above
  if (magnitude < 0x38800000) {
    // below 2^-14: adding 0.5 puts the subnormal's last place at 2^-24, and the addition rounds to even
    float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  uint32_t rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | (rounded >> 13));  // a carry into 2^16 gives exactly infinity
}
float from_f16(uint16_t h) {
  uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | (mantissa << 13));
  if (exponent == 0) {
    float x = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -x : x;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Loads and stores by memcpy: a checkpoint's data may lie at any byte.
template <class T>
T load(const std::byte* at, uint64_t i) {
  T x;
  std::memcpy(&x, at + i * sizeof(T), sizeof(T));
  return x;
}
template <class T>
void store(std::byte* at, uint64_t i, T x) {
  std::memcpy(at + i * sizeof(T), &x, sizeof(T));
}

template <class Read>
void convert_from(Read read, std::byte* to, DType to_dtype, uint64_t count) {
  switch (to_dtype) {
    case DType::f32:
      for (uint64_t i = 0; i < count; ++i) store<float>(to, i, read(i));
      break;
    case DType::bf16:
      for (uint64_t i = 0; i < count; ++i) store<uint16_t>(to, i, to_bf16(read(i)));
      break;
    case DType::f16:
      for (uint64_t i = 0; i < count; ++i) store<uint16_t>(to, i, to_f16(read(i)));
      break;
  }
}

}  // namespace

void convert_elements(const std::byte* from, DType from_dtype, std::byte* to, DType to_dtype,
                      uint64_t count) {
  if (from_dtype == to_dtype) {
    if (count > 0) std::memcpy(to, from, count * (from_dtype == DType::f32 ? 4 : 2));
    return;
  }
  switch (from_dtype) {
    case DType::f32:
      convert_from([&](uint64_t i) { return load<float>(from, i); }, to, to_dtype, count);
      break;
    case DType::bf16:
      convert_from([&](uint64_t i) { return from_bf16(load<uint16_t>(from, i)); }, to, to_dtype, count);
      break;
    case DType::f16:
      convert_from([&](uint64_t i) { return from_f16(load<uint16_t>(from, i)); }, to, to_dtype, count);
      break;
  }
}

}  // namespace cohort
