// A build without CUDA.
#include "learner/policy_device.h"
#include "transport/base/error.h"

namespace cohort {

std::unique_ptr<PolicyDevice> make_gpu_policy(const ModelConfig&, const std::string& device,
                                              const std::string&, bool, const std::string&) {
  fail_usage(
      "learner.device = \"{}\": this build has no CUDA; configure it with --preset cuda, or use \"cpu\"",
      device);
}

}  // namespace cohort
