// The GPU of this process: found, checked, made current, and LibTorch's CUDA half loaded into it.
//
// No program is linked to libtorch_cuda.so or NCCL: they are loaded here when a device "cuda" is first asked for. So
// every program starts on a machine without a driver, and what is missing is one line that names it. No Torch.
#pragma once

#include <cstddef>
#include <string>

namespace cohort::gpu {

// "cuda" (the GPU of this process's rank on its node) or "cuda:N" -> N. Loads LibTorch's CUDA library once a process and
// makes GPU N the current one of this thread; to be called before the process's first backward pass on any device (Torch's
// autograd counts the devices then). `key`: the option that asked, for the message. Throws Error in one line:
// no driver or no GPU, no such GPU, an architecture this build has no code for, a library that cannot be loaded (its
// name), a build without CUDA.
int open_device(const std::string& device, const std::string& key);

// Does this machine have a GPU that open_device would take? For tests, which skip without one.
bool available();
int device_count();

struct Memory {
  size_t free = 0, total = 0;
};
Memory memory();  // of the current GPU

// Throws Error when fewer than `bytes` are free: "`what` needs 20.1 GiB, GPU 0 has 3.0 GiB free of 79.2; `remedy`".
void require_memory(size_t bytes, const std::string& what, const std::string& remedy);

std::string gibibytes(size_t bytes);  // "20.1 GiB"

// The address of a function in a library that is loaded by now. Throws Error naming both.
void* symbol(const char* library, const char* name);

// Throws Error with CUDA's own words when a call failed. `error`: a cudaError_t.
void check(int error, const char* what);

}  // namespace cohort::gpu
