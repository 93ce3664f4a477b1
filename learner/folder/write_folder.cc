// Publishing a model folder: everything is written and synced under "FOLDER.part", which then takes the
// folder's name, so that a reader sees the old folder or the new one, whole, whatever happens in between.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "learner/folder/json_fields.h"
#include "learner/folder/model_config.h"
#include "learner/folder/safetensors.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A file being written; finish() syncs it. Every failure (a full disk first of all) is an Error with the
// path.
class OutFile {
 public:
  explicit OutFile(std::string path) : path_(std::move(path)) {
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd_ < 0) fail("{}: cannot be written: {}", path_, std::strerror(errno));
  }
  ~OutFile() {
    if (fd_ >= 0) close(fd_);
  }
  OutFile(const OutFile&) = delete;
  OutFile& operator=(const OutFile&) = delete;
  void write(const void* data, size_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      ssize_t n = ::write(fd_, at, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("{}: cannot be written: {}", path_, std::strerror(n == 0 ? ENOSPC : errno));
      at += n;
      bytes -= static_cast<size_t>(n);
    }
  }
  void finish() {
    int failed = fsync(fd_), error = errno;
    if (close(fd_) != 0 && failed == 0) failed = -1, error = errno;
    fd_ = -1;
    if (failed != 0) fail("{}: cannot be written: {}", path_, std::strerror(error));
  }

 private:
  std::string path_;
  int fd_ = -1;
};

void write_text(const std::string& path, const std::string& text) {
  OutFile file(path);
  file.write(text.data(), text.size());
  file.finish();
}

void sync_directory(const fs::path& path) {
  int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);  // some file systems refuse it on a directory; the data itself is synced
  close(fd);
}

void write_shard(const std::string& path, std::span<const TensorSpec> tensors,
                 const std::vector<std::byte>& data, DType dtype) {
  OutFile file(path);
  const std::string header = safetensors_header(tensors, dtype);
  file.write(header.data(), header.size());
  constexpr uint64_t kChunk = 1 << 18;  // elements converted at once: the model is never held twice
  std::vector<std::byte> buffer;
  for (const TensorSpec& t : tensors) {
    const uint64_t from_size = t.dtype == DType::f32 ? 4 : 2, to_size = dtype == DType::f32 ? 4 : 2;
    const uint64_t count = t.bytes / from_size;
    if (t.dtype == dtype) {
      file.write(data.data() + t.offset, t.bytes);
      continue;
    }
    for (uint64_t i = 0; i < count; i += kChunk) {
      uint64_t n = std::min(kChunk, count - i);
      buffer.resize(n * to_size);
      convert_elements(data.data() + t.offset + i * from_size, t.dtype, buffer.data(), dtype, n);
      file.write(buffer.data(), buffer.size());
    }
  }
  file.finish();
}

void write_safetensors(const std::string& folder, const WeightSet& weights, DType dtype,
                       uint64_t max_shard_bytes) {
  const auto& tensors = weights.manifest.tensors;
  const uint64_t to_size = dtype == DType::f32 ? 4 : 2;
  auto stored_bytes = [&](const TensorSpec& t) {
    return t.bytes / (t.dtype == DType::f32 ? 4 : 2) * to_size;
  };
  std::vector<std::pair<size_t, size_t>> shards;  // ranges of tensors
  uint64_t shard_bytes = 0, total = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    uint64_t bytes = stored_bytes(tensors[i]);
    if (shards.empty() || (shard_bytes > 0 && shard_bytes + bytes > max_shard_bytes)) {
      shards.emplace_back(i, i);
      shard_bytes = 0;
    }
    shards.back().second = i + 1;
    shard_bytes += bytes;
    total += bytes;
  }
  auto range = [&](size_t s) {
    return std::span(tensors).subspan(shards[s].first, shards[s].second - shards[s].first);
  };
  if (shards.size() == 1) return write_shard(folder + "/model.safetensors", range(0), weights.data, dtype);
  json index = {{"metadata", {{"total_size", total}}}, {"weight_map", json::object()}};
  for (size_t s = 0; s < shards.size(); ++s) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    write_shard(folder + "/" + name, range(s), weights.data, dtype);
    for (const TensorSpec& t : range(s)) index["weight_map"][t.name] = name;
  }
  write_text(folder + "/model.safetensors.index.json", index.dump(2) + "\n");
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) fail("{}: cannot be read", path.string());
  return text.str();
}

void copy_tokenizer(const std::string& from, const std::string& to) {
  static const std::array<const char*, 9> files = {
      "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
      "merges.txt",     "tokenizer.model",       "chat_template.jinja",     "chat_template.json"};
  for (const char* name : files)
    if (fs::exists(fs::path(from) / name)) write_text(to + "/" + name, read_file(fs::path(from) / name));
}

// The source's sampling defaults are kept; the token ids are this model's.
void write_generation_config(const std::string& folder, const ModelConfig& config, const std::string& from) {
  json j = json::object();
  const std::string source = from + "/generation_config.json";
  if (!from.empty() && fs::exists(source)) j = read_json_file(source);
  auto set = [&](const char* key, int32_t id) {
    if (id >= 0) j[key] = id;
  };
  set("bos_token_id", config.bos_token_id);
  set("pad_token_id", config.pad_token_id);
  if (config.eos_token_ids.size() == 1) j["eos_token_id"] = config.eos_token_ids[0];
  if (config.eos_token_ids.size() > 1) j["eos_token_id"] = config.eos_token_ids;
  write_text(folder + "/generation_config.json", j.dump(2) + "\n");
}

// Gives `part` the name `folder`. Where a folder is there already the two change names in one step.
void publish(const fs::path& part, const fs::path& folder) {
  if (!fs::exists(folder)) {
    if (rename(part.c_str(), folder.c_str()) != 0)
      fail("{}: cannot be created: {}", folder.string(), std::strerror(errno));
  } else if (renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, folder.c_str(), RENAME_EXCHANGE) == 0) {
    std::error_code ignored;
    fs::remove_all(part, ignored);  // now the old folder
  } else {
    // a file system without exchange: for a moment there is no folder, but the old one is whole beside it
    const fs::path old = folder.string() + ".old";
    std::error_code ignored;
    fs::remove_all(old, ignored);
    if (rename(folder.c_str(), old.c_str()) != 0 || rename(part.c_str(), folder.c_str()) != 0)
      fail("{}: cannot be replaced: {}", folder.string(), std::strerror(errno));
    fs::remove_all(old, ignored);
  }
  sync_directory(folder.parent_path().empty() ? "." : folder.parent_path());
}

}  // namespace

void write_model_folder(const std::string& folder_name, const ModelConfig& config, const WeightSet& weights,
                        DType dtype, const std::string& tokenizer_from, uint64_t max_shard_bytes) {
  fs::path folder = fs::path(folder_name).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // "out/" names "out"
  if (fs::exists(folder) && !fs::is_directory(folder)) fail("{}: is a file, not a folder", folder.string());
  // replacing means deleting: only what this function may have written
  if (fs::exists(folder) && !fs::is_empty(folder) && !fs::exists(folder / "config.json"))
    fail("{}: exists and is no model folder (no config.json); name another or remove it", folder.string());
  const fs::path part = folder.string() + ".part";
  try {
    fs::remove_all(part);
    fs::create_directories(part);
  } catch (const fs::filesystem_error& e) {
    fail("{}: cannot be created: {}", part.string(), e.code().message());
  }
  try {
    write_safetensors(part.string(), weights, dtype, max_shard_bytes);
    ModelConfig stored = config;
    stored.dtype = dtype;
    write_text((part / "config.json").string(), stored.to_json());
    write_generation_config(part.string(), config, tokenizer_from);
    if (!tokenizer_from.empty()) copy_tokenizer(tokenizer_from, part.string());
    sync_directory(part);
    publish(part, folder);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(part, ignored);
    throw;
  }
}

}  // namespace cohort
