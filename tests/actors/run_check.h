// Small runs for tests, and what must hold of any run that ended, read from its ledger file.
#pragma once

#include <gtest/gtest.h>

#include "actors/sqlite.h"
#include "tests/actors/fake_run.h"

namespace cohort::testing {

inline FakeRunOptions small_run(const std::string& dir, uint64_t seed) {
  FakeRunOptions o;
  o.seed = seed;
  write_prompts(dir + "/train.jsonl", 23, "t");
  write_prompts(dir + "/eval.jsonl", 9, "e");
  o.config.run.dir = dir;
  o.config.run.total_steps = 10;
  o.config.run.save_steps = 3;
  o.config.data.train = dir + "/train.jsonl";
  o.config.async.groups_per_batch = 4;
  o.config.async.max_staleness = 2;
  o.config.coordinator.timeout_ms = 5000;
  o.config.coordinator.heartbeat_ms = 500;
  o.config.coordinator.grading_attempts = 50;
  o.config.num_generations = 3;
  o.config.mini_batches = 2;
  return o;
}

inline int64_t sql_number(const std::string& dir, const std::string& sql) {
  Database db(dir + "/ledger.sqlite", false);
  Statement q(db, sql.c_str());
  return q.step() ? q.integer(0) : -1;
}

// Every step trained exactly once in the final lineage, no group in two steps, every drawn prompt accounted
// for.
inline void check_lineage(FakeRun& run, const FakeRunOptions& options, const std::string& dir) {
  const auto total = static_cast<uint32_t>(options.config.run.total_steps);
  ASSERT_EQ(run.lineage.size(), total);
  std::set<GroupId> seen;
  for (uint32_t step = 0; step < total; ++step) {
    ASSERT_TRUE(run.lineage.contains(step));
    ASSERT_EQ(run.lineage[step].groups.size(), static_cast<size_t>(options.config.async.groups_per_batch));
    for (GroupId g : run.lineage[step].groups)
      ASSERT_TRUE(seen.insert(g).second) << "group " << g << " trained twice";
  }
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM batches"), total);
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(DISTINCT step) FROM metrics WHERE name='trained'"), total);
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM groups WHERE state='consumed'"),
            total * options.config.async.groups_per_batch);
  EXPECT_EQ(
      sql_number(
          dir,
          "SELECT COUNT(*) FROM groups WHERE eval_version IS NULL AND state NOT IN ('consumed','filtered')"),
      0)
      << "a group was lost on its way";
  // draws are 0, 1, 2 … without a gap or a repetition: no prompt was skipped, none was used twice in an epoch
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(DISTINCT draw) FROM groups WHERE eval_version IS NULL"),
            sql_number(dir, "SELECT COUNT(*) FROM groups WHERE eval_version IS NULL"));
  EXPECT_EQ(sql_number(dir, "SELECT MAX(draw)+1 FROM groups WHERE eval_version IS NULL"),
            sql_number(dir, "SELECT COUNT(*) FROM groups WHERE eval_version IS NULL"));
  // a verdict of ours never became a reward
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM verdicts WHERE kind IN ('infra_error','cancelled')"), 0);
  EXPECT_EQ(sql_number(dir,
                       "SELECT COUNT(*) FROM completions c JOIN groups g USING(group_id) WHERE "
                       "g.state='consumed' AND reward IS NULL"),
            0);
}

}  // namespace cohort::testing
