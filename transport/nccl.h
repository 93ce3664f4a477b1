// A Broadcaster over NCCL (transport/cuda/nccl_broadcaster.cc). No CUDA in this header.
#pragma once

#include <memory>
#include <string>

#include "transport/weight_group.h"

namespace cohort {

// For memory of GPU `device`; -1: the calling thread's current one. NCCL is loaded here, so that programs start where it is
// missing: from the process if it has it, the loader's path, or LibTorch's folder as launch/bootstrap lays it out. Throws Error
// in one line that begins with `key`: NCCL is missing or too old, no such GPU, a build without CUDA.
std::unique_ptr<Broadcaster> make_nccl_broadcaster(int device, const std::string& key);

}  // namespace cohort
