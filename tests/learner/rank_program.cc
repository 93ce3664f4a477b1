// Run under mpirun by ranks_test.
//   learner_rank collectives | waiting OUT | step OUT | sharded OUT [DEVICE DTYPE [CHECKPOINTS STEPS]]
#include <unistd.h>
#include <xxhash.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "learner/sharded_adamw.h"
#include "learner/training_state.h"
#include "tests/learner/tiny.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

#define CHECK_THAT(condition)                                                      \
  do {                                                                             \
    if (!(condition)) fail("{}:{}: not true: {}", __FILE__, __LINE__, #condition); \
  } while (false)

// Every rank can compute what the collective must give.
void collectives(Collectives& ranks) {
  const int n = ranks.size(), me = ranks.rank();
  const auto value = [](int rank, size_t i) {
    return std::sin(static_cast<float>(rank * 977 + 3) * static_cast<float>(i + 1));
  };
  for (size_t size : {size_t{1}, size_t{2}, size_t{7}, size_t{1001}, size_t{300000}}) {
    std::vector<float> x(size);
    for (size_t i = 0; i < size; ++i) x[i] = value(me, i);
    ranks.sum(x);
    for (size_t i = 0; i < size; ++i) {
      double sum = 0;
      for (int r = 0; r < n; ++r) sum += static_cast<double>(value(r, i));
      CHECK_THAT(x[i] == static_cast<float>(sum));  // in rank order, rounded once: to the bit
    }
  }
  std::vector<double> d{1.0 + me, 0.5};
  ranks.sum(d);
  CHECK_THAT(d[0] == n + n * (n - 1) / 2.0 && d[1] == n * 0.5);
  CHECK_THAT(ranks.min(10 - me) == 10 - (n - 1));
  CHECK_THAT(ranks.max(me) == n - 1);
  for (size_t slice : {size_t{1}, size_t{50}, size_t{100001}}) {
    std::vector<float> x(slice * static_cast<size_t>(n));
    for (size_t i = 0; i < x.size(); ++i) x[i] = value(me, i);
    ranks.reduce_scatter(x);
    for (size_t i = static_cast<size_t>(me) * slice; i < static_cast<size_t>(me + 1) * slice; ++i) {
      double sum = 0;
      for (int r = 0; r < n; ++r) sum += static_cast<double>(value(r, i));
      CHECK_THAT(x[i] == static_cast<float>(sum));
    }
    ranks.all_gather(std::as_writable_bytes(std::span(x)));
    std::vector<float> mine(slice), all(ranks.is_root() ? x.size() : 0);
    std::copy_n(x.begin() + static_cast<ptrdiff_t>(static_cast<size_t>((me + 1) % n) * slice), slice,
                mine.begin());
    ranks.gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
    ranks.scatter(std::as_bytes(std::span(all)), std::as_writable_bytes(std::span(mine)));
    for (size_t i = 0; i < slice; ++i) {
      double sum = 0;
      const size_t at = static_cast<size_t>((me + 1) % n) * slice + i;
      for (int r = 0; r < n; ++r) sum += static_cast<double>(value(r, at));
      CHECK_THAT(mine[i] == static_cast<float>(sum));
    }
  }
  std::string text = me == n - 1 ? std::string(70000, 'x') : "another";
  ranks.broadcast(text, n - 1);
  CHECK_THAT(text == std::string(70000, 'x'));
  CHECK_THAT(ranks.first_error("").empty());
  CHECK_THAT(ranks.first_error(me == n - 1 ? "the last one's" : "") == "the last one's");
}

// A rank that waits must leave the core to others: rank 0 comes 1.5 s late, the others' CPU time in that wait
// is told.
void waiting(Collectives& ranks, const std::string& out) {
  ranks.barrier();
  const clock_t began = clock();
  if (ranks.is_root()) usleep(1500000);
  std::vector<float> x(1000, 1);
  ranks.sum(x);
  std::vector<double> cpu{static_cast<double>(clock() - began) / CLOCKS_PER_SEC};
  ranks.sum(cpu);
  if (ranks.is_root()) std::ofstream(out) << cpu[0] / ranks.size();
}

void step(Collectives& ranks, const std::string& out) {
  set_compute_threads(1);
  Policy policy(testing::tiny_config(), "cpu", "float32", true),
      behaviour(testing::tiny_config(), "cpu", "float32", false);
  policy.init_random(1), behaviour.init_random(1);
  AdamW optimizer(testing::tiny_optimizer_options(), policy.config().tensors(DType::f32), 100);
  const auto updater = make_replicated_updater(policy, optimizer, ranks);
  GrpoStep grpo(testing::tiny_step_options(), policy, nullptr, *updater, ranks);
  std::string metrics;
  for (uint32_t k = 0; k < 3; ++k) {
    const Batch batch =
        testing::share(testing::made_up_batch(behaviour, k, 7 + k), ranks.rank(), ranks.size());
    for (const Metric& m : grpo.train(batch))
      if (!m.name.starts_with("time/") && m.name != "tokens_per_second")
        metrics += fmt::format("{} {:.9e}\n", m.name, m.value);
  }
  const auto parameters = policy.parameters();
  const auto hash = static_cast<int64_t>(XXH3_64bits(parameters.data(), parameters.size_bytes()) >> 1);
  CHECK_THAT(ranks.min(hash) == ranks.max(hash));  // all ranks hold the same bits
  if (!ranks.is_root()) return;
  std::ofstream(out + ".metrics") << metrics;
  std::ofstream(out, std::ios::binary)
      .write(reinterpret_cast<const char*>(parameters.data()),
             static_cast<std::streamsize>(parameters.size_bytes()));
}

// The sharded optimizer on a policy in host memory: its arrays are padded copies of the policy's, in either dtype, and
// what it writes goes back into the policy. So the code that runs on GPUs runs here, with MPI in place of NCCL.
class ShardedOnHost : public Updater {
 public:
  ShardedOnHost(Policy& policy, DType dtype, Collectives& ranks)
      : policy_(policy), dtype_(dtype), elements_(policy.parameters().size()) {
    constexpr size_t kPadding = 512;
    gradients_.resize(elements_ + kPadding), weights_.resize((elements_ + kPadding) * dtype_bytes(dtype));
    const FlatArrays arrays{false, dtype, weights_.data(), gradients_.data(), elements_, kPadding};
    inner_ =
        make_sharded_adamw(testing::tiny_optimizer_options(), arrays, policy.config().tensors(DType::f32),
                           100, ranks, make_host_shards(ranks), /*bucket_elements=*/700);
  }
  void start(const WeightSet& weights) override { inner_->start(weights), give_back(); }
  void complete(size_t from) override {
    std::copy_n(policy_.gradients().begin(), elements_, gradients_.begin());
    began_ = true;
    for (size_t at : {elements_ - elements_ / 3, elements_ / 2, from}) inner_->complete(at);
  }
  Step step(bool all_here) override {
    if (!began_) std::copy_n(policy_.gradients().begin(), elements_, gradients_.begin());
    began_ = false;
    const Step out = inner_->step(all_here);
    std::fill(gradients_.begin(), gradients_.end(), 0.0f);
    give_back();
    return out;
  }
  int64_t updates() const override { return inner_->updates(); }
  std::vector<CheckpointSection> collect() override { return inner_->collect(); }
  std::vector<CheckpointSection> room() override { return inner_->room(); }
  void spread(int64_t updates) override { inner_->spread(updates), give_back(); }
  void release() override { inner_->release(); }

 private:
  void give_back() {
    convert_elements(weights_.data(), dtype_, reinterpret_cast<std::byte*>(policy_.parameters().data()),
                     DType::f32, elements_);
  }
  Policy& policy_;
  DType dtype_;
  size_t elements_;
  std::vector<float> gradients_;
  std::vector<std::byte> weights_;
  std::unique_ptr<Updater> inner_;
  bool began_ = false;
};

// Steps up to `steps`, from a checkpoint when there is one; the float32 parameters go to `out`.
void sharded(Collectives& ranks, const std::string& out, const std::string& device, const std::string& dtype,
             const std::string& checkpoints, uint32_t steps) {
  set_compute_threads(1);
  Policy policy(testing::tiny_config(), device, device == "cpu" ? "float32" : dtype, true),
      behaviour(testing::tiny_config(), "cpu", "float32", false);
  const WeightSet weights = random_weights(testing::tiny_config(), 1);
  policy.load(weights), behaviour.load(weights);
  std::unique_ptr<Updater> updater;
  if (device == "cpu")
    updater = std::make_unique<ShardedOnHost>(policy, dtype == "bfloat16" ? DType::bf16 : DType::f32, ranks);
  else
    updater = make_updater(testing::tiny_optimizer_options(), policy, ranks, 100);
  updater->start(weights);
  GrpoStep grpo(testing::tiny_step_options(), policy, nullptr, *updater, ranks);
  TrainingState state(checkpoints, 2, {{"run_id", "r"}}, policy, *updater, ranks);
  uint32_t k = 0;
  if (!checkpoints.empty())
    if (const auto header = state.restore()) k = static_cast<uint32_t>(header->next_step);
  for (; k < steps; ++k)
    grpo.train(testing::share(testing::made_up_batch(behaviour, k, 7 + k), ranks.rank(), ranks.size()));
  if (!checkpoints.empty()) state.save(k);
  const WeightSet mine = policy.snapshot(0, DType::f32);
  const auto hash = static_cast<int64_t>(weight_checksum(mine.data) >> 1);
  CHECK_THAT(ranks.min(hash) == ranks.max(hash));  // all ranks hold the same bits
  const auto sections = updater->collect();
  if (!ranks.is_root()) return;
  std::ofstream(out, std::ios::binary)
      .write(reinterpret_cast<const char*>(sections[0].bytes.data()),
             static_cast<std::streamsize>(sections[0].bytes.size()));
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("learner_rank", [&] {
    const cohort::MpiSession mpi;
    cohort::Collectives ranks = mpi.world();
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "collectives")
      cohort::collectives(ranks);
    else if (what == "waiting")
      cohort::waiting(ranks, argv[2]);
    else if (what == "sharded")
      cohort::sharded(ranks, argv[2], argc > 3 ? argv[3] : "cpu", argc > 4 ? argv[4] : "float32",
                      argc > 5 ? argv[5] : "", argc > 6 ? static_cast<uint32_t>(std::atoi(argv[6])) : 3);
    else
      cohort::step(ranks, argv[2]);
    return 0;
  });
}
