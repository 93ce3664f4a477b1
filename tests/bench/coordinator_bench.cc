// Completions a second through the coordinator: real sockets, real ledger with fsync, workers that answer at
// once.
//   coordinator_bench [SECONDS] [ROLLOUTS] [REWARDS] [TOKENS] [GENERATIONS]
#include <fmt/core.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "actors/coordinator_loop.h"
#include "tests/actors/link_workers.h"
#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"

int main(int argc, char** argv) {
  using namespace cohort;
  using namespace cohort::testing;
  auto argument = [&](int i, int otherwise) { return argc > i ? std::stoi(argv[i]) : otherwise; };
  const int seconds = argument(1, 5), rollouts = argument(2, 2), rewards = argument(3, 2),
            tokens = argument(4, 256), generations = argument(5, 16);
  return run_main("coordinator_bench", [&] {
    const std::string dir =
        std::filesystem::temp_directory_path() / fmt::format("cohort-bench-{}", ::getpid());
    std::filesystem::create_directories(dir);
    {
      std::ofstream prompts(dir + "/train.jsonl");
      for (int i = 0; i < 1000; ++i)
        prompts << fmt::format("{{\"id\":{},\"prompt\":\"what is {}?\"}}\n", i, i);
      std::ofstream(dir + "/run.toml") << link_config(dir, 1000000, 32, generations, 1000);
    }
    std::thread coordinator([&] {
      run_main("coordinator", [&] { return run_coordinator({dir + "/run.toml", dir, ""}); });
    });
    LinkRun run;
    run.tokens = static_cast<size_t>(tokens);
    for (int i = 0; i < 100 && !std::filesystem::exists(dir + "/coordinator.endpoint"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::getline(std::ifstream(dir + "/coordinator.endpoint") >> std::ws, run.endpoint);
    std::vector<std::thread> workers;
    for (int i = 0; i < rollouts; ++i)
      workers.emplace_back([&, i] { link_rollout(run, fmt::format("rollout-{}", i)); });
    for (int i = 0; i < rewards; ++i)
      workers.emplace_back([&, i] { link_reward(run, fmt::format("reward-{}", i)); });
    workers.emplace_back([&] { link_learner(run, 5); });
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const uint64_t c0 = run.completions, g0 = run.graded, b0 = run.batches;
    rusage before{}, after{};
    ::getrusage(RUSAGE_SELF, &before);
    const auto began = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    const double s = seconds_since(began);
    ::getrusage(RUSAGE_SELF, &after);
    const double c = static_cast<double>(run.completions - c0), g = static_cast<double>(run.graded - g0);
    fmt::print(
        "{:.0f} completions/s sampled, {:.0f}/s graded, {:.1f} batches/s; {} tokens each, {} rollout and {} "
        "reward workers, "
        "CPU of all of it {:.2f} cores\n",
        c / s, g / s, static_cast<double>(run.batches - b0) / s, tokens, rollouts, rewards,
        (cpu_seconds(after) - cpu_seconds(before)) / s);
    std::raise(SIGTERM);  // the ordered end
    for (std::thread& w : workers) w.join();
    coordinator.join();
    std::filesystem::remove_all(dir);
    return 0;
  });
}
