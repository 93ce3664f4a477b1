// The init of one run. Data flow: fresh namespaces → /proc and /box → wait for a job → write its files → start
// the program → watch it and the worker's "stop" → kill and reap everything → say how it ended → exit, with
// which its namespaces go.
//
// An init is cloned as soon as the run before it has ended, so the first two steps are done when a job comes.
#include "reward/sandbox/init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

#include "reward/sandbox/watch.h"

namespace cohort::sandbox {
namespace {

// Memory is what can grow fastest between two looks; with a control group the kernel itself holds it. Without
// namespaces a look goes through every process of the machine.
constexpr int kWatchMs = 5, kGroupWatchMs = 10, kMachineWatchMs = 20;
constexpr size_t kMostArguments = 256;

[[noreturn]] void fail(uint64_t id, Status::Step step, int detail = 0) {
  Reply failed{};
  failed.kind = Reply::ended;
  failed.id = id;
  failed.status.step = step;
  failed.status.error = errno;
  failed.status.detail = detail;
  reply(kSocket, failed);
  _exit(id ? kServed : kFailed);
}

bool write_text(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t n = write(fd, text, strlen(text));
  close(fd);
  return n == static_cast<ssize_t>(strlen(text));
}

// By the calls themselves: the C library's functions would first ask other threads to follow.
bool become(int id) {
  return syscall(SYS_setresgid, id, id, id) == 0 && syscall(SYS_setresuid, id, id, id) == 0;
}

void enter_run(const Cell& cell) {
  // the keeper's or the interpreter's death is ours
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setsid();
  if (cell.namespaces) {
    if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", "1000 1000 1") ||
        !write_text("/proc/self/gid_map", "1000 1000 1") || !become(kInnerId))
      fail(0, Status::identity);
    if (access("/proc/self", F_OK) == 0 &&
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2,subset=pid") != 0)
      fail(0, Status::work_folder, 1);
    if (mount("tmpfs", "/box", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=64,mode=755") != 0 ||
        chdir("/box") != 0 || mkdir(".tmp", 0755) != 0)
      fail(0, Status::work_folder, 2);
  } else {
    prctl(PR_SET_CHILD_SUBREAPER, 1);  // what the program leaves behind comes to us
    if (cell.become_inner && (syscall(SYS_setgroups, 0, nullptr) != 0 || !become(kOuterId)))
      fail(0, Status::identity);
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // the change of identity cleared it
  prctl(PR_SET_DUMPABLE, 0);
}

// "size=…,nr_inodes=…" without the C library's formatting
void tmpfs_options(char* at, int64_t bytes, int64_t inodes) {
  auto text = [&](const char* s) {
    while (*s) *at++ = *s++;
  };
  auto number = [&](int64_t n) {
    char digits[24];
    int count = 0;
    do digits[count++] = static_cast<char>('0' + n % 10);
    while (n /= 10);
    while (count) *at++ = digits[--count];
  };
  text("size="), number(bytes), text(",nr_inodes="), number(inodes), text(",mode=755");
  *at = 0;
}

void write_files(const JobWire& job, WireReader& reader, uint64_t id) {
  for (uint32_t i = 0; i < job.n_files; ++i) {
    const char* name = reader.text();
    const auto how = reader.get<FileWire>();
    const char* data = reader.bytes(how.size);
    const int fd =
        open(name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, how.executable ? 0755 : 0644);
    if (fd < 0) fail(id, Status::write_files, static_cast<int>(i));
    for (uint64_t at = 0; at < how.size;) {
      const ssize_t n = write(fd, data + at, how.size - at);
      if (n <= 0) fail(id, Status::write_files, static_cast<int>(i));
      at += static_cast<uint64_t>(n);
    }
    if (close(fd) != 0) fail(id, Status::write_files, static_cast<int>(i));
  }
}

// Copies the asked-for file out; a link, a pipe or anything but a file of bounded size is not taken.
bool take_file(const char* name, int64_t most, int to) {
  const int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > most) return false;
  char buffer[1 << 16];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) != 0;) {
    if (n < 0) return false;
    for (ssize_t at = 0; at < n;) {
      const ssize_t w = write(to, buffer + at, static_cast<size_t>(n - at));
      if (w <= 0) return false;
      at += w;
    }
  }
  return true;
}

int64_t used_us(__rusage_who who) {
  rusage used{};
  getrusage(who, &used);
  return (static_cast<int64_t>(used.ru_utime.tv_sec) + used.ru_stime.tv_sec) * 1'000'000 +
         used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

int64_t now_us() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<int64_t>(t.tv_sec) * 1'000'000 + t.tv_nsec / 1000;
}

struct Run {
  const Cell& cell;
  const JobWire& job;
  const uint64_t id;
  const pid_t program;
  int64_t cpu_before = 0, oom_before = 0;
  int64_t box_before = 0;
  bool watched = false;
  int pause_ms = kWatchMs;
  int64_t began_us = 0, looked_us = 0, looked_cpu_us = 0, busy_us = 0, late_us = 0;
  int looks = 0;
  Status status;

  void kill_all() {
    if (cell.namespaces)
      kill(-1, SIGKILL);
    else
      kill(-program, SIGKILL);  // the filter keeps everybody in this group
  }

  // The group's CPU time is ours as well.
  int64_t since_start(const CgroupUse& group) const {
    return group.cpu_us >= 0 ? group.cpu_us - used_us(RUSAGE_SELF) - cpu_before : 0;
  }

  // What of the time since the last look was the program's own. It was not where the program was ready to run and
  // other work had the cores, nor where we ourselves were not woken in time.
  void count_time(bool running, int64_t cpu) {
    const int64_t now = now_us(), interval = now - looked_us;
    if (running || (cpu - looked_cpu_us) * 10 > interval)
      busy_us += interval;
    else if (interval > 2000 * pause_ms)
      late_us += interval - 2000 * pause_ms;
    looked_us = now;
    looked_cpu_us = cpu;
    status.delay_us = late_us + (busy_us > cpu ? busy_us - cpu : 0);
  }

  // One look at everything that has a limit; sets status.reason.
  void check() {
    const CgroupUse group = read_cgroup(cell.cgroup_v2);
    if (group.oom_kills > oom_before) status.reason = Status::memory;
    int64_t cpu = since_start(group), memory = 0;
    if (watched) {
      const Usage usage = look(cell.namespaces ? "/box" : nullptr, box_before, job.memory_bytes);
      if (const int64_t seen = usage.cpu_us + used_us(RUSAGE_CHILDREN); seen > cpu) cpu = seen;
      memory = usage.memory_bytes;
      count_time(usage.running, cpu);
      if (usage.processes > job.processes) status.reason = Status::processes;
      if (usage.box_full) status.reason = Status::files;
      // a folder of the host has no limits of its own
      if (!cell.namespaces && ++looks % 5 == 0 &&
          folder_is_over(".", job.inodes + static_cast<int64_t>(job.n_files),
                         job.initial_bytes + job.file_bytes + 4096LL * (job.n_files + 4)))
        status.reason = Status::files;
    }
    if (memory > status.peak_bytes) status.peak_bytes = memory;
    if (memory > job.memory_bytes) status.reason = Status::memory;
    if (job.cpu_us > 0 && cpu > job.cpu_us) status.reason = Status::cpu;
    // The wall clock is for programs that sleep: a busy machine changes no verdict.
    if (job.wall_us > 0 && status.reason == Status::none &&
        now_us() - began_us - status.delay_us > job.wall_us)
      status.reason = Status::wall;
  }

  // Until the program ends, a limit is passed or the worker says stop.
  void watch(int signals) {
    int64_t looked_at = now_us();
    for (;;) {
      int wait_status = 0;
      for (pid_t pid; (pid = waitpid(-1, &wait_status, WNOHANG)) > 0;)
        if (pid == program) {
          status.wait_status = wait_status;
          return;
        }
      pollfd fds[2] = {{signals, POLLIN, 0}, {kSocket, POLLIN, 0}};
      if (poll(fds, 2, pause_ms) > 0) {
        signalfd_siginfo ignored;
        if (fds[0].revents) [[maybe_unused]]
          ssize_t n = read(signals, &ignored, sizeof ignored);
        if (fds[1].revents & POLLIN) {
          Message message;
          if (!receive(kSocket, message)) _exit(kClosed);
          if (message.request.kind != Request::stop) _exit(kFailed);  // the worker has lost count
          if (message.request.id == id) {
            status.reason = Status::stopped;
            return;
          }
        } else if (fds[1].revents) {
          _exit(kClosed);  // the worker is gone; so is everything here, with us
        }
        // a storm of ending children must not put off the look
        if (now_us() - looked_at < pause_ms * 1000) continue;
      }
      looked_at = now_us();
      check();
      if (status.reason != Status::none) return;
    }
  }
};

}  // namespace

pid_t clone_init(const Cell& cell) {
  const unsigned long flags =
      SIGCHLD | (cell.namespaces ? CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC : 0UL);
  return static_cast<pid_t>(syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
}

void run_init(const Cell& cell, pid_t (*make_process)()) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  signal(SIGCHLD, SIG_DFL);
  sigprocmask(SIG_SETMASK, &child, nullptr);
  enter_run(cell);
  const int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) fail(0, Status::read_job);
  Message message;
  for (;;) {
    if (!receive(kSocket, message, true)) _exit(kClosed);
    if (message.request.kind == Request::show || message.request.kind == Request::resident) _exit(kForKeeper);
    if (!receive(kSocket, message)) _exit(kClosed);
    if (message.request.kind == Request::job) break;  // else a stop that came too late for the run before
  }
  const uint64_t id = message.request.id;
  auto fd = [&](Request::Has has) { return message.fds[__builtin_ctz(has)]; };
  const void* data = map_file(fd(Request::data));
  if (!data) fail(id, Status::read_job);
  WireReader reader(data);
  const auto job = reader.get<JobWire>();
  const char *argv[kMostArguments + 1] = {}, *envp[kMostArguments + 1] = {};
  if (job.n_argv > kMostArguments || job.n_env > kMostArguments) {
    errno = E2BIG;
    fail(id, Status::read_job, 1);
  }
  for (uint32_t i = 0; i < job.n_argv; ++i) argv[i] = reader.text();
  for (uint32_t i = 0; i < job.n_env; ++i) envp[i] = reader.text();
  const char* folder = reader.text();
  const char* take = reader.text();
  Cell here = cell;
  here.n_job_shown = job.n_shown;
  here.job_shown = reader;
  for (uint32_t i = 0; i < here.n_job_shown; ++i) reader.text();
  if (cell.namespaces) {
    char options[96];
    // a few inodes for the folder itself, and a page of slack a file
    tmpfs_options(options, job.initial_bytes + job.file_bytes + 4096LL * (job.n_files + 4),
                  job.inodes + static_cast<int64_t>(job.n_files) + 4);
    if (mount(nullptr, "/box", nullptr, MS_REMOUNT | MS_NOSUID | MS_NODEV, options) != 0)
      fail(id, Status::work_folder, 3);
    if (!keep_tmp(here)) fail(id, Status::work_folder, 5);
  } else if (chdir(folder) != 0) {
    fail(id, Status::work_folder, 4);
  }
  write_files(job, reader, id);

  const bool watched = open_watch();
  const CgroupUse before = read_cgroup(cell.cgroup_v2);
  const int64_t box_before = cell.namespaces ? box_bytes("/box") : 0;
  const pid_t program = make_process();
  if (program < 0) fail(id, Status::fork_program);
  if (program == 0) {
    start_program(here, job, argv, envp, folder, id, message.fds, watched);
    return;  // warm: on in the interpreter
  }
  if (!cell.namespaces) {
    setpgid(program, program);  // whichever of us comes first
    watch_group(program);
  }
  for (int bit : {1, 2, 3, 4})
    if (message.fds[bit] >= 0) close(message.fds[bit]);
  Run run{cell,       job,    id, program, before.cpu_us - used_us(RUSAGE_SELF), before.oom_kills,
          box_before, watched};
  run.pause_ms = !cell.namespaces                ? kMachineWatchMs
                 : fcntl(kOomFile, F_GETFD) >= 0 ? kGroupWatchMs
                                                 : kWatchMs;
  run.began_us = run.looked_us = now_us();
  run.watch(signals);
  Status& status = run.status;
  status.wall_us = now_us() - run.began_us;
  // Everything that is left. Reaped before we answer: the worker may count on it.
  do run.kill_all();
  while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR);
  if (read_cgroup(cell.cgroup_v2).oom_kills > before.oom_kills) status.reason = Status::memory;
  rusage all{};
  getrusage(RUSAGE_CHILDREN, &all);
  status.cpu_us = used_us(RUSAGE_CHILDREN);
  // The kernel's own count includes those that nobody waited for in time to be in ours.
  if (const int64_t us = run.since_start(read_cgroup(cell.cgroup_v2)); us > status.cpu_us) status.cpu_us = us;
  if (all.ru_maxrss * 1024 > status.peak_bytes) status.peak_bytes = all.ru_maxrss * 1024;
  const bool clean =
      status.reason == Status::none && WIFEXITED(status.wait_status) && WEXITSTATUS(status.wait_status) == 0;
  if (!clean && status.reason == Status::none && cell.namespaces && box_is_full("/box"))
    status.reason = Status::files;
  if (job.take && clean)
    status.took = take_file(take, job.file_bytes, message.fds[__builtin_ctz(Request::taken)]);
  Reply ended{};
  ended.kind = Reply::ended;
  ended.id = id;
  ended.status = status;
  reply(kSocket, ended);
  _exit(kServed);
}

}  // namespace cohort::sandbox
