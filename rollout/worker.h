// The rollout worker: a Link to the coordinator on one side, an Engine on the other.
//
//   Lease -> tokens -> Engine -> Completion, sent as each ends (kept by the Link until it is in the ledger)
//   WeightsAvailable -> "weights" thread: fetch, stage -> swap between two steps -> WeightsHeld
//   sequences it could still take -> Credit
//
// Threads: the caller's, which receives, steps and sends; "weights", which waits for the newest announced
// version and for its own stop flag; and the Link's. The caller's thread waits for messages only when nothing
// is left to sample. It ends with Shutdown (drain: what runs is finished; else it is given back), with a
// refusal by the coordinator, or with `stop`. Whatever ends it, finished completions are flushed and
// unfinished leases given back first.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rollout/model_runner.h"
#include "rollout/prompt.h"

namespace cohort {

struct WorkerModel {
  std::unique_ptr<ModelRunner> runner;
  bool has_weights = false;  // else nothing is sampled before the learner's first weights
  std::shared_ptr<const PromptEncoder> prompts;
};

struct WorkerOptions {
  std::string endpoint;          // the coordinator's
  std::string name;              // unique in the run; "": made of host and pid
  std::string model;             // folder to use in place of the run's model.path, "" for that
  std::vector<std::string> set;  // "rollout.threads=2": changes to the run file for this worker
  double welcome_s = 60;         // how long to wait for the coordinator at the start
  double give_up_s = 600;        // and when it is gone later; 0: for ever
  double flush_s = 10;           // at the end, for completions to reach the ledger
  std::function<bool()> stop;    // polled: true gives back what is held and leaves
  // From the folder; a test gives its own.
  std::function<WorkerModel(const std::string& folder, const RunnerOptions& options)> load_model;
};

// Blocks for the worker's life. Returns when it was told to leave, throws Error for anything else.
void run_worker(const WorkerOptions& options);

// The load_model of a real worker: config.json, tokenizer and, when the folder has them, weights.
WorkerModel load_rollout_model(const std::string& folder, const RunnerOptions& options);

}  // namespace cohort
