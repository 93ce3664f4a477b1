#include "learner/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "transport/base/error.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kMagic[] = "COHORTC1";
constexpr uint64_t kPrefix = 24, kAlign = 64, kMaxHeader = 64 << 20;
constexpr const char* kPart = ".part-";

[[noreturn]] void fail_write(const std::string& path) {
  const int error = errno;
  fail("cannot write {}: {}{}", path, std::strerror(error),
       error == ENOSPC || error == EDQUOT
           ? "; free some space and start again: the checkpoint before it is intact"
           : "");
}

// An open file that is closed whatever happens.
class File {
 public:
  File(const std::string& path, int flags) : path_(path), fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool is_open() const { return fd_ >= 0; }
  uint64_t size() const {
    struct stat s;
    return fstat(fd_, &s) == 0 ? static_cast<uint64_t>(s.st_size) : 0;
  }
  void write_all(const void* data, size_t bytes) {
    for (const char* at = static_cast<const char*>(data); bytes > 0;) {
      const ssize_t n = write(fd_, at, std::min<size_t>(bytes, size_t{1} << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail_write(path_);
      at += n, bytes -= static_cast<size_t>(n);
    }
  }
  bool read_all(void* data, size_t bytes, uint64_t offset) {
    for (char* at = static_cast<char*>(data); bytes > 0;) {
      const ssize_t n = pread(fd_, at, std::min<size_t>(bytes, size_t{1} << 30), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      at += n, bytes -= static_cast<size_t>(n), offset += static_cast<uint64_t>(n);
    }
    return true;
  }
  void sync() {
    if (fsync(fd_) != 0) fail_write(path_);
  }

 private:
  std::string path_;
  int fd_;
};

void sync_folder(const std::string& dir) {
  File folder(dir, O_RDONLY | O_DIRECTORY);
  if (!folder.is_open()) fail_write(dir);
  folder.sync();
}

uint64_t align(uint64_t offset) {
  return (offset + kAlign - 1) / kAlign * kAlign;
}

json header_json(const CheckpointHeader& header, const std::vector<CheckpointSection>& sections,
                 uint64_t base) {
  json j = {
      {"format", 1}, {"next_step", header.next_step}, {"updates", header.updates}, {"extra", header.extra}};
  j["identity"] = json::array();
  for (const auto& [key, value] : header.identity) j["identity"].push_back({key, value});
  j["sections"] = json::array();
  for (const CheckpointSection& s : sections) {
    j["sections"].push_back({{"name", s.name},
                             {"offset", base},
                             {"bytes", s.bytes.size()},
                             {"xxh3", fmt::format("{:016x}", XXH3_64bits(s.bytes.data(), s.bytes.size()))}});
    base = align(base + s.bytes.size());
  }
  return j;
}

void write_state(const std::string& path, const CheckpointHeader& header,
                 const std::vector<CheckpointSection>& sections) {
  // The offsets are part of the header whose length decides them: leave it room and pad with spaces, which
  // JSON allows.
  std::string text = header_json(header, sections, 0).dump();
  const uint64_t base = align(kPrefix + text.size() + 32 * (sections.size() + 1));
  text = header_json(header, sections, base).dump();
  text.resize(base - kPrefix, ' ');

  File file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.is_open()) fail_write(path);
  const uint64_t prefix[2] = {text.size(), XXH3_64bits(text.data(), text.size())};
  file.write_all(kMagic, 8);
  file.write_all(prefix, sizeof prefix);
  file.write_all(text.data(), text.size());
  const char zeros[kAlign] = {};
  for (size_t i = 0; i < sections.size(); ++i) {
    const auto& bytes = sections[i].bytes;
    file.write_all(bytes.data(), bytes.size());
    if (i + 1 < sections.size()) file.write_all(zeros, align(bytes.size()) - bytes.size());
  }
  file.sync();
}

std::vector<std::string> checkpoint_names(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(dir, ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("step-")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());  // fixed width: by step
  return names;
}

// What else there is to go back to, for the message of a checkpoint that cannot be read.
std::string other_checkpoints(const std::string& path) {
  const fs::path folder(path);
  std::string others;
  for (const std::string& name : checkpoint_names(folder.parent_path()))
    if (name != folder.filename()) others = name;
  if (others.empty()) return "there is no other checkpoint";
  return fmt::format("to go on from {} write that name into {}", others,
                     (folder.parent_path() / "latest").string());
}

}  // namespace

void write_file_atomically(const std::string& path, const std::string& text) {
  const std::string part = path + ".part";
  try {
    File file(part, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.is_open()) fail_write(path);
    file.write_all(text.data(), text.size());
    file.sync();
  } catch (...) {
    unlink(part.c_str());
    throw;
  }
  if (rename(part.c_str(), path.c_str()) != 0) fail_write(path);
  sync_folder(fs::path(path).parent_path());
}

std::string write_checkpoint(const std::string& dir, const CheckpointHeader& header,
                             const std::vector<CheckpointSection>& sections, int keep) {
  const std::string name = fmt::format("step-{:08d}", header.next_step);
  const std::string path = dir + "/" + name, part = dir + "/" + kPart + name;
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) fail("cannot make the folder {}: {}", dir, error.message());
  for (const auto& entry : fs::directory_iterator(dir))  // what a killed process left
    if (entry.path().filename().string().starts_with(kPart)) fs::remove_all(entry.path(), error);
  try {
    if (mkdir(part.c_str(), 0755) != 0) fail_write(part);
    write_state(part + "/state.bin", header, sections);
    sync_folder(part);
    if (fs::exists(path)) {  // the same step once more: exchange them, so that the name is never missing
      if (renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0) fail_write(path);
      fs::remove_all(part, error);
    } else if (rename(part.c_str(), path.c_str()) != 0) {
      fail_write(path);
    }
  } catch (...) {
    fs::remove_all(part, error);
    throw;
  }
  sync_folder(dir);
  write_file_atomically(dir + "/latest", name + "\n");

  std::vector<std::string> names = checkpoint_names(dir);
  std::erase(names, name);
  for (size_t i = 0; i + static_cast<size_t>(keep) - 1 < names.size(); ++i)
    fs::remove_all(dir + "/" + names[i], error);
  return path;
}

std::optional<std::string> latest_checkpoint(const std::string& dir) {
  std::ifstream marker(dir + "/latest");
  std::string name;
  if (!marker || !std::getline(marker, name)) return {};
  const std::string path = dir + "/" + name;
  if (!name.starts_with("step-") || !fs::exists(path))
    fail("{}/latest names the checkpoint \"{}\", which is not there; {}", dir, name, other_checkpoints(path));
  return path;
}

CheckpointHeader read_checkpoint(const std::string& path,
                                 const std::vector<std::pair<std::string, std::string>>& identity,
                                 const std::vector<CheckpointSection>& sections) {
  const std::string file_name = path + "/state.bin";
  const auto refuse = [&](const std::string& what) {
    fail("checkpoint {} {}; {}", file_name, what, other_checkpoints(path));
  };
  File file(file_name, O_RDONLY);
  if (!file.is_open()) refuse(std::string("cannot be opened: ") + std::strerror(errno));
  char prefix[kPrefix];
  if (!file.read_all(prefix, kPrefix, 0)) refuse("is truncated");
  uint64_t bytes, checksum;
  std::memcpy(&bytes, prefix + 8, 8);
  std::memcpy(&checksum, prefix + 16, 8);
  if (std::memcmp(prefix, kMagic, 8) != 0 || bytes > kMaxHeader)
    refuse("is damaged: not a checkpoint's first bytes");
  std::string text(bytes, ' ');
  if (!file.read_all(text.data(), bytes, kPrefix)) refuse("is truncated");
  if (XXH3_64bits(text.data(), bytes) != checksum) refuse("is damaged: the checksum of its header differs");

  const json j = json::parse(text);  // whole: its checksum is right
  CheckpointHeader header{{}, j.at("next_step"), j.at("updates"), j.at("extra")};
  for (const json& pair : j.at("identity")) header.identity.emplace_back(pair.at(0), pair.at(1));
  for (const auto& [key, mine] : identity) {
    auto found =
        std::find_if(header.identity.begin(), header.identity.end(), [&](auto& p) { return p.first == key; });
    const std::string theirs = found == header.identity.end() ? "" : found->second;
    if (theirs != mine)
      fail(
          "checkpoint {} belongs to another run: its {} is {}, this run's is {}; choose another run.dir, or "
          "the "
          "configuration it was made with",
          file_name, key, theirs, mine);
  }
  const json& stored = j.at("sections");
  if (stored.size() != sections.size())
    refuse(fmt::format("holds {} sections where {} are expected", stored.size(), sections.size()));
  for (size_t i = 0; i < sections.size(); ++i) {
    if (stored[i].at("name") != sections[i].name || stored[i].at("bytes") != sections[i].bytes.size())
      refuse(fmt::format("holds {} bytes of '{}' where {} of '{}' are expected",
                         stored[i].at("bytes").get<uint64_t>(), stored[i].at("name").get<std::string>(),
                         sections[i].bytes.size(), sections[i].name));
    if (!file.read_all(sections[i].bytes.data(), sections[i].bytes.size(), stored[i].at("offset")))
      refuse("is truncated");
    if (fmt::format("{:016x}", XXH3_64bits(sections[i].bytes.data(), sections[i].bytes.size())) !=
        stored[i].at("xxh3").get<std::string>())
      refuse(fmt::format("is damaged: the checksum of '{}' differs", sections[i].name));
  }
  return header;
}

}  // namespace cohort
