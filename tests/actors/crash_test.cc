// Anything may be killed at any moment, the machine included: nothing is lost, and nothing is trained twice
// in the final lineage. docs/guarantees.md has the argument; here hundreds of random histories are tried.
#include <gtest/gtest.h>

#include "tests/actors/fake_run.h"
#include "tests/actors/run_check.h"
#include "transport/base/log.h"

namespace cohort::testing {
namespace {

class Crash : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { log::init("test", "", log::Level::error); }
};

TEST_F(Crash, NothingIsLostOrTrainedTwiceWhateverIsKilled) {
  uint64_t crashes = 0, redelivered = 0, reached = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const std::string dir = temp_dir("crash");
    FakeRunOptions options = small_run(dir, seed);
    std::mt19937_64 rng(seed * 7919 + 1);
    auto rate = [&](double most) { return rng() % 2 ? most * static_cast<double>(rng() % 100) / 100 : 0.0; };
    options.crash_coordinator = rate(0.01);
    options.crash_rollout = rate(0.03);
    options.crash_reward = rate(0.03);
    options.crash_learner = rate(0.01);
    options.crash_all = rate(0.003);
    options.cut_link = rate(0.05);
    options.filtered = rate(0.5);
    options.config.async.max_staleness = static_cast<int>(rng() % 4);
    options.config.async.weight_sync_steps =
        1 + static_cast<int>(rng() % (options.config.async.max_staleness + 1));
    options.config.async.groups_per_batch = 1 + static_cast<int>(rng() % 5);
    options.config.async.max_concurrent_rollouts = rng() % 3 == 0 ? 3 : 0;
    options.config.num_generations = 2 + static_cast<uint32_t>(rng() % 3);
    options.config.run.save_steps = 1 + static_cast<int>(rng() % 5);
    options.rollouts = 1 + rng() % 3;
    options.ranks = 1 + rng() % 3;
    if (rng() % 2) {
      options.config.data.eval = dir + "/eval.jsonl";
      options.config.run.eval_steps = 5;
      options.config.run.eval_prompts = 4;
      options.config.run.eval_samples = 2;
    }
    FakeRun run(options, dir);
    ASSERT_TRUE(run.run(60000)) << "seed " << seed
                                << " does not end: " << run.coordinator().status_json(run.now());
    ASSERT_NO_FATAL_FAILURE(check_lineage(run, options, dir)) << "seed " << seed;
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    crashes += run.crashes;
    redelivered += run.redelivered;
    reached += run.max_lag == static_cast<uint32_t>(options.config.async.max_staleness);
    std::filesystem::remove_all(dir);
  }
  EXPECT_GT(crashes, 1000u);
  EXPECT_GT(redelivered, 100u);
  EXPECT_GT(reached, 100u);
  std::printf("%lu kills, %lu batches delivered again, bound reached in %lu runs\n", crashes, redelivered,
              reached);
}

}  // namespace
}  // namespace cohort::testing
