#include "actors/guard.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "transport/base/error.h"

namespace cohort {
namespace {

constexpr int kParentDied = SIGUSR1;

// From here on this process gets `signal` when its parent ends. Throws when that has already happened: the
// parent may have died before the call, and then nobody would ever send the signal.
void end_with_parent(int signal, pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, signal) != 0) fail("guard: prctl: {}", std::strerror(errno));
  if (getppid() != parent) fail("guard: the parent process is gone");
}

[[noreturn]] void become(char** command) {
  execv(command[0], command);
  fail("{}: cannot be started: {}", command[0], std::strerror(errno));
}

// Ends with the loop, because SIGKILL ends each round's children and only those left over make another round.
void kill_descendants() {
  for (auto left = adopted_children({}); !left.empty(); left = adopted_children({})) {
    for (pid_t pid : left) kill(pid, SIGKILL);
    if (waitpid(-1, nullptr, 0) < 0) return;
  }
}

[[noreturn]] void end_as(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    prctl(PR_SET_DUMPABLE, 0);  // one core file is enough
    ::signal(signal, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    kill(getpid(), signal);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
  }
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace

std::vector<std::string> guard_command(const std::string& guard, pid_t parent,
                                       const std::vector<std::string>& command) {
  std::vector<std::string> out = {guard, "guard", std::to_string(parent)};
  out.insert(out.end(), command.begin(), command.end());
  return out;
}

std::vector<pid_t> adopted_children(const std::vector<pid_t>& own) {
  std::vector<pid_t> out;
  std::error_code error;
  // /proc/PID/stat: the fourth field is the parent; the second is the program's name in brackets and may hold
  // anything.
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
    if (pid <= 0 || std::find(own.begin(), own.end(), pid) != own.end()) continue;
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    std::getline(file, stat);
    const size_t bracket = stat.rfind(')');
    char state = 0;
    long parent = 0;
    if (bracket != std::string::npos && sscanf(stat.c_str() + bracket + 1, " %c %ld", &state, &parent) == 2 &&
        parent == getpid())
      out.push_back(pid);
  }
  return out;
}

int run_guard(int argc, char** argv) {
  if (argc < 3) fail_usage("usage: cohort guard PARENT PROGRAM [ARGUMENTS]");
  const pid_t parent = static_cast<pid_t>(std::strtol(argv[1], nullptr, 10));
  if (parent == 0) {
    end_with_parent(SIGKILL, getppid());
    become(argv + 2);
  }

  sigset_t waited, before;
  sigemptyset(&waited);
  for (int s : {kParentDied, kOrderedEnd, SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&waited, s);
  sigprocmask(SIG_BLOCK, &waited, &before);
  end_with_parent(kParentDied, parent);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t guard = getpid(), program = fork();
  if (program < 0) fail("guard: fork: {}", std::strerror(errno));
  if (program == 0) {
    end_with_parent(SIGKILL, guard);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    become(argv + 2);
  }
  // Waits for the program, its parent's death, or a signal to pass on. The program's end closes it in every
  // case.
  while (true) {
    const int signal = sigwaitinfo(&waited, nullptr);
    if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == kOrderedEnd)
      kill(program, signal);
    if (signal == kParentDied) {
      kill_descendants();
      return Error::kFailed;
    }
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (pid != program) continue;  // an orphan that came to us
      kill_descendants();
      end_as(status);
    }
  }
}

}  // namespace cohort
