// Whole runs of the real Coordinator with fake workers: what it promises to each side.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/actors/fake_run.h"
#include "tests/actors/run_check.h"

namespace cohort::testing {
namespace {

TEST(Coordinator, RunsToItsEnd) {
  const std::string dir = temp_dir("end");
  FakeRunOptions options = small_run(dir, 1);
  FakeRun run(options, dir);
  ASSERT_TRUE(run.run(20000)) << run.coordinator().status_json(run.now());
  check_lineage(run, options, dir);
  EXPECT_EQ(run.max_lag, 2u);
}

}  // namespace
}  // namespace cohort::testing
