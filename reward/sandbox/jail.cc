// The worker's side of a run. Data flow: take a cell → hand it the job and its descriptors → drain output until
// its init says how the program ended, or tell it to stop → give the cell back. A cell that did not answer as it
// should is thrown away, with everything in it.
#include "reward/sandbox/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <optional>

#include "reward/sandbox/cell.h"

namespace cohort::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr int kPollMs = 50;       // how soon a cancelled job is noticed
constexpr double kStopS = 10;     // for an init to kill what it started
constexpr double kBackstop = 20;  // times the wall clock, in case no core is ever free for the program

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
    path = fmt::format("{}/cohort-jail-{}-XXXXXX", base && *base ? base : "/tmp", getpid());
    if (!mkdtemp(path.data())) fail_here("no temporary folder");
    if (can_become_nobody() && chown(path.c_str(), kOuterId, kOuterId) != 0)
      fail_here("the temporary folder's owner");
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
};

std::vector<std::string> environment(bool namespaces, const std::string& folder) {
  const std::string home = namespaces ? "/box" : folder;
  return {"PATH=/usr/bin:/bin", "HOME=" + home,      "TMPDIR=" + (namespaces ? "/tmp" : home),
          "LANG=C.UTF-8",       "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"};
}

// What travels with a job, kept open until the cell has it.
struct Handles {
  OwnFd data, input, taken;
  Pipe out, err, report;
  uint32_t has = 0;
  std::vector<int> fds;
  void add(Request::Has what, int fd) {
    if (fd < 0) return;
    has |= what;
    fds.push_back(fd);
  }
};

std::string job_bytes(const Job& job, bool namespaces, const std::string& folder,
                      const std::vector<std::string>& show) {
  JobWire wire{};
  wire.cpu_us = job.limits.cpu_s > 0 ? std::max<int64_t>(1, static_cast<int64_t>(job.limits.cpu_s * 1e6)) : 0;
  wire.wall_us =
      job.limits.wall_s > 0 ? std::max<int64_t>(1, static_cast<int64_t>(job.limits.wall_s * 1e6)) : 0;
  wire.memory_bytes = job.limits.memory_bytes;
  wire.file_bytes = job.limits.file_bytes;
  for (const File& file : job.files) wire.initial_bytes += static_cast<int64_t>(file.content.size());
  wire.processes = job.limits.processes;
  wire.open_files = job.limits.open_files;
  wire.inodes = job.limits.inodes;
  // Init stops a program at its own number exactly, which it can only see passed: so there is room for one more
  // here, and for init. Without a user namespace also for the other jails of this user.
  wire.user_processes = namespaces ? job.limits.processes + 2
                                   : threads_of_user(can_become_nobody() ? kOuterId : geteuid()) +
                                         2 * job.limits.processes + 64;
  const std::vector<std::string> env = environment(namespaces, folder);
  wire.n_argv = static_cast<uint32_t>(job.argv.size());
  wire.n_env = static_cast<uint32_t>(env.size());
  wire.n_shown = static_cast<uint32_t>(show.size());
  wire.n_files = static_cast<uint32_t>(job.files.size());
  wire.take = !job.take.empty();
  WireWriter out;
  out.put(wire);
  out.texts(job.argv);
  out.texts(env);
  out.text(folder);
  out.text(job.take);
  out.texts(show);
  for (const File& file : job.files) {
    out.text(file.name);
    out.put(FileWire{file.content.size(), file.executable, 0});
    out.bytes(file.content);
  }
  return out.all();
}

Outcome read_status(const Cell& cell, const Job& job, const Status& status, bool namespaces,
                    Outcome outcome) {
  outcome.cpu_s = static_cast<double>(status.cpu_us) * 1e-6;
  outcome.wall_s = static_cast<double>(status.wall_us) * 1e-6;
  outcome.delay_s = static_cast<double>(status.delay_us) * 1e-6;
  outcome.peak_bytes = status.peak_bytes;
  if (status.step == Status::exec)
    throw InfraError(fmt::format("jail: {} cannot be run: {}", job.argv[0], strerror(status.error)));
  if (status.step == Status::init_lost && !namespaces && WIFSIGNALED(status.detail)) {
    // without a PID namespace the program can end its own watchman
    outcome.ended = Ended::signalled;
    outcome.signal = WTERMSIG(status.detail);
    return outcome;
  }
  if (status.step != Status::done) throw InfraError(cell.explain(status));
  if (outcome.ended != Ended::exited) return outcome;  // decided on this side
  switch (status.reason) {
    case Status::memory:
      outcome.ended = Ended::memory;
      return outcome;
    case Status::cpu:
      outcome.ended = Ended::cpu_timeout;
      return outcome;
    case Status::wall:
      outcome.ended = Ended::wall_timeout;
      return outcome;
    case Status::processes:
      outcome.ended = Ended::processes;
      return outcome;
    case Status::files:
      outcome.ended = Ended::output;
      return outcome;
    case Status::none:
    case Status::stopped:
      break;
  }
  if (WIFSIGNALED(status.wait_status)) {
    outcome.ended = Ended::signalled;
    outcome.signal = WTERMSIG(status.wait_status);
    if (outcome.signal == SIGXCPU) outcome.ended = Ended::cpu_timeout;
    if (outcome.signal == SIGXFSZ) outcome.ended = Ended::output;
  } else {
    outcome.exit_code = WEXITSTATUS(status.wait_status);
  }
  return outcome;
}

// From when the cell has the job, as `id`, to the job's end. `whole` is false when the cell cannot be used again.
Outcome serve(Cell& cell, const Job& job, uint64_t id, bool namespaces, Handles& handles,
              const std::atomic<bool>& cancelled, bool& whole) {
  const int socket = cell.socket(job.warm && namespaces);
  whole = false;
  handles.out.write.reset(), handles.err.write.reset(), handles.report.write.reset();

  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  Outcome outcome;
  int64_t n_out = 0, n_err = 0, n_report = 0;
  const auto keep = static_cast<size_t>(job.limits.output_bytes);
  bool over = false;
  auto drain_all = [&] {
    auto one = [](OwnFd& fd, std::string& into, size_t most, int64_t& total) {
      if (fd.open() && !drain(fd.get(), into, most, total)) fd.reset();
    };
    one(handles.out.read, outcome.out, keep, n_out);
    one(handles.err.read, outcome.err, keep, n_err);
    one(handles.report.read, outcome.report, 4096, n_report);
    over = (job.stdout_fd < 0 && n_out + n_err > job.limits.output_bytes) || n_report > (1 << 20);
  };
  std::optional<Status> failed;
  double stopped_at = -1;
  auto stop = [&](Ended why) {
    outcome.ended = why;
    stopped_at = elapsed();
    cell.send(socket, Request::stop, id, 0, {});
  };
  for (;;) {
    std::array<pollfd, 4> fds = {{{socket, POLLIN, 0},
                                  {handles.out.read.get(), POLLIN, 0},
                                  {handles.err.read.get(), POLLIN, 0},
                                  {handles.report.read.get(), POLLIN, 0}}};
    poll(fds.data(), fds.size(), kPollMs);
    drain_all();
    if (fds[0].revents) {
      const auto reply = cell.receive(socket);
      if (reply && reply->kind == Reply::failed && reply->id == id) failed = reply->status;
      if (reply && reply->kind == Reply::ended && (reply->id == id || reply->id == 0)) {
        drain_all();
        if (over && outcome.ended == Ended::exited) outcome.ended = Ended::output;
        whole = reply->id == id;
        outcome = read_status(cell, job, failed ? *failed : reply->status, namespaces, std::move(outcome));
        if (reply->status.took) {
          outcome.taken = read_all(handles.taken.get());
          outcome.took = true;
        }
        return outcome;
      }
    }
    if (stopped_at >= 0) {
      if (elapsed() - stopped_at < kStopS) continue;
      outcome.wall_s = elapsed();
      return outcome;  // the cell goes, and what would not stop goes with it
    }
    if (over)
      stop(Ended::output);
    else if (cancelled.load(std::memory_order_relaxed))
      stop(Ended::cancelled);
    else if (job.limits.wall_s > 0 && elapsed() > kBackstop * job.limits.wall_s + kStopS)
      throw InfraError(fmt::format(
          "jail: the machine is too busy: {:.0f} s and the program still waits for a core", elapsed()));
  }
}

}  // namespace

const char* to_string(Ended ended) {
  constexpr std::array<const char*, 8> names = {"exited", "signalled", "wall time", "cpu time",
                                                "memory", "processes", "output",    "cancelled"};
  return names.at(static_cast<size_t>(ended));
}

// Idle cells. As many come to be as jobs run at once; a cell is made when none is idle.
class Jail::Cells {
 public:
  Cells(const Setup& setup, Isolation isolation) {
    plan_.namespaces = isolation == Isolation::namespaces;
    plan_.shown = show_toolchain(setup.read_only);
    plan_.filter = make_filter(!plan_.namespaces);
    if (setup.cgroups && home_.available()) plan_.cgroups = &home_;
    if (!setup.cgroups) cgroups_ = "not wanted";
    if (plan_.namespaces) plan_.warm = setup.warm;
    plan_.warm_environment = environment(true, "");
    plan_.warm_environment.push_back(fmt::format("LD_PRELOAD=/proc/self/fd/{}", kWarmFd));
  }

  // Null when a new one has to be made.
  std::unique_ptr<Cell> take(const std::vector<std::string>& show) {
    const std::lock_guard lock(mutex_);
    // the one used last: it is in the caches
    auto it =
        std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto& cell) { return cell->shown() == show; });
    if (it == idle_.rend()) it = idle_.rbegin();
    if (it == idle_.rend()) return nullptr;
    std::unique_ptr<Cell> cell = std::move(*it);
    idle_.erase(std::next(it).base());
    return cell;
  }
  std::unique_ptr<Cell> make() const { return std::make_unique<Cell>(plan_); }
  void give_back(std::unique_ptr<Cell> cell) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(cell));
  }
  // Paths of a job that the plan does not show already.
  std::vector<std::string> besides(const std::vector<std::string>& paths) const {
    std::vector<std::string> out;
    for (const std::string& path : paths)
      if (std::none_of(plan_.shown.mounts.begin(), plan_.shown.mounts.end(), [&](const Shown::Mount& m) {
            return path == m.source || path.starts_with(m.source + "/");
          }))
        out.push_back(path);
    return out;
  }
  const CellPlan& plan() const { return plan_; }
  const std::string& cgroups() const { return cgroups_; }

 private:
  static constexpr int kWarmFd = 104;  // Fd::kWarmFile of init.h
  const CgroupHome home_;
  CellPlan plan_;
  std::string cgroups_ = home_.found();
  std::mutex mutex_;
  std::vector<std::unique_ptr<Cell>> idle_;
};

Jail::Jail(Setup setup) : setup_(std::move(setup)) {
  // without it a compiler would fail, and every program with it
  for (const std::string& path : setup_.read_only)
    if (!path.starts_with('/') || access(path.c_str(), F_OK) != 0)
      throw InfraError(fmt::format("read_only = \"{}\" is no full path of something on this host", path));
  if (setup_.isolation == Want::process) {
    refusal_ = "not wanted";
  } else {
    Job trivial;
    trivial.argv = {"/bin/true"};
    const std::atomic<bool> never = false;
    try {
      cells_ = std::make_unique<Cells>(setup_, Isolation::namespaces);
      const Outcome outcome = run(trivial, never);
      if (outcome.ended == Ended::exited && outcome.exit_code == 0) return;
      refusal_ = "/bin/true does not run there";
    } catch (const InfraError& e) {
      refusal_ = e.what();
    }
    if (setup_.isolation == Want::namespaces) throw InfraError(refusal_);
  }
  isolation_ = Isolation::process;
  cells_ = std::make_unique<Cells>(setup_, isolation_);
}
Jail::~Jail() = default;

const std::string& Jail::cgroups() const {
  return cells_->cgroups();
}
bool Jail::has_cgroups() const {
  return cells_->plan().cgroups != nullptr;
}

Outcome Jail::run(const Job& job, const std::atomic<bool>& cancelled) const {
  const bool namespaces = isolation_ == Isolation::namespaces;
  const WorkFolder folder(!namespaces);
  const std::vector<std::string> show = cells_->besides(job.show);
  Handles handles;
  handles.data = sealed_file("job", job_bytes(job, namespaces, folder.path, show));
  if (job.stdin_fd < 0) {
    handles.input = job.stdin_data.empty() ? OwnFd(open("/dev/null", O_RDONLY | O_CLOEXEC))
                                           : sealed_file("stdin", job.stdin_data);
    if (!handles.input.open()) fail_here("/dev/null");
  }
  if (job.stdout_fd < 0) handles.out = make_pipe();
  handles.err = make_pipe();
  // /dev/stdout opens them anew, and the program is another user than we are
  for (const Pipe* pipe : {&handles.out, &handles.err})
    if (pipe->write.open()) fchmod(pipe->write.get(), 0222);
  if (job.report_pipe) handles.report = make_pipe();
  if (!job.take.empty() && !(handles.taken = OwnFd(memfd_create("taken", MFD_CLOEXEC))).open())
    fail_here("no memory file");
  handles.add(Request::data, handles.data.get());
  handles.add(Request::in, job.stdin_fd >= 0 ? job.stdin_fd : handles.input.get());
  handles.add(Request::out, job.stdout_fd >= 0 ? job.stdout_fd : handles.out.write.get());
  handles.add(Request::err, handles.err.write.get());
  handles.add(Request::report, job.channel >= 0 ? job.channel : handles.report.write.get());
  handles.add(Request::taken, handles.taken.get());

  struct Use {  // however this ends
    Cells& cells;
    std::unique_ptr<Cell> cell;
    bool whole = false;
    ~Use() {
      if (whole) cells.give_back(std::move(cell));
    }
  };
  int64_t files = 0;
  for (const File& file : job.files) files += static_cast<int64_t>(file.content.size());
  // An idle cell may have died since its last job, of the machine's memory shortage, say: one more is tried, until a cell
  // has the job.
  for (int attempt = 0;; ++attempt) {
    Use use{*cells_, attempt > 0 ? nullptr : cells_->take(namespaces ? show : std::vector<std::string>{})};
    if (!use.cell) use.cell = cells_->make();
    uint64_t id = 0;
    try {
      if (namespaces && use.cell->shown() != show) use.cell->show(show);
      if (namespaces && job.warm) use.cell->prepare_warm();
      // what init and the kernel need for themselves, and the job's own files, are not the program's
      use.cell->limit(job.limits.memory_bytes + files + (job.warm ? 64LL << 20 : 16LL << 20),
                      job.limits.processes + 8);
      id = use.cell->next_id();
      use.cell->send(use.cell->socket(job.warm && namespaces), Request::job, id, handles.has, handles.fds);
    } catch (const InfraError&) {
      if (attempt > 0 || !show.empty()) throw;
      continue;
    }
    return serve(*use.cell, job, id, namespaces, handles, cancelled, use.whole);
  }
}

}  // namespace cohort::sandbox
