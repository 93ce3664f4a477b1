// The processes of a run as the supervisor starts them. Names are stable over restarts: "rollout-0",
// "learner".
#pragma once

#include <map>
#include <string>

#include "actors/supervisor.h"
#include "launch/run_config.h"

namespace cohort {

// What every child gets: processes share cores, so none of them may spin. OpenMP's barriers do by default,
// and Open MPI's waits (yield_when_idle); training falls to a tenth on a machine with fewer cores than
// processes.
std::map<std::string, std::string> quiet_environment();

// `node`: "" on one machine, else what tells this node's workers from another's ("node3-").
ChildSpec coordinator_child(const std::string& run_dir, const std::string& endpoint = "");
// `learners`: how many of this node's GPUs its learner ranks have; worker `index` takes the one after theirs and its
// lower neighbours' (transport/base/place.h).
ChildSpec rollout_child(const RunConfig& config, const std::string& endpoint, int index,
                        const std::string& node = "", int learners = 0);
std::map<std::string, std::string> rollout_environment(const RunConfig& config, int index, int learners);
ChildSpec reward_child(const RunConfig& config, const std::string& endpoint, int index,
                       const std::string& node = "");
// mpirun and its ranks on this machine, each behind a guard of its own.
ChildSpec learner_child(const RunConfig& config, const std::string& endpoint);
ChildSpec sft_child(const RunConfig& config, const RunFolder& folder);

}  // namespace cohort
