#include "learner/folder/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "transport/base/error.h"

namespace cohort {
namespace {

using nlohmann::json;
constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

// Bits an element takes, 0 for a name the format does not have.
uint64_t dtype_bits(const std::string& dtype) {
  static const std::map<std::string, uint64_t> bits = {
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
      {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
      {"F32", 32}, {"F64", 64}, {"I64", 64}, {"U64", 64},    {"C64", 64}};
  auto it = bits.find(dtype);
  return it == bits.end() ? 0 : it->second;
}

uint64_t little_endian_u64(const std::byte* at) {
  uint64_t x = 0;
  for (int i = 7; i >= 0; --i) x = x << 8 | std::to_integer<uint64_t>(at[i]);
  return x;
}

bool is_unsigned_list(const json& v) {
  return v.is_array() && std::all_of(v.begin(), v.end(), [](const json& x) {
           return x.is_number_unsigned() && x.get<uint64_t>() <= INT64_MAX;
         });
}

// A name from a damaged header may hold anything; keep the message one printable line.
std::string printable(const std::string& name) {
  std::string out = json(name).dump(-1, ' ', true, json::error_handler_t::replace);
  return out.size() > 80 ? out.substr(0, 77) + "..." : out;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("{}: cannot be opened: {}", path, std::strerror(errno));
  struct stat info {};
  int failed = fstat(fd, &info);
  if (failed == 0 && !S_ISREG(info.st_mode)) {
    close(fd);
    fail("{}: not a regular file", path);
  }
  map_bytes_ = static_cast<size_t>(info.st_size);
  void* map =
      failed == 0 && map_bytes_ > 0 ? mmap(nullptr, map_bytes_, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  int error = errno;
  close(fd);
  if (map_bytes_ < 8) fail("{}: truncated: {} bytes are no safetensors file", path, map_bytes_);
  if (map == MAP_FAILED) fail("{}: cannot be read: {}", path, std::strerror(error));
  map_ = static_cast<const std::byte*>(map);
  try {
    parse_header({map_, map_bytes_});
  } catch (...) {
    munmap(const_cast<std::byte*>(map_), map_bytes_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() {
  munmap(const_cast<std::byte*>(map_), map_bytes_);
}

void SafetensorsFile::parse_header(std::span<const std::byte> file) {
  const uint64_t header_bytes = little_endian_u64(file.data());
  if (header_bytes > kMaxHeader)
    fail("{}: not a safetensors file: its header would be {} bytes", path_, header_bytes);
  if (header_bytes > file.size() - 8)
    fail("{}: truncated: the header has {} bytes, the file {}", path_, header_bytes, file.size());
  const char* text = reinterpret_cast<const char*>(file.data() + 8);
  std::set<std::string> names;
  std::string twice;
  // an ordinary parse would keep the last of two equal keys without a word
  auto on_event = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && !names.insert(value.get<std::string>()).second)
      twice = value.get<std::string>();
    return true;
  };
  json header = json::parse(text, text + header_bytes, on_event, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object())
    fail("{}: the safetensors header is not a JSON object", path_);
  if (!twice.empty()) fail("{}: tensor {} is there twice", path_, printable(twice));

  const uint64_t data_bytes = file.size() - 8 - header_bytes;
  data_ = file.data() + 8 + header_bytes;
  for (auto& [name, v] : header.items()) {
    if (name == "__metadata__") continue;
    const std::string what = fmt::format("{}: tensor {}", path_, printable(name));
    if (!v.is_object() || !v.contains("dtype") || !v["dtype"].is_string() || !v.contains("shape") ||
        !is_unsigned_list(v["shape"]) || !v.contains("data_offsets") ||
        !is_unsigned_list(v["data_offsets"]) || v["data_offsets"].size() != 2)
      fail("{}: its header entry needs dtype, shape and two data_offsets", what);
    SafetensorsEntry e;
    e.dtype = v["dtype"];
    e.shape = v["shape"].get<std::vector<int64_t>>();
    e.begin = v["data_offsets"][0];
    e.end = v["data_offsets"][1];
    const uint64_t bits = dtype_bits(e.dtype);
    if (bits == 0) fail("{}: unknown dtype {}", what, printable(e.dtype));
    uint64_t bytes = bits / 8;
    for (int64_t n : e.shape)
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(n), &bytes))
        fail("{}: its shape overflows", what);
    if (e.begin > e.end || e.end - e.begin != bytes)
      fail("{}: data_offsets [{}, {}] do not fit its shape, which needs {} bytes", what, e.begin, e.end,
           bytes);
    if (e.end > data_bytes)
      fail("{}: truncated: its data ends at byte {} of {} ({})", what, e.end, data_bytes,
           "download or copy it again");
    entries_.emplace(name, std::move(e));
  }

  std::vector<std::pair<const std::string, SafetensorsEntry>*> order;
  for (auto& entry : entries_) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t at = 0;
  for (auto* entry : order) {
    if (entry->second.begin < at)
      fail("{}: tensor {}: its data overlaps another tensor's", path_, printable(entry->first));
    if (entry->second.begin > at)
      fail("{}: tensor {}: {} bytes before its data belong to no tensor", path_, printable(entry->first),
           entry->second.begin - at);
    at = entry->second.end;
  }
  if (at != data_bytes) fail("{}: {} bytes after the last tensor's data", path_, data_bytes - at);
}

std::string safetensors_header(std::span<const TensorSpec> tensors, DType dtype) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};  // transformers refuses a file without it
  uint64_t at = 0;
  for (const TensorSpec& t : tensors) {
    uint64_t bytes = dtype == DType::f32 ? 4 : 2;
    for (int64_t n : t.shape) bytes *= static_cast<uint64_t>(n);
    header[t.name] = {{"dtype", dtype == DType::f32    ? "F32"
                                : dtype == DType::bf16 ? "BF16"
                                                       : "F16"},
                      {"shape", t.shape},
                      {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i)
    out[i] = static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i) & 0xff);
  return out + text;
}

}  // namespace cohort
