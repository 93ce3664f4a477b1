// The inside's end of the socket.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reward/sandbox/init.h"

namespace cohort::sandbox {

bool receive(int socket, Message& message, bool peek) {
  for (int& fd : message.fds) fd = -1;
  iovec part{&message.request, sizeof message.request};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * Request::kMostFds)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!peek) header.msg_control = control, header.msg_controllen = sizeof control;
  ssize_t n;
  do n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (peek ? MSG_PEEK : 0));
  while (n < 0 && errno == EINTR);
  if (n != sizeof message.request) return false;
  if (peek) return true;
  int received[Request::kMostFds];
  size_t count = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(received, CMSG_DATA(c), count * sizeof(int));
  }
  size_t next = 0;
  for (int bit = 0; bit < Request::kMostFds; ++bit)
    if (message.request.has & (1u << bit)) {
      if (next == count) return false;
      message.fds[bit] = received[next++];
    }
  return true;
}

void reply(int socket, const Reply& text) {
  while (send(socket, &text, sizeof text, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

const void* map_file(int fd) {
  struct stat info {};
  void* at = MAP_FAILED;
  if (fd >= 0 && fstat(fd, &info) == 0 && info.st_size > 0)
    at = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  return at == MAP_FAILED ? nullptr : at;
}

Cell read_cell(const void* data) {
  WireReader reader(data);
  const auto wire = reader.get<CellWire>();
  Cell cell;
  cell.namespaces = wire.namespaces != 0;
  cell.become_inner = wire.become_inner != 0;
  cell.landlock = wire.landlock != 0;
  cell.cgroup_v2 = wire.cgroup_v2 != 0;
  cell.n_shown = wire.n_mounts;
  cell.shown = reader;
  for (uint32_t i = 0; i < wire.n_mounts; ++i) reader.text(), reader.text(), reader.get<MountWire>();
  for (uint32_t i = 0; i < wire.n_links; ++i) reader.text(), reader.text();
  // read only by the kernel, which copies it: its alignment does not matter
  cell.filter = {static_cast<unsigned short>(wire.filter_bytes / sizeof(sock_filter)),
                 reinterpret_cast<sock_filter*>(const_cast<char*>(reader.bytes(wire.filter_bytes)))};
  return cell;
}

}  // namespace cohort::sandbox
