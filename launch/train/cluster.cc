#include "launch/train/cluster.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "launch/data/jsonl.h"
#include "transport/base/error.h"
#include "transport/base/place.h"

namespace cohort {
namespace {

int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

}  // namespace

ClusterPlace cluster_place() {
  ClusterPlace place;
  place.rank = number("OMPI_COMM_WORLD_RANK", number("PMIX_RANK", -1));
  place.size = number("OMPI_COMM_WORLD_SIZE", number("SLURM_STEP_NUM_TASKS", -1));
  place.local_size = number("OMPI_COMM_WORLD_LOCAL_SIZE", number("SLURM_NTASKS_PER_NODE", 1));
  place.local_rank = place_on_node();
  if (place.rank < 0 || place.size < 0)
    fail_usage(
        "`cohort run` is started by mpirun: mpirun -n RANKS cohort run RUN.toml (`cohort train` needs none)");
  for (const char* name : {"PMIX_NAMESPACE", "OMPI_MCA_orte_ess_jobid", "SLURM_JOB_ID"})
    if (const char* value = std::getenv(name); value && place.job.empty()) place.job = value;
  // Open MPI's job ids may repeat; its session directory's name and the daemon's address do not.
  for (const char* name : {"PMIX_SERVER_URI3", "PMIX_SERVER_URI21", "OMPI_MCA_orte_hnp_uri"})
    if (const char* value = std::getenv(name); value && place.size == place.local_size) {
      place.job += std::string(" ") + value;
      break;
    }
  return place;
}

void write_cluster_endpoint(const std::string& run_dir, const ClusterPlace& place,
                            const std::string& endpoint) {
  write_text(run_dir + "/cluster.endpoint", place.job + "\n" + endpoint + "\n");
}

std::string wait_cluster_endpoint(const std::string& run_dir, const ClusterPlace& place, double seconds) {
  for (int i = 0; i < seconds * 20; ++i) {
    std::ifstream file(run_dir + "/cluster.endpoint");
    std::string job, endpoint;
    if (std::getline(file, job) && std::getline(file, endpoint) && job == place.job) return endpoint;
    usleep(50000);
  }
  fail(
      "{}/cluster.endpoint: the coordinator of this mpirun did not come up within {} s; is run.dir on a "
      "shared file system?",
      run_dir, seconds);
}

}  // namespace cohort
