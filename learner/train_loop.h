// The learner's side of a run: batches from the coordinator, GRPO steps, weights to the rollout workers,
// checkpoints.
//
// Every rank holds a Link of its own and asks for its share of each step; what they do with it they agree on
// over MPI:
//
//   BatchRequest(k) --> Batch(k) | NoMoreBatches     all ranks: the most severe of what they got counts for
//   all GrpoStep(batch) -> version k + 1                 all ranks rank 0: metrics line, Trained(k) the
//   ledger has the step once this is acknowledged rank 0: weights to the WeightServer, Published   every
//   weight_sync_steps; also once before the first step all ranks: checkpoint every save_steps, rank 0:
//   Checkpointed(k + 1) once it is on disk NoMoreBatches --> last checkpoint, export to RUN_DIR/model, leave
//
// The loop blocks in two places: Link::receive, in slices of a fifth of a second, until the coordinator
// answers (it does in the end: a batch, NoMoreBatches, or the link ends with an error), and in collectives,
// until the slowest rank arrives. A failure on one rank is thrown on all of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "learner/collectives.h"
#include "learner/options.h"

namespace cohort {

// What of the run file concerns the learner.
struct TrainOptions {
  std::string run_dir;
  std::string model_path;
  int64_t total_steps = 100, save_steps = 20;
  double temperature = 1;
  int64_t max_new_tokens = 256;
  int64_t max_staleness = 2, weight_sync_steps = 1;
  bool share_on_gpu = true;  // rollout.weight_transport is not "zmq"
  bool need_nccl = false;    // it is "nccl"
  bool try_nccl = true;      // it is "nccl" or "auto", and the learner is on a GPU
  double weight_timeout_s = 10;
  LearnerOptions learner;
  GrpoOptions grpo;
};
// Throws Error naming file, line and key. Sections of other components are not looked at.
TrainOptions read_train_options(const TomlTable& run_file);

struct TrainLoopOptions {
  std::string endpoint;  // of the coordinator
  double welcome_s = 60;
};

// Returns when the run is over. `stop`: leave after the current step with a checkpoint (set by a signal).
void train_loop(const TrainLoopOptions& options, Collectives& ranks, const std::atomic<bool>& stop);

}  // namespace cohort
