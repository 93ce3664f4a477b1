#include "kernels/open_device.h"

#include "kernels/cuda_check.h"
#include "transport/base/error.h"
#include "transport/base/place.h"

namespace cohort::cuda {
namespace {

// -1: "cuda"
int number_in(const std::string& device, const std::string& said) {
  if (device == "cuda") return -1;
  const std::string digits = device.starts_with("cuda:") ? device.substr(5) : "";
  if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string::npos)
    fail_usage("{}: use \"cpu\", \"cuda\" or \"cuda:N\"", said);
  return std::stoi(digits);
}

}  // namespace

int open_device(const std::string& device, const std::string& said, Sharing sharing) {
  int index = number_in(device, said), count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0)
    fail("{}: no GPU on this machine ({}); use \"cpu\"", said,
         error == cudaSuccess ? "the driver shows none" : cudaGetErrorString(error));
  if (index < 0) {
    index = place_on_node();
    if (sharing == Sharing::shared) index %= count;
    if (index >= count)
      fail("{}: rank {} of this node finds {} GPU(s); each rank needs one of its own, so start fewer", said,
           index, count);
  } else if (index >= count) {
    fail("{}: this machine has {} GPU(s), counted from 0", said, count);
  }
  const cudaError_t begun = cudaSetDevice(index);
  if (begun == cudaErrorMemoryAllocation)
    fail(
        "{}: not enough GPU memory: GPU {} has no room for a context, about 0.5 GiB: use another GPU, or end "
        "what holds its memory (nvidia-smi names it)",
        said, index);
  CUDA_CHECK(begun);
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  if (properties.major != 9 || properties.minor != 0)
    fail("{}: GPU {}, {}, has compute capability {}.{}; the kernels are for 9.0 (Hopper): use \"cpu\"", said,
         index, properties.name, properties.major, properties.minor);
  return index;
}

}  // namespace cohort::cuda
