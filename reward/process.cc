#include "reward/process.h"

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "reward/program.h"
#include "reward/record.h"
#include "transport/base/nesting.h"

namespace cohort {
namespace {

using Clock = Program::Clock;

// How many and how long is not what decides.
std::string deciding(ProcessOptions options) {
  options.instances = ProcessOptions().instances;
  options.timeout_s = ProcessOptions().timeout_s;
  return write_options(options);
}

class ProcessGrader : public RecordGrader {
 public:
  explicit ProcessGrader(const ProcessOptions& options)
      : RecordGrader("process", 1, deciding(options)), options_(options) {
    if (options.jail) jail_ = make_jail(options);
    for (int i = 0; i < options.instances; ++i) free_.push_back(make_program());
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
      // one that ended while nobody asked is no fault of this completion's grading
      if (program->started() && !program->alive()) program->stop();
      if (!program->started()) program->start();
      const uint64_t id = next_id_.fetch_add(1);
      const nlohmann::json question = {{"id", id},
                                       {"record", record},
                                       {"prompt", input.prompt},
                                       {"completion", input.completion},
                                       {"finish_reason", input.finish_reason},
                                       {"completion_tokens", input.completion_tokens}};
      nlohmann::json answer;
      const bool answered =
          program->ask(dump_line(question) + "\n", until, cancelled, [&](const std::string& text) {
            if (trim(text).empty()) return false;
            if (nested_too_deeply(text)) throw InfraError("process: an answer nests too deeply");
            answer = nlohmann::json::parse(text, nullptr, false);
            if (!answer.is_object() || !answer.contains("id"))
              throw InfraError("process: answered what is no JSON object with an id: " + text.substr(0, 100));
            return answer["id"] == id;
          });
      if (!answered) {
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
  static std::shared_ptr<const sandbox::Jail> make_jail(const ProcessOptions& options) {
    sandbox::Setup setup;
    setup.read_only = options.read_only;
    try {
      return std::make_shared<const sandbox::Jail>(setup);
    } catch (const InfraError& e) {
      fail("process reward: jail = true: {}", e.what());
    }
  }
  std::unique_ptr<Program> make_program() const {
    if (!jail_) return plain_program(options_.command);
    sandbox::Limits limits;
    limits.wall_s = limits.cpu_s = 0;  // it lives as long as the worker; timeout_s bounds each answer
    limits.memory_bytes = int64_t{options_.memory_mb} << 20;
    limits.processes = options_.processes;
    limits.output_bytes = 64 << 10;  // of standard error, kept for the reason
    return jailed_program(options_.command, jail_, limits);
  }

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
      if (kind == VerdictKind::cancelled || kind == VerdictKind::budget_exhausted)
        throw InfraError("process: \"verdict\" may not be " + std::string(to_string(kind)));
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
  std::shared_ptr<const sandbox::Jail> jail_;
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
