// cohort-rollout: a rollout worker (--join ENDPOINT), and the verbs that sample from a model folder on their
// own.
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "launch/commands/parse.h"
#include "launch/commands/policy.h"
#include "rollout/worker.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

std::atomic<int> signals = 0;
static_assert(std::atomic<int>::is_always_lock_free);

// The first SIGINT or SIGTERM gives leases back and flushes what is finished; a second one leaves at once.
void on_signal(int number) {
  if (signals.fetch_add(1) > 0) _exit(128 + number);
}

int join(int argc, char** argv) {
  WorkerOptions options;
  std::string log_file;
  CLI::App app(
      "A rollout worker: samples completions for a running job. Also: cohort-rollout generate|score|eval.");
  app.add_option("--join", options.endpoint, "the coordinator's endpoint, tcp://HOST:PORT")->required();
  app.add_option("--name", options.name, "unique in the run and the same after a restart; default HOST-PID");
  app.add_option("--model", options.model, "model folder, default the run's model.path");
  app.add_option("--set", options.set, "key=value: changes an option of the run file for this worker");
  app.add_option("--give-up", options.give_up_s, "seconds without a coordinator before leaving, 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--log", log_file, "also write the log to this file");
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  log::init(options.name.empty() ? "rollout" : options.name, log_file);

  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  options.stop = [] { return signals > 0; };
  options.load_model = load_rollout_model;
  run_worker(options);
  return 0;
}

int rollout(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  int (*command)(int, char**) = verb == "generate" ? command_generate
                                : verb == "score"  ? command_score
                                : verb == "eval"   ? command_eval
                                                   : nullptr;
  if (!command) return join(argc, argv);
  log::init("cohort");
  std::string name = "cohort " + verb;
  argv[1] = name.data();
  return command(argc - 1, argv + 1);
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("cohort-rollout", [&] { return cohort::rollout(argc, argv); });
}
