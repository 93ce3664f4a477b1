// What a jail shows of the host: the system's toolchain folders, the devices every program needs, and what the
// options add.
#pragma once

#include <string>
#include <vector>

namespace cohort::sandbox {

struct Shown {
  struct Mount {
    std::string source;  // on the host
    std::string target;  // in the jail, without the leading '/'
    bool file = false, device = false;
  };
  struct Link {
    std::string path, to;  // in the jail
  };
  std::vector<Mount> mounts;
  std::vector<Link> links;
};

Shown show_toolchain(const std::vector<std::string>& more);

}  // namespace cohort::sandbox
