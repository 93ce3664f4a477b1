// Where this process stands among those that one mpirun started, and how they find the coordinator.
#pragma once

#include <string>

namespace cohort {

struct ClusterPlace {
  int rank = 0, size = 1, local_size = 1;
  int local_rank = 0;  // of a node's first supervisor: the learner ranks there, whose ranks are lower
  std::string job;     // the same for all ranks of one mpirun, another for the next
};
// From the environment that mpirun gives its ranks. Throws Error (exit code 2) when there is none.
ClusterPlace cluster_place();

// RUN_DIR/cluster.endpoint: the job's id and the coordinator's endpoint.
void write_cluster_endpoint(const std::string& run_dir, const ClusterPlace& place,
                            const std::string& endpoint);
// Blocks until this job's endpoint is there. Throws Error after `seconds`.
std::string wait_cluster_endpoint(const std::string& run_dir, const ClusterPlace& place, double seconds);

}  // namespace cohort
