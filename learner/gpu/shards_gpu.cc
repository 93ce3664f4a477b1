// Shards in GPU memory. Exchanges go over NCCL on a stream of their own, so that backward and AdamW go on meanwhile; the
// two streams wait for each other by events. The communicator is made from an id that rank 0 sends over MPI.
#include "learner/gpu/shards_gpu.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "learner/gpu/kernels.h"
#include "learner/gpu/runtime.h"
#include "learner/training_state.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using gpu::check;

struct Nccl {
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRank) init;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclReduceScatter) reduce_scatter;
  decltype(&ncclAllGather) all_gather;
  decltype(&ncclGetErrorString) error_string;

  Nccl() {
    const auto find = [](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(gpu::symbol("libnccl.so.2", name));
    };
    find(get_unique_id, "ncclGetUniqueId"), find(init, "ncclCommInitRank"), find(destroy, "ncclCommDestroy");
    find(reduce_scatter, "ncclReduceScatter"), find(all_gather, "ncclAllGather");
    find(error_string, "ncclGetErrorString");
  }
  void require(ncclResult_t result, const char* what) const {
    if (result != ncclSuccess) fail("NCCL, {}: {}", what, error_string(result));
  }
};

class GpuShards : public Shards {
 public:
  GpuShards(Collectives& ranks, bool connected) : ranks_(ranks) {
    check(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "an event");
    check(cudaEventCreateWithFlags(&exchanged_, cudaEventDisableTiming), "an event");
    check(cudaMalloc(&squares_, gpu::kSquareParts * sizeof(double)), "room for sums");
    if (connected) connect();
  }
  ~GpuShards() override {
    cudaDeviceSynchronize();
    if (communicator_) nccl_->destroy(communicator_);
    if (stream_) cudaStreamDestroy(stream_);
    cudaEventDestroy(ready_), cudaEventDestroy(exchanged_);
    for (void* p : arrays_) cudaFree(p);
    cudaFree(squares_), cudaFree(runs_);
  }

  void* allocate(size_t bytes, const char* what) override {
    gpu::require_memory(bytes, what, "use more ranks (each then holds a smaller part), or a smaller model");
    void* p = nullptr;
    check(cudaMalloc(&p, bytes), what);
    arrays_.push_back(p);
    check(cudaMemset(p, 0, bytes), what);
    return p;
  }

  void begin_reduce_scatter(float* values, size_t slice) override {
    if (!communicator_) return;
    follow_compute();
    nccl_->require(nccl_->reduce_scatter(values, values + static_cast<size_t>(ranks_.rank()) * slice, slice,
                                         ncclFloat, ncclSum, communicator_, stream_),
                   "reduce-scatter of gradients");
    pending_ = true;
  }
  void begin_all_gather(void* values, size_t slice_bytes) override {
    if (!communicator_) return;
    follow_compute();
    nccl_->require(
        nccl_->all_gather(static_cast<std::byte*>(values) + static_cast<size_t>(ranks_.rank()) * slice_bytes,
                          values, slice_bytes, ncclUint8, communicator_, stream_),
        "all-gather of weights");
    pending_ = true;
  }
  void wait() override {
    if (!pending_) return;
    check(cudaEventRecord(exchanged_, stream_), "an event");
    check(cudaStreamWaitEvent(nullptr, exchanged_), "waiting for an exchange");
    pending_ = false;
  }

  double sum_of_squares(std::span<const std::pair<const float*, size_t>> pieces) override {
    std::vector<double> parts(gpu::kSquareParts);
    double sum = 0;
    // one piece after another: the partial sums of a piece come to the host before the next overwrites them
    for (const auto& [values, count] : pieces) {
      gpu::sum_of_squares(values, count, squares_);
      check(cudaMemcpy(parts.data(), squares_, parts.size() * sizeof(double), cudaMemcpyDeviceToHost),
            "the gradient's norm");
      for (double x : parts) sum += x;
    }
    return sum;
  }
  void set_runs(std::span<const AdamRun> runs) override {
    cudaFree(runs_);
    runs_ = nullptr;
    check(cudaMalloc(&runs_, runs.size_bytes()), "the optimizer's table");
    check(cudaMemcpy(runs_, runs.data(), runs.size_bytes(), cudaMemcpyHostToDevice), "the optimizer's table");
  }
  void adamw(size_t first, size_t count, const AdamFactors& factors, const float* gradients, float* master,
             float* first_moment, float* second_moment, void* weights, DType dtype) override {
    gpu::adamw(type(dtype), count, runs_ + first, factors, gradients, master, first_moment, second_moment,
               weights);
  }
  void to_host(void* host, const void* from, size_t bytes) override {
    check(cudaMemcpy(host, from, bytes, cudaMemcpyDeviceToHost), "reading the optimizer's state");
  }
  void from_host(void* to, const void* host, size_t bytes) override {
    check(cudaMemcpy(to, host, bytes, cudaMemcpyHostToDevice), "writing the optimizer's state");
  }
  void round(const float* master, void* weights, DType dtype, size_t count) override {
    if (master != weights) gpu::convert(gpu::Type::f32, master, type(dtype), weights, count);
  }

 private:
  static gpu::Type type(DType dtype) { return dtype == DType::f32 ? gpu::Type::f32 : gpu::Type::bf16; }

  void connect() {
    on_all(ranks_, [&] { nccl_ = std::make_unique<Nccl>(); });
    ncclUniqueId id{};
    on_root(ranks_, [&] { nccl_->require(nccl_->get_unique_id(&id), "making an id"); });
    ranks_.broadcast(std::as_writable_bytes(std::span(&id, 1)));
    on_all(ranks_, [&] {
      check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
      nccl_->require(nccl_->init(&communicator_, ranks_.size(), id, ranks_.rank()),
                     "connecting the ranks (each needs a GPU of its own)");
    });
  }
  // What the exchange reads is what the compute stream has been told to write so far.
  void follow_compute() {
    check(cudaEventRecord(ready_, nullptr), "an event");
    check(cudaStreamWaitEvent(stream_, ready_), "waiting for gradients");
  }

  Collectives& ranks_;
  std::unique_ptr<Nccl> nccl_;
  ncclComm_t communicator_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr, exchanged_ = nullptr;
  bool pending_ = false;
  double* squares_ = nullptr;
  AdamRun* runs_ = nullptr;
  std::vector<void*> arrays_;
};

}  // namespace

std::unique_ptr<Shards> make_gpu_shards(Collectives& ranks) {
  return std::make_unique<GpuShards>(ranks, ranks.size() > 1);
}
std::unique_ptr<Shards> make_nccl_shards(Collectives& ranks) {
  return std::make_unique<GpuShards>(ranks, true);
}

}  // namespace cohort
