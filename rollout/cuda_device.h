// The GPU that a runner's device names.
#pragma once

#include <string>

namespace cohort {

// "cuda" (this process's place on its node) or "cuda:N": its number, and the calling thread's current device from now on. Throws Error: another name, no
// such GPU, or one that this build has no code for.
int open_cuda_device(const std::string& name);

}  // namespace cohort
