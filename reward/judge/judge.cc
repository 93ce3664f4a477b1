#include "reward/judge/judge.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "reward/judge/endpoint.h"
#include "reward/judge/prompt.h"
#include "reward/judge/reply.h"
#include "reward/record.h"

namespace cohort {
namespace {

using judge::Answer;
using judge::Template;
using nlohmann::json;

// What one question to the judge differs in.
struct Question {
  bool swapped = false;  // pairwise: the reference comes first
  int vote = 0;
};
struct Answered {
  std::optional<Answer> answer;  // nothing: cancelled
  bool cached = false;
  std::exception_ptr error;
};

// The text that stands for the question: a field, or the record's messages one after the other.
std::string question_of(const json& record, const std::string& field) {
  if (!field.empty()) return required_text(record, field);
  const auto messages = record.find("messages");
  if (record.contains("prompt") || messages == record.end()) return required_text(record, "prompt");
  std::string text;
  for (const json& m : *messages)
    if (m.is_object() && m.contains("role") && m.contains("content") && m["content"].is_string())
      text += (text.empty() ? "" : "\n\n") + dump_line(m["role"]) + ":\n" + m["content"].get<std::string>();
  if (text.empty()) throw InfraError("the record's field \"messages\" has no text");
  return text;
}

// What the person gets to see: after the reasoning. A reasoning that never ended leaves nothing.
std::string_view summary_of(std::string_view completion, bool think_in_prompt) {
  if (completion.find("</think>") != std::string_view::npos) return trim(after_thinking(completion));
  if (think_in_prompt || completion.find("<think>") != std::string_view::npos) return {};
  return trim(completion);
}

// All that decides a verdict; not where the endpoint is, how long it is waited for or what it may cost.
std::string deciding(const JudgeOptions& o, const Template& form) {
  JudgeOptions d = o;
  const JudgeOptions fixed;
  d.base_url = fixed.base_url, d.api_key_env = fixed.api_key_env, d.cache = fixed.cache;
  d.ca_file = fixed.ca_file;
  d.concurrency = fixed.concurrency, d.timeout_s = fixed.timeout_s, d.patience_s = fixed.patience_s;
  d.budget_calls = fixed.budget_calls, d.budget_tokens = fixed.budget_tokens;
  d.prompt.clear();
  d.prompt_text = form.text;
  return write_options(d);
}

class JudgeGrader : public RecordGrader {
 public:
  JudgeGrader(const JudgeOptions& options, Template form, judge::EndpointOptions endpoint,
              const std::string& cache)
      : RecordGrader("judge", 1, deciding(options, form)),
        options_(options),
        form_(std::move(form)),
        answers_(cache),
        endpoint_(std::move(endpoint), answers_) {}

 protected:
  Verdict decide(const json& record, const GradeInput& input,
                 const std::atomic<bool>& cancelled) const override {
    std::map<std::string, std::string> values;
    if (form_.uses("question")) values["question"] = question_of(record, options_.question_field);
    if (form_.uses("reference") || form_.pairwise)
      values["reference"] = required_text(record, options_.reference_field);
    const std::string_view seen =
        form_.sees_whole ? trim(input.completion) : summary_of(input.completion, options_.think_in_prompt);
    if (seen.empty())
      return make_verdict(
          VerdictKind::no_answer, 0,
          form_.sees_whole ? "the response is empty" : "there is no text after the reasoning");
    values["response"] = seen;

    std::vector<Question> questions;
    for (int vote = 0; vote < options_.votes; ++vote)
      for (bool swapped : {false, true})
        if (!swapped || form_.pairwise) questions.push_back({swapped, vote});
    judge::Usage usage;
    std::vector<Answered> answered(questions.size());
    // the first on this thread, so that a single question starts none
    std::vector<std::thread> threads;
    for (size_t i = 1; i < questions.size(); ++i)
      threads.emplace_back([&, i] { answered[i] = ask(values, questions[i], usage, cancelled); });
    answered[0] = ask(values, questions[0], usage, cancelled);
    for (std::thread& thread : threads) thread.join();
    Verdict verdict = combine(questions, answered);
    verdict.calls = usage.calls;
    verdict.tokens = static_cast<uint64_t>(usage.tokens.load());
    return verdict;
  }

 private:
  // A question that is under way; who has the same one waits for it and shares its failure, so that an endpoint that is
  // down is waited for once and not by one thread after the other.
  struct UnderWay {
    bool done = false;
    std::exception_ptr error;
  };

  // From the cache, from a thread that asks the same, or from the endpoint; never throws.
  Answered ask(const std::map<std::string, std::string>& values, const Question& question,
               judge::Usage& usage, const std::atomic<bool>& cancelled) const {
    Answered out;
    try {
      const std::string key = key_of(values, question);
      const auto mine = std::make_shared<UnderWay>();
      for (std::unique_lock lock(mutex_);;) {
        const auto [at, first] = asking_.emplace(key, mine);
        if (first) break;
        const std::shared_ptr<UnderWay> other = at->second;
        while (!other->done) {
          if (cancelled.load(std::memory_order_relaxed)) return out;
          asked_.wait_for(lock, std::chrono::milliseconds(50));
        }
        if (other->error) std::rethrow_exception(other->error);
      }
      try {
        out = first_to_ask(key, values, question, usage, cancelled);
      } catch (...) {
        out.error = std::current_exception();
      }
      std::lock_guard lock(mutex_);
      mine->done = true;
      mine->error = out.error;
      asking_.erase(key);
      asked_.notify_all();
    } catch (...) {
      out.error = std::current_exception();
    }
    if (out.error) out.answer.reset();
    return out;
  }

  Answered first_to_ask(const std::string& key, const std::map<std::string, std::string>& values,
                        const Question& question, judge::Usage& usage,
                        const std::atomic<bool>& cancelled) const {
    Answered out;
    if (const auto kept = answers_.find(key)) {
      const json j = json::parse(*kept);
      out.answer = Answer{j.at("verdict"), j.at("score"), j.at("reason")};
      out.cached = true;
      return out;
    }
    std::string nonce;
    const bool got =
        endpoint_.ask([&] { return request(values, question, nonce); },
                      [&](const std::string& text) { out.answer = judge::read_answer(text, form_, nonce); },
                      usage, cancelled);
    if (!got) {
      out.answer.reset();
      return out;
    }
    answers_.keep(key, dump_line({{"verdict", out.answer->verdict},
                                  {"score", out.answer->score},
                                  {"reason", out.answer->reason.substr(0, 400)}}));
    return out;
  }

  // The same question has the same key on every host: all of it but the nonce.
  std::string key_of(const std::map<std::string, std::string>& values, const Question& question) const {
    std::string nonce;
    return hash_parts({"judge 1", options_.base_url, request(values, question, nonce, "-")});
  }

  std::string request(std::map<std::string, std::string> values, const Question& question, std::string& nonce,
                      const std::string& fixed_nonce = "") const {
    if (form_.pairwise) {
      values["first"] = values[question.swapped ? "reference" : "response"];
      values["second"] = values[question.swapped ? "response" : "reference"];
    }
    auto contains = [&](const std::string& what) {
      for (const auto& [name, value] : values)
        if (value.find(what) != std::string::npos) return true;
      return false;
    };
    nonce = fixed_nonce;
    while (nonce.empty() || (fixed_nonce.empty() && contains(nonce))) nonce = judge::fresh_nonce();
    const judge::Messages text = judge::fill(form_, values, nonce);
    using ordered =
        nlohmann::ordered_json;  // an endpoint that enforces a schema writes the keys in its order
    ordered messages = ordered::array();
    if (!text.system.empty()) messages.push_back({{"role", "system"}, {"content", text.system}});
    messages.push_back({{"role", "user"}, {"content", text.user}});
    ordered body = {{"model", options_.model},
                    {"messages", messages},
                    {"temperature", options_.temperature},
                    {"max_tokens", options_.max_tokens},
                    {"n", 1},
                    {"seed", options_.seed + question.vote}};
    switch (options_.response_format) {
      case JudgeFormat::text:
        break;
      case JudgeFormat::json_object:
        body["response_format"] = {{"type", "json_object"}};
        break;
      case JudgeFormat::json_schema:
        body["response_format"] = {
            {"type", "json_schema"},
            {"json_schema",
             {{"name", "verdict"}, {"strict", true}, {"schema", judge::answer_schema(form_, nonce)}}}};
        break;
      case JudgeFormat::json_object_schema:
        body["response_format"] = {{"type", "json_object"}, {"schema", judge::answer_schema(form_, nonce)}};
        break;
    }
    return body.dump(-1, ' ', false, ordered::error_handler_t::replace);
  }

  Verdict combine(const std::vector<Question>& questions, std::vector<Answered>& answered) const {
    for (const Answered& a : answered) {
      if (!a.error) continue;
      try {
        std::rethrow_exception(a.error);
      } catch (const judge::BudgetExhausted& e) {
        return make_verdict(VerdictKind::budget_exhausted, 0, e.what());
      } catch (const std::exception& e) {
        return make_verdict(VerdictKind::infra_error, 0, e.what());
      }
    }
    std::vector<double> scores;
    json votes = json::array();
    bool all_cached = true;
    for (size_t i = 0; i < answered.size(); ++i) {
      if (!answered[i].answer) return make_verdict(VerdictKind::cancelled, 0, "cancelled");
      const Answer& a = *answered[i].answer;
      const double score = questions[i].swapped ? 1 - a.score : a.score;
      all_cached = all_cached && answered[i].cached;
      json vote = {{"verdict", a.verdict}, {"score", score}, {"reason", a.reason.substr(0, 400)}};
      if (form_.pairwise) vote["first"] = questions[i].swapped ? "reference" : "completion";
      votes.push_back(std::move(vote));
      if (questions[i].swapped)
        scores.back() = (scores.back() + score) / 2;  // the two orders of one vote
      else
        scores.push_back(score);
    }
    std::sort(scores.begin(), scores.end());
    double score = 0;
    if (options_.aggregate == JudgeAggregate::median) {
      score = (scores[(scores.size() - 1) / 2] + scores[scores.size() / 2]) / 2;
    } else {
      for (double s : scores) score += s;
      score /= static_cast<double>(scores.size());
    }
    const bool passed = score > options_.pass_score;
    Verdict verdict = make_verdict(passed ? VerdictKind::passed : VerdictKind::failed, score,
                                   answered[0].answer->reason.substr(0, 200),
                                   {{"votes", votes}, {"model", options_.model}, {"reused", all_cached}});
    verdict.reused = all_cached;
    return verdict;
  }

  const JudgeOptions options_;
  const Template form_;
  mutable judge::Answers answers_;
  mutable judge::Endpoint endpoint_;
  mutable std::mutex mutex_;
  mutable std::condition_variable asked_;
  mutable std::map<std::string, std::shared_ptr<UnderWay>> asking_;
};

Template read_template(const JudgeOptions& o, const TomlTable& table) {
  if (!o.prompt_text.empty()) return judge::parse_template(o.prompt_text, table.where("prompt_text"));
  if (const std::string text = judge::shipped_template(o.prompt); !text.empty())
    return judge::parse_template(text, o.prompt);
  std::ifstream in(o.prompt, std::ios::binary);
  if (!in) {
    std::string names;
    for (const std::string& n : judge::shipped_templates()) names += (names.empty() ? "" : ", ") + n;
    fail_usage("{} = \"{}\" is neither a shipped template ({}) nor a file that can be read on this host",
               table.where("prompt"), o.prompt, names);
  }
  return judge::parse_template({std::istreambuf_iterator<char>(in), {}}, o.prompt);
}

}  // namespace

std::unique_ptr<Grader> make_judge_grader(const RewardSpec& spec) {
  const TomlTable& table = spec.options;
  const auto o = read_grader_options<JudgeOptions>(table);
  if (o.base_url.empty()) fail_usage("{} is missing: where is the judge?", table.where("base_url"));
  if (o.model.empty()) fail_usage("{} is missing: which model judges?", table.where("model"));
  if (!o.base_url.starts_with("http://") && !o.base_url.starts_with("https://"))
    fail_usage("{} must begin with http:// or https://", table.where("base_url"));
  const std::string host = o.base_url.substr(0, o.base_url.find('/', 8));
  if (host.find('@') != std::string::npos)
    fail_usage("{}: put no name or password there; name an environment variable in api_key_env",
               table.where("base_url"));
  if (o.base_url.find_first_of("?#") != std::string::npos)
    fail_usage("{} must end with a path, as in http://host:8000/v1", table.where("base_url"));
  judge::EndpointOptions e;
  e.url = o.base_url + (o.base_url.ends_with('/') ? "" : "/") + "chat/completions";
  if (!o.api_key_env.empty()) {
    const char* key = std::getenv(o.api_key_env.c_str());
    if (!key || !*key)
      fail_usage("{} = \"{}\": this environment variable is not set on this host", table.where("api_key_env"),
                 o.api_key_env);
    e.api_key = key;
    if (std::any_of(e.api_key.begin(), e.api_key.end(),
                    [](char c) { return static_cast<unsigned char>(c) <= 0x20; }))
      fail_usage("the environment variable {} has white space in it: that is no API key", o.api_key_env);
  }
  if (!o.ca_file.empty() && access(o.ca_file.c_str(), R_OK) != 0)
    fail_usage("{} = \"{}\": cannot be read ({})", table.where("ca_file"), o.ca_file, strerror(errno));
  e.ca_file = o.ca_file;
  e.concurrency = o.concurrency;
  e.timeout_s = o.timeout_s;
  e.patience_s = o.patience_s;
  e.budget = {o.budget_calls, o.budget_tokens};
  e.account = (spec.run_id.empty() ? "no run " + judge::fresh_nonce() : spec.run_id) + "/" + spec.name;
  const std::string cache = o.cache.empty()     ? judge::default_answers_path()
                            : o.cache == "none" ? ":memory:"
                                                : o.cache;
  try {
    return std::make_unique<JudgeGrader>(o, read_template(o, table), std::move(e), cache);
  } catch (const InfraError& error) {
    fail("{}", error.what());
  }
}

}  // namespace cohort
