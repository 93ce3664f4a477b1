// One machine's run from its start to its end: what `cohort train` does once its run folder is open.
#pragma once

#include <string>

#include "launch/run_config.h"

namespace cohort {

enum class Live {
  line,   // one line that is written over
  plain,  // a line now and then
  off,
};

// Starts the coordinator, the workers and the learner, keeps them alive, shows how it goes, and ends with
// them. First SIGINT or SIGTERM: ordered shutdown with a checkpoint; second: all are killed at once. Blocks
// until nothing of the run is left. Writes status.jsonl and usage.json into the folder. Returns the exit
// code: 0 only when every step is trained.
int run_session(const RunConfig& config, const RunFolder& folder, Live live);

}  // namespace cohort
