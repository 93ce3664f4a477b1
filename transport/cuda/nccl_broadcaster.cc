// The communicator is a non-blocking one: every call returns at once, and poll() goes on where NCCL stands: joining, then
// one bucket after another enqueued, then waiting for an event behind the last. So a peer that hangs is only ever an answer
// "busy", and abort() ends it. Collectives run on a stream of their own of the highest priority: their few blocks get in
// between those of decoding or training kernels at once, and the peers' blocks do not spin for them long.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <link.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/nccl.h"

namespace cohort {
namespace {

constexpr uint64_t kBucket = uint64_t{1} << 30;  // smaller ones cost bandwidth (70% of it is left at 16 MiB)

// Beside LibTorch, where launch/bootstrap puts it: …/torch/lib/libtorch_cpu.so -> …/nvidia/nccl/lib/.
std::string beside_torch() {
  std::string found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        const std::string path = info->dlpi_name ? info->dlpi_name : "";
        const auto slash = path.rfind('/');
        if (slash == std::string::npos || path.compare(slash + 1, 12, "libtorch_cpu") != 0) return 0;
        *static_cast<std::string*>(out) = path.substr(0, slash) + "/../../nvidia/nccl/lib/libnccl.so.2";
        return 1;
      },
      &found);
  return found;
}

struct Nccl {
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) init;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclGetLastError) last_error;

  explicit Nccl(const std::string& key) {
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD);
    if (!library) library = dlopen("libnccl.so.2", RTLD_NOW);
    const std::string why = library ? "" : dlerror();
    if (const std::string path = beside_torch(); !library && !path.empty())
      library = dlopen(path.c_str(), RTLD_NOW);
    if (!library)
      fail("{} = \"nccl\": NCCL is missing ({}): launch/bootstrap --preset cuda fetches it; or use \"zmq\"",
           key, why);
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      if (!function)
        fail("{} = \"nccl\": libnccl.so.2 has no {}: it is older than 2.18; or use \"zmq\"", key, name);
    };
    find(get_unique_id, "ncclGetUniqueId"), find(init, "ncclCommInitRankConfig");
    find(async_error, "ncclCommGetAsyncError"), find(broadcast, "ncclBroadcast"),
        find(abort, "ncclCommAbort");
    find(error_string, "ncclGetErrorString"), find(last_error, "ncclGetLastError");
  }
};

class NcclBroadcaster : public Broadcaster {
 public:
  NcclBroadcaster(int device, const std::string& key) : nccl_(key), device_(device) {
    if (device_ < 0) cuda(cudaGetDevice(&device_), "the current GPU");
    cuda(cudaSetDevice(device_), "choosing the GPU");
    int least = 0, greatest = 0;
    cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "a stream");
    cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest), "a stream");
    cuda(cudaEventCreateWithFlags(&over_, cudaEventDisableTiming), "an event");
  }
  ~NcclBroadcaster() override {
    cudaSetDevice(device_);
    abort();
    cudaEventDestroy(over_);
    cudaStreamDestroy(stream_);
  }

  std::string make_id() override {
    ncclUniqueId id;
    if (const ncclResult_t r = nccl_.get_unique_id(&id); r != ncclSuccess)
      fail("NCCL, making an id: {}", nccl_.error_string(r));
    return {id.internal, sizeof id.internal};
  }

  void start(const std::string& id, int rank, int size, void* data, uint64_t bytes) override {
    cudaSetDevice(device_);
    if (id != id_) {
      abort();
      ncclUniqueId raw;
      if (id.size() != sizeof raw.internal) return fails("an id of another NCCL");
      std::memcpy(raw.internal, id.data(), sizeof raw.internal);
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      id_ = id;
      const ncclResult_t r = nccl_.init(&communicator_, size, raw, rank, &config);
      if (r != ncclSuccess && r != ncclInProgress) return fails(r, "joining");
    }
    state_ = State::busy;
    data_ = static_cast<std::byte*>(data), bytes_ = bytes, next_ = 0;
    recorded_ = false;
  }

  State poll() override {
    if (state_ != State::busy) return state_;
    cudaSetDevice(device_);
    while (true) {
      ncclResult_t now = ncclSuccess;
      nccl_.async_error(communicator_, &now);
      if (now == ncclInProgress) return state_;
      if (now != ncclSuccess) return fails(now, next_ == 0 ? "joining" : "receiving"), state_;
      if (next_ == bytes_) break;
      const uint64_t n = std::min(kBucket, bytes_ - next_);
      std::byte* const at = data_ + next_;
      next_ += n;
      const ncclResult_t r = nccl_.broadcast(at, at, n, ncclUint8, 0, communicator_, stream_);
      if (r != ncclSuccess && r != ncclInProgress) return fails(r, "enqueuing"), state_;
    }
    if (!recorded_) {
      if (cudaEventRecord(over_, stream_) != cudaSuccess) return fails("CUDA refused an event"), state_;
      recorded_ = true;
    }
    const cudaError_t over = cudaEventQuery(over_);
    if (over == cudaErrorNotReady) return state_;
    if (over != cudaSuccess) return fails(cudaGetErrorString(over)), state_;
    return state_ = State::done;
  }

  std::string error() const override { return error_; }

  void abort() override {
    if (state_ == State::busy) state_ = State::failed;
    if (!communicator_) return;
    cudaSetDevice(device_);
    nccl_.abort(communicator_);
    communicator_ = nullptr;
    id_.clear();
    // The memory may be used again from here on, so its kernels have to be gone. They look at the abort flag all the time.
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (cudaStreamQuery(stream_) == cudaErrorNotReady && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (cudaStreamQuery(stream_) == cudaErrorNotReady)
      log::warn("NCCL: an aborted broadcast still runs on the GPU after 5 s");
    cudaGetLastError();
  }

 private:
  static void cuda(cudaError_t code, const char* what) {
    if (code != cudaSuccess) fail("weights over NCCL: {}: {}", what, cudaGetErrorString(code));
  }
  void fails(const std::string& why) {
    error_ = "NCCL: " + why;
    state_ = State::failed;
  }
  void fails(ncclResult_t result, const char* what) {
    std::string detail =
        communicator_ && nccl_.last_error(communicator_) ? nccl_.last_error(communicator_) : "";
    std::ranges::replace(detail, '\n', ' ');
    fails(fmt::format("{}: {}{}{}", what, nccl_.error_string(result), detail.empty() ? "" : ": ", detail));
  }

  Nccl nccl_;
  int device_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t over_ = nullptr;
  ncclComm_t communicator_ = nullptr;
  std::string id_, error_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0, next_ = 0;
  bool recorded_ = false;
  State state_ = State::failed;
};

}  // namespace

std::unique_ptr<Broadcaster> make_nccl_broadcaster(int device, const std::string& key) {
  return std::make_unique<NcclBroadcaster>(device, key);
}

}  // namespace cohort
