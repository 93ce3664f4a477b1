// Batches, what the learner reports, and its weights.
#include <fmt/core.h>

#include <algorithm>

#include "actors/coordinator.h"
#include "actors/wall_clock.h"
#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {
namespace {
Sample sample_of(const Completion& c, const std::vector<int32_t>& prompt_ids, double reward) {
  return {c.group,    c.index,    prompt_ids, c.token_ids,
          c.logprobs, c.versions, reward,     c.finish_reason == "length"};
}
}  // namespace

void Coordinator::on_request(Worker& worker, const BatchRequest& request, double now) {
  if (worker.role != Role::learner) return;
  if (request.step > gate_.next_step() && request.step < total_steps()) {
    post(worker.peer, Refused{fmt::format(
                          "step {} was asked for, but this run's ledger has batches up to step {} only: the "
                          "checkpoint belongs to another run folder",
                          request.step, gate_.next_step())});
    return;
  }
  requests_[worker.rank] = {worker.peer, request.step, now};
}

void Coordinator::serve_requests(double now) {
  for (auto it = requests_.begin(); it != requests_.end();) {
    const Request request = it->second;
    Worker* worker = registry_.by_peer(request.peer);
    if (worker == nullptr) {
      it = requests_.erase(it);
    } else if (stop_step_ >= 0 && request.step >= stop_step_) {
      post(request.peer, NoMoreBatches{shutdown_reason_});
      it = requests_.erase(it);
    } else if (request.step >= total_steps()) {
      if (final_eval_pending(now)) {
        ++it;  // its weights are still being fetched from the learner
        continue;
      }
      post(request.peer, NoMoreBatches{"all steps are trained"});
      it = requests_.erase(it);
    } else if (request.step < gate_.next_step() || form_batch(request.step, now)) {
      post(request.peer, share_of(*batch_of(request.step), worker->rank, std::max(1u, worker->ranks),
                                  config_.mini_batches));
      worker->served = std::max<int64_t>(worker->served, request.step);
      it = requests_.erase(it);
    } else {
      ++it;
    }
  }
}

bool Coordinator::form_batch(uint32_t step, double now) {
  const std::vector<GroupId> ids = gate_.choose();
  if (ids.empty()) return false;
  auto batch = std::make_shared<DeliveredBatch>();
  batch->step = step;
  double reward = 0, length = 0, lag_sum = 0;
  int64_t max_lag = 0;
  uint64_t samples = 0, tokens = 0, clipped = 0;
  std::map<std::string, double> parts;
  lag_tokens_.clear();
  for (size_t position = 0; position < ids.size(); ++position) {
    const Group& group = groups_.at(ids[position]);
    GroupRewards& rewards = batch->groups.emplace_back(GroupRewards{group.id, {}});
    auto& group_samples = batch->samples.emplace_back();
    for (const Slot& slot : group.slots) {
      rewards.rewards.push_back(slot.reward);
      group_samples.push_back(sample_of(slot.data, group.prompt_ids, slot.reward));
      ++samples;
      tokens += slot.data.token_ids.size();
      reward += slot.reward;
      clipped += group_samples.back().truncated;
      for (const RewardPart& part : slot.parts) parts[part.name] += part.verdict.score;
      for (const VersionRun& run : slot.data.versions) {
        const int64_t lag = int64_t{step} - run.version;
        lag_tokens_[lag] += run.count;
        lag_sum += static_cast<double>(lag) * run.count;
        max_lag = std::max(max_lag, lag);
      }
    }
    row(Stmt::put_batch_group,
        {static_cast<int64_t>(step), static_cast<int64_t>(position), static_cast<int64_t>(group.id)});
    row(Stmt::deliver_group, {static_cast<int64_t>(step), static_cast<int64_t>(group.id)});
  }
  assert_staleness(*batch, static_cast<uint32_t>(config_.async.max_staleness));
  gate_.consume(ids);
  for (GroupId id : ids) erase_group(id);

  const double n = static_cast<double>(samples);
  length = static_cast<double>(tokens) / n;
  last_reward_ = reward / n;
  row(Stmt::put_batch, {static_cast<int64_t>(step), wall_seconds(), static_cast<int64_t>(ids.size()),
                        static_cast<int64_t>(samples), static_cast<int64_t>(tokens), max_lag, last_reward_});
  auto metric = [&](const std::string& name, double value) {
    row(Stmt::put_metric, {static_cast<int64_t>(step), name, value});
  };
  metric("reward/mean", last_reward_);
  for (const auto& [name, sum] : parts) metric("reward/" + name + "/mean", sum / n);
  metric("response_length/mean", length);
  metric("response_length/clip_ratio", static_cast<double>(clipped) / n);
  metric("staleness/mean", lag_sum / static_cast<double>(tokens));
  metric("staleness/max", static_cast<double>(max_lag));
  metric("filtered_groups", static_cast<double>(filtered_since_batch_));
  double since = now;
  for (const auto& [rank, request] : requests_) since = std::min(since, request.since);
  metric("time/wait_for_batch", now - since);
  filtered_since_batch_ = 0;
  current_ = std::move(batch);
  commit_rows();
  return true;
}

// A batch that was formed before: the one at hand, or read back, so that the same step always is the same
// batch.
std::shared_ptr<const DeliveredBatch> Coordinator::batch_of(uint32_t step) {
  if (current_ && current_->step == step) return current_;
  auto batch = std::make_shared<DeliveredBatch>();
  batch->step = step;
  for (const StoredGroup& group : ledger_.read_batch(step)) {
    GroupRewards& rewards = batch->groups.emplace_back(GroupRewards{group.group, {}});
    auto& samples = batch->samples.emplace_back();
    for (const auto& [index, c] : group.completions) {
      if (!c.graded)
        fail("the ledger's batch of step {} has a completion without a reward (group {}): it is damaged",
             step, group.group);
      rewards.rewards.push_back(c.reward);
      samples.push_back(sample_of(c.data, group.prompt_ids, c.reward));
    }
    if (samples.size() != group.size)
      fail("the ledger's batch of step {} lacks completions of group {}: it is damaged", step, group.group);
  }
  if (batch->groups.size() != static_cast<size_t>(config_.async.groups_per_batch))
    fail("the ledger has {} groups for step {} instead of {}: it is damaged", batch->groups.size(), step,
         config_.async.groups_per_batch);
  assert_staleness(*batch, static_cast<uint32_t>(config_.async.max_staleness));
  current_ = std::move(batch);
  return current_;
}

void Coordinator::on_trained(const Trained& trained, double) {
  for (const Metric& m : trained.metrics)
    row(Stmt::put_metric, {static_cast<int64_t>(trained.step), m.name, m.value});
  row(Stmt::put_metric, {static_cast<int64_t>(trained.step), std::string("trained"), 1.0});
  trained_ = std::max(trained_, trained.step + 1);
  trained_ticket_ = ledger_.last() + 1;
}

void Coordinator::on_checkpointed(const Checkpointed& m, double) {
  row(Stmt::put_checkpoint, {static_cast<int64_t>(m.next_step), m.path, wall_seconds()});
  row(Stmt::consume_steps, {static_cast<int64_t>(m.next_step)});
  checkpointed_ = std::max(checkpointed_, m.next_step);
  log::info("checkpoint with {} steps at {}", m.next_step, m.path);
}

void Coordinator::on_published(const Published& published, double now) {
  published_ = published;
  eval_progress_ = now;
  share_weights(now, false);
}

// Tells the rollout workers of new weights every weight_sync_steps versions; sooner at the end, after a
// restart of the learner, and when nothing can go on with the weights they hold.
void Coordinator::share_weights(double now, bool starved) {
  const auto every = static_cast<Version>(config_.async.weight_sync_steps);
  const Version v = published_->version;
  const bool due = !shared_ || shared_->endpoint != published_->endpoint || v < shared_->version ||
                   v >= shared_->version + every || v >= total_steps();
  if (!due && !starved) return;
  shared_ = WeightsAvailable{v, published_->endpoint, published_->bytes};
  for (const auto& [name, w] : registry_.all())
    if (w.role == Role::rollout && w.version < v) post(w.peer, *shared_);
  maybe_start_eval(v, now);
}

// The learner waits for a step, nothing is being sampled or graded, and so only newer weights could open the
// gate.
bool Coordinator::starving() const {
  if (requests_.empty() || !jobs_.empty() || eval_run_ || !gate_.choose().empty()) return false;
  for (const auto& [id, group] : groups_)
    for (const Slot& slot : group.slots)
      if (slot.state == Slot::sampling || slot.state == Slot::grading) return false;
  return true;
}

// DAPO's dynamic sampling has an end: prompts that are all too easy or all too hard would be sampled for ever.
bool Coordinator::hopeless() {
  const auto limit = static_cast<uint64_t>(config_.async.max_num_gen_batches) *
                     static_cast<uint64_t>(config_.async.groups_per_batch);
  if (limit == 0 || filtered_since_batch_ < limit || !shutdown_reason_.empty()) return false;
  if (gate_.ready_count() >= static_cast<size_t>(config_.async.groups_per_batch))
    return false;  // the learner is behind
  failure_ = fmt::format(
      "filter_groups left out {} groups for step {} because their rewards are all equal "
      "(async.max_num_gen_batches = "
      "{}): the prompts are too hard or too easy for this model, or the reward does not tell completions "
      "apart",
      filtered_since_batch_, gate_.next_step(), config_.async.max_num_gen_batches);
  return true;
}

}  // namespace cohort
