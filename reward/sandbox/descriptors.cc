#include "reward/sandbox/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "reward/infra_error.h"

namespace cohort::sandbox {

void OwnFd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void fail_here(const std::string& what) {
  throw InfraError(fmt::format("jail: {}: {}", what, strerror(errno)));
}

Pipe make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) fail_here("no pipe");
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return {OwnFd(fds[0]), OwnFd(fds[1])};
}

OwnFd sealed_file(const char* name, std::string_view data) {
  OwnFd file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.open()) fail_here("no memory file");
  for (size_t at = 0; at < data.size();) {
    const ssize_t n = write(file.get(), data.data() + at, data.size() - at);
    if (n <= 0) fail_here("memory file");
    at += static_cast<size_t>(n);
  }
  fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

std::string read_all(int fd) {
  std::string out(static_cast<size_t>(std::max<off_t>(0, lseek(fd, 0, SEEK_END))), '\0');
  size_t have = 0;
  for (ssize_t n; have < out.size() &&
                  (n = pread(fd, out.data() + have, out.size() - have, static_cast<off_t>(have))) > 0;)
    have += static_cast<size_t>(n);
  out.resize(have);
  return out;
}

bool write_line(const std::string& path, std::string_view text) {
  const OwnFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file.open() && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool drain(int fd, std::string& into, size_t keep, int64_t& total) {
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n == 0) return false;
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    total += n;
    if (into.size() < keep) into.append(buffer, std::min(static_cast<size_t>(n), keep - into.size()));
    if (total > static_cast<int64_t>(keep) + (1 << 20))
      return true;  // far over: the caller looks at the limit first
  }
}

}  // namespace cohort::sandbox
