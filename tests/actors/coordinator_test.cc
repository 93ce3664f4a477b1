// What the coordinator promises to rollout and reward workers, message by message.
#include <gtest/gtest.h>

#include "tests/actors/direct.h"

namespace cohort::testing {
namespace {

TEST_F(Direct, NothingLeavesBeforeItIsOnDisk) {
  start();
  join(Role::rollout, "a");
  coordinator_->handle({"a", {0, Credit{1}}}, now_);
  coordinator_->advance(now_);
  EXPECT_TRUE(take<Lease>("a").empty());
  ledger_->commit_now();
  coordinator_->advance(now_);
  const auto leases = take<Lease>("a");
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_EQ(leases[0].indices, (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(leases[0].prompt_json.substr(0, 7), "{\"id\":\"");

  join(Role::reward, "r", 5);
  coordinator_->handle({"a", {1, completion(leases[0].group, 0)}}, now_);
  coordinator_->advance(now_);
  EXPECT_TRUE(take<Ack>("a").empty());
  EXPECT_TRUE(take<GradeJob>("r").empty());
  ledger_->commit_now();
  coordinator_->advance(now_);
  EXPECT_EQ(take<Ack>("a").at(0).seq, 1u);
  EXPECT_EQ(take<GradeJob>("r").size(), 1u) << "graded as soon as it is there, not when its group is";
}

TEST_F(Direct, CreditAndTheGateBoundTheLeases) {
  start();
  join(Role::rollout, "a", 3);
  EXPECT_EQ(take<Lease>("a").size(), 3u);
  say("a", Credit{100});
  EXPECT_EQ(take<Lease>("a").size(), 1u) << "B * (eta + 1) = 4";
  EXPECT_EQ(coordinator_->gate().outstanding(), 4u);
}

TEST_F(Direct, MaxConcurrentRolloutsBoundsWhatIsSampled) {
  options_.async.max_concurrent_rollouts = 1;
  start();
  join(Role::rollout, "a", 100);
  const auto leases = take<Lease>("a");
  ASSERT_EQ(leases.size(), 1u);
  say("a", completion(leases[0].group, 0));
  EXPECT_TRUE(take<Lease>("a").empty());
  say("a", completion(leases[0].group, 1));
  EXPECT_EQ(take<Lease>("a").size(), 1u) << "one more once the first is sampled";
}

TEST_F(Direct, TheEarliestDeadlineIsGradedFirst) {
  options_.async.max_staleness = 3;
  start();
  join(Role::rollout, "new", 1, 2);
  join(Role::rollout, "old", 1, 0);
  const GroupId younger = take<Lease>("new").at(0).group, older = take<Lease>("old").at(0).group;
  say("new", completion(younger, 0, 2));
  say("old", completion(older, 0, 0));
  join(Role::reward, "r", 2);
  const auto jobs = take<GradeJob>("r");
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].group, older);
  EXPECT_EQ(jobs[0].deadline_step, 3);
  EXPECT_EQ(jobs[1].deadline_step, 5);
}

TEST_F(Direct, AnInfrastructureErrorIsTriedElsewhereAndNeverARewardOfZero) {
  start();
  join(Role::rollout, "a", 1);
  const GroupId group = take<Lease>("a").at(0).group;
  join(Role::reward, "r1", 1);
  join(Role::reward, "r2", 0);
  say("a", completion(group, 0));
  GradeJob job = take<GradeJob>("r1").at(0);
  say("r1", Credit{10});
  say("r1", graded(job, 0, VerdictKind::infra_error));
  EXPECT_TRUE(take<GradeJob>("r1").empty()) << "elsewhere, though it has credit";
  say("r2", Credit{1});
  job = take<GradeJob>("r2").at(0);
  say("r2", graded(job, 0, VerdictKind::infra_error));
  EXPECT_TRUE(take<GradeJob>("r1").empty()) << "the next try waits a little";
  now_ += 1;
  settle();
  job = take<GradeJob>("r1").at(0);
  EXPECT_EQ(number("SELECT COUNT(*) FROM infra_errors"), 2);
  say("r1", graded(job, 0, VerdictKind::infra_error));  // the third and last attempt
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='failed' AND error LIKE '%rule%'"), 1);
  EXPECT_EQ(number("SELECT COUNT(*) FROM completions WHERE reward IS NOT NULL"), 0);
  EXPECT_EQ(coordinator_->gate().outstanding(), 0u) << "its slot is free";
  EXPECT_EQ(take<Cancel>("a").at(0).group, group) << "nobody needs to sample the rest";
}

TEST_F(Direct, AGraderThatLeavesInOrderCostsNoAttempt) {
  start();
  join(Role::rollout, "a", 1);
  const GroupId group = take<Lease>("a").at(0).group;
  join(Role::reward, "r1", 1);
  say("a", completion(group, 0));
  ASSERT_EQ(take<GradeJob>("r1").size(), 1u);
  say("r1", Goodbye{"asked to stop"});
  join(Role::reward, "r1", 1);
  EXPECT_EQ(take<GradeJob>("r1").size(), 1u) << "at once, by the same name";
  EXPECT_EQ(number("SELECT COUNT(*) FROM infra_errors"), 0);
}

TEST_F(Direct, AScoreThatIsNoNumberIsAFaultOfOurs) {
  start();
  join(Role::rollout, "a", 1);
  const GroupId group = take<Lease>("a").at(0).group;
  join(Role::reward, "r", 1);
  say("a", completion(group, 0));
  say("r", graded(take<GradeJob>("r").at(0), std::nan("")));
  EXPECT_EQ(number("SELECT COUNT(*) FROM completions WHERE reward IS NOT NULL"), 0);
  EXPECT_EQ(number("SELECT COUNT(*) FROM infra_errors"), 1);
}

TEST_F(Direct, GroupsWithoutVarianceFreeTheirSlot) {
  start();
  join(Role::rollout, "a", 4);
  join(Role::reward, "r", 100);
  const auto leases = take<Lease>("a");
  ASSERT_EQ(leases.size(), 4u);
  for (uint32_t i : {0u, 1u}) say("a", completion(leases[0].group, i));
  for (const GradeJob& job : take<GradeJob>("r")) say("r", graded(job, 0.5));
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='filtered'"), 1);
  say("a", Credit{5});
  EXPECT_EQ(take<Lease>("a").size(), 1u);
}

TEST_F(Direct, ASilentWorkersGroupKeepsWhatIsFinished) {
  start();
  join(Role::rollout, "a", 1);
  const GroupId group = take<Lease>("a").at(0).group;
  say("a", completion(group, 1));
  join(Role::rollout, "b", 2);
  take<Lease>("b");
  now_ += 3;
  say("b", Heartbeat{});
  now_ += 3;
  say("b", Credit{10});
  const auto leases = take<Lease>("b");
  ASSERT_FALSE(leases.empty());
  EXPECT_EQ(leases[0].group, group);
  EXPECT_EQ(leases[0].indices, (std::vector<uint32_t>{0})) << "only what the dead worker left";
  say("a", Heartbeat{});
  EXPECT_EQ(take<HelloAgain>("a").size(), 1u) << "it lives after all: it has to say who it is";
  join(Role::rollout, "a", 0, 0, {{group, {0}}});
  EXPECT_EQ(take<Cancel>("a").at(0).group, group) << "another one samples it now";
  say("a", completion(group, 0));
  EXPECT_EQ(number("SELECT COUNT(*) FROM completions"), 2) << "but what it finished first counts";
}

TEST_F(Direct, AfterANewHelloWhatIsHeldIsKeptAndTheRestIsLeasedAgain) {
  start();
  join(Role::rollout, "a", 2);
  const auto leases = take<Lease>("a");
  ASSERT_EQ(leases.size(), 2u);
  join(Role::rollout, "a", 10, 0, {{leases[0].group, {0, 1}}});
  now_ += 1;
  settle();
  for (const Lease& l : take<Lease>("a")) EXPECT_NE(l.group, leases[0].group);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='open'"), 4);
}

TEST_F(Direct, ARestartedCoordinatorTakesUpWhatWorkersHold) {
  start();
  join(Role::rollout, "a", 2);
  const auto leases = take<Lease>("a");
  say("a", completion(leases[0].group, 0));
  coordinator_.reset();
  ledger_.reset();
  sent_.clear();
  start();
  join(Role::rollout, "a", 0, 0, {{leases[0].group, {1}}, {leases[1].group, {0, 1}}, {77, {0}}});
  EXPECT_EQ(take<Cancel>("a").at(0).group, 77u);
  say("a", Credit{1});
  const auto more = take<Lease>("a");
  ASSERT_EQ(more.size(), 1u);
  EXPECT_GT(more[0].group, leases[1].group)
      << "nothing of the old groups is wanted twice, and no id is used again";
  join(Role::reward, "r", 5);
  EXPECT_EQ(take<GradeJob>("r").size(), 1u) << "the finished completion is still to be graded";
}

TEST_F(Direct, ACompletionOlderThanItsGroupMayBeIsSampledAgain) {
  options_.async.max_staleness = 0;
  start();
  join(Role::rollout, "a", 4);
  join(Role::reward, "r", 100);
  join(Role::learner, "l");
  finish("a", "r");
  say("l", BatchRequest{0});
  ASSERT_EQ(take<Batch>("l").size(), 1u);
  say("a", WeightsHeld{1});
  const auto leases = take<Lease>("a");
  ASSERT_FALSE(leases.empty());
  say("a", completion(leases[0].group, 0, 0), 9);
  EXPECT_EQ(number(fmt::format("SELECT COUNT(*) FROM completions WHERE group_id={}", leases[0].group)), 0);
  EXPECT_EQ(take<Ack>("a").back().seq, 9u);
}

}  // namespace
}  // namespace cohort::testing
