// The safetensors format: an 8-byte little-endian header length, a JSON header {"name": {"dtype", "shape",
// "data_offsets": [begin, end]}, "__metadata__": {…}}, then the tensors' bytes without holes. No Torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/weights.h"

namespace cohort {

struct SafetensorsEntry {
  std::string dtype;  // as written: "F32", "BF16", "I64", …
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the data part
};

// A file mapped into memory, its header checked when opened: every entry lies inside the file, has as many
// bytes as its shape and dtype say, and no two overlap.
class SafetensorsFile {
 public:
  // Throws Error naming the file, and the tensor where there is one.
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const {
    return {data_ + entry.begin, static_cast<size_t>(entry.end - entry.begin)};
  }

 private:
  void parse_header(std::span<const std::byte> file);

  std::string path_;
  std::map<std::string, SafetensorsEntry> entries_;
  const std::byte* map_ = nullptr;
  size_t map_bytes_ = 0;
  const std::byte* data_ = nullptr;
};

// Header of a file that holds `tensors` one after the other in `dtype`, length prefix included, a multiple of
// 8 bytes.
std::string safetensors_header(std::span<const TensorSpec> tensors, DType dtype);

}  // namespace cohort
