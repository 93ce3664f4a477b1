#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace cohort::testing {

// Runs a program of the build as `ranks` ranks; its exit code. stderr goes to `log`.
inline int mpirun(int ranks, const std::string& program, const std::string& log) {
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  setenv("OMP_NUM_THREADS", "1", 1);
  const std::string command = "timeout 120 mpirun --oversubscribe --bind-to none -n " +
                              std::to_string(ranks) + " " + program + " >" + log + " 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// For mpirun(), where there are fewer GPUs than ranks. NCCL takes one rank of a host on a GPU: each rank says that it is a host of
// its own, and all of them are on GPU 0, by time slices, and exchange over TCP, as hosts do.
inline std::string as_hosts_on_one_gpu(const std::string& program) {
  return "sh -c 'COHORT_PLACE=0 NCCL_HOSTID=$OMPI_COMM_WORLD_RANK NCCL_NET=Socket NCCL_SOCKET_IFNAME=lo "
         "exec " +
         program + "'";
}

inline std::string build_folder() {
  return std::filesystem::path(COHORT_BIN_DIR).parent_path();
}

}  // namespace cohort::testing
