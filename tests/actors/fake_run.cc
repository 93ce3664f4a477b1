#include <gtest/gtest.h>

#include "tests/actors/fake_run.h"

#include <cmath>

namespace cohort::testing {

void FakeRun::run_rollout(Rollout& r) {
  Hello hello = hello_of(r);
  hello.version = r.version;
  std::map<GroupId, std::vector<uint32_t>> held;
  for (const auto& a : r.active) held[a.group].push_back(a.index);
  for (const auto& [group, indices] : held) hello.held.push_back({group, indices});
  if (greet(r, hello)) {
    r.leases = 0;
    r.granted = 0;
  }
  while (auto message = next(r)) {
    if (const auto* lease = std::get_if<Lease>(&*message)) {
      ++r.leases;
      ++leases_seen;
      EXPECT_LE(r.leases, r.granted) << "a lease beyond the credit";
      for (uint32_t index : lease->indices)
        r.active.push_back(
            {lease->group, index, lease->prompt_json, lease->eval, now_ + heavy(0.2), {{r.version, 1}}});
    } else if (const auto* cancel = std::get_if<Cancel>(&*message)) {
      std::erase_if(r.active, [&](const auto& a) { return a.group == cancel->group; });
    } else if (const auto* weights = std::get_if<WeightsAvailable>(&*message)) {
      weights_announced.push_back(weights->version);
      if (weights->version > std::max(r.version, r.coming))
        r.coming = weights->version, r.swap_at = now_ + heavy(0.2);
    } else if (std::holds_alternative<Shutdown>(*message)) {
      r.active.clear();
      send(r, Goodbye{});
    }
  }
  if (r.swap_at > 0 && now_ >= r.swap_at) {  // in flight: what runs goes on with the new weights
    r.version = r.coming;
    r.swap_at = -1;
    r.coming = 0;
    for (auto& a : r.active) a.versions.push_back({r.version, 1});
    send(r, WeightsHeld{r.version});
  }
  for (size_t i = 0; i < r.active.size();) {
    auto& a = r.active[i];
    if (now_ < a.done_at) {
      ++i;
      continue;
    }
    Completion c;
    c.group = a.group;
    c.index = a.index;
    c.prompt_ids = {static_cast<int32_t>(a.group % 7), 1};
    if (rng_() % 3 == 0) a.versions.back().count += static_cast<uint32_t>(rng_() % 5);
    c.versions = a.versions;
    const auto nonce = static_cast<int32_t>(++nonce_);
    for (const VersionRun& v : a.versions)
      for (uint32_t k = 0; k < v.count; ++k)
        c.token_ids.push_back(nonce), c.logprobs.push_back(-0.001f * static_cast<float>(nonce));
    const bool equal = std::hash<uint64_t>{}(a.group * 0x9e3779b97f4a7c15) % 1000 < 1000 * options_.filtered;
    c.text = equal ? "same" : "sample " + std::to_string(nonce);
    c.finish_reason = rng_() % 5 == 0 ? "length" : "stop";
    r.active.erase(r.active.begin() + static_cast<long>(i));
    send(r, c);
  }
  std::set<GroupId> groups;
  for (const auto& a : r.active) groups.insert(a.group);
  most_leased_groups = std::max(most_leased_groups, static_cast<uint32_t>(groups.size()));
  if (r.welcomed && groups.size() < 3 && r.granted <= r.leases) {
    r.granted = r.leases + 3 - groups.size();
    send(r, Credit{r.granted});
  }
}

void FakeRun::run_reward(Reward& r) {
  Hello hello = hello_of(r);
  for (const auto& j : r.jobs) hello.held_jobs.push_back(j.job.job);
  if (greet(r, hello)) r.granted = 0;
  while (auto message = next(r)) {
    if (const auto* job = std::get_if<GradeJob>(&*message)) {
      r.jobs.push_back({*job, now_ + heavy(0.05)});
    } else if (const auto* cancel = std::get_if<Cancel>(&*message)) {
      std::erase_if(r.jobs, [&](const auto& j) { return j.job.job == cancel->job; });
    } else if (std::holds_alternative<Shutdown>(*message)) {
      r.jobs.clear();
      send(r, Goodbye{});
    }
  }
  for (size_t i = 0; i < r.jobs.size();) {
    if (now_ < r.jobs[i].done_at) {
      ++i;
      continue;
    }
    const GradeJob job = r.jobs[i].job;
    r.jobs.erase(r.jobs.begin() + static_cast<long>(i));
    Graded g{job.job, job.group, job.index, {}, 0.01};
    const bool broken = break_grading ? break_grading(job, r.name) : uniform() < options_.infra_error;
    if (broken)
      g.parts = {{"rule", 1.0, {VerdictKind::infra_error, 0, "the disk is full", "", ""}}};
    else
      g.parts = {{"rule",
                  1.0,
                  {grade(job.completion) > 0.5 ? VerdictKind::passed : VerdictKind::failed,
                   grade(job.completion), "", "{}", "h"}}};
    send(r, g);
    ++r.granted;  // one more is welcome
    send(r, Credit{r.granted});
  }
  if (r.welcomed && r.granted == 0) {
    r.granted = 6 > r.jobs.size() ? 6 - r.jobs.size() : 0;
    send(r, Credit{r.granted});
  }
}

void FakeRun::restart_learner() {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    restart(ranks_[i], Role::learner, "learner", i);
    ranks_[i].step = checkpoint_on_disk_;
  }
  learner_step_ = checkpoint_on_disk_;
  while (!lineage.empty() && lineage.rbegin()->first >= checkpoint_on_disk_)
    lineage.erase(std::prev(lineage.end()));
  train_until_ = -1;
}

// All ranks have their share: the whole batch is put together and compared with what was delivered for this
// step before.
void FakeRun::train(uint32_t step) {
  TrainedStep t;
  for (const GroupRewards& g : ranks_[0].batch->groups) t.groups.push_back(g.group);
  for (Rank& r : ranks_) {
    ASSERT_EQ(r.batch->step, step);
    ASSERT_EQ(r.batch->total_samples, options_.config.num_generations * t.groups.size());
    for (const Sample& s : r.batch->samples) {
      std::string ids;
      for (int32_t id : s.token_ids) ids += std::to_string(id) + " ";
      ASSERT_TRUE(t.samples.emplace(std::pair(s.group, s.index), ids).second) << "a sample in two shares";
      ASSERT_EQ(s.token_ids.size(), s.logprobs.size());
      for (size_t i = 0; i < s.token_ids.size(); ++i)
        ASSERT_EQ(s.logprobs[i], -0.001f * static_cast<float>(s.token_ids[i]));
      ASSERT_EQ(s.reward, grade("sample " + std::to_string(s.token_ids[0])))
          << "the reward of another completion";
      for (const VersionRun& v : s.versions) {
        const int64_t lag = int64_t{step} - v.version;
        ASSERT_LE(lag, options_.config.async.max_staleness);
        max_lag = std::max(max_lag, static_cast<uint32_t>(std::max<int64_t>(0, lag)));
      }
    }
  }
  ASSERT_EQ(t.samples.size(), options_.config.num_generations * t.groups.size());
  auto [it, fresh] = first_delivery.emplace(step, t);
  ASSERT_EQ(it->second, t) << "step " << step << " was delivered differently before";
  redelivered += !fresh;
  ASSERT_TRUE(lineage.emplace(step, t).second) << "step trained twice in one lineage";
}

void FakeRun::run_learner() {
  const uint32_t every = static_cast<uint32_t>(options_.config.run.save_steps);
  const auto total = static_cast<uint32_t>(options_.config.run.total_steps);
  auto checkpoint = [&] {
    checkpoint_on_disk_ = learner_step_;
    send(ranks_[0], Checkpointed{learner_step_, "checkpoint-" + std::to_string(learner_step_)});
  };
  size_t stopped = 0, have = 0;
  for (Rank& r : ranks_) {
    if (greet(r, hello_of(r))) {
      r.asked = -1e9;  // a request is forgotten with the conversation
      if (r.rank == 0) {
        // as the real one: the process that wrote the checkpoint may have died before the coordinator heard of it
        for (uint32_t k = r.trained_steps; k < checkpoint_on_disk_; ++k) send(r, Trained{k, {{"loss", 1.0}}});
        if (checkpoint_on_disk_ > 0)
          send(r, Checkpointed{checkpoint_on_disk_, "checkpoint-" + std::to_string(checkpoint_on_disk_)});
        send(r, Published{learner_step_, "tcp://weights", 1});
      }
    }
    while (auto message = next(r)) {
      if (const auto* batch = std::get_if<Batch>(&*message)) {
        if (batch->step == r.step && !r.batch) r.batch = *batch;
      } else if (std::holds_alternative<NoMoreBatches>(*message)) {
        r.left = true;
      }
    }
    if (!r.batch && !r.left && r.welcomed && now_ - r.asked > 5) {
      r.asked = now_;
      send(r, BatchRequest{r.step});
    }
    stopped += r.left;
    have += r.batch.has_value();
  }
  if (stopped == ranks_.size()) {
    if (checkpoint_on_disk_ != learner_step_) checkpoint();
    for (Rank& r : ranks_)
      if (r.unacked.empty() && r.welcomed) send(r, Goodbye{});
    return;
  }
  if (have < ranks_.size()) return;
  if (train_until_ < 0) {
    train(learner_step_);
    train_until_ = now_ + 0.1 + 0.5 * uniform();
  }
  if (now_ < train_until_) return;
  train_until_ = -1;
  ++learner_step_;
  for (Rank& r : ranks_) r.batch.reset(), r.step = learner_step_, r.asked = -1e9;
  send(ranks_[0], Trained{learner_step_ - 1, {{"loss", 1.0 / learner_step_}}});
  send(ranks_[0], Published{learner_step_, "tcp://weights", 1});
  if (learner_step_ % every == 0 || learner_step_ == total) checkpoint();
}

void FakeRun::crash_something() {
  if (uniform() < options_.crash_all) {
    crash_coordinator();
    for (size_t i = 0; i < rollouts_.size(); ++i) kill_rollout(i);
    for (size_t i = 0; i < rewards_.size(); ++i) kill_reward(i);
    kill_learner();
  }
  if (uniform() < options_.crash_coordinator) crash_coordinator();
  if (uniform() < options_.crash_rollout) kill_rollout(rng_() % rollouts_.size());
  if (uniform() < options_.crash_reward) kill_reward(rng_() % rewards_.size());
  if (uniform() < options_.crash_learner) kill_learner();
  if (uniform() < options_.cut_link) {
    const size_t i = rng_() % (rollouts_.size() + rewards_.size() + ranks_.size());
    if (i < rollouts_.size())
      lose_link(rollouts_[i]);
    else if (i < rollouts_.size() + rewards_.size())
      lose_link(rewards_[i - rollouts_.size()]);
    else
      lose_link(ranks_[i - rollouts_.size() - rewards_.size()]);
  }
}

}  // namespace cohort::testing
