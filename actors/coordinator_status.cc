// The Status document; every field is explained in docs/ledger.md.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "actors/coordinator.h"

namespace cohort {

std::string Coordinator::status_json(double now) const {
  using nlohmann::json;
  size_t wanted = 0, sampling = 0, queued = 0, grading = 0;
  for (const auto& [id, group] : groups_)
    for (const Slot& slot : group.slots) {
      wanted += slot.state == Slot::wanted;
      sampling += slot.state == Slot::sampling;
      queued += slot.state == Slot::sampled;
      grading += slot.state == Slot::grading;
    }
  json workers = json::array();
  std::map<Role, double> rate, busy, wait;
  uint64_t free_rollout = 0, free_reward = 0;
  for (const auto& [name, w] : registry_.all()) {
    rate[w.role] += w.tokens_per_s;
    busy[w.role] += w.beat.busy_s;
    wait[w.role] += w.beat.wait_s;
    if (w.role == Role::rollout) free_rollout += w.free();
    if (w.role == Role::reward) free_reward += w.free();
    workers.push_back({{"name", name},
                       {"role", to_string(w.role)},
                       {"host", w.host},
                       {"pid", w.pid},
                       {"version", w.version},
                       {"active", w.beat.active},
                       {"queued", w.beat.queued},
                       {"free", w.free()},
                       {"tokens", w.beat.tokens},
                       {"tokens_per_s", w.tokens_per_s},
                       {"busy_s", w.beat.busy_s},
                       {"wait_s", w.beat.wait_s},
                       {"cpu_s", w.beat.cpu_s},
                       {"rss_bytes", w.beat.rss_bytes},
                       {"heard_s_ago", now - w.heard}});
  }
  bool learner_waits = false;
  for (const auto& [rank, request] : requests_) learner_waits |= request.step == gate_.next_step();
  const bool rollout_waits = free_rollout > 0 && sampling + wanted == 0;
  const bool reward_waits = free_reward > 0 && queued == 0 && grading == 0;
  json waits = json::array();
  auto say = [&](const char* who, const char* whom) { waits.push_back({{"who", who}, {"for", whom}}); };
  if (learner_waits && registry_.count(Role::rollout) == 0)
    say("learner", "rollout workers to join");
  else if (learner_waits && queued + grading > 0 && registry_.count(Role::reward) == 0)
    say("learner", "reward workers to join");
  else if (learner_waits)
    say("learner", sampling + wanted >= queued + grading ? "rollout" : "reward");
  if (rollout_waits) say("rollout", queued + grading > 0 && !learner_waits ? "reward" : "learner");
  if (reward_waits && (sampling > 0 || wanted > 0)) say("reward", "rollout");
  if (registry_.count(Role::learner) == 0) say("coordinator", "learner to join");
  if (!shutdown_reason_.empty()) waits = json::array();  // who has left is not waited for

  auto share = [&](Role role) {
    const double sum = busy[role] + wait[role];
    return sum > 0 ? wait[role] / sum : 0.0;
  };
  json lags = json::object();
  for (const auto& [lag, tokens] : lag_tokens_) lags[std::to_string(lag)] = tokens;
  json evals = json::array();
  for (const StoredEval& e : evals_)
    evals.push_back({{"version", e.version},
                     {"pass_at_1", e.pass_at_1},
                     {"low", e.low},
                     {"high", e.high},
                     {"reward", e.reward_mean}});
  json out = {
      {"run_id", ledger_.state().run_id},
      {"run_name", config_.run.name},
      {"epoch", ledger_.state().epoch},
      {"state", shutdown_reason_.empty() ? "running" : "stopping"},
      {"reason", shutdown_reason_},
      {"uptime_s", now - started_},
      {"step", trained_},
      {"total_steps", config_.run.total_steps},
      {"batches", gate_.next_step()},
      {"checkpointed", checkpointed_},
      {"version", published_ ? published_->version : 0},
      {"reward_mean", last_reward_},
      {"evals", evals},
      {"eval_running", eval_run_ ? json{{"version", eval_run_->version},
                                        {"done", eval_run_->done},
                                        {"of", eval_run_->prompts.size()}}
                                 : json()},
      {"tokens_per_s", {{"rollout", rate[Role::rollout]}, {"learner", rate[Role::learner]}}},
      {"queues",
       {{"groups_outstanding", gate_.outstanding()},
        {"groups_ready", gate_.ready_count()},
        {"completions_wanted", wanted},
        {"completions_sampling", sampling},
        {"completions_to_grade", queued},
        {"completions_grading", grading}}},
      {"waits", waits},
      {"wait_share",
       {{"rollout", share(Role::rollout)},
        {"reward", share(Role::reward)},
        {"learner", share(Role::learner)}}},
      {"learner_wait_for_batch_s", learner_wait_s_},
      {"staleness_tokens", lags},
      {"groups_filtered", filtered_},
      {"groups_failed", failed_},
      {"completions", completions_seen_},
      {"graded", graded_seen_},
      {"workers", workers},
  };
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace cohort
