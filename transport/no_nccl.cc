#include "transport/base/error.h"
#include "transport/nccl.h"

namespace cohort {

std::unique_ptr<Broadcaster> make_nccl_broadcaster(int, const std::string& key) {
  fail("{} = \"nccl\": this build has no CUDA code; configure with --preset cuda, or use \"auto\" or \"zmq\"",
       key);
}

}  // namespace cohort
