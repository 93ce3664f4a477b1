// cohort-rollout: a rollout worker (--join ENDPOINT), and the verbs that sample from a model folder on their
// own.
#include "launch/commands/policy.h"
#include "launch/worker_main.h"
#include "rollout/worker.h"
#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

int join(int argc, char** argv) {
  WorkerOptions options;
  CLI::App app(
      "A rollout worker: samples completions for a running job. Also: cohort-rollout generate|score|eval.");
  app.add_option("--model", options.model, "model folder, default the run's model.path");
  app.add_option("--set", options.set, "key=value: changes an option of the run file for this worker");
  if (auto code = begin_worker(app, argc, argv, "rollout",
                               {options.endpoint, options.name, options.give_up_s, options.stop}))
    return *code;
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
