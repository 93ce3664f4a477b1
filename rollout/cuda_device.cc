#include "rollout/cuda_device.h"

#include <cuda_runtime_api.h>

#include "kernels/cuda_check.h"
#include "kernels/rows_kernels.h"
#include "transport/base/error.h"
#include "transport/base/place.h"

namespace cohort {

int open_cuda_device(const std::string& name) {
  int device = 0;
  if (name.starts_with("cuda:")) {
    const std::string digits = name.substr(5);
    if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string::npos)
      fail_usage("device \"{}\": use cpu, cuda or cuda:N", name);
    device = std::stoi(digits);
  } else if (name != "cuda") {
    fail_usage("device \"{}\": use cpu, cuda or cuda:N", name);
  }
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0)
    fail("device \"{}\": this machine has no usable GPU ({})", name,
         code == cudaSuccess ? "none found" : cudaGetErrorString(code));
  if (name == "cuda") device = place_on_node() % count;
  if (device >= count) fail("device \"{}\": this machine has {} GPU{}", name, count, count == 1 ? "" : "s");
  const cudaError_t begun = cudaSetDevice(device);
  if (begun == cudaErrorMemoryAllocation)
    fail(
        "device \"{}\": not enough GPU memory: GPU {} has no room for a context, about 0.5 GiB: use another "
        "GPU, or end what holds its memory (nvidia-smi names it)",
        name, device);
  CUDA_CHECK(begun);
  if (!cuda::kernels_fit_device()) {
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    const bool hopper = properties.major == 9 && properties.minor == 0;
    fail("device \"{}\": this build has no code for {} (compute capability {}.{}): {}", name, properties.name,
         properties.major, properties.minor,
         hopper ? "configure with -DCMAKE_CUDA_ARCHITECTURES=90a-real"
                : "the kernels are for 9.0 (Hopper), use \"cpu\"");
  }
  return device;
}

}  // namespace cohort
