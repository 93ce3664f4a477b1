// A coordinator driven by hand: messages go in one by one, and what it sends is a list a peer.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actors/coordinator.h"
#include "tests/actors/fake_run.h"
#include "tests/actors/run_check.h"
#include "transport/base/log.h"

namespace cohort::testing {

class Direct : public ::testing::Test {
 protected:
  void SetUp() override {
    log::init("test", "", log::Level::error);
    dir_ = temp_dir("direct");
    options_ = small_run(dir_, 1).config;
    options_.async.groups_per_batch = 2;
    options_.async.max_staleness = 1;
    options_.num_generations = 2;
    options_.mini_batches = 1;
    options_.coordinator.grading_attempts = 3;
  }
  void TearDown() override {
    coordinator_.reset();
    ledger_.reset();
    std::filesystem::remove_all(dir_);
  }
  void start() {
    PromptFile train(options_.data.train), eval;
    if (!options_.data.eval.empty()) eval = PromptFile(options_.data.eval);
    LedgerOptions l{dir_};
    l.background = l.fsync = false;
    ledger_ = std::make_unique<Ledger>(l, RunIdentity{"direct", "", train.hash()});
    coordinator_ = std::make_unique<Coordinator>(
        options_, train, eval, *ledger_,
        [this](const PeerId& peer, const Envelope& e) {
          if (gone_.contains(peer)) return false;
          sent_[peer].push_back(e.message);
          return true;
        },
        now_);
    ledger_->commit_now();
  }
  void say(const PeerId& peer, Message m, uint64_t seq = 0) {
    coordinator_->handle({peer, {seq, std::move(m)}}, now_);
    settle();
  }
  void settle() {
    for (int i = 0; i < 3; ++i) coordinator_->advance(now_), ledger_->commit_now();
    coordinator_->advance(now_);
  }
  void join(Role role, const std::string& name, uint64_t credit = 0, Version version = 0,
            std::vector<HeldLease> held = {}) {
    Hello h;
    h.role = role;
    h.name = name;
    h.host = "here";
    h.pid = 1;
    h.version = version;
    h.held = std::move(held);
    say(name, h);
    if (credit) say(name, Credit{credit});
  }
  // Takes what was sent to this peer of one type.
  template <class T>
  std::vector<T> take(const PeerId& peer) {
    std::vector<T> out;
    std::vector<Message> rest;
    for (Message& m : sent_[peer])
      if (auto* t = std::get_if<T>(&m))
        out.push_back(std::move(*t));
      else
        rest.push_back(std::move(m));
    sent_[peer] = std::move(rest);
    return out;
  }
  Completion completion(GroupId group, uint32_t index, Version version = 0, size_t tokens = 3) {
    Completion c;
    c.group = group;
    c.index = index;
    c.prompt_ids = {1, 2};
    c.token_ids.assign(tokens, static_cast<int32_t>(index + 10));
    c.logprobs.assign(tokens, -1.f);
    c.versions = {{version, static_cast<uint32_t>(tokens)}};
    c.text = "text " + std::to_string(index);
    c.finish_reason = "stop";
    return c;
  }
  Graded graded(const GradeJob& job, double score, VerdictKind kind = VerdictKind::passed) {
    return {job.job, job.group, job.index, {{"rule", 1.0, {kind, score, "", "{}", ""}}}, 0};
  }
  // Samples and grades all of every lease `rollout` holds; rewards are 0 and 1 by turns.
  void finish(const PeerId& rollout, const PeerId& reward, Version version = 0) {
    for (const Lease& lease : take<Lease>(rollout))
      for (uint32_t i : lease.indices) say(rollout, completion(lease.group, i, version));
    for (const GradeJob& job : take<GradeJob>(reward)) say(reward, graded(job, job.index % 2));
  }
  int64_t number(const std::string& sql) { return sql_number(dir_, sql); }

  std::string dir_;
  CoordinatorConfig options_;
  double now_ = 100;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Coordinator> coordinator_;
  std::map<PeerId, std::vector<Message>> sent_;
  std::set<PeerId> gone_;
};

}  // namespace cohort::testing
