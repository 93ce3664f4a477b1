#include "reward/sandbox/cell.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "reward/infra_error.h"
#include "reward/sandbox/embedded.h"

namespace cohort::sandbox {
namespace {

constexpr int kStartMs = 30'000;  // a machine this slow is broken
constexpr int kEndMs = 1'000;     // then it is killed

std::array<OwnFd, 2> socket_pair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) fail_here("no socket pair");
  return {OwnFd(fds[0]), OwnFd(fds[1])};
}

const OwnFd& program_file() {
  static const OwnFd file = sealed_file("cohort-jail", keeper_program());
  return file;
}

// With nothing of ours: one descriptor, no arguments, no environment, no signal blocked or ignored.
pid_t spawn_keeper(int socket) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, socket, 3);
  sigset_t none, all;
  sigemptyset(&none), sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const std::string path = fmt::format("/proc/self/fd/{}", program_file().get());
  char name[] = "cohort-jail";
  char *argv[] = {name, nullptr}, *envp[] = {nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, path.c_str(), &actions, &attributes, argv, envp);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    errno = error;
    fail_here("cannot start a cell");
  }
  return pid;
}

std::string setup_bytes(const CellPlan& plan, bool cgroup_v2) {
  CellWire wire{};
  wire.namespaces = plan.namespaces;
  wire.become_inner = !plan.namespaces && can_become_nobody();
  wire.landlock = 1;
  wire.n_mounts = static_cast<uint32_t>(plan.shown.mounts.size());
  wire.n_links = static_cast<uint32_t>(plan.shown.links.size());
  wire.filter_bytes = static_cast<uint32_t>(plan.filter.size() * sizeof(sock_filter));
  wire.cgroup_v2 = cgroup_v2;
  WireWriter out;
  out.put(wire);
  for (const Shown::Mount& m : plan.shown.mounts) {
    out.text(m.source);
    out.text(m.target);
    out.put(MountWire{m.file, m.device});
  }
  for (const Shown::Link& link : plan.shown.links) {
    out.text(link.path);
    out.text(link.to);
  }
  out.bytes({reinterpret_cast<const char*>(plan.filter.data()), wire.filter_bytes});
  return out.all();
}

void reap(pid_t pid) {
  while (pid > 0 && waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

bool can_become_nobody() {
  if (geteuid() != 0) return false;
  for (const char* map : {"/proc/self/uid_map", "/proc/self/gid_map"}) {
    std::ifstream in(map);
    bool mapped = false;
    for (int64_t inside, outside, count; in >> inside >> outside >> count;)
      mapped = mapped || (inside <= kOuterId && kOuterId < inside + count);
    if (!mapped) return false;
  }
  return true;
}

Cell::Cell(const CellPlan& plan) : plan_(plan) {
  if (plan.cgroups) cgroup_ = plan.cgroups->make();
  const bool v2 = cgroup_ && cgroup_->v2();
  const OwnFd setup = sealed_file("setup", setup_bytes(plan, v2));
  auto [ours, theirs] = socket_pair();
  socket_ = std::move(ours);
  first_ = spawn_keeper(theirs.get());
  theirs.reset();
  try {
    if (cgroup_ && !cgroup_->add(first_)) fail_here("joining the control group");
    uint32_t has = Request::data;
    std::vector<int> fds = {setup.get()};
    if (cgroup_ && cgroup_->cpu_file() >= 0) has |= Request::cpu, fds.push_back(cgroup_->cpu_file());
    if (cgroup_ && cgroup_->oom_file() >= 0) has |= Request::oom, fds.push_back(cgroup_->oom_file());
    send(socket_.get(), Request::setup, 0, has, fds);
    while (keeper_ < 0) {
      const Reply reply = wait_for(0);
      if (reply.kind == Reply::ended) throw InfraError(explain(reply.status));
      if (reply.kind == Reply::wants_maps) {
        bool become_inner = false;
        map_identity(first_, become_inner);
        send(socket_.get(), Request::mapped, become_inner, 0, {});
      }
      if (reply.kind == Reply::keeper) keeper_ = reply.pid;
    }
  } catch (...) {
    kill(first_, SIGKILL);
    reap(first_);
    throw;
  }
  reap(first_);  // it has handed over to the keeper, our child as well
  pidfd_ = OwnFd(static_cast<int>(syscall(SYS_pidfd_open, keeper_, 0)));
}

Cell::~Cell() {
  socket_.reset();
  warm_socket_.reset();
  if (keeper_ <= 0) return;
  // The end of its socket is the end of an idle cell, which so collects its own children first.
  pollfd gone{pidfd_.get(), POLLIN, 0};
  if (pidfd_.open()) poll(&gone, 1, kEndMs);
  kill(keeper_, SIGKILL);  // not yet reaped: the number is still its own
  reap(keeper_);
}

// Who is who outside. Root's cells keep root as an identity that can look at what is to be shown, and have nobody
// as the one that programs get, so that nothing they do is root's and the limit on processes, from which root
// is exempt, holds. Where nobody is not mapped (a container of one user) it stays who we are.
void Cell::map_identity(pid_t pid, bool& become_inner) const {
  const std::string base = fmt::format("/proc/{}/", pid);
  if (geteuid() == 0) {
    const std::string two = fmt::format("0 0 1\n{} {} 1\n", kInnerId, kOuterId);
    if (write_line(base + "uid_map", two)) {
      if (!write_line(base + "gid_map", two)) fail_here("the group map");
      become_inner = true;
      return;
    }
  }
  write_line(base + "setgroups", "deny");
  if (!write_line(base + "uid_map", fmt::format("{} {} 1", kInnerId, geteuid()))) fail_here("the user map");
  if (!write_line(base + "gid_map", fmt::format("{} {} 1", kInnerId, getegid()))) fail_here("the group map");
}

void Cell::send(int socket, Request::Kind kind, uint64_t id, uint32_t has,
                const std::vector<int>& fds) const {
  Request request{kind, has, id};
  iovec part{&request, sizeof request};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * Request::kMostFds)] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t n;
  do n = sendmsg(socket, &header, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n != sizeof request) fail_here("the cell is gone");
}

std::optional<Reply> Cell::receive(int socket) const {
  Reply reply;
  ssize_t n;
  do n = recv(socket, &reply, sizeof reply, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) return {};
  if (n != sizeof reply) throw InfraError("jail: the cell ended");
  return reply;
}

Reply Cell::wait_for(uint64_t id) const {
  for (;;) {
    pollfd fd{socket_.get(), POLLIN, 0};
    const int n = poll(&fd, 1, kStartMs);
    if (n == 0) throw InfraError("jail: the cell does not answer");
    if (const auto reply = receive(socket_.get()); reply && (reply->id == id || reply->id == 0))
      return *reply;
  }
}

void Cell::show(const std::vector<std::string>& paths) {
  WireWriter out;
  out.put(static_cast<uint32_t>(paths.size()));
  out.texts(paths);
  const OwnFd data = sealed_file("show", out.all());
  const uint64_t id = next_id();
  send(socket_.get(), Request::show, id, Request::data, {data.get()});
  const Reply reply = wait_for(id);
  if (reply.status.step != Status::done) {
    const auto i = static_cast<size_t>(reply.status.detail);
    throw InfraError(fmt::format("jail: {}{}: {}", to_string(reply.status.step),
                                 i < paths.size() ? " " + paths[i] : "", strerror(reply.status.error)));
  }
  shown_ = paths;
}

void Cell::prepare_warm() {
  if (warm_socket_.open()) return;
  static const OwnFd library = sealed_file("warm", warm_library());
  WireWriter out;
  out.put(static_cast<uint32_t>(plan_.warm.size()));
  out.texts(plan_.warm);
  out.put(static_cast<uint32_t>(plan_.warm_environment.size()));
  out.texts(plan_.warm_environment);
  const OwnFd data = sealed_file("resident", out.all());
  auto [ours, theirs] = socket_pair();
  const uint64_t id = next_id();
  send(socket_.get(), Request::resident, id, Request::data | Request::in | Request::socket,
       {data.get(), library.get(), theirs.get()});
  theirs.reset();
  const Reply reply = wait_for(id);
  if (reply.status.step != Status::done) throw InfraError(explain(reply.status));
  warm_socket_ = std::move(ours);
}

std::string Cell::explain(const Status& status) const {
  std::string detail;
  if ((status.step == Status::open_source || status.step == Status::mount_source) &&
      static_cast<size_t>(status.detail) < plan_.shown.mounts.size())
    detail = " " + plan_.shown.mounts[static_cast<size_t>(status.detail)].source;
  if (status.step == Status::init_lost)
    return fmt::format("jail: init was ended (wait status {})", status.detail);
  return fmt::format("jail: {}{}: {}", to_string(status.step), detail, strerror(status.error));
}

const char* to_string(Status::Step step) {
  constexpr std::array<const char*, Status::kStatusSteps> names = {"done",
                                                                   "new namespaces",
                                                                   "waiting for the id maps",
                                                                   "making mounts private",
                                                                   "opening a folder to show",
                                                                   "changing identity",
                                                                   "the root's tmpfs",
                                                                   "mounting a folder to show",
                                                                   "devices",
                                                                   "the working folder",
                                                                   "pivot_root",
                                                                   "namespaces of a run",
                                                                   "reading the job",
                                                                   "writing the files",
                                                                   "starting the program",
                                                                   "capabilities",
                                                                   "Landlock",
                                                                   "no_new_privs",
                                                                   "seccomp",
                                                                   "execve",
                                                                   "init"};
  return step >= 0 && step < Status::kStatusSteps ? names[static_cast<size_t>(step)] : "?";
}

}  // namespace cohort::sandbox
