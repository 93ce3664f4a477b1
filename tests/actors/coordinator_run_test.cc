// What the coordinator promises to learners, its evaluation and its status, and whole runs with fake workers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "actors/rewards.h"
#include "tests/actors/direct.h"

namespace cohort::testing {
namespace {

TEST_F(Direct, TheSameStepIsTheSameBatchAndEveryRankGetsItsShare) {
  start();
  join(Role::rollout, "a", 4);
  join(Role::reward, "r", 100);
  auto rank = [&](const std::string& name, uint32_t r) {
    Hello h;
    h.role = Role::learner;
    h.name = name;
    h.host = "here";
    h.rank = r;
    h.ranks = 2;
    say(name, h);
  };
  rank("l0", 0);
  rank("l1", 1);
  say("l0", BatchRequest{0});
  EXPECT_TRUE(take<Batch>("l0").empty()) << "it waits";
  finish("a", "r");
  const Batch first = take<Batch>("l0").at(0);
  say("l1", BatchRequest{0});
  const Batch second = take<Batch>("l1").at(0);
  EXPECT_EQ(first.samples.size() + second.samples.size(), 4u);
  EXPECT_EQ(first.total_samples, 4u);
  EXPECT_EQ(first.total_tokens, 12u);
  ASSERT_EQ(first.groups.size(), 2u);
  EXPECT_EQ(first.groups[0].rewards, (std::vector<double>{0, 1}));
  say("l0", BatchRequest{1});
  take<Batch>("l0");

  coordinator_.reset();
  ledger_.reset();
  start();
  rank("l0", 0);
  say("l0", BatchRequest{0});  // resumed from a checkpoint before step 0
  const Batch again = take<Batch>("l0").at(0);
  ASSERT_EQ(again.samples.size(), first.samples.size());
  for (size_t i = 0; i < first.samples.size(); ++i) {
    const Sample &x = first.samples[i], &y = again.samples[i];
    EXPECT_TRUE(x.group == y.group && x.index == y.index && x.prompt_ids == y.prompt_ids &&
                x.token_ids == y.token_ids && x.logprobs == y.logprobs && x.versions == y.versions &&
                x.reward == y.reward && x.truncated == y.truncated);
  }
  say("l0", BatchRequest{5});
  EXPECT_NE(take<Refused>("l0").at(0).reason.find("another run folder"), std::string::npos);
}

TEST_F(Direct, WindingDownGivesAllRanksTheSameLastStep) {
  start();
  join(Role::rollout, "a", 4);
  join(Role::reward, "r", 100);
  for (uint32_t r : {0u, 1u}) {
    Hello h;
    h.role = Role::learner;
    h.name = "l" + std::to_string(r);
    h.rank = r;
    h.ranks = 2;
    say(h.name, h);
  }
  finish("a", "r");
  say("l0", BatchRequest{0});
  EXPECT_EQ(take<Batch>("l0").size(), 1u);
  coordinator_->begin_shutdown("test", now_);
  settle();
  EXPECT_EQ(take<Shutdown>("a").size(), 1u);
  say("l1", BatchRequest{0});
  EXPECT_EQ(take<Batch>("l1").size(), 1u) << "rank 0 has this step already and would wait for ever";
  for (const char* l : {"l0", "l1"}) {
    say(l, BatchRequest{1});
    EXPECT_EQ(take<NoMoreBatches>(l).size(), 1u);
  }
  say("l0", Checkpointed{1, "here"}, 1);
  EXPECT_EQ(take<Ack>("l0").at(0).seq, 1u);
  for (const char* w : {"l0", "l1", "a"}) say(w, Goodbye{});
  EXPECT_FALSE(coordinator_->finished(now_));
  say("r", Goodbye{});
  EXPECT_TRUE(coordinator_->finished(now_));
}

TEST_F(Direct, StrangersAreAskedWhoTheyAreAndOtherRunsRefused) {
  start();
  say("x", Credit{3});
  EXPECT_EQ(take<HelloAgain>("x").size(), 1u);
  Hello h;
  h.role = Role::rollout;
  h.name = "x";
  h.run_id = "another";
  say("x", h);
  EXPECT_NE(take<Refused>("x").at(0).reason.find("another"), std::string::npos);
  h.run_id.clear();
  h.protocol = 99;
  say("x", h);
  EXPECT_NE(take<Refused>("x").at(0).reason.find("protocol 2 here, 99 there"), std::string::npos);
  h.protocol = Hello{}.protocol;
  h.host = "one";
  say("x", h);
  EXPECT_EQ(take<Welcome>("x").size(), 1u);
  h.host = "two";
  say("y", h);
  EXPECT_NE(take<Refused>("y").at(0).reason.find("held by a live worker on one"), std::string::npos);
}

TEST_F(Direct, WeightsAreSharedEverySoManySteps) {
  options_.async.weight_sync_steps = 2;
  start();
  join(Role::rollout, "a");
  join(Role::learner, "l");
  for (Version v = 0; v <= 5; ++v) say("l", Published{v, "tcp://w", 8});
  std::vector<Version> told;
  for (const auto& w : take<WeightsAvailable>("a")) told.push_back(w.version);
  EXPECT_EQ(told, (std::vector<Version>{2, 4})) << "version 0 it holds";
  join(Role::rollout, "late");
  EXPECT_EQ(take<WeightsAvailable>("late").at(0).version, 4u);
}

TEST_F(Direct, OverlongCompletionsCostAsARecordedPart) {
  options_.overlong = {true, 4, 0.5};
  options_.sampling.max_tokens = 10;
  start();
  join(Role::rollout, "a", 1);
  join(Role::reward, "r", 10);
  const GroupId group = take<Lease>("a").at(0).group;
  say("a", completion(group, 0, 0, 8));
  say("r", graded(take<GradeJob>("r").at(0), 1));
  EXPECT_EQ(number("SELECT CAST(reward*1000 AS INT) FROM completions"), 750);
  EXPECT_EQ(number("SELECT CAST(score*1000 AS INT) FROM verdicts WHERE name='overlong_buffer'"), -250);
  EXPECT_EQ(overlong_part({true, 4, 0.5}, 6, 10).verdict.score, 0);
  EXPECT_EQ(overlong_part({true, 4, 0.5}, 10, 10).verdict.score, -0.5);
  EXPECT_EQ(overlong_part({true, 4, 0.5}, 11, 10).verdict.score, -0.5);
}

TEST_F(Direct, EvaluatesHeldOutPromptsWithoutTrainingOnThem) {
  options_.data.eval = dir_ + "/eval.jsonl";
  options_.run.eval_steps = 5;
  options_.run.eval_prompts = 3;
  options_.run.eval_samples = 2;
  start();
  join(Role::rollout, "a", 3);
  join(Role::reward, "r", 100);
  const auto leases = take<Lease>("a");
  ASSERT_EQ(leases.size(), 3u);
  for (const Lease& l : leases) {
    EXPECT_TRUE(l.eval);
    EXPECT_NE(l.sampling.seed, options_.sampling.seed);
    for (uint32_t i : l.indices) say("a", completion(l.group, i));
  }
  EXPECT_EQ(coordinator_->gate().outstanding(), 0u);
  for (const GradeJob& j : take<GradeJob>("r"))
    say("r", graded(j, j.index, j.index ? VerdictKind::passed : VerdictKind::failed));
  EXPECT_EQ(number("SELECT CAST(pass_at_1*100 AS INT) FROM evals WHERE version=0"), 50);
  const auto status = nlohmann::json::parse(coordinator_->status_json(now_));
  EXPECT_EQ(status["evals"][0]["pass_at_1"], 0.5);
  EXPECT_LT(status["evals"][0]["low"], 0.5);
}

TEST_F(Direct, StatusSaysWhoWaitsForWhom) {
  start();
  join(Role::rollout, "a", 100);
  join(Role::reward, "r", 1);
  join(Role::learner, "l");
  say("l", BatchRequest{0});
  Heartbeat beat;
  beat.tokens = 1000;
  say("a", beat);
  now_ += 1;
  beat.tokens = 3000;
  say("a", beat);
  sent_.clear();
  say("observer", StatusRequest{});
  const auto status = nlohmann::json::parse(take<Status>("observer").at(0).json);
  EXPECT_EQ(status["waits"][0]["who"], "learner");
  EXPECT_EQ(status["waits"][0]["for"], "rollout");
  EXPECT_EQ(status["queues"]["completions_sampling"], 8);
  EXPECT_DOUBLE_EQ(status["tokens_per_s"]["rollout"], 2000);
  EXPECT_EQ(status["workers"].size(), 3u);
  EXPECT_GT(status["learner_wait_for_batch_s"], 0.9);
}

TEST(Coordinator, RunsToItsEndAndReachesTheBound) {
  log::init("test", "", log::Level::error);
  const std::string dir = temp_dir("end");
  FakeRunOptions options = small_run(dir, 1);
  FakeRun run(options, dir);
  ASSERT_TRUE(run.run(20000)) << run.coordinator().status_json(run.now());
  check_lineage(run, options, dir);
  EXPECT_EQ(run.max_lag, 2u);
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM metrics WHERE name='loss'"), 10);
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM metrics WHERE name='reward/mean'"), 10);
}

TEST(Coordinator, WithoutStalenessItIsOnPolicy) {
  const std::string dir = temp_dir("onpolicy");
  FakeRunOptions options = small_run(dir, 2);
  options.config.async.max_staleness = 0;
  FakeRun run(options, dir);
  ASSERT_TRUE(run.run(20000));
  check_lineage(run, options, dir);
  EXPECT_EQ(run.max_lag, 0u);
}

// A run whose prompts teach nothing ends by itself, with the learner's checkpoint, and says that starting it again
// would not help.
TEST_F(Direct, FilteringForEverEndsTheRun) {
  options_.async.max_num_gen_batches = 3;
  start();
  join(Role::rollout, "a", 100);
  join(Role::reward, "r", 1000);
  join(Role::learner, "l");
  say("l", BatchRequest{0});
  const auto same_reward = [&](size_t groups) {
    for (const Lease& lease : take<Lease>("a")) {
      if (groups-- == 0) return;
      for (uint32_t i : lease.indices) say("a", completion(lease.group, i));
      for (const GradeJob& job : take<GradeJob>("r")) say("r", graded(job, 1));
    }
  };
  for (int i = 0; i < 5; ++i) same_reward(1);  // the others stay leased
  EXPECT_EQ(coordinator_->failure(), "");
  EXPECT_TRUE(take<Shutdown>("a").empty());
  for (int i = 0; i < 20 && coordinator_->failure().empty(); ++i) same_reward(4);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='filtered'"), 6) << "3 batches of 2 groups";
  EXPECT_NE(coordinator_->failure().find("async.max_num_gen_batches = 3"), std::string::npos);
  EXPECT_NE(coordinator_->failure().find("step 0"), std::string::npos);
  EXPECT_EQ(take<Shutdown>("a").size(), 1u);
  EXPECT_EQ(take<NoMoreBatches>("l").size(), 1u) << "the learner writes its checkpoint";
}

TEST_F(Direct, AReadyBatchMeansThatTheLearnerIsBehindNotThatNothingIsLearnt) {
  options_.async.max_num_gen_batches = 1;
  options_.async.max_staleness = 3;
  start();
  join(Role::rollout, "a", 100);
  join(Role::reward, "r", 1000);
  const auto leases = take<Lease>("a");
  ASSERT_EQ(leases.size(), 8u);
  for (size_t g = 0; g < leases.size(); ++g) {
    for (uint32_t i : leases[g].indices) say("a", completion(leases[g].group, i));
    for (const GradeJob& job : take<GradeJob>("r")) say("r", graded(job, g < 2 ? job.index : 1));
  }
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='filtered'"), 6);
  EXPECT_EQ(coordinator_->failure(), "");
}

// run.eval_prompts and run.eval_samples may change while an evaluation is unfinished.
TEST_F(Direct, AnEvaluationWhoseOptionsWereChangedBeginsAnew) {
  options_.data.eval = dir_ + "/eval.jsonl";
  options_.run.eval_steps = 5;
  options_.run.eval_prompts = 3;
  options_.run.eval_samples = 2;
  const auto evaluated = [&] { return number("SELECT COUNT(*) FROM evals"); };
  start();
  join(Role::rollout, "a", 2);
  join(Role::reward, "r", 100);
  const auto sample_all = [&] {
    for (const Lease& l : take<Lease>("a"))
      for (uint32_t i : l.indices) say("a", completion(l.group, i));
    for (const GradeJob& j : take<GradeJob>("r")) say("r", graded(j, 1));
  };
  sample_all();
  const auto restart = [&] {
    coordinator_.reset(), ledger_.reset(), sent_.clear();
    start();
  };
  restart();  // nothing changed: the third prompt is all that is missing
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='abandoned'"), 0);
  options_.run.eval_samples = 4;
  restart();
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='abandoned'"), 2);
  join(Role::rollout, "a", 3);
  join(Role::reward, "r", 100);
  const auto leases = take<Lease>("a");
  ASSERT_EQ(leases.size(), 3u);
  for (const Lease& l : leases) {
    EXPECT_TRUE(l.eval);
    EXPECT_EQ(l.indices.size(), 4u);
    for (uint32_t i : l.indices) say("a", completion(l.group, i));
  }
  for (const GradeJob& j : take<GradeJob>("r")) say("r", graded(j, 1));
  EXPECT_EQ(evaluated(), 1);
  EXPECT_EQ(number("SELECT samples FROM evals"), 4);
  options_.run.eval_steps = 0, options_.data.eval = "";  // and it may be turned off
  restart();
  EXPECT_EQ(evaluated(), 1);
}

}  // namespace
}  // namespace cohort::testing
