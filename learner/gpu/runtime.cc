#include "learner/gpu/runtime.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <mutex>

#include "kernels/open_device.h"
#include "transport/base/error.h"

// Any symbol of libtorch_cpu.so: its CUDA half lies beside it.
namespace at {
int get_num_threads();
}

namespace cohort::gpu {
namespace {

std::string torch_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) || !info.dli_fname) return "";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/') + 1);
}

// The name in "libnccl.so.2: cannot open shared object file: …".
std::string missing_library(const std::string& error) {
  return error.substr(0, error.find(':'));
}

void load_torch(const std::string& key) {
  static std::mutex mutex;
  static bool loaded = false;
  const std::lock_guard lock(mutex);
  if (loaded) return;
  // NCCL first: what is most often missing is then named by itself and not as a dependency of Torch's
  for (const std::string& library : {std::string("libnccl.so.2"), torch_folder() + "libtorch_cuda.so"}) {
    if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL)) continue;
    const std::string error = dlerror(), name = missing_library(error);
    if (library == "libnccl.so.2" && name == library) {
      // libtorch_cuda.so may find it by its own search path
      continue;
    }
    fail(
        "{} = \"cuda\": cannot load {}: {} is missing or damaged ({}); launch/bootstrap on a machine with "
        "nvcc fetches it",
        key, library, name, error);
  }
  loaded = true;
}

}  // namespace

void check(int error, const char* what) {
  if (error == cudaSuccess) return;
  const auto code = static_cast<cudaError_t>(error);
  fail("{}: {} ({})", what, cudaGetErrorString(code), cudaGetErrorName(code));
}

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

bool available() {
  return device_count() > 0;
}

int open_device(const std::string& device, const std::string& key) {
  // ranks of one node share its GPUs out in order
  const int index = cuda::open_device(device, fmt::format("{} = \"{}\"", key, device), cuda::Sharing::own);
  load_torch(key);
  return index;
}

Memory memory() {
  Memory m;
  check(cudaMemGetInfo(&m.free, &m.total), "asking for the GPU's free memory");
  return m;
}

std::string gibibytes(size_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / double(1 << 30));
}

void require_memory(size_t bytes, const std::string& what, const std::string& remedy) {
  const Memory m = memory();
  if (bytes <= m.free) return;
  int index = 0;
  cudaGetDevice(&index);
  fail("{} needs {}, GPU {} has {} free of {}; {}", what, gibibytes(bytes), index, gibibytes(m.free),
       gibibytes(m.total), remedy);
}

void* symbol(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  if (!handle) handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  void* address = handle ? dlsym(handle, name) : nullptr;
  if (!address) fail("cannot use {}: {}", library, dlerror());
  return address;
}

}  // namespace cohort::gpu
