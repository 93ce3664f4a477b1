#include "reward/sandbox/jail.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <utility>

#include "reward/sandbox/confine.h"
#include "reward/sandbox/init.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

namespace cohort::sandbox {
namespace {

namespace fs = std::filesystem;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

[[noreturn]] void fail_here(const char* what) {
  throw InfraError(fmt::format("jail: {}: {}", what, strerror(errno)));
}

struct Pipe {
  Fd read, write;
};
Pipe make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) fail_here("no pipe");
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return {Fd(fds[0]), Fd(fds[1])};
}

Fd input_file(std::string_view data) {
  if (data.empty()) {
    Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (null.get() < 0) fail_here("/dev/null");
    return null;
  }
  Fd file(memfd_create("stdin", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (file.get() < 0) fail_here("no memory file");
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

bool write_line(const std::string& path, const std::string& text) {
  Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file.get() >= 0 && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// Who the jail's one user is outside. Root becomes nobody, so that the limit on processes, from which root is
// exempt, holds and so that nothing inside is root's; where nobody is not mapped (a container of one user) it
// stays who we are.
void map_identity(pid_t pid) {
  const std::string base = fmt::format("/proc/{}/", pid);
  if (geteuid() == 0) {
    if (write_line(base + "uid_map", fmt::format("{} {} 1", kInnerId, kOuterId))) {
      if (write_line(base + "gid_map", fmt::format("{} {} 1", kInnerId, kOuterId))) return;
      fail_here("the group map");
    }
    if (!write_line(base + "uid_map", fmt::format("{} 0 1", kInnerId))) fail_here("the user map");
    if (!write_line(base + "gid_map", fmt::format("{} {} 1", kInnerId, getegid())))
      fail_here("the group map");
    return;
  }
  write_line(base + "setgroups", "deny");
  if (!write_line(base + "uid_map", fmt::format("{} {} 1", kInnerId, geteuid()))) fail_here("the user map");
  if (!write_line(base + "gid_map", fmt::format("{} {} 1", kInnerId, getegid()))) fail_here("the group map");
}

// Reads what is there. False at the end of the pipe.
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

// Threads of the user the program will run as, on the whole machine: without a user namespace the kernel
// counts them all.
int threads_of_user(uid_t user) {
  int threads = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename().string();
    struct stat info {};
    if (name.find_first_not_of("0123456789") != std::string::npos || stat(entry.path().c_str(), &info) != 0 ||
        info.st_uid != user)
      continue;
    struct stat tasks {};
    threads += stat((entry.path() / "task").c_str(), &tasks) == 0 ? static_cast<int>(tasks.st_nlink) - 2 : 1;
  }
  return threads;
}

struct WorkFolder {  // of process isolation
  std::string path;
  explicit WorkFolder(bool wanted) {
    if (!wanted) return;
    const char* base = getenv("TMPDIR");
    path = std::string(base && *base ? base : "/tmp") + "/cohort-jail-XXXXXX";
    if (!mkdtemp(path.data())) fail_here("no temporary folder");
    if (geteuid() == 0 && chown(path.c_str(), kOuterId, kOuterId) != 0)
      fail_here("the temporary folder's owner");
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
};

}  // namespace

const char* to_string(Ended ended) {
  constexpr std::array<const char*, 8> names = {"exited", "signalled", "wall time", "cpu time",
                                                "memory", "processes", "output",    "cancelled"};
  return names.at(static_cast<size_t>(ended));
}

const char* to_string(Status::Step step) {
  constexpr std::array<const char*, Status::kStatusSteps> names = {"done",
                                                                   "descriptors",
                                                                   "waiting for the id maps",
                                                                   "making mounts private",
                                                                   "opening a folder to show",
                                                                   "changing identity",
                                                                   "the root's tmpfs",
                                                                   "mounting a folder to show",
                                                                   "devices",
                                                                   "proc",
                                                                   "the working folder",
                                                                   "pivot_root",
                                                                   "writing the files",
                                                                   "starting the program",
                                                                   "capabilities",
                                                                   "Landlock",
                                                                   "no_new_privs",
                                                                   "seccomp",
                                                                   "execve"};
  return step >= 0 && step < Status::kStatusSteps ? names[static_cast<size_t>(step)] : "?";
}

// The toolchain and filters, the same for every run.
struct Jail::Prepared {
  std::vector<std::array<std::string, 2>> sources, links;  // source and target, path and what it points to
  std::vector<Plan::Mount> mounts;
  std::vector<Plan::Link> link_plans;
  std::vector<sock_filter> filter, process_filter;

  explicit Prepared(const Setup& setup) : filter(make_filter(false)), process_filter(make_filter(true)) {
    for (const char* top : {"/bin", "/lib", "/lib32", "/lib64", "/libx32"}) {
      std::error_code error;
      if (fs::is_symlink(top, error))
        links.push_back({std::string(top + 1), fs::read_symlink(top, error).string()});
      else
        show(top);
    }
    for (const char* folder : {"/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32",
                               "/usr/libexec", "/usr/include", "/etc/alternatives", "/etc/ld.so.cache"})
      show(folder);
    for (const std::string& folder : setup.read_only) show(folder);
    devices_begin = sources.size();
    for (const char* device : {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}) show(device);
    for (size_t i = 0; i < sources.size(); ++i) {
      std::error_code error;
      mounts.push_back({sources[i][0].c_str(), sources[i][1].c_str(), !fs::is_directory(sources[i][0], error),
                        i >= devices_begin});
    }
    for (const auto& [path, to] : links) link_plans.push_back({to.c_str(), path.c_str()});
  }

 private:
  size_t devices_begin = 0;
  void show(const std::string& path) {
    std::error_code error;
    if (!fs::exists(path, error)) return;
    for (const auto& [source, target] : sources)
      if (path == source || path.starts_with(source + "/")) return;
    sources.push_back({path, path.substr(1)});
  }
};

Jail::Jail(Setup setup) : setup_(std::move(setup)), prepared_(std::make_unique<Prepared>(setup_)) {
  if (setup_.isolation == Want::process) {
    refusal_ = "not wanted";
    isolation_ = Isolation::process;
    return;
  }
  Job trivial;
  trivial.argv = {"/bin/true"};
  std::atomic<bool> never = false;
  try {
    const Outcome outcome = run_as(Isolation::namespaces, trivial, never);
    if (outcome.ended == Ended::exited && outcome.exit_code == 0) return;
    refusal_ = "/bin/true does not run there";
  } catch (const InfraError& e) {
    refusal_ = e.what();
  }
  if (setup_.isolation == Want::namespaces) throw InfraError(refusal_);
  isolation_ = Isolation::process;
}
Jail::~Jail() = default;

Outcome Jail::run(const Job& job, const std::atomic<bool>& cancelled) const {
  return run_as(isolation_, job, cancelled);
}

Outcome Jail::run_as(Isolation isolation, const Job& job, const std::atomic<bool>& cancelled) const {
  const bool namespaces = isolation == Isolation::namespaces;
  const WorkFolder folder(!namespaces);
  Plan plan;
  plan.namespaces = namespaces;
  plan.become_inner = geteuid() == 0;
  plan.folder = folder.path.c_str();
  plan.mounts = prepared_->mounts.data();
  plan.n_mounts = prepared_->mounts.size();
  plan.links = prepared_->link_plans.data();
  plan.n_links = prepared_->link_plans.size();
  std::vector<Plan::Content> files;
  int64_t file_bytes = 0;
  for (const File& file : job.files) {
    files.push_back({file.name.c_str(), file.content.data(), file.content.size(), file.executable});
    file_bytes += static_cast<int64_t>(file.content.size());
  }
  plan.files = files.data();
  plan.n_files = files.size();
  std::vector<const char*> argv;
  for (const std::string& a : job.argv) argv.push_back(a.c_str());
  argv.push_back(nullptr);
  const std::string home = namespaces ? "/box" : folder.path;
  const std::vector<std::string> environment = {
      "PATH=/usr/bin:/bin", "HOME=" + home,      "TMPDIR=" + (namespaces ? "/tmp" : home),
      "LANG=C.UTF-8",       "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"};
  std::vector<const char*> envp;
  for (const std::string& e : environment) envp.push_back(e.c_str());
  envp.push_back(nullptr);
  plan.argv = argv.data();
  plan.envp = envp.data();
  const std::vector<sock_filter>& filter = namespaces ? prepared_->filter : prepared_->process_filter;
  plan.filter = {static_cast<unsigned short>(filter.size()), const_cast<sock_filter*>(filter.data())};
  plan.take = job.take.empty() ? nullptr : job.take.c_str();
  plan.cpu_us = static_cast<int64_t>(job.limits.cpu_s * 1e6);
  plan.memory_bytes = job.limits.memory_bytes;
  plan.file_bytes = job.limits.file_bytes;
  plan.processes = job.limits.processes;
  // Init stops a program at its own number exactly; this is what keeps a fork bomb small until init has
  // looked, with room for the other jails of this user.
  plan.user_processes =
      namespaces ? job.limits.processes
                 : threads_of_user(geteuid() == 0 ? kOuterId : geteuid()) + 2 * job.limits.processes + 64;
  plan.open_files = job.limits.open_files;
  fmt::format_to_n(plan.tmpfs_options, sizeof plan.tmpfs_options - 1, "size={},nr_inodes=4096,mode=755",
                   file_bytes + job.limits.file_bytes);

  const Fd input = input_file(job.stdin_data);
  Pipe out = make_pipe(), err = make_pipe(), status_pipe = make_pipe(), go = make_pipe(), report;
  fcntl(go.read.get(), F_SETFL, 0);  // init waits here
  if (job.report_pipe) report = make_pipe();
  Fd taken;
  if (plan.take && (taken = Fd(memfd_create("taken", MFD_CLOEXEC))).get() < 0) fail_here("no memory file");
  plan.in = input.get();
  plan.out = out.write.get();
  plan.err = err.write.get();
  plan.report = job.channel >= 0 ? job.channel : report.write.get();
  plan.status = status_pipe.write.get();
  plan.go = go.read.get();
  plan.taken = taken.get();

  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  // No signal may run a handler of ours in the copy; init sets its own mask.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int raw_pidfd = -1;
  const unsigned long flags =
      SIGCHLD | CLONE_PIDFD |
      (namespaces ? CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
                  : 0UL);
  const pid_t pid = static_cast<pid_t>(syscall(SYS_clone, flags, nullptr, &raw_pidfd, nullptr, nullptr));
  if (pid == 0) jail_init(plan);
  const int clone_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw InfraError(fmt::format("jail: clone with namespaces: {}", strerror(clone_error)));
  const Fd pidfd(raw_pidfd);
  for (Pipe* p : {&out, &err, &status_pipe, &report}) p->write.reset();

  // Ends the run whatever happens below. Without a PID namespace the group is killed as well, and before its
  // leader is reaped, while its number cannot be another's.
  struct Init {
    const pid_t pid;
    const bool group;
    int status = 0;
    rusage used{};
    bool reaped = false;
    void reap(bool kill_first) {
      if (std::exchange(reaped, true)) return;
      if (kill_first) kill(pid, SIGKILL);
      if (group) kill(-pid, SIGKILL);
      while (wait4(pid, &status, 0, &used) < 0 && errno == EINTR) {
      }
      // killed is not gone yet: the rest of the group is not ours to wait for, but its number tells
      for (int i = 0; group && i < 200 && kill(-pid, SIGKILL) == 0; ++i) usleep(1000);
    }
    ~Init() { reap(true); }
  } init{pid, !namespaces};
  if (namespaces) map_identity(pid);
  if (write(go.write.get(), "g", 1) != 1) fail_here("init");

  Outcome outcome;
  std::string status_bytes;
  int64_t n_out = 0, n_err = 0, n_other = 0;
  const size_t keep = static_cast<size_t>(job.limits.output_bytes);
  bool over = false;
  auto drain_all = [&] {
    if (out.read.get() >= 0 && !drain(out.read.get(), outcome.out, keep, n_out)) out.read.reset();
    if (err.read.get() >= 0 && !drain(err.read.get(), outcome.err, keep, n_err)) err.read.reset();
    if (report.read.get() >= 0 && !drain(report.read.get(), outcome.report, 4096, n_other))
      report.read.reset();
    if (status_pipe.read.get() >= 0 && !drain(status_pipe.read.get(), status_bytes, sizeof(Status), n_other))
      status_pipe.read.reset();
    over = over || n_out + n_err > job.limits.output_bytes || (job.report_pipe && n_other > (1 << 20));
  };
  for (bool running = true; running;) {
    std::array<pollfd, 5> fds = {{{pidfd.get(), POLLIN, 0},
                                  {out.read.get(), POLLIN, 0},
                                  {err.read.get(), POLLIN, 0},
                                  {report.read.get(), POLLIN, 0},
                                  {status_pipe.read.get(), POLLIN, 0}}};
    const double left = job.limits.wall_s - elapsed();
    poll(fds.data(), fds.size(), std::clamp(static_cast<int>(left * 1000) + 1, 0, 50));
    drain_all();
    if (fds[0].revents != 0) break;
    if (over)
      outcome.ended = Ended::output, running = false;
    else if (cancelled.load(std::memory_order_relaxed))
      outcome.ended = Ended::cancelled, running = false;
    else if (elapsed() > job.limits.wall_s)
      outcome.ended = Ended::wall_timeout, running = false;
  }
  const bool stopped = outcome.ended != Ended::exited;
  init.reap(stopped);
  drain_all();
  outcome.wall_s = elapsed();
  outcome.cpu_s = static_cast<double>(init.used.ru_utime.tv_sec + init.used.ru_stime.tv_sec) +
                  1e-6 * static_cast<double>(init.used.ru_utime.tv_usec + init.used.ru_stime.tv_usec);
  outcome.peak_bytes = init.used.ru_maxrss * 1024;
  if (stopped) return outcome;
  if (over) {
    outcome.ended = Ended::output;
    return outcome;
  }

  Status status;
  if (status_bytes.size() < sizeof status) {
    if (!namespaces &&
        WIFSIGNALED(init.status)) {  // without a PID namespace the program can end its own watchman
      outcome.ended = Ended::signalled;
      outcome.signal = WTERMSIG(init.status);
      return outcome;
    }
    throw InfraError(fmt::format("jail: init ended without a word (wait status {})", init.status));
  }
  memcpy(&status, status_bytes.data(), sizeof status);
  if (status.step == Status::exec)
    throw InfraError(fmt::format("jail: {} cannot be run: {}", job.argv[0], strerror(status.error)));
  if (status.step != Status::done) {
    std::string detail;
    if ((status.step == Status::open_source || status.step == Status::mount_source) &&
        static_cast<size_t>(status.detail) < plan.n_mounts)
      detail = fmt::format(" {}", plan.mounts[status.detail].source);
    throw InfraError(fmt::format("jail: {}{}: {}", to_string(status.step), detail, strerror(status.error)));
  }
  outcome.cpu_s = static_cast<double>(status.cpu_us) * 1e-6;
  outcome.peak_bytes = status.peak_bytes;
  if (status.reason == Status::memory)
    outcome.ended = Ended::memory;
  else if (status.reason == Status::cpu)
    outcome.ended = Ended::cpu_timeout;
  else if (status.reason == Status::processes)
    outcome.ended = Ended::processes;
  else if (WIFSIGNALED(status.wait_status)) {
    outcome.ended = Ended::signalled;
    outcome.signal = WTERMSIG(status.wait_status);
    if (outcome.signal == SIGXCPU) outcome.ended = Ended::cpu_timeout;
    if (outcome.signal == SIGXFSZ) outcome.ended = Ended::output;
  } else {
    outcome.exit_code = WEXITSTATUS(status.wait_status);
  }
  if (status.took) {
    outcome.taken = read_all(taken.get());
    outcome.took = true;
  }
  return outcome;
}

}  // namespace cohort::sandbox
