#include "actors/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <regex>

#include "actors/guard.h"
#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;

sigset_t supervised_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGINT, SIGTERM, SIGHUP, kOrderedEnd, SIGCHLD}) sigaddset(&set, s);
  return set;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// The last "PROGRAM: MESSAGE" line that run_main() printed, past `begin` of the log: mpirun adds paragraphs
// of its own after it, so the last line is not it. A line without its end was cut off by a full disk and may
// lack what matters.
std::string error_line(const std::string& path, off_t begin) {
  static const std::regex pattern("^cohort(-[a-z]+)?( [a-z]+)?: (.+)$");
  std::ifstream log(path, std::ios::binary);
  log.seekg(0, std::ios::end);
  constexpr off_t kTail = 1 << 16;
  log.seekg(std::max(begin, static_cast<off_t>(log.tellg()) - kTail));
  std::string line, found;
  std::smatch match;
  while (std::getline(log, line) && !log.eof())
    if (line.size() < 4096 && std::regex_match(line, match, pattern)) found = match[3];
  return found;
}

// No room for a page more: then a child's own line of why it ended may not have found room in its log either.
bool is_full(const std::string& dir) {
  struct statvfs info {};
  return statvfs(dir.c_str(), &info) == 0 && info.f_blocks > 0 && info.f_bavail * info.f_frsize < 4096;
}

}  // namespace

std::string ChildEnd::text() const {
  std::string line = signal ? fmt::format("{} was ended by signal {} ({})", name, signal, strsignal(signal))
                            : fmt::format("{} exited with {}", name, exit_code);
  if (exit_code > 128 &&
      exit_code < 128 + NSIG)  // how mpirun and shells tell of their child's end by a signal
    line += fmt::format(" (signal {}, {})", exit_code - 128, strsignal(exit_code - 128));
  return error.empty() ? line : line + ": " + error;
}

std::vector<std::string> child_environment(const std::map<std::string, std::string>& added) {
  const bool inside_mpirun = getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK");
  std::vector<std::string> out;
  for (char** e = environ; *e; ++e) {
    const std::string entry = *e, name = entry.substr(0, entry.find('='));
    bool dropped = added.contains(name);
    if (inside_mpirun)
      for (const char* prefix : {"OMPI_", "PMIX_", "PMI_", "ORTE_", "PRTE_"})
        dropped |= name.starts_with(prefix);
    if (!dropped) out.push_back(entry);
  }
  for (const auto& [name, value] : added) out.push_back(name + "=" + value);
  return out;
}

Supervisor::Supervisor(SupervisorOptions options) : options_(std::move(options)) {
  const sigset_t set = supervised_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
}

Supervisor::~Supervisor() {
  kill_all();
}

std::string Supervisor::log_path(const std::string& name) const {
  return options_.log_dir + "/" + name + ".log";
}

const Supervisor::Child* Supervisor::find(const std::string& name) const {
  for (const Child& child : children_)
    if (child.spec.name == name) return &child;
  return nullptr;
}
Supervisor::Child* Supervisor::find(const std::string& name) {
  return const_cast<Child*>(static_cast<const Supervisor*>(this)->find(name));
}

void Supervisor::start(const ChildSpec& spec) {
  Child* child = find(spec.name);
  if (!child) {
    children_.emplace_back();
    child = &children_.back();
    child->usage.name = spec.name;
    child->backoff_s = options_.backoff_s;
  }
  child->spec = spec;
  spawn(*child);
}

void Supervisor::replace(const ChildSpec& spec) {
  Child* child = find(spec.name);
  if (!child || !child->pid) return start(spec);
  kill(-child->pid, SIGKILL);
  child->spec = spec;
  child->spec.restart =
      true;  // reap() takes the end as any other, and the new command starts after the back-off
}

void Supervisor::spawn(Child& child) {
  const std::string log = log_path(child.spec.name);
  struct stat info {};
  child.log_begin = stat(log.c_str(), &info) == 0 ? info.st_size : 0;
  const auto command = guard_command(options_.guard, getpid(), child.spec.command);
  auto added = child.spec.environment;
  added.insert(options_.environment.begin(), options_.environment.end());  // the child's own come first
  const auto environment = child_environment(added);
  const auto argv = pointers(command), envp = pointers(environment);

  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (out < 0) fail("{}: cannot be written: {}", log, std::strerror(errno));
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, out, 1);
  posix_spawn_file_actions_adddup2(&files, out, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  const int error = posix_spawn(&child.pid, argv[0], &files, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  close(out);
  if (error) {
    child.pid = 0;
    fail("{}: cannot be started: {}", argv[0], std::strerror(error));
  }
  child.started = Clock::now();
  child.waiting = false;
  ++child.usage.starts;
}

ChildEnd Supervisor::ended(Child& child, int status, double cpu_s, long rss_kb) {
  ChildEnd end;
  end.name = child.spec.name;
  end.lived_s = seconds_since(child.started);
  if (WIFSIGNALED(status))
    end.signal = WTERMSIG(status);
  else
    end.exit_code = WEXITSTATUS(status);
  if (end.exit_code > 0) end.error = error_line(log_path(end.name), child.log_begin);
  const bool full = end.exit_code != 0 && is_full(options_.log_dir);
  if (full && end.error.empty())
    end.error = options_.log_dir +
                ": the disk is full; free some space and start again, nothing acknowledged is lost";
  child.pid = 0;
  child.usage.cpu_s += cpu_s;
  child.usage.wall_s += end.lived_s;
  child.usage.max_rss_kb = std::max(child.usage.max_rss_kb, rss_kb);
  if (!restarts_ || !child.spec.restart || end.exit_code == 0) return end;

  if (end.lived_s >= options_.healthy_s) child.quick_failures = 0, child.backoff_s = options_.backoff_s;
  ++child.quick_failures;
  // An Error is for a person to act on. In a first short life it says that the input is bad; later it may
  // have come from a neighbour's death, so it gets its tries.
  const bool stated = end.exit_code == Error::kFailed && !end.error.empty();
  end.hopeless = full || end.exit_code == Error::kBadUsage || end.exit_code == Error::kFinal ||
                 (stated && child.usage.starts == 1 && end.lived_s < options_.healthy_s) ||
                 child.quick_failures >= options_.max_quick_failures;
  if (end.hopeless) return end;
  end.will_restart = true;
  child.waiting = true;
  child.due = Clock::now() +
              std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(child.backoff_s));
  child.backoff_s = std::min(child.backoff_s * 2, options_.max_backoff_s);
  return end;
}

bool Supervisor::kill_adopted() {
  std::vector<pid_t> own;
  for (const Child& child : children_)
    if (child.pid) own.push_back(child.pid);
  const auto orphans = adopted_children(own);
  for (pid_t pid : orphans) kill(pid, SIGKILL);
  return !orphans.empty();
}

void Supervisor::reap(std::vector<ChildEnd>& ends) {
  int status = 0;
  rusage used{};
  for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &used)) > 0;) {
    // Its guard may have been killed, then what was below it comes to us; and so again with the end of each of these.
    kill_adopted();
    for (Child& child : children_) {
      if (child.pid != pid) continue;
      ends.push_back(ended(child, status, cpu_seconds(used), used.ru_maxrss));
      break;
    }
  }
}

std::vector<ChildEnd> Supervisor::wait(std::chrono::milliseconds timeout) {
  const auto until = Clock::now() + timeout;
  std::vector<ChildEnd> ends;
  const sigset_t set = supervised_signals();
  while (true) {
    reap(ends);
    auto wake = until;
    for (Child& child : children_) {
      if (!child.waiting) continue;
      if (child.due <= Clock::now())
        spawn(child);
      else
        wake = std::min(wake, child.due);
    }
    const auto now = Clock::now();
    if (!ends.empty() || now >= until) return ends;
    const auto left =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::max(wake - now, Clock::duration::zero()));
    const timespec time = {static_cast<time_t>(left.count() / 1000000000),
                           static_cast<long>(left.count() % 1000000000)};
    const int signal = sigtimedwait(&set, nullptr, &time);
    if (signal > 0 && signal != SIGCHLD) {
      ++interrupts_;
      reap(ends);
      return ends;
    }
  }
}

void Supervisor::no_more_restarts() {
  restarts_ = false;
  for (Child& child : children_) child.waiting = false;
}

void Supervisor::send(const std::string& name, int signal) {
  if (const pid_t to = pid(name)) kill(to, signal);
}
void Supervisor::send_all(int signal) {
  for (const Child& child : children_)
    if (child.pid) kill(child.pid, signal);
}

pid_t Supervisor::pid(const std::string& name) const {
  const Child* child = find(name);
  return child ? child->pid : 0;
}
bool Supervisor::running(const std::string& name) const {
  return pid(name) != 0;
}
size_t Supervisor::running_count() const {
  return static_cast<size_t>(
      std::count_if(children_.begin(), children_.end(), [](const Child& c) { return c.pid != 0; }));
}

size_t Supervisor::active_count() const {
  return static_cast<size_t>(std::count_if(children_.begin(), children_.end(),
                                           [](const Child& c) { return c.pid != 0 || c.waiting; }));
}

void Supervisor::kill_all() {
  no_more_restarts();
  for (const Child& child : children_) {
    if (!child.pid) continue;
    kill(-child.pid, SIGKILL);
    kill(child.pid, SIGKILL);
  }
  std::vector<ChildEnd> ends;
  // Ends because each round kills all there are, and no process outlives SIGKILL for longer than a disk's
  // answer.
  for (int round = 0; round < 500; ++round) {
    reap(ends);
    if (!kill_adopted() && running_count() == 0) return;
    usleep(10000);
  }
  log::warn("some processes do not end: see {}", options_.log_dir);
}

std::vector<ChildUsage> Supervisor::usage() const {
  std::vector<ChildUsage> out;
  for (const Child& child : children_) out.push_back(child.usage);
  return out;
}

}  // namespace cohort
