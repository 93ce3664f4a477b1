#include "launch/data/jsonl.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "transport/base/error.h"

namespace cohort {
namespace {

// zlib's gzopen reads plain files as they are, so one reader serves both.
std::string read_any(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  if (std::filesystem::is_directory(path)) fail("{}: is a folder, not a file", path);
  gzFile file = gzopen(path.c_str(), "rb");
  if (!file) fail("{}: cannot be read: {}", path, std::strerror(errno));
  std::string text;
  char buffer[1 << 16];
  int got;
  while ((got = gzread(file, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(got));
  int code = Z_OK;
  const std::string why = gzerror(file, &code);
  const bool bad = got < 0 || (code != Z_OK && code != Z_STREAM_END);  // a truncated .gz shows as Z_BUF_ERROR
  gzclose(file);
  if (bad) fail("{}: cannot be unpacked: {}", path, why);
  return text;
}

}  // namespace

void read_jsonl(const std::string& path,
                const std::function<void(const nlohmann::ordered_json&, size_t)>& each) {
  std::istringstream lines(read_any(path));
  std::string line;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto object = nlohmann::ordered_json::parse(line, nullptr, false);
    if (!object.is_object()) fail("{}:{}: this line is not a JSON object", path, number);
    each(object, number);
  }
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("{}: cannot be read: {}", path, std::strerror(errno));
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::string& path, const std::string& text) {
  const std::string part = path + ".part";
  const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) fail("{}: cannot be written: {}", path, std::strerror(errno));
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int why = errno;
      close(fd);
      unlink(part.c_str());
      fail("{}: cannot be written: {}", path, std::strerror(why));
    }
    done += static_cast<size_t>(n);
  }
  const bool kept = close(fd) == 0 && rename(part.c_str(), path.c_str()) == 0;
  if (!kept) fail("{}: cannot be written: {}", path, std::strerror(errno));
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) fail("{}: the folder cannot be made: {}", path, error.message());
}

}  // namespace cohort
