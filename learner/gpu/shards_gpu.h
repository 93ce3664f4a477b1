// Shards in GPU memory (see learner/shards.h for make_gpu_shards). No Torch.
#pragma once

#include <memory>

#include "learner/shards.h"

namespace cohort {

// The same with NCCL even for one rank, so that its code runs where there is one GPU. Collective.
std::unique_ptr<Shards> make_nccl_shards(Collectives& ranks);

}  // namespace cohort
