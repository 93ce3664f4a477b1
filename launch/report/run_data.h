// What a report shows of a run folder, read from its ledger (docs/ledger.md) and from the status lines that
// `cohort train` keeps in status.jsonl. Only reads; a run that is going on may be read as well.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace cohort {

struct StepData {
  int64_t step = 0;
  double reward_mean = 0;
  double length_mean = 0, length_max = 0;  // completion tokens
  double lag_mean = 0, lag_max = 0;        // step - birth of its groups
  double sample_s = 0, grade_s = 0;        // mean seconds of one of its completions
  double truncated = 0;                    // share of completions that ended by length
  int64_t tokens = 0;
  double formed_at = 0;  // Unix time
};

struct EvalData {
  int64_t version = 0, prompts = 0, samples = 0;
  double pass_at_1 = 0, low = 0, high = 0;
};

struct SampleData {
  std::string prompt, completion, finish_reason, verdicts;  // verdicts: "countdown passed, format passed"
  int64_t step = 0;
  double reward = 0;
};

struct RunData {
  std::string run_name, run_id, config;
  std::vector<StepData> steps;
  std::vector<EvalData> evals;
  std::map<std::string, std::vector<std::pair<double, double>>> metrics;  // by name: (step, value)
  std::map<std::string, std::map<int64_t, int64_t>> verdicts;  // reward part's kind -> step -> count
  std::vector<SampleData> samples;                             // of the last step
  int64_t groups_total = 0, groups_filtered = 0, groups_failed = 0, infra_errors = 0, completions = 0;
  std::vector<nlohmann::json> status;  // the status lines, oldest first
  nlohmann::json usage;  // CPU of each process, as `cohort train` left it; null when it has not ended
};

// Throws Error naming the folder or file when there is no ledger or it cannot be read.
RunData read_run(const std::string& folder, size_t samples = 5);

// How many steps the newest checkpoint that the ledger knows of contains; 0 where there is no ledger yet.
int64_t checkpointed_steps(const std::string& folder);

}  // namespace cohort
