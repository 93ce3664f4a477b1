// cohort sft with its real processes: supervisor, guards, mpirun and two ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "launch/data/jsonl.h"
#include "tests/integration/process.h"

namespace cohort {
namespace {

class SftProcess : public testing::Test {
 protected:
  SftProcess() {
    char name[] = "/tmp/cohort_sft_XXXXXX";
    folder = mkdtemp(name);
    const Outcome made =
        run(folder, {"data", "countdown", "--output", folder + "/data", "--demonstrations", "400", "--layers",
                     "1", "--hidden", "32", "--heads", "2", "--intermediate", "64"});
    EXPECT_EQ(made.code, 0) << made.error;
  }
  ~SftProcess() override { std::filesystem::remove_all(folder); }
  std::vector<std::string> command(const std::string& dir, int steps) const {
    std::vector<std::string> out = {"sft", COHORT_SOURCE_DIR "/launch/recipes/countdown_sft.toml"};
    for (const std::string& set : {"run.dir=" + dir, "sft.model=" + folder + "/data/model",
                                   "sft.train=" + folder + "/data/sft.jsonl", "sft.output=" + dir + "/out",
                                   "sft.max_steps=" + std::to_string(steps), std::string("sft.batch_size=8")})
      out.insert(out.end(), {"--set", set});
    return out;
  }
  std::string weights(const std::string& dir) const { return read_text(dir + "/out/model.safetensors"); }
  std::string folder;
};

TEST_F(SftProcess, InterruptedByCtrlCAndStartedAgainGivesTheSameWeights) {
  constexpr int kSteps = 3000;  // some seconds on an idle machine too: the signal has to come while it runs
  const std::string whole = folder + "/whole", parts = folder + "/parts";
  const Outcome straight = run(folder, command(whole, kSteps));
  ASSERT_EQ(straight.code, 0) << straight.error;
  {
    Process p(folder, command(parts, kSteps));
    ASSERT_TRUE(p.until([&] { return p.output().find("step 1/") != std::string::npos; }, 60)) << p.output();
    p.signal(SIGINT);
    const Outcome stopped = p.wait(60);
    EXPECT_EQ(stopped.code, 1);
    EXPECT_THAT(stopped.error, testing::HasSubstr("goes on from the last checkpoint"));
    EXPECT_TRUE(p.all_gone(0.1));
    EXPECT_FALSE(std::filesystem::exists(parts + "/out"))
        << "it ended before it was stopped: too few steps for this test";
  }
  const Outcome rest = run(folder, command(parts, kSteps));
  ASSERT_EQ(rest.code, 0) << rest.error;
  EXPECT_TRUE(weights(whole) == weights(parts));
}

TEST_F(SftProcess, KillNineLeavesNothingAndTheSameCommandGoesOn) {
  constexpr int kSteps = 2000;  // it has to run still when it is looked at
  const std::string dir = folder + "/run";
  {
    Process p(folder, command(dir, kSteps));
    ASSERT_TRUE(p.until([&] { return p.output().find("step 1/") != std::string::npos; }, 60)) << p.output();
    EXPECT_GE(p.alive().size(), 5u) << "supervisor, guard, mpirun and two ranks";
    p.signal(SIGKILL);
    EXPECT_EQ(p.wait(10).code, 128 + SIGKILL);
    EXPECT_TRUE(p.all_gone(10));
  }
  EXPECT_EQ(run(folder, command(dir, kSteps)).code, 0);
}

TEST_F(SftProcess, TheSecondCtrlCStopsAtOnce) {
  Process p(folder, command(folder + "/run", 100000));
  ASSERT_TRUE(p.until([&] { return p.output().find("step 1/") != std::string::npos; }, 60)) << p.output();
  p.signal(SIGINT);
  p.signal(SIGTERM);  // another signal than the first: two of one kind may arrive as one
  EXPECT_EQ(p.wait(10).code, 1);
  EXPECT_TRUE(p.all_gone(0.1));
}

}  // namespace
}  // namespace cohort
