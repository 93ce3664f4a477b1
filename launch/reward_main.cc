// cohort-reward: a reward worker (--join ENDPOINT), and `cohort verify`, the same graders on a file.
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "launch/commands/parse.h"
#include "launch/commands/verify.h"
#include "reward/worker.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

std::atomic<int> signals = 0;
static_assert(std::atomic<int>::is_always_lock_free);

// The first SIGINT or SIGTERM drops what is held, which others then grade, and flushes the verdicts; a second
// one leaves at once (the jails die with us).
void on_signal(int number) {
  if (signals.fetch_add(1) > 0) _exit(128 + number);
}

int join(int argc, char** argv) {
  RewardWorkerOptions options;
  std::string log_file;
  CLI::App app("A reward worker: grades completions for a running job. Also: cohort-reward verify.");
  app.add_option("--join", options.endpoint, "the coordinator's endpoint, tcp://HOST:PORT")->required();
  app.add_option("--name", options.name, "unique in the run and the same after a restart; default HOST-PID");
  app.add_option("--concurrency", options.concurrency,
                 "jobs graded at once; 0: [grading] concurrency of the run file, else one a core")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--give-up", options.give_up_s, "seconds without a coordinator before leaving, 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--log", log_file, "also write the log to this file");
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  log::init(options.name.empty() ? "reward" : options.name, log_file);

  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  options.stop = [] { return signals > 0; };
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
