// A training run whose processes are killed or interrupted at random moments: it goes on, or goes on when
// started again, and the final lineage is whole.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/integration/train_fixture.h"

namespace cohort {
namespace {

using testing::HasSubstr;

// Of them kills come within the first kKills: the rest takes longer than it takes to look and to kill.
constexpr int kSteps = 60, kKills = 24;

class TrainKill : public TrainProcess {
 protected:
  static std::vector<std::string> settings() {
    return {"run.total_steps=" + std::to_string(kSteps), "run.save_steps=3"};
  }
  // Kills one process of `program` once a random number of steps was formed and a random moment has passed.
  void kill_one(const Process& p, const std::string& program, std::mt19937& random) {
    const int64_t step = std::uniform_int_distribution<int64_t>(0, kKills)(random);
    ASSERT_TRUE(reaches(p, step)) << p.output();
    std::this_thread::sleep_for(std::chrono::milliseconds(std::uniform_int_distribution<int>(0, 60)(random)));
    std::vector<pid_t> pids;
    ASSERT_TRUE(p.until([&] { return !(pids = p.alive(program)).empty(); }, 10)) << program;
    ASSERT_LT(checkpointed(), kSteps) << "the run ended before the kill: too few steps for this test";
    kill(pids[std::uniform_int_distribution<size_t>(0, pids.size() - 1)(random)], SIGKILL);
  }
  void goes_on_without(const std::string& program) {
    for (unsigned seed : {1u, 2u}) {
      SCOPED_TRACE(program + ", seed " + std::to_string(seed));
      std::filesystem::remove_all(dir());
      std::mt19937 random(seed);
      Process p(folder, train(settings()));
      kill_one(p, program, random);
      const Outcome out = p.wait(60);
      EXPECT_EQ(out.code, 0) << out.output << out.error;
      EXPECT_THAT(out.error, HasSubstr("starting it again"));
      EXPECT_TRUE(p.all_gone(0));
      expect_whole(kSteps);
      metric("loss", kSteps);
    }
  }
};

TEST_F(TrainKill, ARolloutWorker) {
  goes_on_without("cohort-rollout");
}
TEST_F(TrainKill, ARewardWorker) {
  goes_on_without("cohort-reward");
}
TEST_F(TrainKill, ALearnerRank) {
  goes_on_without("cohort-learner");
}
TEST_F(TrainKill, TheCoordinator) {
  goes_on_without("cohort-coordinator");
}

TEST_F(TrainKill, AllOfItTwiceAndStartedAgain) {
  for (unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::filesystem::remove_all(dir());
    std::mt19937 random(seed);
    for (int64_t part : {0, 1}) {
      Process p(folder, train(settings()));
      const int64_t half = kKills / 2;
      ASSERT_TRUE(reaches(p, part * half + std::uniform_int_distribution<int64_t>(0, half)(random)));
      std::this_thread::sleep_for(
          std::chrono::milliseconds(std::uniform_int_distribution<int>(0, 60)(random)));
      p.signal(SIGKILL);
      EXPECT_EQ(p.wait(10).code, 128 + SIGKILL);
      EXPECT_TRUE(p.all_gone(5)) << "processes outlive the front";
    }
    ASSERT_LT(checkpointed(), kSteps) << "the run ended before the kill: too few steps for this test";
    const Outcome out = run(folder, train(settings()), 60);
    ASSERT_EQ(out.code, 0) << out.output << out.error;
    EXPECT_THAT(out.output, HasSubstr("going on with"));
    expect_whole(kSteps);
    metric("loss", kSteps);
  }
}

TEST_F(TrainKill, CtrlCWritesACheckpointAndTheSameCommandGoesOn) {
  {
    Process p(folder, train({"run.total_steps=60", "run.save_steps=1000"}));
    ASSERT_TRUE(reaches(p, 3)) << p.output();
    p.signal_group(SIGINT);
    const Outcome out = p.wait(60);
    EXPECT_EQ(out.code, 1);
    EXPECT_THAT(out.error, HasSubstr("a checkpoint is written first"));
    EXPECT_THAT(out.output, HasSubstr("of 60 steps are in a checkpoint"));
    EXPECT_TRUE(p.all_gone(0));
  }
  const int64_t kept = checkpointed();
  EXPECT_GE(kept, 3);
  EXPECT_LT(kept, 60) << "the run ended before it was stopped: too few steps for this test";
  EXPECT_EQ(kept, integer("SELECT MAX(step) + 1 FROM metrics WHERE name = 'trained'"))
      << "trained steps were lost";
  const Outcome out = run(folder, train({"run.total_steps=60", "run.save_steps=1000"}), 60);
  ASSERT_EQ(out.code, 0) << out.output << out.error;
  expect_whole(60);
  metric("loss", 60);
}

TEST_F(TrainKill, TheSecondCtrlCStopsAtOnce) {
  Process p(folder, train({"run.total_steps=100000", "run.save_steps=100000"}));
  ASSERT_TRUE(reaches(p, 2)) << p.output();
  p.signal(SIGINT);
  p.signal(SIGTERM);  // another signal than the first: two of one kind may arrive as one
  EXPECT_EQ(p.wait(5).code, 1);
  EXPECT_TRUE(p.all_gone(0));
}

}  // namespace
}  // namespace cohort
