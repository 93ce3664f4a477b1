// Supervised fine-tuning (`cohort sft`): the policy, optimizer, collectives and checkpoints of GRPO with the
// loss -log p(token), averaged over the learnt tokens of a step's batch_size sequences, whatever the number
// of ranks.
//
//   data (read whole by every rank) -> step k takes samples k * batch_size … of an order that run.seed
//   decides
//   -> each rank an equal share by tokens -> packed micro-batches -> gradients summed -> AdamW
//   -> RUN_DIR/sft-metrics.jsonl, RUN_DIR/sft-checkpoints, at the end a Hugging Face folder in sft.output
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "learner/collectives.h"
#include "learner/options.h"

namespace cohort {

struct SftRun {
  std::string run_dir;
  int64_t seed = 1;
  SftOptions sft;  // model and output filled in
};
// Throws Error naming file, line and key. Sections of other components are not looked at.
SftRun read_sft_run(const TomlTable& run_file);

// Collective. Goes on from the newest checkpoint when there is one. `stop`: leave after the current update
// with a checkpoint, without the folder. Progress goes to stderr, from rank 0.
void run_sft(const SftRun& run, Collectives& ranks, const std::atomic<bool>& stop);

}  // namespace cohort
