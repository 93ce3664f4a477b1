// What this machine gives the sandbox, tried out, for `cohort doctor`.
#pragma once

#include <string>
#include <vector>

namespace cohort::sandbox {

struct Offer {
  std::string what, found;
  std::string lost;  // what is held less well without it; "" when nothing is
};

// Runs a few trivial programs. Does not throw.
std::vector<Offer> inspect();

}  // namespace cohort::sandbox
