// The GPU that an option names: found, checked and made current.
#pragma once

#include <cstdint>
#include <string>

namespace cohort::cuda {

enum class Sharing : uint8_t { own, shared };

// "cuda" or "cuda:N" -> N, the calling thread's current device from now on. "cuda" is the GPU of this process's place on its
// node: with Sharing::own there has to be one for each process, else they take turns. Throws Error in one line that begins with
// `said`, which names the option and its value: another name, no driver or no GPU, no such GPU, no room for a context on it, a
// GPU that the kernels are not for.
int open_device(const std::string& device, const std::string& said, Sharing sharing);

}  // namespace cohort::cuda
