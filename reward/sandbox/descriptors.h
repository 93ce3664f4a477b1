// Descriptors that close themselves, and what a run does with them. Used by the worker's side only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace cohort::sandbox {

class OwnFd {
 public:
  explicit OwnFd(int fd = -1) : fd_(fd) {}
  OwnFd(OwnFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnFd& operator=(OwnFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnFd() { reset(); }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_;
};

struct Pipe {
  OwnFd read, write;  // the reading end does not block
};

// Throws InfraError "jail: WHAT: errno's text".
[[noreturn]] void fail_here(const std::string& what);

Pipe make_pipe();
// A sealed file in memory with these bytes, to be read from its start.
OwnFd sealed_file(const char* name, std::string_view data);
std::string read_all(int fd);
// Writes a small file of /proc or a cgroup. False when that is refused.
bool write_line(const std::string& path, std::string_view text);
// Reads what is there and keeps the first `keep` bytes. False at the end of the pipe; stops early when the total
// is far over.
bool drain(int fd, std::string& into, size_t keep, int64_t& total);

}  // namespace cohort::sandbox
