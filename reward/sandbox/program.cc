// The last steps before a stranger's code: nothing it does not need stays open, every limit is set, every
// privilege is gone, and the filters are on.
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reward/sandbox/confine.h"
#include "reward/sandbox/init.h"

namespace cohort::sandbox {
namespace {

constexpr int64_t kStackBytes = 64 << 20;

[[noreturn]] void fail(int socket, uint64_t id, Status::Step step, int detail = 0) {
  Reply failed{};
  failed.kind = Reply::failed;
  failed.id = id;
  failed.status.step = step;
  failed.status.error = errno;
  failed.status.detail = detail;
  reply(socket, failed);
  _exit(1);
}

void limit(int what, int64_t value) {
  const rlimit both{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
  setrlimit(static_cast<__rlimit_resource>(what), &both);
}

void set_limits(const JobWire& job, bool watched, bool cgroup) {
  if (job.cpu_us > 0) {
    // of each process: the watch counts them together and more finely
    const rlimit seconds{static_cast<rlim_t>(job.cpu_us / 1'000'000 + 1),
                         static_cast<rlim_t>(job.cpu_us / 1'000'000 + 2)};
    setrlimit(RLIMIT_CPU, &seconds);
  }
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, job.file_bytes);
  limit(RLIMIT_NOFILE, job.open_files);
  limit(RLIMIT_STACK, kStackBytes);
  limit(RLIMIT_MEMLOCK, 0);
  limit(RLIMIT_MSGQUEUE, 0);
  limit(RLIMIT_NICE, 0);
  limit(RLIMIT_RTPRIO, 0);
  limit(RLIMIT_SIGPENDING, 256);
  limit(RLIMIT_NPROC, job.user_processes);
  // Address space is a poor measure of memory. A memory cgroup makes it needless, with the watch alone it is the
  // backstop between two looks, and without either it is all there is.
  // Threads reserve a whole stack each.
  if (!cgroup)
    limit(RLIMIT_AS,
          watched ? 2 * job.memory_bytes + (1LL << 30) + job.processes * kStackBytes : job.memory_bytes);
}

bool drop_privileges() {
  // With no_new_privs nothing that is executed gives any back: the bounding set, 41 calls, may stay.
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct empty[2] = {};
  return syscall(SYS_capset, &header, empty) == 0;
}

}  // namespace

void start_program(const Cell& cell, const JobWire& job, const char* const* argv, const char* const* envp,
                   const char* folder, uint64_t id, const int* fds, bool watched) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (cell.namespaces)
    setsid();
  else
    setpgid(0, 0);
  // when the host runs out of memory, this and not the worker
  if (const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    [[maybe_unused]] ssize_t n = write(fd, "1000", 4);
    close(fd);
  }
  const bool cgroup = fcntl(kOomFile, F_GETFD) >= 0;
  auto fd = [&](Request::Has has) { return fds[__builtin_ctz(has)]; };
  dup2(fd(Request::in), 0), dup2(fd(Request::out), 1), dup2(fd(Request::err), 2);
  int next = 3;
  if (fd(Request::report) >= 0 && dup2(fd(Request::report), next) == next) ++next;
  // the one descriptor kept for a failed step: it goes with execve
  const int socket = next++;
  dup3(kSocket, socket, O_CLOEXEC);
  syscall(SYS_close_range, next, ~0U, 0);

  set_limits(job, watched, cgroup);
  for (int s = 1; s < 65; ++s) signal(s, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
  if (cell.namespaces && !drop_privileges()) fail(socket, id, Status::program_setup);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(socket, id, Status::no_new_privs);
  if (cell.landlock && !confine(cell, folder)) fail(socket, id, Status::landlock);
  const bool execs = !cell.resident;
  if (!execs) {
    close(socket);
    prctl(PR_SET_DUMPABLE, 1);  // as after execve: its own /proc/self is its own
  }
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &cell.filter) != 0) {
    if (!execs) _exit(127);
    fail(socket, id, Status::seccomp);
  }
  if (!execs) return;
  execve(argv[0], const_cast<char* const*>(argv), const_cast<char* const*>(envp));
  fail(socket, id, Status::exec);
}

}  // namespace cohort::sandbox
