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

inline std::string build_folder() {
  return std::filesystem::path(COHORT_BIN_DIR).parent_path();
}

}  // namespace cohort::testing
