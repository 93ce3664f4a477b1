#include <cmath>
#include <cstring>
#include <vector>

#include "learner/folder/model_config.h"
#include "learner/optimizer.h"
#include "learner/shards.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

class HostShards : public Shards {
 public:
  explicit HostShards(Collectives& ranks) : ranks_(ranks) {}

  void* allocate(size_t bytes, const char*) override {
    arrays_.emplace_back(bytes);
    return arrays_.back().data();
  }
  void begin_reduce_scatter(float* values, size_t slice) override {
    ranks_.reduce_scatter({values, slice * static_cast<size_t>(ranks_.size())});
  }
  void begin_all_gather(void* values, size_t slice_bytes) override {
    ranks_.all_gather({static_cast<std::byte*>(values), slice_bytes * static_cast<size_t>(ranks_.size())});
  }
  void wait() override {}

  double sum_of_squares(std::span<const std::pair<const float*, size_t>> pieces) override {
    double sum = 0;
    for (const auto& [values, count] : pieces) {
      const double norm = global_norm({values, count});
      sum += norm * norm;
    }
    return sum;
  }
  void set_runs(std::span<const AdamRun> runs) override { runs_.assign(runs.begin(), runs.end()); }
  void adamw(size_t first, size_t count, const AdamFactors& f, const float* gradients, float* master,
             float* m_all, float* v_all, void* weights, DType dtype) override {
    for (const AdamRun& run : std::span(runs_).subspan(first, count)) {
      const float keep = run.decay ? f.keep : 1.0f;
      float *p = master + (master == weights ? run.weight : run.state), *m = m_all + run.state,
            *v = v_all + run.state;
      const float* g = gradients + run.weight;
      for (uint32_t i = 0; i < run.count; ++i) {
        const float grad = f.scale * g[i];
        m[i] = f.beta1 * m[i] + f.rest1 * grad;
        v[i] = f.beta2 * v[i] + f.rest2 * grad * grad;
        p[i] = keep * p[i] - f.step_size * m[i] / (std::sqrt(v[i]) * f.root2 + f.eps);
      }
      round(p, static_cast<std::byte*>(weights) + run.weight * dtype_bytes(dtype), dtype, run.count);
    }
  }
  void to_host(void* host, const void* from, size_t bytes) override { std::memcpy(host, from, bytes); }
  void from_host(void* to, const void* host, size_t bytes) override { std::memcpy(to, host, bytes); }
  void round(const float* master, void* weights, DType dtype, size_t count) override {
    if (master != weights)
      convert_elements(reinterpret_cast<const std::byte*>(master), DType::f32,
                       static_cast<std::byte*>(weights), dtype, count);
  }

 private:
  Collectives& ranks_;
  std::vector<std::vector<std::byte>> arrays_;
  std::vector<AdamRun> runs_;
};

}  // namespace

std::unique_ptr<Shards> make_host_shards(Collectives& ranks) {
  return std::make_unique<HostShards>(ranks);
}

}  // namespace cohort
