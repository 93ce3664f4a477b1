// Data flow: the reader takes lines while fewer than `window` are unfinished → graders, in any order → the
// writer puts them out in the order of the input. A line that cannot be graded ends the command once all
// before it are written.
#include "launch/commands/verify.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "launch/commands/lines.h"
#include "launch/commands/parse.h"
#include "launch/commands/replay.h"
#include "reward/grader.h"
#include "reward/record.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

// The fields a kind reads; the others are the user's and come out again.
const std::set<std::string>& own_fields(const std::string& kind) {
  // of judge, language_consistency and process: the whole record is theirs, and comes out again
  static const std::set<std::string> math = {"gold", "response"},
                                     countdown = {"numbers", "target", "response"}, format = {"response"},
                                     code = {"language",
                                             "source",
                                             "response",
                                             "tests",
                                             "test_code",
                                             "entry_point",
                                             "limits",
                                             "test_list",
                                             "challenge_test_list",
                                             "test_setup_code",
                                             "test_imports",
                                             "prelude",
                                             "driver",
                                             "checker",
                                             "inputs",
                                             "outputs",
                                             "input_output",
                                             "fn_name",
                                             "func_name",
                                             "compare",
                                             "absolute_tolerance",
                                             "relative_tolerance",
                                             "whole_completion"};
  return kind == "math" ? math : kind == "countdown" ? countdown : kind == "code" ? code : format;
}

struct Graders {
  std::unique_ptr<Grader> response;  // reads a model's whole response
  std::unique_ptr<Grader> source;    // code only: the text is the program
};

struct Item {
  LineReader::Record record;
  Json out;
  std::string error;  // not gradable: one line without its place
  bool done = false;
  bool infra = false;
};

void grade(const std::string& kind, const Graders& graders, Item& item) {
  const Json& in = item.record.json;
  const char* field = kind == "code" && in.contains("source") ? "source" : "response";
  if (!in.contains(field) || !in[field].is_string()) {
    item.error = fmt::format("needs a text \"{}\"", kind == "code" ? "source\" or \"response" : "response");
    return;
  }
  Json record = in;
  record.erase(field);
  GradeInput input;
  input.record_json = record.dump(-1, ' ', false, Json::error_handler_t::replace);
  input.completion = in[field].get<std::string>();
  Grader& grader = field == std::string("source") ? *graders.source : *graders.response;
  const std::atomic<bool> never = false;
  const Verdict verdict = grader.grade(input, never);
  item.infra = is_no_reward(verdict.kind);
  if (item.infra && verdict.reason.starts_with("the record")) {  // the line's fault
    item.error = verdict.reason;
    return;
  }
  if (in.contains("id")) item.out["id"] = in["id"];
  item.out["verdict"] = to_string(verdict.kind);
  item.out["score"] = verdict.score;
  item.out["reason"] = verdict.reason;
  item.out["evidence"] = Json::parse(verdict.evidence.empty() ? "{}" : verdict.evidence);
  item.out["hash"] = verdict.hash;
  for (const auto& [key, value] : in.items())
    if (!item.out.contains(key) && !own_fields(kind).contains(key)) item.out[key] = value;
}

class Pipeline {
 public:
  Pipeline(std::string kind, Graders graders, size_t threads)
      : kind_(std::move(kind)), graders_(std::move(graders)) {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    window_ = 4 * threads + 64;
  }
  ~Pipeline() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      next_ = items_.size();  // after an error: what nobody will write is not graded
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Returns the number of infrastructure errors.
  size_t run(LineReader& reader, LineWriter& writer) {
    size_t infra = 0;
    auto write_front = [&](std::unique_lock<std::mutex>& lock) {
      const std::shared_ptr<Item> item = items_.front();
      items_.pop_front();
      --next_;
      lock.unlock();
      if (!item->error.empty()) fail("{}: {}", reader.where(item->record.line), item->error);
      writer.write(item->out);
      infra += item->infra;
      lock.lock();
    };
    for (;;) {
      std::optional<LineReader::Record> record;
      std::string broken;
      try {
        bool idle;
        {
          std::lock_guard lock(mutex_);
          idle = items_.empty();
        }
        if (idle) writer.flush();
        record = reader.next(idle);
      } catch (const Error& e) {
        broken = e.what();  // after the verdicts of the lines before it
      }
      std::unique_lock lock(mutex_);
      if (record) {
        auto item = std::make_shared<Item>();
        item->record = std::move(*record);
        items_.push_back(std::move(item));
        changed_.notify_all();
        while (!items_.empty() && (items_.front()->done || items_.size() >= window_)) {
          changed_.wait(lock, [this] { return items_.front()->done; });
          write_front(lock);
        }
        continue;
      }
      const bool last = reader.at_end() || !broken.empty();
      while (!items_.empty() && (last || items_.front()->done)) {
        changed_.wait(lock, [this] { return items_.front()->done; });
        write_front(lock);
      }
      if (!broken.empty()) throw Error(broken);
      if (last && items_.empty()) return infra;
      if (!items_.empty())  // nothing more to read just now
        changed_.wait_for(lock, std::chrono::milliseconds(20), [this] { return items_.front()->done; });
    }
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ended_ || next_ < items_.size(); });
      if (next_ >= items_.size()) return;
      const std::shared_ptr<Item> item = items_[next_++];
      lock.unlock();
      try {
        grade(kind_, graders_, *item);
      } catch (const std::exception& e) {
        item->error = e.what();
      }
      lock.lock();
      item->done = true;
      changed_.notify_all();
    }
  }

  const std::string kind_;
  const Graders graders_;
  size_t window_ = 64;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Item>> items_;  // unwritten, in input order
  size_t next_ = 0;                          // of items_: the first nobody grades yet
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

// This kind's table of a run file, or the file itself when it has no [[reward]].
TomlTable options_of(const std::string& kind, const std::string& file) {
  if (file.empty()) return TomlTable::parse("", "--set");
  const TomlTable all = TomlTable::read(file);
  const auto rewards = all.get_tables("reward");
  if (!rewards) return all;
  std::vector<TomlTable> found;
  for (const TomlTable& reward : *rewards)
    if (reward.get_string("kind") == kind) found.push_back(reward);
  if (found.empty()) fail_usage("{}: there is no [[reward]] of kind \"{}\"", all.where("reward"), kind);
  if (found.size() > 1)
    fail_usage("{} has {} of kind \"{}\": put the options of the one to use in a file of their own",
               all.where("reward"), found.size(), kind);
  return found[0];
}

}  // namespace

int command_verify(int argc, char** argv) {
  std::string kind, input, output = "-", options_file;
  std::vector<std::string> sets;
  int concurrency = 0;
  if (argc > 1 && std::string(argv[1]) == "replay") {
    std::string name = "cohort verify replay";
    argv[1] = name.data();
    return command_replay(argc - 1, argv + 1);
  }
  CLI::App app(
      "Grades answers: one typed verdict a line, in the order of the input. `verify replay RUN ID` grades a "
      "completion of a run again.");
  app.add_option("kind", kind, "math, code, countdown, format, judge, language_consistency or process")
      ->required()
      ->check(
          CLI::IsMember({"math", "code", "countdown", "format", "judge", "language_consistency", "process"}));
  app.add_option("--input", input,
                 "JSON lines, - for standard input. math: {id, gold, response}; countdown: {id, numbers, "
                 "target, response}; "
                 "format: {id, response}; code: {id, language, source | response, tests | test_code (+ "
                 "entry_point), limits}; the others: {id, response, and what their options name}")
      ->required();
  app.add_option("--output", output, "where the verdicts go, - for standard output")->capture_default_str();
  app.add_option(
      "--options", options_file,
      "TOML file with this reward's options, or the run file whose [[reward]] of this kind is meant");
  app.add_option("--set", sets,
                 "key=value: an option of this reward as in the run file, e.g. decimal_digits=6");
  app.add_option("--concurrency", concurrency, "graded at once; 0: one a core")
      ->check(CLI::NonNegativeNumber);
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  log::init("cohort verify", "", log::Level::warn);

  auto make = [&](bool whole) {
    TomlTable options = options_of(kind, options_file);
    if (whole) options.set("whole_completion=true");
    for (const std::string& assignment : sets) options.set(assignment);
    return make_grader({kind, kind, 1, options});
  };
  Graders graders;
  graders.response = make(false);
  if (kind == "code") graders.source = make(true);
  LineReader reader(input);
  LineWriter writer(output);
  const size_t threads =
      concurrency > 0 ? static_cast<size_t>(concurrency) : std::max(1u, std::thread::hardware_concurrency());
  const size_t infra = Pipeline(kind, std::move(graders), threads).run(reader, writer);
  writer.close();
  if (infra > 0) fail("{} of the verdicts are infra_error: this machine could not grade them", infra);
  return 0;
}

}  // namespace cohort
