#include "actors/grading_metrics.h"

#include "transport/verdict.h"

namespace cohort {

GradingMetrics::GradingMetrics(const TomlTable& run_file) {
  for (const TomlTable& table : run_file.get_tables("reward").value_or(std::vector<TomlTable>{})) {
    const std::string kind = table.get_string("kind").value_or("");
    Part& part = parts_[table.get_string("name").value_or(kind)];
    part.kind = kind;
    part.budget.calls = static_cast<uint64_t>(table.get_int("budget_calls").value_or(0));
    part.budget.tokens = static_cast<uint64_t>(table.get_int("budget_tokens").value_or(0));
  }
}

void GradingMetrics::graded(const Graded& graded, double queued_s) {
  queued_.observe(queued_s);
  for (const RewardPart& p : graded.parts) {
    Part& part = parts_[p.name];
    part.seconds.observe(p.seconds);
    ++part.verdicts[p.verdict.kind];
    part.reused += p.verdict.reused;
    part.spent.calls += p.verdict.calls;
    part.spent.tokens += p.verdict.tokens;
  }
}

void GradingMetrics::failed(const Graded& graded) {
  for (const RewardPart& p : graded.parts) {
    Part& part = parts_[p.name];
    part.spent.calls += p.verdict.calls;
    part.spent.tokens += p.verdict.tokens;
    if (!is_no_reward(p.verdict.kind)) continue;
    part.seconds.observe(p.seconds);
    ++part.verdicts[p.verdict.kind];
    ++part.retries;
  }
}

GradingMetrics::Spent GradingMetrics::spent(const std::string& part) const {
  const auto it = parts_.find(part);
  return it == parts_.end() ? Spent{} : it->second.spent;
}

std::string GradingMetrics::over_budget() const {
  for (const auto& [name, p] : parts_)
    if ((p.budget.calls > 0 && p.spent.calls >= p.budget.calls) ||
        (p.budget.tokens > 0 && p.spent.tokens >= p.budget.tokens))
      return fmt::format(
          "{}: the run's budget is used up ({} calls, {} tokens); raise budget_calls or "
          "budget_tokens and start the run again",
          name, p.spent.calls, p.spent.tokens);
  return "";
}

void GradingMetrics::write(Exposition& out) const {
  auto labels = [](const std::string& name, const Part& p) {
    return Labels{{"part", name}, {"kind", p.kind}};
  };
  out.family("cohort_grading_seconds", "histogram",
             "Time a part of the reward took to grade one completion.");
  for (const auto& [name, p] : parts_) out.histogram(p.seconds, labels(name, p));
  out.family(
      "cohort_grading_queue_seconds", "histogram",
      "Time from a completion's commit to the start of its grading, at the coordinator and the worker.");
  out.histogram(queued_);
  out.family("cohort_verdicts_total", "counter", "Verdicts by part and what they say.");
  for (const auto& [name, p] : parts_)
    for (const auto& [kind, n] : p.verdicts) {
      Labels l = labels(name, p);
      l.emplace_back("verdict", to_string(kind));
      out.sample(static_cast<double>(n), l);
    }
  auto counter = [&](const char* family, const char* help, auto value) {
    out.family(family, "counter", help);
    for (const auto& [name, p] : parts_) out.sample(static_cast<double>(value(p)), labels(name, p));
  };
  counter("cohort_grading_retries_total",
          "Gradings that failed through no fault of the candidate, each followed by a retry.",
          [](const Part& p) { return p.retries; });
  out.one("cohort_grading_lost_total", "counter", "Jobs whose reward worker was lost, each given to another.",
          static_cast<double>(lost_));
  counter("cohort_grading_cache_hits_total",
          "Verdicts found in a cache (compiled programs, judges' answers), not worked out.",
          [](const Part& p) { return p.reused; });
  counter("cohort_judge_calls_total", "Requests made of a judge's endpoint in the whole run.",
          [](const Part& p) { return p.spent.calls; });
  counter("cohort_judge_tokens_total", "Tokens that a judge's endpoint used in the whole run.",
          [](const Part& p) { return p.spent.tokens; });
}

}  // namespace cohort
