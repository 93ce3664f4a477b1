#include "reward/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "reward/record.h"

extern char** environ;

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kLongestAnswer = 1 << 20;

// One running program. Standard input and output are one socket each way, so that writing to a program that
// died is an error to handle and not a signal. It leads a process group, which is killed with it.
class Program {
 public:
  ~Program() { stop(); }
  bool running() const { return pid_ > 0; }

  void start(const std::vector<std::string>& command) {
    int to[2], from[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to) != 0) throw InfraError("process: no socket");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, from) != 0) {
      close(to[0]), close(to[1]);
      throw InfraError("process: no socket");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[1], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
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
    for (const std::string& a : command) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    const int error = posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(to[1]), close(from[1]);
    in_ = to[0], out_ = from[0];
    if (error != 0) {
      pid_ = -1;
      stop();
      throw InfraError(fmt::format("process: {} cannot be started: {}", command[0], strerror(error)));
    }
    fcntl(in_, F_SETFL, O_NONBLOCK);
    fcntl(out_, F_SETFL, O_NONBLOCK);
    buffer_.clear();
  }

  void stop() {
    if (in_ >= 0) close(in_);
    if (out_ >= 0) close(out_);
    in_ = out_ = -1;
    if (pid_ <= 0) return;
    kill(-pid_, SIGKILL);  // before its leader is reaped, while the number is its own
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }

  // Sends `line` and returns the first line whose object has this id. Throws InfraError; "" when cancelled.
  nlohmann::json ask(const std::string& line, uint64_t id, Clock::time_point until,
                     const std::atomic<bool>& cancelled) {
    size_t sent = 0;
    for (;;) {
      for (size_t end; (end = buffer_.find('\n')) != std::string::npos;) {
        const std::string text = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        if (trim(text).empty()) continue;
        nlohmann::json answer = nlohmann::json::parse(text, nullptr, false);
        if (!answer.is_object() || !answer.contains("id"))
          throw InfraError("process: answered what is no JSON object with an id: " + text.substr(0, 100));
        if (answer["id"] == id) return answer;
      }
      if (buffer_.size() > kLongestAnswer) throw InfraError("process: an answer is too long");
      if (cancelled.load(std::memory_order_relaxed)) return {};
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
      if (left <= 0) throw InfraError("process: no answer in time");
      pollfd fds[2] = {{out_, POLLIN, 0}, {sent < line.size() ? in_ : -1, POLLOUT, 0}};
      poll(fds, 2, static_cast<int>(std::min<long>(left + 1, 50)));
      if (fds[1].revents != 0) {
        const ssize_t n = send(in_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
        if (n > 0) sent += static_cast<size_t>(n);
        if (n < 0 && errno != EAGAIN && errno != EINTR) throw InfraError("process: the program ended");
      }
      if (fds[0].revents != 0) {
        char bytes[1 << 14];
        const ssize_t n = read(out_, bytes, sizeof bytes);
        if (n > 0) buffer_.append(bytes, static_cast<size_t>(n));
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
          throw InfraError("process: the program ended");
      }
    }
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  std::string buffer_;
};

class ProcessGrader : public RecordGrader {
 public:
  explicit ProcessGrader(const ProcessOptions& options)
      : RecordGrader("process", 1, write_options(options)), options_(options) {
    for (int i = 0; i < options.instances; ++i) free_.push_back(std::make_unique<Program>());
  }

 protected:
  bool reads_all_input() const override { return true; }

  Verdict decide(const nlohmann::json& record, const GradeInput& input,
                 const std::atomic<bool>& cancelled) const override {
    std::unique_ptr<Program> program = take(cancelled);
    if (!program) return make_verdict(VerdictKind::cancelled, 0, "cancelled");
    struct Return {
      const ProcessGrader& grader;
      std::unique_ptr<Program>& program;
      ~Return() { grader.give(std::move(program)); }
    } back{*this, program};
    try {
      const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                            std::chrono::duration<double>(options_.timeout_s));
      if (!program->running()) program->start(options_.command);
      const uint64_t id = next_id_.fetch_add(1);
      const nlohmann::json question = {{"id", id},
                                       {"record", record},
                                       {"prompt", input.prompt},
                                       {"completion", input.completion},
                                       {"finish_reason", input.finish_reason},
                                       {"completion_tokens", input.completion_tokens}};
      const nlohmann::json answer = program->ask(dump_line(question) + "\n", id, until, cancelled);
      if (answer.is_null()) {
        program->stop();  // it is busy with what nobody wants any more
        return make_verdict(VerdictKind::cancelled, 0, "cancelled");
      }
      return read_answer(answer);
    } catch (const InfraError&) {
      program->stop();
      throw;
    }
  }

 private:
  static Verdict read_answer(const nlohmann::json& answer) {
    const auto score = answer.find("score");
    if (score == answer.end() || !score->is_number() || !std::isfinite(score->get<double>()))
      throw InfraError("process: the answer has no \"score\" that is a number");
    VerdictKind kind = score->get<double>() > 0 ? VerdictKind::passed : VerdictKind::failed;
    if (const auto name = answer.find("verdict"); name != answer.end()) {
      if (!name->is_string()) throw InfraError("process: \"verdict\" must be a text");
      try {
        kind = verdict_kind_from(name->get<std::string>());
      } catch (const Error& e) {
        throw InfraError(std::string("process: ") + e.what());
      }
    }
    const auto reason = answer.find("reason"), evidence = answer.find("evidence");
    return make_verdict(
        kind, score->get<double>(),
        reason != answer.end() && reason->is_string() ? reason->get<std::string>().substr(0, 500) : "",
        evidence != answer.end() && evidence->is_object() ? *evidence : nlohmann::json::object());
  }

  std::unique_ptr<Program> take(const std::atomic<bool>& cancelled) const {
    std::unique_lock lock(mutex_);
    while (free_.empty()) {
      if (cancelled.load(std::memory_order_relaxed)) return nullptr;
      returned_.wait_for(lock, std::chrono::milliseconds(50));
    }
    std::unique_ptr<Program> program = std::move(free_.back());  // the one used last is the warmest
    free_.pop_back();
    return program;
  }
  void give(std::unique_ptr<Program> program) const {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(program));
    returned_.notify_one();
  }

  const ProcessOptions options_;
  mutable std::atomic<uint64_t> next_id_ = 1;
  mutable std::mutex mutex_;
  mutable std::condition_variable returned_;
  mutable std::vector<std::unique_ptr<Program>> free_;
};

}  // namespace

std::unique_ptr<Grader> make_process_grader(const TomlTable& table) {
  const auto options = read_grader_options<ProcessOptions>(table);
  if (options.command.empty()) fail_usage("{} is missing: which program is asked?", table.where("command"));
  return std::make_unique<ProcessGrader>(options);
}

}  // namespace cohort
