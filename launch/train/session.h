// One machine's run from its start to its end: what `cohort train` does once its run folder is open.
#pragma once

#include <functional>
#include <string>

#include "launch/run_config.h"

namespace cohort {

enum class Live {
  line,   // one line that is written over
  plain,  // a line now and then
  off,
};

// Which of a run's processes are started here.
struct SessionParts {
  bool coordinator = true, workers = true, learner = true;
  std::string
      endpoint;  // without the coordinator: where it listens; with it: where it shall, "" for the run file's
  int learners = 0;  // learner ranks on this machine that somebody else starts
  std::string node;  // begins the workers' names, so that they are unique over machines
  std::function<void(const std::string& endpoint)> on_endpoint = {};  // once the coordinator listens
};

// Starts the processes, keeps them alive, shows how it goes, and ends with them. First SIGINT or SIGTERM:
// ordered shutdown with a checkpoint; second: all are killed at once. Blocks until nothing of them is left.
// `dir` is the run folder, with the resolved run.toml in it. Writes status.jsonl and usage.json there.
// Returns the exit code: 0 when the coordinator ended by itself.
int run_session(const RunConfig& config, const std::string& dir, Live live, const SessionParts& parts = {});

}  // namespace cohort
