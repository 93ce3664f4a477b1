// What /metrics says: the Status document's numbers, and what grading took. Every family is in docs/rewards.md.
#include <nlohmann/json.hpp>

#include "actors/coordinator.h"

namespace cohort {

std::string Coordinator::metrics_text(const std::string& status_json) const {
  const nlohmann::json s = nlohmann::json::parse(status_json);
  Exposition out;
  auto number = [&](const char* key) { return s.at(key).get<double>(); };
  out.family("cohort_run_info", "gauge", "1, with the run's name and id.");
  out.sample(1, {{"name", s["run_name"]}, {"id", s["run_id"]}, {"state", s["state"]}});
  out.one("cohort_uptime_seconds", "gauge", "Since the coordinator's start.", number("uptime_s"));
  out.one("cohort_starts_total", "counter", "Starts of the coordinator in this run.", number("epoch"));
  out.one("cohort_steps_trained", "gauge", "Optimizer steps trained.", number("step"));
  out.one("cohort_steps_wanted", "gauge", "Optimizer steps of the whole run.", number("total_steps"));
  out.one("cohort_steps_checkpointed", "gauge", "Steps in the newest checkpoint.", number("checkpointed"));
  out.one("cohort_batches_formed", "gauge", "Batches formed.", number("batches"));
  out.one("cohort_weights_version", "gauge", "Newest published weights.", number("version"));
  out.one("cohort_reward_mean", "gauge", "Mean reward of the newest batch.", number("reward_mean"));
  if (!s["evals"].empty())
    out.one("cohort_eval_pass_at_1", "gauge", "Of the newest held-out evaluation.",
            s["evals"].back()["pass_at_1"]);

  out.family("cohort_tokens_per_second", "gauge",
             "Tokens sampled and trained, smoothed over some ten seconds.");
  for (const auto& [role, rate] : s["tokens_per_s"].items()) out.sample(rate, {{"role", role}});
  out.family("cohort_queue", "gauge", "Groups and completions by where they are.");
  for (const auto& [name, n] : s["queues"].items()) out.sample(n, {{"queue", name}});
  out.family("cohort_waiting", "gauge", "1 while `who` waits for `whom`.");
  for (const auto& w : s["waits"]) out.sample(1, {{"who", w["who"]}, {"whom", w["for"]}});
  out.family("cohort_wait_share", "gauge", "Share of its time that a side says it waited.");
  for (const auto& [role, share] : s["wait_share"].items()) out.sample(share, {{"role", role}});
  out.one("cohort_learner_wait_seconds_total", "counter",
          "Time in which a step was asked for and could not be formed.", number("learner_wait_for_batch_s"));
  out.family("cohort_staleness_tokens", "gauge", "Tokens of the newest batch by their lag in steps.");
  for (const auto& [lag, tokens] : s["staleness_tokens"].items()) out.sample(tokens, {{"lag", lag}});
  out.one("cohort_completions_total", "counter", "Completions sampled since the start.",
          number("completions"));
  out.one("cohort_graded_total", "counter", "Completions graded since the start.", number("graded"));
  out.one("cohort_groups_filtered_total", "counter", "Groups left out for equal rewards.",
          number("groups_filtered"));
  out.one("cohort_groups_failed_total", "counter", "Groups given up.", number("groups_failed"));

  std::map<std::string, int> roles = {{"rollout", 0}, {"reward", 0}, {"learner", 0}};
  for (const auto& w : s["workers"]) ++roles[w["role"]];
  out.family("cohort_workers", "gauge", "Workers that take part.");
  for (const auto& [role, n] : roles) out.sample(n, {{"role", role}});
  auto of_workers = [&](const char* family, const char* type, const char* help, const char* key) {
    out.family(family, type, help);
    for (const auto& w : s["workers"])
      out.sample(w[key], {{"worker", w["name"]}, {"role", w["role"]}, {"host", w["host"]}});
  };
  of_workers("cohort_worker_active", "gauge", "Sequences being decoded, jobs being graded.", "active");
  of_workers("cohort_worker_queued", "gauge", "Held, not started.", "queued");
  of_workers("cohort_worker_busy_seconds_total", "counter", "Time it says it worked.", "busy_s");
  of_workers("cohort_worker_cpu_seconds_total", "counter", "CPU time.", "cpu_s");
  of_workers("cohort_worker_resident_bytes", "gauge", "Resident memory.", "rss_bytes");
  of_workers("cohort_worker_silent_seconds", "gauge", "Since its last message.", "heard_s_ago");
  metrics_.write(out);
  return out.text();
}

}  // namespace cohort
