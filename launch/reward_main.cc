// cohort-reward: a reward worker (--join ENDPOINT), and `cohort verify`, the same graders on a file.
#include "launch/commands/verify.h"
#include "launch/worker_main.h"
#include "reward/worker.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

int join(int argc, char** argv) {
  RewardWorkerOptions options;
  CLI::App app("A reward worker: grades completions for a running job. Also: cohort-reward verify.");
  app.add_option("--concurrency", options.concurrency,
                 "jobs graded at once; 0: [grading] concurrency of the run file, else one a core")
      ->check(CLI::NonNegativeNumber);
  if (auto code = begin_worker(app, argc, argv, "reward",
                               {options.endpoint, options.name, options.give_up_s, options.stop}))
    return *code;
  run_reward_worker(options);
  return 0;
}

int reward(int argc, char** argv) {
  if (argc < 2 || std::string(argv[1]) != "verify") return join(argc, argv);
  std::string name = "cohort verify";
  argv[1] = name.data();
  return command_verify(argc - 1, argv + 1);
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("cohort-reward", [&] { return cohort::reward(argc, argv); });
}
