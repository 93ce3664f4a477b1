#include "launch/front.h"

#include <unistd.h>

#include <filesystem>

#include "transport/base/error.h"

namespace cohort {

std::string sibling_program(const std::string& name) {
  const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
  if (access(path.c_str(), X_OK) != 0) fail("{}: is missing; build it with launch/bootstrap", path.string());
  return path;
}

}  // namespace cohort
