// Which kernel each of CudaModel's products takes for a number of rows, measured at the first use of that number.
//
// First each candidate by itself, in a graph of that product in several layers. Among those that are about as fast, a step of
// single tokens chooses by the time of its layers with attention in them, since kernels overlap: how soon a product can begin
// with its weights depends on the shared memory that the kernel before it leaves, and it leaves some to the next.
#include <algorithm>
#include <array>
#include <chrono>

#include "kernels/cuda_check.h"
#include "kernels/rows_kernels.h"
#include "rollout/cuda_model.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

// Of the fastest by itself; candidates beyond it, or more of them, are not tried between neighbours.
constexpr float kAlone = 1.35f;
constexpr size_t kMostCandidates = 6;
// Of the fastest step with one product changed; the same for the combinations.
constexpr float kNear = 1.04f;
constexpr size_t kMostNear = 3;
// Of the fastest combination: given up beyond it after a few runs.
constexpr float kBehind = 1.015f;
// Steps with choices of more rows before these rows get choices of their own, which takes 0.2 to 1.2 s: the last sequences of a
// run pass all numbers of rows, each in a few steps.
constexpr int kBorrow = 256;
// Of the step as it is: another choice is taken only below it, so that starts agree.
constexpr float kAhead = 0.998f;

// Before the first choice, which came out otherwise, and slower, than later ones: perhaps since the GPU was idle.
constexpr std::chrono::milliseconds kWarmUp{250};

// Layers in a trial: at least so many, and so many that their weights are not read from L2.
size_t trial_layers(const ModelConfig& c, int64_t layer_bytes, int64_t least) {
  return size_t(std::min(c.num_layers, std::max<int64_t>(least, (200 << 20) / layer_bytes + 1)));
}

// Graphs of what may be chosen, timed by turns.
class Trials {
 public:
  explicit Trials(cudaStream_t stream) : stream_(stream) {}
  ~Trials() {
    for (cudaGraphExec_t g : graphs_) cudaGraphExecDestroy(g);
    for (cudaEvent_t e : events_) cudaEventDestroy(e);
  }
  Trials(const Trials&) = delete;
  Trials& operator=(const Trials&) = delete;

  template <class Enqueue>
  void add(Enqueue enqueue) {
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed));
    enqueue();
    CUDA_CHECK(cudaStreamEndCapture(stream_, &graph));
    CUDA_CHECK(cudaGraphInstantiate(&graphs_.emplace_back(), graph, 0));
    CUDA_CHECK(cudaGraphDestroy(graph));
    CUDA_CHECK(cudaGraphLaunch(graphs_.back(), stream_));
  }
  // Medians, ms.
  std::vector<float> times(int rounds) {
    while (events_.size() <= graphs_.size()) CUDA_CHECK(cudaEventCreate(&events_.emplace_back()));
    std::vector<std::vector<float>> ms(graphs_.size(), std::vector<float>(size_t(rounds)));
    for (size_t round = 0; round < size_t(rounds); ++round) {
      for (size_t i = 0; i < graphs_.size(); ++i) {
        CUDA_CHECK(cudaEventRecord(events_[i], stream_));
        CUDA_CHECK(cudaGraphLaunch(graphs_[i], stream_));
      }
      CUDA_CHECK(cudaEventRecord(events_[graphs_.size()], stream_));
      CUDA_CHECK(cudaEventSynchronize(events_[graphs_.size()]));
      for (size_t i = 0; i < graphs_.size(); ++i)
        CUDA_CHECK(cudaEventElapsedTime(&ms[i][round], events_[i], events_[i + 1]));
    }
    std::vector<float> medians;
    for (std::vector<float>& m : ms) {
      std::sort(m.begin(), m.end());
      medians.push_back(m[m.size() / 2]);
    }
    return medians;
  }

 private:
  cudaStream_t stream_;
  std::vector<cudaGraphExec_t> graphs_;
  std::vector<cudaEvent_t> events_;
};

// Sorted by time, without those beyond `most` times the first's.
template <class Choice>
std::vector<Choice> fastest(const std::vector<Choice>& choices, const std::vector<float>& ms, float most) {
  std::vector<std::pair<float, size_t>> order;
  for (size_t i = 0; i < choices.size(); ++i) order.emplace_back(ms[i], i);
  std::sort(order.begin(), order.end());
  std::vector<Choice> kept;
  for (const auto& [t, i] : order)
    if (t <= most * order[0].first) kept.push_back(choices[i]);
  return kept;
}

}  // namespace

std::vector<CudaModel::Choice> CudaModel::candidates(const CudaBatch& batch, int which, cudaStream_t stream) {
  const cuda::GemmParams g = product(batch, which, 0);
  const cuda::GemmOut kind = hopper(batch, which, 0, {}).kind;
  const bool splits = kind == cuda::GemmOut::rows || kind == cuda::GemmOut::residual;
  if (limits_.batch_invariant)  // one kernel whatever the rows
    return {{cuda::hopper_gemm_default(64),
             splits ? cuda::hopper_gemm_splits(int(g.n), int(g.k), multiprocessors_) : 1, true}};
  std::vector<Choice> all;
  for (const cuda::HopperGemmTile& tile : cuda::hopper_gemm_tiles(kind)) {
    if (tile.inputs >= 2 * std::max<int64_t>(g.m, 64)) continue;
    for (int count :
         cuda::hopper_gemm_split_choices(tile, kind, int(g.m), int(g.n), int(g.k), multiprocessors_))
      all.push_back({tile, count, true});
  }
  if (which == kGateUp) {
    prepare_blas(batch, which, stream);
    all.push_back({{}, 1, false});
  }
  Trials trials(stream);
  const size_t layers = trial_layers(config_, 2 * g.n * g.k, 8);
  for (const Choice& c : all)  // a graph, since launches one by one take the CPU longer than the GPU
    trials.add([&] {
      for (size_t layer = 0; layer < (which == kHead ? 3 : layers); ++layer)
        multiply(batch, which, which == kHead ? 0 : layer, c, stream);
    });
  std::vector<Choice> kept = fastest(all, trials.times(3), kAlone);
  kept.resize(std::min(kept.size(), kMostCandidates));
  return kept;
}

// Rows of contexts like those of a step, over pages of others, which are only read: each row's last page, which the new key and
// value go to, is the one that no slot has.
void CudaModel::fill_trial(const CudaBatch& batch, cudaStream_t stream) {
  const int64_t length = std::min<int64_t>(limits_.context, 256 * int64_t(batch.splits));
  const int64_t pages = (length + cuda::kPageTokens - 1) / cuda::kPageTokens;
  std::vector<cuda::Row> rows(size_t(batch.rows));
  std::vector<int32_t> table(size_t(batch.rows * table_stride_));
  for (int64_t i = 0; i < batch.rows; ++i) {
    cuda::Row& row = rows[size_t(i)];
    row.slot = int32_t(i), row.position = int32_t(length - 1), row.token = int32_t(i % config_.vocab_size),
    row.sample = 1;
    for (int64_t page = 0; page < pages; ++page)
      table[size_t(i * table_stride_ + page)] =
          int32_t(page + 1 < pages ? (i * pages + page) % (pages_ - 1) : pages_ - 1);
  }
  CUDA_CHECK(cudaMemcpyAsync(trial_rows_.as<void>(), rows.data(), rows.size() * sizeof(cuda::Row),
                             cudaMemcpyHostToDevice, stream));
  CUDA_CHECK(cudaMemcpyAsync(trial_table_.as<void>(), table.data(), table.size() * sizeof(int32_t),
                             cudaMemcpyHostToDevice, stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
}

// The fastest sets of choices by the time of a step's layers, the first of `sets` being what is chosen now.
std::vector<CudaModel::ChoiceSet> CudaModel::between_neighbours(const CudaBatch& batch,
                                                                std::vector<ChoiceSet> sets, float most,
                                                                cudaStream_t stream) {
  const ChoiceSet now = sets.front();
  const ModelConfig& c = config_;
  const int64_t weights =
      2 * c.hidden_size * (qkv_width_ + c.num_heads * c.head_dim + 3 * c.intermediate_size);
  const size_t layers = trial_layers(c, weights, 4);
  for (const int rounds : {3, 7}) {
    Trials trials(stream);
    for (const ChoiceSet& set : sets) {
      choose(batch.rows, set);
      trials.add([&] {
        enqueue_embedding(batch, stream);
        for (size_t layer = 0; layer < layers; ++layer) enqueue_layer(batch, layer, stream);
      });
    }
    std::vector<float> ms = trials.times(rounds);
    for (size_t i = 0; i < sets.size(); ++i)
      if (sets[i] == now) ms[i] *= kAhead;
    sets = fastest(sets, ms, most);
    if (sets.size() == 1) break;
  }
  choose(batch.rows, sets.front());
  return sets;
}

void CudaModel::warm_up(const CudaBatch& batch, cudaStream_t stream) {
  Trials trials(stream);
  trials.add([&] {
    for (size_t layer = 0; layer < weights().layers.size(); ++layer)
      multiply(batch, kGateUp, layer, {cuda::hopper_gemm_default(int(batch.rows)), 1, true}, stream);
  });
  const auto until = std::chrono::steady_clock::now() + kWarmUp;
  while (std::chrono::steady_clock::now() < until) trials.times(10);
}

// Of a step of single tokens: what is fast for each product by itself, what of that is fast between the others, and of that the
// fastest combination of the three smaller products: with one changed at a time the search ends where two have to change.
void CudaModel::settle(const CudaBatch& batch, cudaStream_t stream) {
  fill_trial(batch, stream);
  std::swap(rows_, trial_rows_), std::swap(table_, trial_table_);
  if (settled_.size() == 1) warm_up(batch, stream);
  std::array<std::vector<Choice>, kHead + 1> lists;
  for (int which = kQkv; which <= kHead; ++which) lists[size_t(which)] = candidates(batch, which, stream);
  choices_[{kHead, batch.rows}] = lists[kHead].front();
  ChoiceSet now = {lists[kQkv].front(), lists[kOutput].front(), lists[kGateUp].front(), lists[kDown].front()};
  const auto vary = [&](size_t which) {
    std::vector<ChoiceSet> sets;
    for (const Choice& c : lists[which]) sets.push_back(now), sets.back()[which] = c;
    sets = between_neighbours(batch, std::move(sets), kNear, stream);
    sets.resize(std::min(sets.size(), kMostNear));
    now = sets.front();
    lists[which].clear();
    for (const ChoiceSet& set : sets) lists[which].push_back(set[which]);
  };
  for (const size_t which : {kDown, kQkv, kOutput, kGateUp}) vary(which);
  std::vector<ChoiceSet> all;
  for (const Choice& down : lists[kDown])
    for (const Choice& qkv : lists[kQkv])
      for (const Choice& output : lists[kOutput]) all.push_back({qkv, output, now[kGateUp], down});
  std::swap(all.front(), *std::find(all.begin(), all.end(), now));
  now = between_neighbours(batch, std::move(all), kBehind, stream).front();
  vary(kGateUp);
  std::swap(rows_, trial_rows_), std::swap(table_, trial_table_);
  for (int which = kQkv; which <= kHead; ++which) {
    const Choice c = choice(which, batch.rows);
    log::debug("{} rows, {}: {} by {}{}, {} stages, {} splits", batch.rows,
               std::array{"QKV", "output", "gate-up", "down", "LM head"}[size_t(which)],
               c.hopper ? std::to_string(c.tile.weights) : "cuBLASLt", c.tile.inputs,
               c.tile.wide_inputs ? " wide" : "", c.tile.stages, c.splits);
  }
}

void CudaModel::choose(int64_t rows, const ChoiceSet& set) {
  for (int which = kQkv; which < kHead; ++which) choices_[{which, rows}] = set[size_t(which)];
}

void CudaModel::borrow(const CudaBatch& batch, int32_t rows, cudaStream_t stream) {
  for (int which = kQkv; which <= kHead; ++which) {
    const Choice c = choices_.try_emplace({which, batch.rows}, choice(which, rows)).first->second;
    if (!c.hopper) prepare_blas(batch, which, stream);
  }
}

bool CudaModel::prepare(const CudaBatch& batch, cudaStream_t stream) {
  const bool single_tokens = batch.all_sampled && batch.decode_rows == batch.rows;
  if (fused(batch.rows) && single_tokens && !limits_.batch_invariant) {
    const auto more = settled_.lower_bound(batch.rows);
    if (more != settled_.end() && *more == batch.rows) return true;
    if (more != settled_.end()) {
      const int steps = borrowed_[batch.rows]++;
      if (steps == 0) borrow(batch, *more, stream);
      if (steps < kBorrow) return false;
    }
    settled_.insert(batch.rows);
    settle(batch, stream);
    return true;
  }
  for (int which = kQkv; which <= kHead; ++which) {
    const int64_t m = product(batch, which, 0).m;
    if (m == 0 || choices_.contains({which, m})) continue;
    if (fused(m))
      choices_[{which, m}] = candidates(batch, which, stream).front();
    else
      prepare_blas(batch, which, stream);
  }
  return true;
}

}  // namespace cohort
