// A rollout worker in a thread, and a coordinator that deals leases and keeps a ledger, over real sockets.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rollout/engine.h"
#include "rollout/testing/fake_runner.h"
#include "rollout/worker.h"
#include "tests/rollout/letters.h"
#include "transport/base/error.h"
#include "transport/testing/fake_coordinator.h"

namespace cohort {

using testing::FakeCoordinator;
using Key = std::pair<GroupId, uint32_t>;
constexpr uint32_t kGenerations = 4;

// Leases `groups` groups as credit comes and keeps what returns, over any number of coordinators, as the real
// one keeps its ledger.
class Dealer {
 public:
  explicit Dealer(GroupId groups) : groups_(groups) {}

  FakeCoordinator::Options options(const std::string& endpoint = "tcp://127.0.0.1:0") {
    FakeCoordinator::Options o;
    o.endpoint = endpoint;
    o.welcome.run_id = "dealt";
    o.welcome.epoch = ++epoch_;
    o.welcome.config_toml = config;
    o.welcome.heartbeat_ms = 30;
    o.welcome.timeout_ms = 300;
    o.on_message = [this](FakeCoordinator& c, const std::string& worker, const Message& m) {
      on(c, worker, m);
    };
    return o;
  }
  std::string prompt(GroupId group) const {
    if (const auto found = prompts.find(group); found != prompts.end()) return found->second;
    return fmt::format(R"({{"id": {}, "prompt": "{}"}})", group,
                       std::string(3 + group % 5, char('a' + group % 20)));
  }
  Lease lease(GroupId group, std::vector<uint32_t> indices) const {
    Lease l;
    l.group = group;
    l.prompt_json = prompt(group);
    l.indices = std::move(indices);
    l.sampling.max_tokens = max_tokens;
    l.sampling.seed = 3;
    return l;
  }
  bool complete() const {
    std::lock_guard lock(mutex_);
    return ledger_.size() + returned_ == groups_ * kGenerations;
  }
  std::map<Key, Completion> ledger() const {
    std::lock_guard lock(mutex_);
    return ledger_;
  }
  std::vector<LeaseReturned> returns() const {
    std::lock_guard lock(mutex_);
    return returns_;
  }
  int repeats() const { return repeats_; }
  int differing() const { return differing_; }
  uint64_t most_outstanding() const { return most_outstanding_; }

  std::string config =
      "[model]\npath = \"none\"\n[rollout]\nnum_generations = 4\nmax_num_seqs = 16\nmax_context = 128\n";
  std::map<GroupId, std::string> prompts;
  int max_tokens = 40;
  std::atomic<bool> deal = true;

 private:
  void on(FakeCoordinator& c, const std::string& worker, const Message& m) {
    std::lock_guard lock(mutex_);
    if (const auto* hello = std::get_if<Hello>(&m)) {
      // what was given out, is not in the ledger and is not held by the worker is given out again
      std::map<Key, bool> held;
      for (const HeldLease& l : hello->held)
        for (uint32_t i : l.indices) held[{l.group, i}] = true;
      again_.clear();
      for (GroupId g = 1; g <= next_; ++g) {
        std::vector<uint32_t> missing;
        for (uint32_t i = 0; i < kGenerations; ++i)
          if (!ledger_.contains({g, i}) && !held[{g, i}] && !failed_.contains(g)) missing.push_back(i);
        if (!missing.empty()) again_[g] = missing;
      }
      sent_ = 0;
    } else if (const auto* credit = std::get_if<Credit>(&m)) {
      while (deal && sent_ < credit->granted && (!again_.empty() || next_ < groups_)) {
        ++sent_;
        if (!again_.empty()) {
          c.send(worker, lease(again_.begin()->first, again_.begin()->second));
          again_.erase(again_.begin());
          continue;
        }
        std::vector<uint32_t> all(kGenerations);
        std::iota(all.begin(), all.end(), 0u);
        c.send(worker, lease(++next_, all));
      }
      most_outstanding_ = std::max<uint64_t>(most_outstanding_, next_ * kGenerations - ledger_.size());
    } else if (const auto* done = std::get_if<Completion>(&m)) {
      const auto [at, fresh] = ledger_.emplace(Key{done->group, done->index}, *done);
      if (fresh) return;
      ++repeats_;
      differing_ += at->second.token_ids != done->token_ids || at->second.logprobs != done->logprobs ||
                    at->second.versions != done->versions || at->second.text != done->text;
    } else if (const auto* back = std::get_if<LeaseReturned>(&m)) {
      returns_.push_back(*back);
      returned_ += back->indices.size();
      if (!back->error.empty()) failed_[back->group] = true;
    }
  }

  const GroupId groups_;
  mutable std::mutex mutex_;
  uint64_t epoch_ = 0, sent_ = 0, most_outstanding_ = 0;
  GroupId next_ = 0;
  std::map<GroupId, std::vector<uint32_t>> again_;
  std::map<GroupId, bool> failed_;
  std::map<Key, Completion> ledger_;
  std::vector<LeaseReturned> returns_;
  size_t returned_ = 0;
  std::atomic<int> repeats_ = 0, differing_ = 0;
};

// A worker in a thread of its own, with the toy model.
class RunningWorker {
 public:
  explicit RunningWorker(const std::string& endpoint, FakeRunnerOptions runner = {},
                         bool has_weights = true) {
    options_.endpoint = endpoint;
    options_.name = "rollout-0";
    options_.give_up_s = 20;
    options_.flush_s = 5;
    options_.stop = [this] { return stop_.load(); };
    options_.load_model = [runner, has_weights](const std::string&, const RunnerOptions& o) mutable {
      runner.max_slots = o.max_slots;
      runner.max_context = o.max_context;
      WorkerModel m;
      m.runner = std::make_unique<FakeRunner>(runner);
      m.has_weights = has_weights;
      m.prompts =
          std::make_shared<PromptEncoder>(std::make_shared<Letters>(runner.vocab_size), ChatTemplate{});
      return m;
    };
    thread_ = std::thread([this] {
      try {
        run_worker(options_);
      } catch (const std::exception& e) {
        error_ = e.what();
      }
      left_ = true;
    });
  }
  ~RunningWorker() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  void stop() { stop_ = true; }
  bool left() const { return left_; }
  std::string join() {
    thread_.join();
    return error_;
  }

 private:
  WorkerOptions options_;
  std::atomic<bool> stop_ = false, left_ = false;
  std::string error_;
  std::thread thread_;
};

// What an engine of its own makes of the same leases.
inline Completion expected(const Dealer& dealer, Key key, FakeRunnerOptions options = {}) {
  options.max_slots = 1;
  options.max_context = 128;
  FakeRunner runner(options);
  const auto letters = std::make_shared<Letters>(options.vocab_size);
  Engine engine(runner, letters);
  const Lease lease = dealer.lease(key.first, {key.second});
  const std::string json = lease.prompt_json;
  const size_t at = json.find("\"prompt\": \"") + 11;
  engine.add(
      {key.first, {key.second}, letters->encode(json.substr(at, json.rfind('"') - at)), lease.sampling});
  while (true)
    for (Completion& c : engine.step()) return std::move(c);
}

}  // namespace cohort
