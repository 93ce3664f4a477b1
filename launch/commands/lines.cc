#include "launch/commands/lines.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "transport/base/error.h"
#include "transport/base/nesting.h"

namespace cohort {

LineReader::LineReader(const std::string& path) : path_(path == "-" ? "standard input" : path) {
  fd_ = path == "-" ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) fail("{}: cannot be read: {}", path_, std::strerror(errno));
}

LineReader::~LineReader() {
  close(fd_);
}

std::string LineReader::where(size_t line) const {
  return fmt::format("{}:{}", path_, line);
}

bool LineReader::read_more(bool wait) {
  if (end_) return false;
  if (!wait) {
    pollfd ready{fd_, POLLIN, 0};
    if (poll(&ready, 1, 0) <= 0) return false;
  }
  char bytes[1 << 16];
  ssize_t n;
  while ((n = read(fd_, bytes, sizeof bytes)) < 0 && errno == EINTR) {
  }
  if (n < 0) fail("{}: cannot be read: {}", path_, std::strerror(errno));
  if (n == 0) end_ = true;
  buffer_.append(bytes, size_t(n));
  return true;
}

std::optional<LineReader::Record> LineReader::next(bool wait) {
  while (true) {
    const size_t newline = buffer_.find('\n', scanned_);
    if (newline == std::string::npos && !end_) {
      scanned_ = buffer_.size();
      if (!read_more(wait)) return {};
      continue;
    }
    if (buffer_.empty()) return {};
    const std::string line = buffer_.substr(0, newline);
    buffer_.erase(0, newline == std::string::npos ? newline : newline + 1);
    scanned_ = 0;
    ++line_;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (nested_too_deeply(line))
      fail("{}: this line nests deeper than {} levels", where(line_), kDeepestJson);
    Record record{nlohmann::ordered_json::parse(line, nullptr, false), line_};
    if (!record.json.is_object()) fail("{}: this line is not a JSON object", where(line_));
    return record;
  }
}

LineWriter::LineWriter(const std::string& path) : path_(path) {
  const bool standard = path.empty() || path == "-";
  if (standard) path_ = "standard output";
  file_ = standard ? stdout : std::fopen(path.c_str(), "we");
  if (!file_) fail("{}: cannot be written: {}", path_, std::strerror(errno));
}

LineWriter::~LineWriter() {
  if (file_ && file_ != stdout) std::fclose(file_);
}

void LineWriter::write(const nlohmann::ordered_json& object) {
  // bytes of a completion that are no UTF-8 become U+FFFD
  const std::string line =
      object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size())
    fail("{}: cannot be written: {}", path_, std::strerror(errno));
}

void LineWriter::flush() {
  if (std::fflush(file_) != 0) fail("{}: cannot be written: {}", path_, std::strerror(errno));
}

void LineWriter::close() {
  flush();
  std::FILE* file = std::exchange(file_, nullptr);
  if (file != stdout && std::fclose(file) != 0)
    fail("{}: cannot be written: {}", path_, std::strerror(errno));
}

double shortest(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value);
  double out = 0;
  std::from_chars(text, end.ptr, out);
  return out;
}

}  // namespace cohort
