// What has to have happened, and who has to know of it, before a coordinator ends.
#include <nlohmann/json.hpp>

#include "tests/actors/direct.h"

namespace cohort::testing {
namespace {

// An evaluation that began some steps before the last one is as much a result of the run as one of the last step.
TEST_F(Direct, AnEvaluationThatHasBegunIsFinishedBeforeTheRunEnds) {
  options_.data.eval = dir_ + "/eval.jsonl";
  options_.run.total_steps = 1;
  options_.run.eval_steps = 5;  // not at the last step: the one of version 0 is all there is
  options_.run.eval_prompts = 1;
  options_.run.eval_samples = 2;
  start();
  join(Role::rollout, "a", 3);
  join(Role::reward, "r", 100);
  join(Role::learner, "l");
  std::vector<Lease> held_out;
  for (const Lease& lease : take<Lease>("a")) {
    if (lease.eval)
      held_out.push_back(lease);
    else
      for (uint32_t i : lease.indices) say("a", completion(lease.group, i));
  }
  for (const GradeJob& job : take<GradeJob>("r")) say("r", graded(job, job.index % 2));
  ASSERT_EQ(held_out.size(), 1u);
  say("l", BatchRequest{0});
  ASSERT_EQ(take<Batch>("l").size(), 1u);
  say("l", Trained{0, {}}), say("l", Published{1, "tcp://w", 8}), say("l", Checkpointed{1, "here"});
  say("l", BatchRequest{1});
  EXPECT_TRUE(take<NoMoreBatches>("l").empty()) << "its weights may still be wanted";
  EXPECT_TRUE(take<Shutdown>("a").empty());
  for (uint32_t i : held_out[0].indices) say("a", completion(held_out[0].group, i));
  for (const GradeJob& job : take<GradeJob>("r")) say("r", graded(job, 1));
  EXPECT_EQ(number("SELECT COUNT(*) FROM evals WHERE version=0"), 1);
  EXPECT_EQ(take<NoMoreBatches>("l").size(), 1u);
  EXPECT_EQ(take<Shutdown>("a").size(), 1u);
}

TEST_F(Direct, AnEvaluationInWhichNothingMovesDoesNotHoldUpTheEnd) {
  options_.data.eval = dir_ + "/eval.jsonl";
  options_.run.total_steps = 1;
  options_.run.eval_steps = 1;
  options_.run.eval_prompts = 1;
  start();
  join(Role::rollout, "a");
  join(Role::reward, "r");
  say("l", Hello{});
  coordinator_->handle({"a", {0, Checkpointed{1, "here"}}}, now_);
  settle();
  EXPECT_TRUE(take<Shutdown>("a").empty());
  for (int s = 0; s < 65; ++s) {
    now_ += 1;
    say("a", Heartbeat{}), say("r", Heartbeat{});
  }
  EXPECT_EQ(take<Shutdown>("a").size(), 1u);
}

// A worker whose connection broke just before the end would look for this coordinator for ever.
TEST_F(Direct, AWorkerThatIsComingBackIsWaitedForAndToldToLeave) {
  start();
  join(Role::rollout, "a"), join(Role::reward, "r");
  gone_.insert("a");
  say("r", Heartbeat{});
  coordinator_->handle({"a", {1, Heartbeat{}}}, now_);  // its Ack cannot be sent: the connection is gone
  settle();
  coordinator_->begin_shutdown("the run is complete", now_);
  settle();
  say("r", Goodbye{});
  EXPECT_FALSE(coordinator_->finished(now_));
  gone_.clear();
  join(Role::rollout, "a");
  EXPECT_EQ(take<Shutdown>("a").size(), 1u);
  say("a", Goodbye{});
  EXPECT_TRUE(coordinator_->finished(now_));
}

TEST_F(Direct, AWorkerThatDoesNotComeBackIsNotWaitedForLong) {
  start();
  join(Role::rollout, "a");
  gone_.insert("a");
  coordinator_->handle({"a", {1, Heartbeat{}}}, now_);
  settle();
  coordinator_->begin_shutdown("the run is complete", now_);
  settle();
  EXPECT_FALSE(coordinator_->finished(now_ + 2));
  EXPECT_TRUE(coordinator_->finished(now_ + 4));
}

TEST_F(Direct, TheLastWordsAreTheStatusForObserversAndARefusalForWhoComesTooLate) {
  start();
  join(Role::observer, "o");
  coordinator_->begin_shutdown("the run is complete", now_);
  settle();
  ASSERT_TRUE(coordinator_->finished(now_));
  Hello late;
  late.role = Role::rollout;
  late.name = "b";
  coordinator_->farewell({{"b", {0, late}}}, now_);
  EXPECT_EQ(take<Refused>("b").at(0).reason, "the run is over: the run is complete");
  EXPECT_TRUE(take<Status>("b").empty());
  const auto status = nlohmann::json::parse(take<Status>("o").at(0).json);
  EXPECT_EQ(status["reason"], "the run is complete");
  EXPECT_TRUE(status["waits"].empty()) << status["waits"];
}

}  // namespace
}  // namespace cohort::testing
