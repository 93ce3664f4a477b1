#include "learner/gpu/weight_share.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <fstream>

#include "kernels/checksum.h"
#include "learner/gpu/runtime.h"
#include "transport/base/error.h"

namespace cohort::gpu {

struct WeightShare::Buffer {
  int device = 0;
  size_t bytes = 0;
  std::byte* data = nullptr;
  uint64_t* sum = nullptr;
  std::string handle;

  // Memory of its own: what a caching allocator hands out lies somewhere inside a block that is given to others too.
  Buffer(int device_, size_t bytes_) : device(device_), bytes(bytes_) {
    check(cudaMalloc(reinterpret_cast<void**>(&data), bytes), "memory for weights to share");
    check(cudaMalloc(reinterpret_cast<void**>(&sum), sizeof *sum), "memory for weights to share");
    check(cudaMemset(data, 0, bytes), "clearing memory for weights to share");
    cudaIpcMemHandle_t raw;
    check(cudaIpcGetMemHandle(&raw, data), "a handle for weights to share");
    handle.assign(reinterpret_cast<const char*>(&raw), sizeof raw);
  }
  ~Buffer() {
    cudaSetDevice(device);
    cudaFree(data), cudaFree(sum);
  }
  std::vector<std::byte> read() const {
    check(cudaSetDevice(device), "choosing the GPU");
    std::vector<std::byte> out(bytes);
    check(cudaMemcpy(out.data(), data, bytes, cudaMemcpyDeviceToHost), "copying weights to the host");
    return out;
  }
};

WeightShare::WeightShare(size_t bytes) : bytes_(bytes) {
  check(cudaGetDevice(&device_), "the current GPU");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device_), "reading the GPU's properties");
  std::ifstream("/proc/sys/kernel/random/boot_id") >> name_;
  name_ += "/GPU-";
  for (const char byte : properties.uuid.bytes)
    name_ += fmt::format("{:02x}", static_cast<unsigned char>(byte));
}
WeightShare::~WeightShare() = default;

bool WeightShare::publish(WeightSet& set, const std::function<void(void*)>& fill) {
  std::shared_ptr<Buffer> buffer;
  for (const auto& b : buffers_)
    if (b.use_count() == 1) buffer = b;
  if (!buffer) {
    if (buffers_.size() == kMost) return false;
    require_memory(bytes_, "a buffer for the weights that are published",
                   "lower rollout.max_num_seqs, rollout.max_context or learner.micro_batch_tokens");
    buffer = buffers_.emplace_back(std::make_shared<Buffer>(device_, bytes_));
  }
  fill(buffer->data);
  cuda::checksum(buffer->data, bytes_, buffer->sum, nullptr);
  uint64_t sum = 0;
  check(cudaMemcpy(&sum, buffer->sum, sizeof sum, cudaMemcpyDeviceToHost),
        "the checksum of published weights");
  set.share = DeviceShare{name_, buffer->handle, 0, sum, buffer->data};
  set.read = [buffer] { return buffer->read(); };
  set.lease = buffer;
  return true;
}

}  // namespace cohort::gpu
