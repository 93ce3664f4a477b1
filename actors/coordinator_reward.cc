// Grading: which worker grades which completion, what its verdicts mean, and when a group is ready, filtered
// or given up.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "actors/coordinator.h"
#include "actors/rewards.h"
#include "actors/wall_clock.h"
#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {
namespace {
// A job's number says what it grades and at which attempt, so that it means the same after a restart.
uint64_t job_number(GroupId group, uint32_t index, uint32_t attempt) {
  return group << 24 | uint64_t{index & 0xffff} << 8 | (attempt & 0xff);
}
}  // namespace

void Coordinator::queue_job(Group& group, uint32_t index, double not_before) {
  Slot& slot = group.slots[index];
  slot.state = Slot::sampled;
  slot.worker.clear();
  slot.not_before = not_before;
  slot.queued_at = last_advance_;
  slot.deadline = int64_t{group.birth} + config_.async.max_staleness;
  jobs_.emplace(slot.deadline, group.id, index);
}

void Coordinator::hold_jobs(Worker& worker, const std::vector<uint64_t>& jobs, double now) {
  const std::set<uint64_t> held(jobs.begin(), jobs.end());
  for (auto& [id, group] : groups_)
    for (uint32_t i = 0; i < group.slots.size(); ++i) {
      Slot& slot = group.slots[i];
      // Not held any more, and no verdict yet: either the job or the verdict was lost with the connection. A
      // verdict is sent again at once, so a little patience avoids grading twice.
      if (slot.state == Slot::grading && slot.worker == worker.name &&
          !held.contains(job_number(id, i, slot.attempts)))
        queue_job(group, i, now + 1e-3 * config_.coordinator.heartbeat_ms);
    }
  for (uint64_t job : held) {
    auto it = groups_.find(job >> 24);
    const auto index = static_cast<uint32_t>(job >> 8 & 0xffff);
    Slot* slot = it != groups_.end() && index < it->second.slots.size() ? &it->second.slots[index] : nullptr;
    if (slot && slot->state == Slot::sampled && (job & 0xff) == (slot->attempts & 0xff)) {
      jobs_.erase({slot->deadline, it->first, index});
      slot->state = Slot::grading;
      slot->worker = worker.name;
    } else if (!slot || slot->state != Slot::grading || slot->worker != worker.name) {
      post(worker.peer, Cancel{0, job});
    }
  }
}

void Coordinator::send_jobs(double now) {
  if (jobs_.empty()) return;
  std::vector<Worker*> free;
  for (auto& [name, w] : registry_.all())
    if (w.role == Role::reward && w.free() > 0) free.push_back(&w);
  const bool elsewhere = registry_.count(Role::reward) > 1;
  for (auto it = jobs_.begin(); it != jobs_.end() && !free.empty();) {
    const auto [deadline, id, index] = *it;
    Group& group = groups_.at(id);
    Slot& slot = group.slots[index];
    // the one with the fewest jobs in its hands, not with the most credit: a newcomer grants little at first
    Worker* best = nullptr;
    for (Worker* w : free)
      if ((!elsewhere || w->name != slot.last_grader) && (!best || w->in_flight() < best->in_flight()))
        best = w;
    if (slot.not_before > now || best == nullptr) {
      ++it;
      continue;
    }
    it = jobs_.erase(it);
    slot.state = Slot::grading;
    slot.worker = best->name;
    slot.waited_s = now - slot.queued_at;
    ++best->sent;
    if (best->free() == 0) std::erase(free, best);
    post(best->peer, GradeJob{job_number(id, index, slot.attempts), id, index,
                              std::string(group.prompt.record), "", slot.data.text, slot.data.finish_reason,
                              static_cast<uint32_t>(slot.data.token_ids.size()), deadline});
  }
}

void Coordinator::on_graded(Worker& worker, const Graded& graded, double now) {
  ++worker.answered;
  auto it = groups_.find(graded.group);
  if (it == groups_.end() || graded.index >= it->second.slots.size()) return;
  Group& group = it->second;
  Slot& slot = group.slots[graded.index];
  if (slot.state != Slot::sampled && slot.state != Slot::grading) return;  // graded before
  const bool newest = slot.state == Slot::grading && slot.worker == worker.name;
  for (const RewardPart& part : graded.parts)
    if (part.verdict.kind == VerdictKind::budget_exhausted) {
      if (newest) queue_job(group, graded.index, now);
      return end_for_budget(part.name + ": " + part.verdict.reason, now);
    }
  std::string fault = infra_reason(graded.parts);
  if (graded.parts.empty()) fault = "no verdict";
  for (const RewardPart& part : graded.parts)
    if (!std::isfinite(part.verdict.score * part.weight)) fault = part.name + ": the score is not a number";
  if (!fault.empty()) {
    // an old attempt's failure says nothing of the one that runs now
    if (!newest) return;
    metrics_.failed(graded);
    spend(graded, now);
    return grading_failed(group, graded.index, worker.name, fault, now);
  }
  metrics_.graded(graded, slot.waited_s + graded.waited_s);
  if (slot.state == Slot::sampled) jobs_.erase({slot.deadline, group.id, graded.index});
  if (slot.state == Slot::grading && slot.worker != worker.name)
    if (Worker* other = registry_.by_name(slot.worker))
      post(other->peer, Cancel{0, job_number(group.id, graded.index, slot.attempts)});
  slot.parts = graded.parts;
  if (config_.overlong.enable && !group.eval)
    slot.parts.push_back(overlong_part(config_.overlong, static_cast<uint32_t>(slot.data.token_ids.size()),
                                       static_cast<uint32_t>(config_.sampling.max_tokens)));
  slot.reward = total_reward(slot.parts);
  slot.state = Slot::graded;
  slot.worker.clear();
  ++graded_seen_;
  row(Stmt::put_reward, {slot.reward, worker.name, graded.seconds, wall_seconds(),
                         static_cast<int64_t>(group.id), static_cast<int64_t>(graded.index)});
  for (size_t p = 0; p < slot.parts.size(); ++p) {
    const RewardPart& part = slot.parts[p];
    row(Stmt::put_verdict,
        {static_cast<int64_t>(group.id), static_cast<int64_t>(graded.index), static_cast<int64_t>(p),
         part.name, part.weight, std::string(to_string(part.verdict.kind)), part.verdict.score,
         part.verdict.reason, part.verdict.evidence, part.verdict.hash});
  }
  spend(graded, now);
  if (++group.n_graded == group.slots.size()) finish_group(group, now);
}

// What the run spends at paid endpoints is counted here over all workers of all hosts, and kept. A worker refuses
// beyond the budget of its host at once; requests already under way when the sum is reached are the most that goes over.
void Coordinator::spend(const Graded& graded, double now) {
  bool any = false;
  for (const RewardPart& part : graded.parts) {
    if (part.verdict.calls == 0 && part.verdict.tokens == 0) continue;
    const GradingMetrics::Spent spent = metrics_.spent(part.name);
    row(Stmt::put_meta, {"spent/" + part.name, fmt::format("{} {}", spent.calls, spent.tokens)});
    any = true;
  }
  if (!any) return;
  if (const std::string over = metrics_.over_budget(); !over.empty()) end_for_budget(over, now);
}

// No fault of a worker, so no attempt is counted and no group given up: what is not graded waits in the ledger, and the
// run ends in order with a checkpoint, to go on with a larger budget.
void Coordinator::end_for_budget(const std::string& why, double now) {
  if (shutdown_reason_.empty()) log::error("{}", why);
  begin_shutdown(why, now, /*drain_grading=*/true);  // what is under way is paid for
}

// A fault of ours, never a reward: tried again elsewhere, later each time, and after grading_attempts the
// group is given up. A completion that kills its grader counts the same, or it would go round for ever.
void Coordinator::grading_failed(Group& group, uint32_t index, const std::string& worker,
                                 const std::string& why, double now) {
  Slot& slot = group.slots[index];
  ++slot.attempts;
  slot.last_grader = worker;
  row(Stmt::put_infra_error, {static_cast<int64_t>(group.id), static_cast<int64_t>(index),
                              static_cast<int64_t>(slot.attempts), worker, why, wall_seconds()});
  if (slot.attempts >= static_cast<uint32_t>(config_.coordinator.grading_attempts))
    return fail_group(
        group, fmt::format("completion {} could not be graded in {} attempts: {}", index, slot.attempts, why),
        now);
  log::warn("grading completion {} of group {} on {}: {}; attempt {} follows", index, group.id, worker, why,
            slot.attempts + 1);
  // the first retry goes elsewhere at once; then 0.5, 1, 2 … seconds apart, for what is down everywhere
  queue_job(group, index, slot.attempts < 2 ? now : now + 0.25 * (1u << std::min(slot.attempts - 1, 7u)));
}

void Coordinator::finish_group(Group& group, double now) {
  const auto id = static_cast<int64_t>(group.id);
  failed_in_row_ = 0;
  if (group.eval) {
    row(Stmt::end_group, {std::string("evaluated"), Value{}, wall_seconds(), id});
    eval_group_done(group, false, now);
    return erase_group(group.id);
  }
  std::vector<double> rewards;
  for (const Slot& s : group.slots) rewards.push_back(s.reward);
  if (config_.async.filter_groups && zero_variance(rewards)) {
    ++filtered_;
    const auto many = static_cast<uint64_t>(10 * config_.async.groups_per_batch);
    if (++filtered_since_batch_ % many == 0)
      log::warn("filter_groups left out {} groups since the last batch: their rewards are all equal",
                filtered_since_batch_);
    row(Stmt::end_group, {std::string("filtered"), Value{}, wall_seconds(), id});
    gate_.leave(group.id);
    return erase_group(group.id);
  }
  row(Stmt::ready_group, {static_cast<int64_t>(++ready_order_), wall_seconds(), id});
  gate_.ready(group.id);
}

void Coordinator::fail_group(Group& group, const std::string& why, double now) {
  log::error("group {} (prompt {}) is given up: {}", group.id, group.prompt.id, why);
  ++failed_;
  row(Stmt::end_group, {std::string("failed"), why, wall_seconds(), static_cast<int64_t>(group.id)});
  std::set<std::string> told;
  for (uint32_t i = 0; i < group.slots.size(); ++i) {
    const Slot& slot = group.slots[i];
    Worker* w = slot.worker.empty() ? nullptr : registry_.by_name(slot.worker);
    if (w && slot.state == Slot::sampling && told.insert(w->name).second) post(w->peer, Cancel{group.id, 0});
    if (w && slot.state == Slot::grading) post(w->peer, Cancel{0, job_number(group.id, i, slot.attempts)});
  }
  if (group.eval)
    eval_group_done(group, true, now);
  else {
    gate_.leave(group.id);
    sampling_groups_ -= group.n_sampled < group.slots.size();
  }
  erase_group(group.id);
  const uint64_t limit = std::max<uint64_t>(64, 2 * static_cast<uint64_t>(config_.async.groups_per_batch));
  if (++failed_in_row_ >= limit) {
    commit_rows();
    fail_final("{} groups in a row were given up, the last because {}; nothing can be trained until that is mended",
         failed_in_row_, why);
  }
}

void Coordinator::erase_group(GroupId id) {
  auto it = groups_.find(id);
  if (it == groups_.end()) return;
  for (uint32_t i = 0; i < it->second.slots.size(); ++i)
    if (it->second.slots[i].state == Slot::sampled) jobs_.erase({it->second.slots[i].deadline, id, i});
  wanting_.erase(id);
  groups_.erase(it);
}

}  // namespace cohort
