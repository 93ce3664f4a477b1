// Where a sharded optimizer's arrays live and how ranks exchange pieces of them: host memory and MPI, or GPU memory and
// NCCL. The optimizer (sharded_adamw.h) is the same code on both.
//
// Exchanges take effect in the order they are begun and may go on while the caller computes; wait() orders what follows
// after them. One thread per process calls these, every rank the same exchanges in the same order.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "learner/adam_runs.h"
#include "learner/collectives.h"
#include "transport/weights.h"

namespace cohort {

class Shards {
 public:
  virtual ~Shards() = default;
  // Zeroed; freed with this. Throws Error when there is not enough memory, naming `what`.
  virtual void* allocate(size_t bytes, const char* what) = 0;

  // values: one slice a rank. Afterwards this rank's own slice holds the sum over ranks; the others are spent.
  virtual void begin_reduce_scatter(float* values, size_t slice) = 0;
  // Every rank's own slice to all ranks.
  virtual void begin_all_gather(void* values, size_t slice_bytes) = 0;
  virtual void wait() = 0;

  // Of all pieces together, in float64 in an order that the sizes decide.
  virtual double sum_of_squares(std::span<const std::pair<const float*, size_t>> pieces) = 0;
  // Keeps a copy of `runs` where adamw() reads it.
  virtual void set_runs(std::span<const AdamRun> runs) = 0;
  // The runs [first, first + count) of set_runs. weights (of `dtype`) become master, rounded; they may be the same array.
  virtual void adamw(size_t first, size_t count, const AdamFactors& factors, const float* gradients,
                     float* master, float* first_moment, float* second_moment, void* weights,
                     DType dtype) = 0;

  virtual void to_host(void* host, const void* from, size_t bytes) = 0;
  virtual void from_host(void* to, const void* host, size_t bytes) = 0;
  // weights = master, rounded to dtype.
  virtual void round(const float* master, void* weights, DType dtype, size_t count) = 0;
};

std::unique_ptr<Shards> make_host_shards(Collectives& ranks);
// The current GPU; NCCL when there is more than one rank, its communicator made from an id sent over `ranks`. Collective.
// Throws Error: NCCL cannot be loaded, two ranks share a GPU, a build without CUDA.
std::unique_ptr<Shards> make_gpu_shards(Collectives& ranks);

}  // namespace cohort
