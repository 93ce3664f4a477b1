// cohort eval: pass@1, pass@k and maj@k of a model on a file of prompts.
//
// records -> engine -> completions -> "grade" threads (so that a slow grader does not hold up decoding) ->
// verdicts. All completions are made and graded before anything is summed; the per-completion file is written
// in input order.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "launch/commands/lines.h"
#include "launch/commands/parse.h"
#include "launch/commands/policy.h"
#include "launch/data/jsonl.h"
#include "reward/grader.h"
#include "rollout/engine.h"
#include "rollout/pass_at_k.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Result {
  Completion completion;
  Verdict verdict;
};

struct Problem {
  Json id;
  std::string record_json, kind;
  std::vector<int32_t> prompt_ids;
  std::vector<Result> results;  // by index
};

// The grader a record asks for ("reward": "countdown"), or --reward for one that does not say.
class Graders {
 public:
  explicit Graders(std::string by_default) : default_(std::move(by_default)) {
    if (!default_.empty()) make(default_, "--reward");
  }
  std::string kind_of(const Json& record) {
    if (const auto reward = record.find("reward"); reward != record.end()) {
      if (!reward->is_string()) fail("\"reward\" must be the name of a reward kind");
      return reward->get<std::string>();
    }
    if (default_.empty()) fail("the record has no \"reward\": name a kind with --reward");
    return default_;
  }
  // `where` names what asks for this kind, should there be none of that name.
  void make(const std::string& kind, const std::string& where = "a record's \"reward\"") {
    if (lists_.contains(kind)) return;
    check_kind(kind, where);
    lists_.emplace(kind, make_reward_list({TomlTable::parse(fmt::format("kind = \"{}\"", kind), where)}));
  }
  Verdict grade(const std::string& kind, const GradeInput& input) {
    static const std::atomic<bool> cancelled = false;
    Verdict verdict = lists_.at(kind).grade(input, cancelled).at(0).verdict;
    // a fault of ours is tried once more before it costs the evaluation a sample
    if (verdict.kind == VerdictKind::infra_error)
      verdict = lists_.at(kind).grade(input, cancelled).at(0).verdict;
    return verdict;
  }

 private:
  std::string default_;
  std::map<std::string, RewardList> lists_;  // not changed once grading began
};

// A queue of results to grade and the threads that do. finish() drains it.
class GradingPool {
 public:
  GradingPool(Graders& graders, int threads) : graders_(graders) {
    for (int i = 0; i < threads; ++i)
      threads_.emplace_back([this] {
        pthread_setname_np(pthread_self(), "grade");
        work();
      });
  }
  ~GradingPool() { finish(); }
  void add(const Problem& problem, Result& result) {
    {
      std::lock_guard lock(mutex_);
      queue_.emplace_back(&problem, &result);
    }
    changed_.notify_one();
  }
  void finish() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    for (std::thread& t : threads_)
      if (t.joinable()) t.join();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ended_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const auto [problem, result] = queue_.front();
      queue_.pop_front();
      lock.unlock();
      GradeInput input;
      input.record_json = problem->record_json;
      input.completion = result->completion.text;
      input.finish_reason = result->completion.finish_reason;
      input.completion_tokens = uint32_t(result->completion.token_ids.size());
      result->verdict = graders_.grade(problem->kind, input);
      lock.lock();
    }
  }

  Graders& graders_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<const Problem*, Result*>> queue_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

struct EvalFlags {
  PolicyFlags policy{.batch = 256};
  SamplingFlags sampling{.n = 8};
  std::string data, output, reward;
  std::vector<int> k;
  int limit = 0, grading_threads = 2;
};

std::vector<Problem> read_problems(const EvalFlags& flags, const PromptEncoder& prompts, Graders& graders) {
  std::vector<Problem> problems;
  read_jsonl(flags.data, [&](const Json& record, size_t line) {
    if (flags.limit > 0 && problems.size() >= size_t(flags.limit)) return;
    try {
      Problem p;
      p.id = record.contains("id") ? record.at("id") : Json(line);
      p.record_json = record.dump();
      p.kind = graders.kind_of(record);
      graders.make(p.kind);
      p.prompt_ids = prompts.encode(record);
      if (p.prompt_ids.empty()) fail("the prompt has no tokens");
      p.results.resize(size_t(flags.sampling.n));
      problems.push_back(std::move(p));
    } catch (const Error& e) {
      fail("{}:{}: {}", flags.data, line, e.what());
    }
  });
  if (problems.empty()) fail("{}: holds no prompts", flags.data);
  return problems;
}

uint64_t sample_all(const EvalFlags& flags, Policy& policy, std::vector<Problem>& problems,
                    GradingPool& pool) {
  Engine engine(*policy.runner, policy.prompts->tokenizer());
  for (size_t i = 0; i < problems.size(); ++i) {
    EngineRequest request;
    request.group = i + 1;
    request.prompt_ids = problems[i].prompt_ids;
    request.sampling = flags.sampling.params;
    for (int j = 0; j < flags.sampling.n; ++j) request.indices.push_back(uint32_t(j));
    try {
      engine.add(std::move(request));
    } catch (const Error& e) {
      fail("{}: prompt {}: {}", flags.data, problems[i].id.dump(), e.what());
    }
  }
  const bool live = isatty(STDERR_FILENO);
  auto shown = Clock::now();
  size_t finished = 0;
  const size_t all = problems.size() * size_t(flags.sampling.n);
  while (!engine.idle()) {
    for (Completion& c : engine.step()) {
      Problem& problem = problems[c.group - 1];
      Result& result = problem.results[c.index];
      result.completion = std::move(c);
      pool.add(problem, result);
      ++finished;
    }
    if (live && Clock::now() - shown > std::chrono::milliseconds(500)) {
      shown = Clock::now();
      fmt::print(stderr, "\r{} of {} completions, {} tokens ", finished, all, engine.tokens_sampled());
    }
  }
  if (live) fmt::print(stderr, "\r{:60}\r", "");
  return engine.tokens_sampled();
}

void write_completions(const std::string& path, const std::vector<Problem>& problems) {
  LineWriter out(path);
  for (const Problem& p : problems)
    for (const Result& r : p.results) {
      Json line;
      line["id"] = p.id;
      line["index"] = r.completion.index;
      line["completion"] = r.completion.text;
      line["finish_reason"] = r.completion.finish_reason;
      line["tokens"] = r.completion.token_ids.size();
      line["verdict"] = to_string(r.verdict.kind);
      line["score"] = r.verdict.score;
      line["reason"] = r.verdict.reason;
      out.write(line);
    }
  out.close();
}

void put(Json& summary, const std::string& name, const std::vector<double>& values) {
  const Estimate e = mean_over_problems(values);
  summary[name] = e.value;
  summary[name + "_ci95"] = {e.low, e.high};
}

Json summarize(const EvalFlags& flags, const std::vector<Problem>& problems) {
  const int n = flags.sampling.n;
  std::vector<int> ks = {1, n};
  ks.insert(ks.end(), flags.k.begin(), flags.k.end());
  std::sort(ks.begin(), ks.end());
  ks.erase(std::unique(ks.begin(), ks.end()), ks.end());

  std::map<int, std::vector<double>> pass;
  std::vector<double> voted;
  size_t ungraded = 0, samples = 0, truncated = 0;
  double score = 0;
  bool has_answers = true;
  for (const Problem& p : problems) {
    int graded = 0, correct = 0;
    std::vector<Vote> votes;
    for (const Result& r : p.results) {
      truncated += r.completion.finish_reason == "length";
      if (is_no_reward(r.verdict.kind)) {
        ++ungraded;
        continue;
      }
      const bool right = r.verdict.kind == VerdictKind::passed;
      ++graded, ++samples;
      correct += right;
      score += r.verdict.score;
      votes.push_back({extract_answer(r.completion.text), right});
    }
    for (int k : ks)
      if (k <= graded) pass[k].push_back(pass_at_k(graded, correct, k));
    if (graded > 0) voted.push_back(majority(votes));
    has_answers = has_answers && (p.kind == "countdown" || p.kind == "math");
  }
  if (samples == 0) {
    const Verdict& v = problems[0].results[0].verdict;
    fail("{}: nothing could be graded: {}", flags.data, v.reason);
  }
  Json s;
  s["n"] = problems.size();
  s["samples"] = n;
  for (int k : ks) put(s, fmt::format("pass@{}", k), pass[k]);
  if (has_answers && n > 1) put(s, fmt::format("maj@{}", n), voted);
  s["ci95"] =
      "percentile bootstrap over problems, 2000 resamples, fixed seed; Wilson where all problems agree";
  s["score_mean"] = score / double(samples);
  s["truncated"] = double(truncated) / (double(problems.size()) * n);
  s["ungraded"] = ungraded;
  if (ungraded > 0) log::warn("{} completions could not be graded and are left out", ungraded);
  return s;
}

}  // namespace

int command_eval(int argc, char** argv) {
  EvalFlags flags;
  flags.sampling.params.max_tokens = 1024;
  CLI::App app(
      "pass@1, pass@k (unbiased, Chen et al. 2021) and maj@k on a file of prompts; one JSON object on the "
      "last line.\n"
      "In: {\"id\", \"prompt\" | \"messages\", the fields the grader reads, optionally \"reward\": KIND}");
  flags.policy.add_to(app);
  app.add_option("--data", flags.data, "prompts as JSON lines, - for standard input")->required();
  app.add_option("--reward", flags.reward,
                 "how records without \"reward\" are graded: countdown, math, format, code, …");
  flags.sampling.add_to(app);
  app.add_option("--k", flags.k, "further k of pass@k, at most --n (besides 1 and --n)")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  app.add_option("--limit", flags.limit, "only the first so many prompts, 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--grading-threads", flags.grading_threads, "completions graded at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--output", flags.output, "a JSON line for every completion");
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  for (int k : flags.k)
    if (k > flags.sampling.n)
      fail_usage("--k {} needs at least as many samples: --n is {}", k, flags.sampling.n);

  const auto began = Clock::now();
  Graders graders(flags.reward);
  std::vector<Problem> problems = read_problems(flags, PromptEncoder::read(flags.policy.model), graders);
  size_t longest = 0;
  for (const Problem& p : problems) longest = std::max(longest, p.prompt_ids.size());
  const auto sequences = int64_t(problems.size()) * flags.sampling.n;
  Policy policy = load_policy(flags.policy, sequences, int64_t(longest) + flags.sampling.params.max_tokens);

  const auto sampling = Clock::now();
  GradingPool pool(graders, flags.grading_threads);
  const uint64_t tokens = sample_all(flags, policy, problems, pool);
  const double sampling_s = seconds_since(sampling);
  pool.finish();
  if (!flags.output.empty()) write_completions(flags.output, problems);

  Json summary = summarize(flags, problems);
  summary["tokens"] = tokens;
  summary["response_length"] = double(tokens) / double(sequences);
  summary["seconds"] = seconds_since(began);
  summary["tokens_per_s"] = double(tokens) / std::max(sampling_s, 1e-9);
  LineWriter out("-");
  out.write(summary);
  out.close();
  return 0;
}

}  // namespace cohort
