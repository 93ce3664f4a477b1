#include "reward/program.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include "reward/record.h"

extern char** environ;

namespace cohort {
namespace {

constexpr size_t kLongestAnswer = 1 << 20;

class PlainProgram : public Program {
 public:
  explicit PlainProgram(std::vector<std::string> command) : command_(std::move(command)) {}
  ~PlainProgram() override { stop(); }

 protected:
  void launch(int in, int out) override {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none, standard;
    sigemptyset(&none);
    sigemptyset(&standard);
    for (int s : {SIGPIPE, SIGINT, SIGTERM, SIGCHLD}) sigaddset(&standard, s);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &standard);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::vector<char*> argv;
    for (const std::string& a : command_) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    const int error = posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(in), close(out);
    if (error != 0) {
      pid_ = -1;
      throw InfraError(fmt::format("process: {} cannot be started: {}", command_[0], strerror(error)));
    }
  }

  void end() override {
    if (pid_ <= 0) return;
    kill(-pid_, SIGKILL);  // before its leader is reaped, while the number is its own
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }

  std::string how() override {
    siginfo_t info = {};
    for (int tries = 0; tries < 20 && info.si_pid == 0; ++tries) {  // its sockets close before it is a zombie
      if (tries > 0) usleep(5000);
      if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0) return "";
    }
    if (info.si_pid == 0) return "";
    return info.si_code == CLD_EXITED ? fmt::format("exit status {}", info.si_status)
                                      : fmt::format("signal {}", info.si_status);
  }

 private:
  const std::vector<std::string> command_;
  pid_t pid_ = -1;
};

// run() lasts for the program's life, on a thread of ours; what it says at the end is kept for how().
class JailedProgram : public Program {
 public:
  JailedProgram(const std::vector<std::string>& command, std::shared_ptr<const sandbox::Jail> jail,
                sandbox::Limits limits)
      : jail_(std::move(jail)), limits_(limits) {
    for (const std::string& word : command) {
      std::string path = command_.empty() ? found(word) : word;
      std::error_code ec;
      if (std::filesystem::is_regular_file(path, ec)) {
        const std::filesystem::path real = std::filesystem::canonical(path);
        path = real.string();
        if (!path.starts_with("/usr/")) path = (command_.empty() ? "./" : "") + real.filename().string();
        if (!path.starts_with("/usr/")) copied_.emplace_back(real.filename().string(), real.string());
      }
      command_.push_back(path);
    }
  }
  ~JailedProgram() override { stop(); }

 protected:
  void launch(int in, int out) override {
    stop_ = false;
    ended_ = false;
    how_.clear();
    thread_ = std::thread([this, in, out] {
      pthread_setname_np(pthread_self(), "jailed");
      std::string how;
      try {
        sandbox::Job job;
        job.argv = command_;
        std::vector<std::string> contents;
        for (const auto& [name, path] : copied_) contents.push_back(content(path));
        for (size_t i = 0; i < contents.size(); ++i)
          job.files.push_back({copied_[i].first, contents[i], command_[0] == "./" + copied_[i].first});
        job.stdin_fd = in;
        job.stdout_fd = out;
        job.limits = limits_;
        how = describe(jail_->run(job, stop_));
      } catch (const std::exception& e) {
        how = e.what();
      }
      {
        std::lock_guard lock(mutex_);
        how_ = how;
        ended_ = true;
      }
      changed_.notify_all();
      close(in), close(out);  // only now: the program's end is what our side notices
    });
  }

  void end() override {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  std::string how() override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(1), [this] { return ended_; });
    return how_;
  }

 private:
  static std::string describe(const sandbox::Outcome& o) {
    std::string text = o.ended == sandbox::Ended::exited      ? fmt::format("exit status {}", o.exit_code)
                       : o.ended == sandbox::Ended::signalled ? fmt::format("signal {}", o.signal)
                                                              : to_string(o.ended);
    const std::string_view said = trim(o.err);  // the last line of a traceback says most
    if (!said.empty()) text += fmt::format(" ({})", said.substr(said.rfind('\n') + 1).substr(0, 200));
    return text;
  }

  // A name without a folder is the system's: what else is in PATH is not in the jail.
  static std::string found(const std::string& name) {
    if (name.find('/') != std::string::npos) return name;
    for (const char* folder : {"/usr/local/bin/", "/usr/bin/"})
      if (access((folder + name).c_str(), X_OK) == 0) return folder + name;
    return name;
  }

  static std::string content(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw InfraError(fmt::format("process: {} cannot be read", path));
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::vector<std::string> command_;
  std::vector<std::pair<std::string, std::string>> copied_;  // name in its folder, host path
  const std::shared_ptr<const sandbox::Jail> jail_;
  const sandbox::Limits limits_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::string how_;
};

}  // namespace

std::unique_ptr<Program> jailed_program(const std::vector<std::string>& command,
                                        std::shared_ptr<const sandbox::Jail> jail,
                                        const sandbox::Limits& limits) {
  return std::make_unique<JailedProgram>(command, std::move(jail), limits);
}

std::unique_ptr<Program> plain_program(std::vector<std::string> command) {
  return std::make_unique<PlainProgram>(std::move(command));
}

void Program::start() {
  int to[2], from[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to) != 0) throw InfraError("process: no socket");
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, from) != 0) {
    close(to[0]), close(to[1]);
    throw InfraError("process: no socket");
  }
  in_ = to[0], out_ = from[0];
  buffer_.clear();
  try {
    launch(to[1], from[1]);
  } catch (...) {
    close(in_), close(out_);
    in_ = out_ = -1;
    throw;
  }
  fcntl(in_, F_SETFL, O_NONBLOCK);
  fcntl(out_, F_SETFL, O_NONBLOCK);
}

void Program::stop() {
  if (in_ >= 0) close(in_);
  if (out_ >= 0) close(out_);
  in_ = out_ = -1;
  end();
}

bool Program::alive() const {
  if (!started()) return false;
  pollfd fd = {out_, POLLIN, 0};
  return poll(&fd, 1, 0) <= 0 || (fd.revents & (POLLHUP | POLLERR)) == 0;
}

bool Program::next_line(std::string& out) {
  const size_t end = buffer_.find('\n');
  if (end == std::string::npos) {
    if (buffer_.size() > kLongestAnswer) throw InfraError("process: an answer is too long");
    return false;
  }
  out = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  return true;
}

void Program::fail_ended() {
  const std::string why = how();
  throw InfraError("process: the program ended" + (why.empty() ? "" : ": " + why));
}

void Program::exchange(const std::string& line, size_t& sent, Clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
  if (left <= 0) throw InfraError("process: no answer in time");
  pollfd fds[2] = {{out_, POLLIN, 0}, {sent < line.size() ? in_ : -1, POLLOUT, 0}};
  poll(fds, 2, static_cast<int>(std::min<long>(left + 1, 50)));
  if (fds[1].revents != 0) {
    const ssize_t n = send(in_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n > 0) sent += static_cast<size_t>(n);
    if (n < 0 && errno != EAGAIN && errno != EINTR) fail_ended();
  }
  if (fds[0].revents != 0) {
    char bytes[1 << 14];
    const ssize_t n = read(out_, bytes, sizeof bytes);
    if (n > 0) buffer_.append(bytes, static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) fail_ended();
  }
}

}  // namespace cohort
