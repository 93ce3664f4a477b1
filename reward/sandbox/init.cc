// Data flow: wait for our identity (go) → build the root → write files → start the program → watch → report
// (status) → exit, which kills whatever is left. Only system calls and the stack are used in this file: see
// Plan.
#include "reward/sandbox/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reward/sandbox/confine.h"
#include "reward/sandbox/watch.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif

namespace cohort::sandbox {
namespace {

constexpr int kMaxMounts = 40;
constexpr long kWatchNs = 5'000'000;

// Fixed places of the descriptors while init runs.
enum Fd { kIn = 3, kOut, kErr, kReport, kStatus, kGo, kTaken, kFirstFree };

[[noreturn]] void fail_step(int status_fd, Status::Step step, int detail = 0) {
  Status status;
  status.step = step;
  status.error = errno;
  status.detail = detail;
  [[maybe_unused]] ssize_t n = write(status_fd, &status, sizeof status);
  _exit(1);
}

// Moves the plan's descriptors to their places and closes everything else: what other threads of the worker
// have open (pipes of other jails, sockets) must not live on here.
bool settle_descriptors(const Plan& plan) {
  const int wanted[] = {plan.in, plan.out, plan.err, plan.report, plan.status, plan.go, plan.taken};
  int high[7];
  for (int i = 0; i < 7; ++i) {
    high[i] = -1;
    if (wanted[i] >= 0 && (high[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, 64)) < 0) return false;
  }
  for (int i = 0; i < 7; ++i) {
    if (high[i] >= 0)
      dup3(high[i], kIn + i, O_CLOEXEC);
    else
      close(kIn + i);
  }
  close(0), close(1), close(2);
  const int null = open("/dev/null", O_RDWR);  // takes 0
  dup2(null, 1), dup2(null, 2);
  return syscall(SYS_close_range, kFirstFree, ~0U, 0) == 0;
}

bool make_parents(const char* path) {
  char part[256];
  const size_t size = strlen(path);
  if (size >= sizeof part) return false;
  memcpy(part, path, size + 1);
  for (size_t i = 1; i < size; ++i) {
    if (part[i] != '/') continue;
    part[i] = 0;
    if (mkdir(part, 0755) != 0 && errno != EEXIST) return false;
    part[i] = '/';
  }
  return true;
}

bool make_target(const Plan::Mount& m) {
  if (!make_parents(m.target)) return false;
  if (!m.file) return mkdir(m.target, 0755) == 0 || errno == EEXIST;
  const int fd = open(m.target, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  return fd >= 0 && close(fd) == 0;
}

// The calls themselves, as old C libraries lack them. Adding flags is allowed where taking away locked ones
// is not.
struct MountAttr {
  uint64_t set, clear, propagation, userns;
};
bool make_read_only(const char* target) {
  MountAttr attr{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, 0, 0};
  return syscall(SYS_mount_setattr, AT_FDCWD, target, AT_RECURSIVE, &attr, sizeof attr) == 0;
}

// By the calls themselves: the C library's functions would first ask the worker's other threads, which are
// not in this copy, to follow, and wait for them for ever.
bool become(int id) {
  return syscall(SYS_setgroups, 0, nullptr) == 0 && syscall(SYS_setresgid, id, id, id) == 0 &&
         syscall(SYS_setresuid, id, id, id) == 0;
}

void enter_root(const Plan& plan) {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    fail_step(kStatus, Status::private_mounts);
  // Open the sources while we still are who we were outside: a toolchain may lie in a folder only its owner
  // may enter.
  int tree[kMaxMounts];
  for (size_t i = 0; i < plan.n_mounts; ++i) {
    const unsigned flags =
        OPEN_TREE_CLONE | O_CLOEXEC | (plan.mounts[i].file ? 0u : static_cast<unsigned>(AT_RECURSIVE));
    tree[i] = static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, plan.mounts[i].source, flags));
    if (tree[i] < 0) fail_step(kStatus, Status::open_source, static_cast<int>(i));
  }
  if (plan.become_inner && !become(kInnerId)) fail_step(kStatus, Status::identity);
  // /tmp is only a place to hang the new root on; it is out of sight after pivot_root
  if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=512,mode=755") != 0 ||
      chdir("/tmp") != 0)
    fail_step(kStatus, Status::root);
  for (size_t i = 0; i < plan.n_mounts; ++i) {
    const Plan::Mount& m = plan.mounts[i];
    if (!make_target(m) ||
        syscall(SYS_move_mount, tree[i], "", AT_FDCWD, m.target, MOVE_MOUNT_F_EMPTY_PATH) != 0 ||
        (!m.device && !make_read_only(m.target)))
      fail_step(kStatus, Status::mount_source, static_cast<int>(i));
    close(tree[i]);
  }
  for (size_t i = 0; i < plan.n_links; ++i)
    if (symlink(plan.links[i].to, plan.links[i].path) != 0)
      fail_step(kStatus, Status::root, static_cast<int>(i));
  // Without /proc (a container may hide parts of it, then the kernel refuses a new one) the watch has only
  // rlimits.
  mkdir("proc", 0555);
  if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2,subset=pid") != 0)
    rmdir("proc");
  mkdir("box", 0755), mkdir("tmp", 0755);
  if (mount("tmpfs", "box", "tmpfs", MS_NOSUID | MS_NODEV, plan.tmpfs_options) != 0 ||
      mkdir("box/.tmp", 0755) != 0 || mount("box/.tmp", "tmp", nullptr, MS_BIND, nullptr) != 0)
    fail_step(kStatus, Status::work_folder);
  if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
    fail_step(kStatus, Status::pivot);
  MountAttr attr{MOUNT_ATTR_RDONLY, 0, 0, 0};  // the root itself, not what is mounted in it
  if (syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attr, sizeof attr) != 0)
    fail_step(kStatus, Status::pivot, 1);
  if (chdir("/box") != 0) fail_step(kStatus, Status::pivot, 2);
  [[maybe_unused]] int named = sethostname("jail", 4);
}

void write_files(const Plan& plan) {
  for (size_t i = 0; i < plan.n_files; ++i) {
    const Plan::Content& file = plan.files[i];
    const int fd =
        open(file.name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, file.executable ? 0755 : 0644);
    if (fd < 0) fail_step(kStatus, Status::write_files, static_cast<int>(i));
    for (size_t at = 0; at < file.size;) {
      const ssize_t n = write(fd, file.data + at, file.size - at);
      if (n <= 0) fail_step(kStatus, Status::write_files, static_cast<int>(i));
      at += static_cast<size_t>(n);
    }
    if (close(fd) != 0) fail_step(kStatus, Status::write_files, static_cast<int>(i));
  }
}

void limit(int what, int64_t soft, int64_t hard) {
  const rlimit value{static_cast<rlim_t>(soft), static_cast<rlim_t>(hard)};
  setrlimit(static_cast<__rlimit_resource>(what), &value);
}

[[noreturn]] void start_program(const Plan& plan, bool watched) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(kIn, 0), dup2(kOut, 1), dup2(kErr, 2);
  dup3(kStatus, kTaken, O_CLOEXEC);  // the one descriptor kept for a failed step, closed by execve
  if (plan.report >= 0) dup2(kReport, 3);
  syscall(SYS_close_range, plan.report >= 0 ? 4 : 3, kTaken - 1, 0);
  syscall(SYS_close_range, kTaken + 1, ~0U, 0);
  const int64_t seconds = plan.cpu_us / 1'000'000 + 1;
  limit(RLIMIT_CPU, seconds, seconds + 1);
  limit(RLIMIT_CORE, 0, 0);
  limit(RLIMIT_FSIZE, plan.file_bytes, plan.file_bytes);
  limit(RLIMIT_NOFILE, plan.open_files, plan.open_files);
  limit(RLIMIT_STACK, 64 << 20, 64 << 20);
  limit(RLIMIT_MEMLOCK, 0, 0);
  limit(RLIMIT_MSGQUEUE, 0, 0);
  limit(RLIMIT_NPROC, plan.user_processes, plan.user_processes);
  // Address space is a poor measure of memory: with the watch at work it is only the backstop between two
  // looks.
  const int64_t space = watched ? 2 * plan.memory_bytes + (256LL << 20) : plan.memory_bytes;
  limit(RLIMIT_AS, space, space);
  for (int s = 1; s < 65; ++s) signal(s, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
  if (plan.namespaces) {
    setsid();
    for (int cap = 0; cap <= 63; ++cap) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct empty[2] = {};
    if (syscall(SYS_capset, &header, empty) != 0) fail_step(kTaken, Status::program_setup);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail_step(kTaken, Status::no_new_privs);
  if (!plan.namespaces && !confine_files(plan)) fail_step(kTaken, Status::landlock);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &plan.filter) != 0) fail_step(kTaken, Status::seccomp);
  execve(plan.argv[0], const_cast<char* const*>(plan.argv), const_cast<char* const*>(plan.envp));
  fail_step(kTaken, Status::exec);
}

// Copies the asked-for file out; a link, a pipe or anything but a file of bounded size is not taken.
bool take_file(const Plan& plan) {
  const int fd = open(plan.take, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > plan.file_bytes)
    return false;
  char buffer[1 << 16];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) != 0;) {
    if (n < 0) return false;
    for (ssize_t at = 0; at < n;) {
      const ssize_t w = write(kTaken, buffer + at, static_cast<size_t>(n - at));
      if (w <= 0) return false;
      at += w;
    }
  }
  return true;
}

int64_t microseconds(const timeval& t) {
  return static_cast<int64_t>(t.tv_sec) * 1'000'000 + t.tv_usec;
}

}  // namespace

void jail_init(const Plan& plan) {
  if (!settle_descriptors(plan)) fail_step(plan.status, Status::descriptors);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_SETMASK, &child, nullptr);
  signal(SIGCHLD, SIG_DFL);
  char go = 0;
  if (read(kGo, &go, 1) != 1) fail_step(kStatus, Status::wait_for_maps);
  close(kGo);
  if (plan.namespaces) {
    enter_root(plan);
  } else {
    setsid();  // the group that is killed in the end and that the filter keeps the program in
    if (plan.become_inner && !become(kOuterId)) fail_step(kStatus, Status::identity);
    if (chdir(plan.folder) != 0) fail_step(kStatus, Status::work_folder);
  }
  // after the change of identity, which clears it; the worker may have died before
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_DUMPABLE, 0);
  if (const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    [[maybe_unused]] ssize_t n = write(fd, "1000", 4);  // when the host runs out of memory, not the worker
    close(fd);
  }
  write_files(plan);
  const bool watched = open_watch(plan.namespaces ? -1 : getpgrp());

  const pid_t program = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (program < 0) fail_step(kStatus, Status::fork_program);
  if (program == 0) start_program(plan, watched);
  close(kIn), close(kOut), close(kErr), close(kReport);

  Status status;
  const timespec pause{0, kWatchNs};
  for (bool ended = false; !ended;) {
    int wait_status = 0;
    for (pid_t pid; !ended && (pid = waitpid(-1, &wait_status, WNOHANG)) > 0;)
      if (pid == program) ended = true, status.wait_status = wait_status;
    if (ended) break;
    if (watched) {
      const Usage usage = look();
      rusage reaped{};
      getrusage(RUSAGE_CHILDREN, &reaped);
      if (usage.resident_bytes > status.peak_bytes) status.peak_bytes = usage.resident_bytes;
      if (usage.resident_bytes > plan.memory_bytes) status.reason = Status::memory;
      if (usage.cpu_us + microseconds(reaped.ru_utime) + microseconds(reaped.ru_stime) > plan.cpu_us)
        status.reason = Status::cpu;
      if (!plan.namespaces && usage.processes > plan.processes) status.reason = Status::processes;
      if (status.reason != Status::none) break;
    }
    sigtimedwait(&child, nullptr, &pause);
  }
  // Everything that is left. In the group of process isolation we would meet ourselves: there the worker
  // kills the group.
  if (plan.namespaces) {
    kill(-1, SIGKILL);
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
  }
  rusage all{};
  getrusage(RUSAGE_CHILDREN, &all);
  status.cpu_us = microseconds(all.ru_utime) + microseconds(all.ru_stime);
  if (all.ru_maxrss * 1024 > status.peak_bytes) status.peak_bytes = all.ru_maxrss * 1024;
  if (plan.take && status.reason == Status::none && WIFEXITED(status.wait_status) &&
      WEXITSTATUS(status.wait_status) == 0)
    status.took = take_file(plan);
  [[maybe_unused]] ssize_t n = write(kStatus, &status, sizeof status);
  _exit(0);
}

}  // namespace cohort::sandbox
