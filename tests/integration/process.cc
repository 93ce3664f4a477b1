#include "tests/integration/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "actors/supervisor.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

Process::Process(const std::string& folder, const std::vector<std::string>& arguments,
                 const std::string& program)
    : folder_(folder) {
  static std::atomic<int> count = 0;
  mark_ = std::to_string(getpid()) + "-" + std::to_string(++count);
  std::vector<std::string> command = {program};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const auto environment = child_environment({{"COHORT_TEST_PROCESS", mark_}});
  std::vector<char*> argv, envp;
  for (const std::string& s : command) argv.push_back(const_cast<char*>(s.c_str()));
  for (const std::string& s : environment) envp.push_back(const_cast<char*>(s.c_str()));
  argv.push_back(nullptr), envp.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, (folder + "/stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0644);
  posix_spawn_file_actions_addopen(&files, 2, (folder + "/stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0644);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  if (posix_spawn(&pid_, argv[0], &files, &attributes, argv.data(), envp.data()) != 0)
    fail("{}: not started", argv[0]);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
}

Process::~Process() {
  for (pid_t pid : alive()) kill(pid, SIGKILL);
  if (!ended_) waitpid(pid_, nullptr, 0);
}

void Process::signal(int number) const {
  kill(pid_, number);
}
void Process::signal_group(int number) const {
  kill(-pid_, number);
}
std::string Process::output() const {
  return text_of(folder_ + "/stdout");
}

bool Process::until(const std::function<bool()>& condition, double seconds) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

Outcome Process::wait(double seconds) {
  int status = 0;
  if (!until([&] { return waitpid(pid_, &status, WNOHANG) == pid_; }, seconds)) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status, 0);
  }
  ended_ = true;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), output(),
          text_of(folder_ + "/stderr")};
}

std::vector<pid_t> Process::alive() const {
  std::vector<pid_t> out;
  std::error_code error;
  const std::string mark = "COHORT_TEST_PROCESS=" + mark_ + std::string(1, '\0');
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0 && text_of(entry.path() / "environ").find(mark) != std::string::npos) out.push_back(pid);
  }
  return out;
}

std::vector<pid_t> Process::alive(const std::string& program) const {
  std::vector<pid_t> out;
  std::error_code error;
  for (pid_t pid : alive())
    if (std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", error).filename() == program)
      out.push_back(pid);
  return out;
}

bool Process::all_gone(double seconds) const {
  return until([&] { return alive().empty(); }, seconds);
}

Outcome run(const std::string& folder, const std::vector<std::string>& arguments, double seconds) {
  return Process(folder, arguments).wait(seconds);
}

}  // namespace cohort
