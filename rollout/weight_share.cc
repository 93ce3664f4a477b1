#include "rollout/weight_share.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "kernels/checksum.h"
#include "kernels/cuda_check.h"
#include "transport/base/log.h"

namespace cohort::cuda {

std::string share_device(int device) {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  if (boot.empty()) return "";
  std::string out = boot + "/GPU-";
  for (const char byte : properties.uuid.bytes)
    out += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return out;
}

ShareReader::~ShareReader() {
  for (auto& [handle, at] : mapped_) cudaIpcCloseMemHandle(at);
  cudaFree(sum_);
}

void* ShareReader::map(const std::string& handle) {
  const auto known =
      std::find_if(mapped_.begin(), mapped_.end(), [&](const auto& m) { return m.first == handle; });
  if (known != mapped_.end()) return known->second;
  if (mapped_.size() == kMostMapped) {  // of a learner that was there before
    cudaIpcCloseMemHandle(mapped_.front().second);
    mapped_.erase(mapped_.begin());
  }
  cudaIpcMemHandle_t raw;
  if (handle.size() != sizeof raw) {
    log::warn("the learner's GPU buffer has a handle of {} bytes, not {}: weights come over ZeroMQ",
              handle.size(), sizeof raw);
    return nullptr;
  }
  std::memcpy(&raw, handle.data(), sizeof raw);
  void* at = nullptr;
  if (const cudaError_t code = cudaIpcOpenMemHandle(&at, raw, cudaIpcMemLazyEnablePeerAccess);
      code != cudaSuccess) {
    cudaGetLastError();
    log::warn("the learner's GPU buffer cannot be mapped ({}): weights come over ZeroMQ",
              cudaGetErrorString(code));
    return nullptr;
  }
  mapped_.emplace_back(handle, at);
  return at;
}

bool ShareReader::copy(const DeviceShare& share, void* to, size_t bytes, cudaStream_t stream) {
  const auto* from = static_cast<const std::byte*>(map(share.handle));
  if (!from) return false;
  CUDA_CHECK(cudaMemcpyAsync(to, from + share.offset, bytes, cudaMemcpyDeviceToDevice, stream));
  return holds(to, bytes, share.checksum, stream);
}

bool ShareReader::holds(const void* data, size_t bytes, uint64_t expected, cudaStream_t stream) {
  if (!sum_) CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&sum_), sizeof *sum_));
  checksum(data, bytes, sum_, stream);
  uint64_t sum = 0;
  CUDA_CHECK(cudaMemcpyAsync(&sum, sum_, sizeof sum, cudaMemcpyDeviceToHost, stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
  if (sum == expected) return true;
  log::warn(
      "weights that came from the learner's GPU buffer have checksum {:016x}, not {:016x}: they come over "
      "ZeroMQ",
      sum, expected);
  return false;
}

}  // namespace cohort::cuda
