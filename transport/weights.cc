#include "transport/weights.h"

#include <xxhash.h>

#include "transport/base/error.h"

namespace cohort {
namespace {
constexpr uint64_t kAlign = 64;
constexpr uint64_t kMost = uint64_t{1} << 46;  // 64 TiB: no sum below can overflow

// 0 dimensions is a scalar.
uint64_t size_of(const TensorSpec& tensor) {
  uint64_t bytes = dtype_bytes(tensor.dtype);
  for (int64_t d : tensor.shape) {
    if (d < 0 || (d > 0 && bytes > kMost / static_cast<uint64_t>(d)))
      fail("weights: tensor '{}' has an impossible shape", tensor.name);
    bytes *= static_cast<uint64_t>(d);
  }
  return bytes;
}
}  // namespace

size_t dtype_bytes(DType dtype) {
  return dtype == DType::f32 ? 4 : 2;
}

void lay_out(WeightManifest& manifest) {
  uint64_t at = 0;
  for (TensorSpec& tensor : manifest.tensors) {
    tensor.offset = (at + kAlign - 1) / kAlign * kAlign;
    tensor.bytes = size_of(tensor);
    at = tensor.offset + tensor.bytes;
    if (at > kMost) fail("weights: more than {} bytes", kMost);
  }
  manifest.total_bytes = at;
}

void check(const WeightManifest& manifest) {
  if (manifest.total_bytes > kMost) fail("weights: {} bytes is more than {}", manifest.total_bytes, kMost);
  for (const TensorSpec& tensor : manifest.tensors) {
    if (tensor.bytes != size_of(tensor))
      fail("weights: tensor '{}' has {} bytes, its shape says {}", tensor.name, tensor.bytes,
           size_of(tensor));
    if (tensor.offset % kAlign != 0 || tensor.offset > manifest.total_bytes ||
        tensor.bytes > manifest.total_bytes - tensor.offset)
      fail("weights: tensor '{}' at {} with {} bytes does not lie in the buffer of {}", tensor.name,
           tensor.offset, tensor.bytes, manifest.total_bytes);
  }
}

uint64_t weight_checksum(std::span<const std::byte> data) {
  return XXH3_64bits(data.data(), data.size());
}

}  // namespace cohort
