// A build without CUDA.
#include "learner/shards.h"
#include "transport/base/error.h"

namespace cohort {

std::unique_ptr<Shards> make_gpu_shards(Collectives&) {
  fail_usage("this build has no CUDA; configure it with --preset cuda");
}

}  // namespace cohort
