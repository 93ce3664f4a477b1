// A training run small enough to take seconds, with everything real: data, an untrained model, a run file,
// and what must hold in the ledger of a run that has ended.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actors/sqlite.h"
#include "tests/integration/process.h"

namespace cohort {

class TrainProcess : public testing::Test {
 protected:
  TrainProcess();
  ~TrainProcess() override;

  // `cohort train` with `set` over the run file; run.dir is folder/run.
  std::vector<std::string> train(const std::vector<std::string>& set = {}) const;
  std::string dir() const { return folder + "/run"; }

  // The first column of a query of the ledger; nothing while there is no ledger yet.
  std::vector<int64_t> integers(const std::string& sql) const;
  int64_t integer(const std::string& sql) const;
  int64_t formed() const { return integer("SELECT COUNT(*) FROM batches"); }
  int64_t checkpointed() const { return integer("SELECT COALESCE(MAX(next_step),0) FROM checkpoints"); }
  bool reaches(const Process& p, int64_t steps, double seconds = 60) const {
    return p.until([&] { return formed() >= steps; }, seconds);
  }

  // The final lineage: steps 0..steps-1 once each, whole groups, every completion graded and fresh enough, no
  // group and no draw of the prompt order twice, none missing.
  void expect_whole(int64_t steps, int64_t max_staleness = 2) const;
  // metrics.jsonl: steps 0..steps-1, each once, in order. Returns `name` of each.
  std::vector<double> metric(const std::string& name, int64_t steps) const;

  static constexpr int kGroups = 4, kGenerations = 4;
  std::string folder;
};

}  // namespace cohort
