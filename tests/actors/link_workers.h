// Fake workers over real sockets: a rollout, a reward worker and a learner rank that answer at once. For the
// benchmark and for killing the real coordinator process.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "transport/link.h"

namespace cohort::testing {

struct LinkRun {
  std::string endpoint;
  uint64_t credit = 64;  // groups a rollout worker takes, jobs a reward worker takes
  size_t tokens = 64;    // of each completion
  std::function<std::string(GroupId, uint32_t)> text;  // of a completion; else x…x and its index
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> completions{0}, graded{0}, batches{0};
  std::mutex mutex;
  std::map<uint32_t, std::vector<GroupId>>
      trained;  // by step, in the learner's lineage (it never restarts here)
  std::string trouble;
};

// A coordinator that ended while a worker was reconnecting cannot tell it so: it gives up by itself.
inline LinkOptions link_options(const LinkRun& run, std::function<Hello()> hello,
                                std::function<Heartbeat()> heartbeat) {
  LinkOptions options{run.endpoint, std::move(hello), std::move(heartbeat)};
  options.give_up_s = 5;
  return options;
}

inline Hello link_hello(Role role, const std::string& name) {
  Hello h;
  h.role = role;
  h.name = name;
  h.host = "here";
  h.pid = 1;
  return h;
}

inline void link_rollout(LinkRun& run, const std::string& name) {
  std::mutex mutex;
  Version version = 0;
  std::map<GroupId, std::vector<uint32_t>> active;
  Link link(link_options(
      run,
      [&] {
        Hello h = link_hello(Role::rollout, name);
        std::lock_guard lock(mutex);
        h.version = version;
        for (const auto& [group, indices] : active) h.held.push_back({group, indices});
        return h;
      },
      [&] {
        std::lock_guard lock(mutex);
        Heartbeat beat;
        beat.version = version;
        return beat;
      }));
  uint64_t leases = 0;
  link.wait_welcome(30);
  link.send(Credit{run.credit});
  while (!run.stop && link.ended().empty()) {
    auto message = link.receive(std::chrono::milliseconds(100));
    if (!message) continue;
    if (std::holds_alternative<Welcome>(*message)) {
      leases = 0;
      link.send(Credit{run.credit});
    } else if (const auto* lease = std::get_if<Lease>(&*message)) {
      {
        std::lock_guard lock(mutex);
        active[lease->group] = lease->indices;
      }
      for (uint32_t index : lease->indices) {
        Completion c;
        c.group = lease->group;
        c.index = index;
        c.prompt_ids.assign(32, 7);
        c.token_ids.assign(run.tokens, static_cast<int32_t>(index));
        c.logprobs.assign(run.tokens, -0.5f);
        c.versions = {{version, static_cast<uint32_t>(run.tokens)}};
        c.text =
            run.text ? run.text(lease->group, index) : std::string(run.tokens, 'x') + std::to_string(index);
        c.finish_reason = "stop";
        link.send(std::move(c));
        ++run.completions;
      }
      {
        std::lock_guard lock(mutex);
        active.erase(lease->group);
      }
      ++leases;
      link.send(Credit{run.credit + leases});
    } else if (const auto* weights = std::get_if<WeightsAvailable>(&*message)) {
      {
        std::lock_guard lock(mutex);
        version = std::max(version, weights->version);
      }
      link.send(WeightsHeld{version});
    } else if (std::holds_alternative<Shutdown>(*message)) {
      link.flush(5);
      link.send(Goodbye{});
      return;
    }
  }
}

inline void link_reward(LinkRun& run, const std::string& name) {
  std::mutex mutex;
  std::set<uint64_t> held;
  Link link(link_options(
      run,
      [&] {
        Hello h = link_hello(Role::reward, name);
        std::lock_guard lock(mutex);
        h.held_jobs.assign(held.begin(), held.end());
        return h;
      },
      [] { return Heartbeat{}; }));
  uint64_t jobs = 0;
  link.wait_welcome(30);
  link.send(Credit{run.credit * 8});
  while (!run.stop && link.ended().empty()) {
    auto message = link.receive(std::chrono::milliseconds(100));
    if (!message) continue;
    if (std::holds_alternative<Welcome>(*message)) {
      jobs = 0;
      link.send(Credit{run.credit * 8});
    } else if (const auto* job = std::get_if<GradeJob>(&*message)) {
      {
        std::lock_guard lock(mutex);
        held.insert(job->job);
      }
      Graded g{job->job,
               job->group,
               job->index,
               {{"rule", 1.0, {VerdictKind::passed, job->index % 2 ? 1.0 : 0.0, "", "{}", ""}}},
               0};
      link.send(std::move(g));
      ++run.graded;
      {
        std::lock_guard lock(mutex);
        held.erase(job->job);
      }
      ++jobs;
      link.send(Credit{run.credit * 8 + jobs});
    } else if (std::holds_alternative<Shutdown>(*message)) {
      link.flush(5);
      link.send(Goodbye{});
      return;
    }
  }
}

// One rank, trains in no time, a checkpoint every `save` steps.
inline void link_learner(LinkRun& run, uint32_t save) {
  std::atomic<uint32_t> step{0};
  Link link(link_options(
      run,
      [&] {
        Hello h = link_hello(Role::learner, "learner-0");
        h.version = step;
        return h;
      },
      [] { return Heartbeat{}; }));
  link.wait_welcome(30);
  link.send(Published{0, "tcp://127.0.0.1:1", 1});
  link.send(BatchRequest{0});
  while (!run.stop && link.ended().empty()) {
    auto message = link.receive(std::chrono::milliseconds(100));
    if (!message) continue;
    if (const auto* batch = std::get_if<Batch>(&*message)) {
      if (batch->step != step) continue;
      {
        std::lock_guard lock(run.mutex);
        for (const GroupRewards& g : batch->groups) run.trained[batch->step].push_back(g.group);
      }
      ++run.batches;
      ++step;
      link.send(Trained{batch->step, {{"loss", 0.5}}});
      link.send(Published{step, "tcp://127.0.0.1:1", 1});
      if (step % save == 0) link.send(Checkpointed{step, "checkpoint"});
      link.send(BatchRequest{step});
    } else if (std::holds_alternative<NoMoreBatches>(*message)) {
      link.send(Checkpointed{step, "checkpoint"});
      link.flush(10);
      link.send(Goodbye{});
      return;
    } else if (const auto* refused = std::get_if<Refused>(&*message)) {
      std::lock_guard lock(run.mutex);
      run.trouble = refused->reason;
      return;
    }
  }
  std::lock_guard lock(run.mutex);
  run.trouble = link.ended();
}

// A [run] with nothing but what the coordinator needs.
inline std::string link_config(const std::string& dir, int total_steps, int groups, int generations,
                               int heartbeat_ms = 100) {
  return "[run]\nname = \"bench\"\ntotal_steps = " + std::to_string(total_steps) +
         "\nsave_steps = 5\n[data]\ntrain = \"" + dir +
         "/train.jsonl\"\n[rollout]\nnum_generations = " + std::to_string(generations) +
         "\n[async]\ngroups_per_batch = " + std::to_string(groups) +
         "\n[coordinator]\nheartbeat_ms = " + std::to_string(heartbeat_ms) + "\ntimeout_ms = 3000\n";
}

}  // namespace cohort::testing
