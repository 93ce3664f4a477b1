// cohort-jail: keeps one cell. Started by the worker from a memory file with the socket as its only descriptor,
// no arguments and no environment.
//
// Data flow: plan from the worker → new namespaces → identity from the worker → a child in the new PID
// namespace, whose parent is the worker, builds the root → for ever: clone the init of the next run, wait for
// it. It ends when the worker closes the socket, by kill or by death, and as PID 1 of its namespace takes
// everything in the cell with it.
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

#include "reward/sandbox/init.h"

namespace cohort::sandbox {
namespace {

void say(Reply::Kind kind, int pid, const Status& status) {
  Reply text{};
  text.kind = kind;
  text.pid = pid;
  text.status = status;
  reply(kSocket, text);
}

[[noreturn]] void fail(Status::Step step, int detail = 0) {
  Status status;
  status.step = step;
  status.error = errno;
  status.detail = detail;
  say(Reply::ended, 0, status);
  _exit(kFailed);
}

void place(int fd, int at) {
  if (fd < 0) return;
  if (dup3(fd, at, O_CLOEXEC) < 0) fail(Status::read_job, at);
  close(fd);
}

pid_t plain_fork() {
  return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

// The warm interpreter: in the cell's own namespaces, with the right to make further ones over execve, which
// would take it from any identity but root's.
[[noreturn]] void become_resident(const Message& message) {
  const void* data = map_file(message.fds[0]);
  const int socket = message.fds[__builtin_ctz(Request::socket)];
  if (!data || dup2(socket, kSocket) < 0 || dup2(message.fds[__builtin_ctz(Request::in)], kWarmFile) < 0)
    _exit(kFailed);
  // What an interpreter finds out about its standard files at its start, and keeps, must fit every run's: a file that can
  // be sought, and pipes. The worker's own may be a terminal or a log.
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int pipes[2];
  if (dup2(null, 0) < 0 || pipe2(pipes, O_CLOEXEC) != 0 || dup2(pipes[1], 1) < 0 || dup2(pipes[1], 2) < 0)
    _exit(kFailed);
  // Its own fork() would be called for want of ours.
  if (access("/proc/self/fd", F_OK) != 0) _exit(kFailed);
  WireReader reader(data);
  const auto count = reader.get<uint32_t>();
  const char* argv[64] = {};
  for (uint32_t i = 0; i < count && i < 63; ++i) argv[i] = reader.text();
  const auto n_env = reader.get<uint32_t>();
  const char* envp[32] = {};
  for (uint32_t i = 0; i < n_env && i < 31; ++i) envp[i] = reader.text();
  for (int fd : {static_cast<int>(kCpuFile), static_cast<int>(kOomFile), static_cast<int>(kSetupFile)})
    fcntl(fd, F_SETFD, 0);
  fcntl(kSocket, F_SETFD, 0);
  syscall(SYS_close_range, kHostMounts, ~0U, 0);
  syscall(SYS_close_range, 3, kSocket - 1, 0);
  syscall(SYS_setresuid, kInnerId, kInnerId, kInnerId);  // not the worker's identity even when saved
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct caps[2] = {};
  syscall(SYS_capget, &header, caps);
  for (auto& half : caps) half.inheritable = half.permitted;
  syscall(SYS_capset, &header, caps);
  for (int cap = 0; cap <= 63; ++cap) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (chdir("/") == 0) execve(argv[0], const_cast<char* const*>(argv), const_cast<char* const*>(envp));
  _exit(kFailed);
}

void kill_children() {
  for (;;) {
    char text[4096];
    const int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    pid_t pid = 0;
    for (ssize_t i = 0; i < n; ++i) {
      if (text[i] >= '0' && text[i] <= '9') {
        pid = pid * 10 + (text[i] - '0');
      } else {
        if (pid > 0) kill(pid, SIGKILL);
        pid = 0;
      }
    }
    if (waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) return;
  }
}

// What only the keeper can do between two runs.
void serve_keeper() {
  Message message;
  if (!receive(kSocket, message)) _exit(kClosed);
  Reply answer{};
  answer.kind = Reply::answered;
  answer.id = message.request.id;
  if (message.request.kind == Request::show) {
    if (const void* data = map_file(message.fds[0])) answer.status = show_paths(WireReader(data));
  } else {
    const pid_t resident = plain_fork();
    if (resident == 0) become_resident(message);
    if (resident < 0) answer.status.step = Status::fork_program, answer.status.error = errno;
  }
  for (int fd : message.fds)
    if (fd >= 0) close(fd);
  reply(kSocket, answer);
}

[[noreturn]] void keep(const Cell& cell, const CellWire& wire, WireReader reader) {
  if (cell.namespaces) enter_root(cell, wire, reader);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  for (;;) {
    const pid_t init = clone_init(cell);
    if (init == 0) run_init(cell, plain_fork);
    if (init < 0) fail(Status::clone_run);
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, 0)) != init;)
      if (pid < 0 && errno != EINTR) fail(Status::init_lost);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == kServed) continue;
    if (code == kForKeeper) {
      serve_keeper();
      continue;
    }
    if (code == kClosed || code == kFailed) _exit(0);
    // Without a PID namespace a program may have ended its init: then its processes are our children.
    if (!cell.namespaces) kill_children();
    errno = 0;
    fail(Status::init_lost, status);
  }
}

}  // namespace
}  // namespace cohort::sandbox

int main() {
  using namespace cohort::sandbox;
  // the worker gave us the socket as 3; our places are higher, so that a job's descriptors never meet them
  if (dup3(3, kSocket, O_CLOEXEC) < 0) return kFailed;
  syscall(SYS_close_range, 3, kSocket - 1, 0);
  syscall(SYS_close_range, kSocket + 1, ~0U, 0);
  setsid();
  prctl(PR_SET_NAME, "cohort-jail");
  Message message;
  if (!receive(kSocket, message) || message.request.kind != Request::setup) return kClosed;
  const void* data = map_file(message.fds[0]);
  if (!data) fail(Status::read_job);
  place(message.fds[__builtin_ctz(Request::cpu)], kCpuFile);
  place(message.fds[__builtin_ctz(Request::oom)], kOomFile);
  place(message.fds[0], kSetupFile);
  WireReader reader(data);
  const auto wire = reader.get<CellWire>();
  Cell cell = read_cell(data);
  if (cell.namespaces) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                CLONE_NEWCGROUP) != 0)
      fail(Status::unshare_namespaces);
    say(Reply::wants_maps, 0, {});
    if (!receive(kSocket, message) || message.request.kind != Request::mapped) fail(Status::wait_for_maps);
    cell.become_inner = message.request.id == 1;
  }
  const pid_t keeper =
      static_cast<pid_t>(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (keeper < 0) fail(Status::clone_run);
  if (keeper == 0) {
    reader = cell.shown;
    keep(cell, wire, reader);
  }
  say(Reply::keeper, keeper, {});
  return 0;
}
