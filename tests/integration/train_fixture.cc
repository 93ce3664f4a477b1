#include "tests/integration/train_fixture.h"

#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>

#include "actors/ledger_load.h"
#include "actors/prompts.h"
#include "launch/data/jsonl.h"

namespace cohort {

// The length reward differs inside a group from the first step on; Countdown alone would be 0 throughout for
// a model that knows nothing, and every group would be left out.
TrainProcess::TrainProcess() {
  char name[] = "/tmp/cohort_train_XXXXXX";
  folder = mkdtemp(name);
  const Outcome made =
      cohort::run(folder, {"data",           "countdown", "--output",         folder + "/data",
                           "--max-number",   "8",         "--max-value",      "20",
                           "--eval",         "16",        "--demonstrations", "20",
                           "--layers",       "1",         "--hidden",         "32",
                           "--heads",        "2",         "--kv-heads",       "2",
                           "--intermediate", "64"});
  EXPECT_EQ(made.code, 0) << made.error;
  std::ofstream(folder + "/run.toml") << "[run]\nname = \"test\"\ndir = \"" << dir() << "\"\n"
                                      << "total_steps = 6\nsave_steps = 2\n[model]\npath = \"" << folder
                                      << "/data/model\"\n[data]\ntrain = \"" << folder
                                      << "/data/train.jsonl\"\neval = \"" << folder << "/data/eval.jsonl\"\n"
                                      << R"(
[rollout]
workers = 2
num_generations = 4
max_new_tokens = 24
max_context = 48
max_num_seqs = 16
[grading]
workers = 2
concurrency = 1
[[reward]]
kind = "countdown"
[[reward]]
kind = "length"
weight = 0.5
max_tokens = 24
buffer = 24
[async]
max_num_gen_batches = 0
groups_per_batch = 4
max_staleness = 2
[learner]
ranks = 2
learning_rate = 1e-3
[grpo]
mini_batches = 2
[coordinator]
heartbeat_ms = 100
timeout_ms = 2000
)";
}

TrainProcess::~TrainProcess() {
  if (HasFailure() && std::getenv("COHORT_TEST_KEEP"))
    std::fprintf(stderr, "kept: %s\n", folder.c_str());
  else
    std::filesystem::remove_all(folder);
}

std::vector<std::string> TrainProcess::train(const std::vector<std::string>& set) const {
  std::vector<std::string> out = {"train", folder + "/run.toml"};
  for (const std::string& s : set) out.insert(out.end(), {"--set", s});
  return out;
}

std::vector<int64_t> TrainProcess::integers(const std::string& sql) const {
  std::vector<int64_t> out;
  if (!std::filesystem::exists(dir() + "/ledger.sqlite")) return out;
  try {
    Database db(dir() + "/ledger.sqlite", false);
    Statement q(db, sql.c_str());
    while (q.step()) out.push_back(q.integer(0));
  } catch (const Error&) {  // its tables are being made
  }
  return out;
}

int64_t TrainProcess::integer(const std::string& sql) const {
  const std::vector<int64_t> all = integers(sql);
  return all.empty() ? 0 : all[0];
}

void TrainProcess::expect_whole(int64_t steps, int64_t max_staleness) const {
  std::vector<int64_t> expected(static_cast<size_t>(steps));
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(integers("SELECT step FROM batches ORDER BY step"), expected);
  EXPECT_EQ(integers("SELECT DISTINCT step FROM metrics WHERE name='trained' ORDER BY step"), expected);
  EXPECT_EQ(checkpointed(), steps);
  EXPECT_EQ(integers("SELECT COUNT(*) FROM batch_groups GROUP BY step ORDER BY step"),
            std::vector<int64_t>(expected.size(), kGroups));
  EXPECT_EQ(integer("SELECT COUNT(*) - COUNT(DISTINCT group_id) FROM batch_groups"), 0)
      << "a group in two batches";
  EXPECT_EQ(integer("SELECT COUNT(*) FROM batch_groups JOIN groups USING(group_id) WHERE state != 'consumed' "
                    "OR groups.step != batch_groups.step OR split != 'train'"),
            0);

  // Every draw of the prompt order became one group, of the prompt that the order gives.
  Database db(dir() + "/ledger.sqlite", false);
  PromptFile file(folder + "/data/train.jsonl");
  PromptOrder order(file.size(), 1, true);
  int64_t draw = 0;
  Statement groups(db, "SELECT draw, line FROM groups WHERE eval_version IS NULL ORDER BY draw");
  for (; groups.step(); ++draw) {
    ASSERT_EQ(groups.integer(0), draw) << "a draw that is missing or was used twice";
    EXPECT_EQ(groups.integer(1),
              static_cast<int64_t>(file.at(order.index_of(static_cast<uint64_t>(draw))).line));
  }
  EXPECT_GE(draw, steps * kGroups);

  std::set<std::pair<int64_t, int64_t>> seen;
  Statement q(db,
              "SELECT b.step, group_id, idx, n_tokens, reward IS NOT NULL, length(tokens), length(logprobs), "
              "versions, "
              "(SELECT COUNT(*) FROM verdicts v WHERE v.group_id = c.group_id AND v.idx = c.idx) "
              "FROM batch_groups b JOIN completions c USING(group_id)");
  while (q.step()) {
    const int64_t step = q.integer(0), tokens = q.integer(3);
    EXPECT_TRUE(seen.emplace(q.integer(1), q.integer(2)).second);
    EXPECT_TRUE(q.integer(4)) << "no reward";
    EXPECT_EQ(q.integer(8), 2) << "verdicts of two rewards";
    EXPECT_EQ(q.integer(5), tokens * 4);
    EXPECT_EQ(q.integer(6), tokens * 4);
    int64_t counted = 0;
    for (const VersionRun& run : versions_from_json(q.text(7))) {
      counted += run.count;
      EXPECT_LE(run.version, step);
      EXPECT_LE(step - static_cast<int64_t>(run.version), max_staleness);
    }
    EXPECT_EQ(counted, tokens);
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(steps * kGroups * kGenerations));
}

std::vector<double> TrainProcess::metric(const std::string& name, int64_t steps) const {
  std::vector<double> out;
  read_jsonl(dir() + "/metrics.jsonl", [&](const nlohmann::ordered_json& json, size_t) {
    EXPECT_EQ(json.at("step"), out.size());
    out.push_back(json.at(name).get<double>());
  });
  EXPECT_EQ(out.size(), static_cast<size_t>(steps));
  return out;
}

}  // namespace cohort
