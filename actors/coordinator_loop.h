// Joins the Coordinator to its socket, its ledger file, the clock and the signals: what `cohort-coordinator`
// runs.
#pragma once

#include <string>

namespace cohort {

struct CoordinatorCommand {
  std::string config_path;  // the run file
  std::string run_dir;      // the run folder; made when it is not there
  std::string endpoint;     // overrides [coordinator] endpoint unless empty
};

// Blocks until the run is complete or was told to stop by SIGTERM or SIGINT (a second one ends it at once;
// what was acknowledged is in the ledger anyway). Writes the bound endpoint to run_dir/coordinator.endpoint
// by rename, and removes it at an ordered end; one that a killed coordinator left behind tells which port to
// take again, so that workers find the new one. Returns the exit code. Throws Error.
int run_coordinator(const CoordinatorCommand& command);

}  // namespace cohort
