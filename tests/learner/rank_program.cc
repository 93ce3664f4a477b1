// Run under mpirun by ranks_test.   learner_rank collectives | step OUT_FILE
#include <unistd.h>
#include <xxhash.h>

#include <cmath>
#include <cstdio>
#include <fstream>

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
  GrpoStep grpo(testing::tiny_step_options(), policy, nullptr, optimizer, ranks);
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
    else
      cohort::step(ranks, argv[2]);
    return 0;
  });
}
