// Leases: which worker samples which completions, and what comes back.
#include <fmt/core.h>

#include <algorithm>

#include "actors/coordinator.h"
#include "actors/ledger_load.h"
#include "actors/wall_clock.h"
#include "transport/base/log.h"

namespace cohort {

void Coordinator::want(Group& group, uint32_t index, double not_before) {
  Slot& slot = group.slots[index];
  slot.state = Slot::wanted;
  slot.worker.clear();
  slot.not_before = not_before;
  wanting_.insert(group.id);
}

// A worker said Hello: what it holds and nobody else does is its own; what it was thought to hold and does
// not is wanted again. A little later, because a completion that was under way when the connection broke is
// sent again right after the Hello.
void Coordinator::hold_leases(Worker& worker, const std::vector<HeldLease>& held, double now) {
  std::set<std::pair<GroupId, uint32_t>> has;
  for (const HeldLease& lease : held)
    for (uint32_t index : lease.indices) has.emplace(lease.group, index);
  for (auto& [id, group] : groups_)
    for (uint32_t i = 0; i < group.slots.size(); ++i)
      if (group.slots[i].state == Slot::sampling && group.slots[i].worker == worker.name &&
          !has.contains({id, i}))
        want(group, i, now + 1e-3 * config_.coordinator.heartbeat_ms);
  for (const HeldLease& lease : held) {
    auto it = groups_.find(lease.group);
    bool useful = false;
    if (it != groups_.end())
      for (uint32_t index : lease.indices) {
        if (index >= it->second.slots.size()) continue;
        Slot& slot = it->second.slots[index];
        if (slot.state == Slot::wanted) slot.state = Slot::sampling, slot.worker = worker.name;
        useful = useful || (slot.state == Slot::sampling && slot.worker == worker.name);
      }
    if (!useful) post(worker.peer, Cancel{lease.group, 0});
  }
}

// A worker is gone: its finished completions stay, the rest is leased again; its jobs are graded elsewhere.
void Coordinator::release_slots(const std::string& worker, double now, bool in_order) {
  std::vector<std::pair<GroupId, uint32_t>> graded_by;
  for (auto& [id, group] : groups_)
    for (uint32_t i = 0; i < group.slots.size(); ++i) {
      if (group.slots[i].worker != worker) continue;
      if (group.slots[i].state == Slot::sampling) want(group, i, now);
      if (group.slots[i].state != Slot::grading) continue;
      if (in_order)
        queue_job(group, i, now);
      else
        graded_by.emplace_back(id, i);
    }
  metrics_.lost(graded_by.size());
  for (const auto& [id, i] : graded_by)  // a failed group takes its other jobs with it
    if (auto it = groups_.find(id); it != groups_.end() && it->second.slots[i].state == Slot::grading)
      grading_failed(it->second, i, worker, "the reward worker was lost", now);
}

bool Coordinator::lease_to(Worker& worker, Group& group, double now) {
  Lease lease;
  lease.group = group.id;
  for (uint32_t i = 0; i < group.slots.size(); ++i) {
    Slot& slot = group.slots[i];
    if (slot.state == Slot::wanted && slot.not_before <= now) lease.indices.push_back(i);
  }
  if (lease.indices.empty()) return false;
  for (uint32_t i : lease.indices) group.slots[i].state = Slot::sampling, group.slots[i].worker = worker.name;
  const bool all = std::none_of(group.slots.begin(), group.slots.end(),
                                [](const Slot& s) { return s.state == Slot::wanted; });
  if (all) wanting_.erase(group.id);
  lease.prompt_json = std::string(group.prompt.record);
  lease.sampling = config_.sampling;
  if (group.eval) lease.sampling.seed ^= 0x65766131;  // other random numbers than training's
  lease.eval = group.eval;
  ++worker.sent;
  post(worker.peer, std::move(lease));
  return true;
}

void Coordinator::new_group(Worker& worker, bool eval, double now) {
  Group group;
  group.id = next_group_++;
  group.eval = eval;
  group.birth = eval ? eval_run_->version : worker.version;
  group.draw = eval ? eval_run_->next : next_draw_++;
  group.prompt =
      eval ? eval_.at(eval_run_->prompts[eval_run_->next++]) : train_.at(order_.index_of(group.draw));
  group.slots.resize(eval ? static_cast<size_t>(config_.run.eval_samples) : config_.num_generations);
  if (!eval) gate_.lease(group.id, group.birth), ++sampling_groups_;
  const std::string split = eval ? "eval" : "train";
  row(Stmt::put_prompt,
      {split, static_cast<int64_t>(group.prompt.line), group.prompt.id, std::string(group.prompt.record)});
  row(Stmt::put_group,
      {static_cast<int64_t>(group.id), split, static_cast<int64_t>(group.prompt.line),
       static_cast<int64_t>(group.draw), eval ? Value{static_cast<int64_t>(group.birth)} : Value{},
       static_cast<int64_t>(group.slots.size()), static_cast<int64_t>(group.birth), wall_seconds()});
  Group& kept = groups_.emplace(group.id, std::move(group)).first->second;
  lease_to(worker, kept, now);
}

// Work is offered in this order: what a lost worker left, evaluation, new groups. The worker with the newest
// weights is served first (its samples may be used longest), then the one with the most free slots.
void Coordinator::lease_work(double now) {
  std::vector<Worker*> free;
  for (auto& [name, w] : registry_.all())
    if (w.role == Role::rollout && w.free() > 0) free.push_back(&w);
  if (free.empty()) return;
  auto pick = [&](auto&& allowed) -> Worker* {
    Worker* best = nullptr;
    for (Worker* w : free)
      if (w->free() > 0 && allowed(*w) &&
          (!best || std::pair(w->version, w->free()) > std::pair(best->version, best->free())))
        best = w;
    return best;
  };

  const std::vector<GroupId> wanting(wanting_.begin(), wanting_.end());
  for (GroupId id : wanting) {
    Group& group = groups_.at(id);
    if (std::none_of(group.slots.begin(), group.slots.end(),
                     [&](const Slot& s) { return s.state == Slot::wanted && s.not_before <= now; }))
      continue;
    // Older weights than the group's birth would make it older than the gate counted it: only if the gate
    // still agrees.
    Worker* w = pick([&](const Worker& x) { return x.version >= group.birth; });
    if (w == nullptr && !group.eval) {
      w = pick([](const Worker&) { return true; });
      if (w == nullptr) break;
      if (!gate_.set_birth(id, w->version)) continue;
      group.birth = w->version;
      row(Stmt::set_birth, {static_cast<int64_t>(group.birth), static_cast<int64_t>(id)});
    }
    if (w != nullptr) lease_to(*w, group, now);
  }
  commit_rows();
  while (eval_run_ && eval_run_->next < eval_run_->prompts.size()) {
    Worker* w = pick([&](const Worker& x) { return x.version >= eval_run_->version; });
    if (w == nullptr) break;
    new_group(*w, true, now);
    commit_rows();
  }
  const auto limit = static_cast<size_t>(config_.async.max_concurrent_rollouts);
  const uint64_t B = static_cast<uint64_t>(config_.async.groups_per_batch);
  while (gate_.next_step() < total_steps() && gate_.outstanding() < B * (total_steps() - gate_.next_step()) &&
         (limit == 0 || sampling_groups_ < limit)) {
    Worker* w = pick([&](const Worker& x) { return gate_.may_lease(x.version); });
    if (w == nullptr) break;
    new_group(*w, false, now);
    commit_rows();
  }
}

void Coordinator::on_completion(Worker& worker, const Completion& completion, double now) {
  auto it = groups_.find(completion.group);
  if (it == groups_.end() || completion.index >= it->second.slots.size())
    return;  // delivered, filtered or given up
  Group& group = it->second;
  Slot& slot = group.slots[completion.index];
  if (slot.state >= Slot::sampled)
    return;  // a second worker sampled it too, or it was sent again: the first one counts
  uint64_t counted = 0;
  Version oldest = ~Version{0};
  for (const VersionRun& run : completion.versions)
    counted += run.count, oldest = std::min(oldest, run.version);
  std::string wrong;
  if (completion.finish_reason == "abort")
    wrong = "was aborted";
  else if (completion.token_ids.empty() || counted != completion.token_ids.size() ||
           completion.logprobs.size() != completion.token_ids.size())
    wrong = fmt::format("has {} tokens, {} log-probs and versions for {}", completion.token_ids.size(),
                        completion.logprobs.size(), counted);
  else if (!group.eval && oldest < group.birth && !gate_.set_birth(group.id, oldest))
    wrong = fmt::format("was sampled by version {}, older than the lease's {}", oldest, group.birth);
  if (!wrong.empty()) {
    log::warn("{}: completion {} of group {} {}; sampled again", worker.name, completion.index,
              completion.group, wrong);
    if (slot.state == Slot::sampling && slot.worker != worker.name) return;
    return want(group, completion.index, now + (completion.finish_reason == "abort" ? 0.0 : 1.0));
  }
  if (!group.eval && oldest < group.birth) {
    group.birth = oldest;
    row(Stmt::set_birth, {static_cast<int64_t>(oldest), static_cast<int64_t>(group.id)});
  }
  if (group.prompt_ids.empty()) {
    group.prompt_ids = completion.prompt_ids;
    row(Stmt::set_prompt_ids, {to_blob(group.prompt_ids), static_cast<int64_t>(group.id)});
  }
  if (slot.state == Slot::sampling && slot.worker != worker.name) {
    // somebody else works on it as well; its other completions of the group may be wanted, so it is left
    // alone
    log::debug("completion {} of group {} came from {} before {}", completion.index, group.id, worker.name,
               slot.worker);
  }
  row(Stmt::put_completion,
      {static_cast<int64_t>(group.id), static_cast<int64_t>(completion.index), worker.name,
       to_blob(completion.token_ids), to_blob(completion.logprobs), versions_json(completion.versions),
       static_cast<int64_t>(completion.token_ids.size()), completion.text, completion.finish_reason,
       completion.seconds, wall_seconds()});
  slot.data = completion;
  slot.data.prompt_ids.clear();
  ++completions_seen_;
  if (slot.state == Slot::wanted) {
    const bool others = std::any_of(group.slots.begin(), group.slots.end(),
                                    [&](const Slot& s) { return &s != &slot && s.state == Slot::wanted; });
    if (!others) wanting_.erase(group.id);
  }
  if (++group.n_sampled == group.slots.size() && !group.eval) {
    --sampling_groups_;
    // now the group's oldest token is known; the gate may count it younger than the lease had to assume
    Version birth = ~Version{0};
    for (const Slot& s : group.slots)
      for (const VersionRun& run : s.data.versions) birth = std::min(birth, run.version);
    if (birth > group.birth && gate_.set_birth(group.id, birth)) {
      group.birth = birth;
      row(Stmt::set_birth, {static_cast<int64_t>(birth), static_cast<int64_t>(group.id)});
    }
  }
  queue_job(group, completion.index, 0);
}

void Coordinator::on_returned(Worker& worker, const LeaseReturned& returned, double now) {
  auto it = groups_.find(returned.group);
  if (it == groups_.end()) return;
  Group& group = it->second;
  if (!returned.error.empty())
    return fail_group(group, fmt::format("{}: {}", worker.name, returned.error), now);
  for (uint32_t index : returned.indices)
    if (index < group.slots.size() && group.slots[index].state == Slot::sampling &&
        group.slots[index].worker == worker.name)
      want(group, index, now);
}

}  // namespace cohort
