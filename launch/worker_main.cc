#include "launch/worker_main.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "launch/commands/parse.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

std::atomic<int> signals = 0;
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int number) {
  if (signals.fetch_add(1) > 0) _exit(128 + number);
}

}  // namespace

std::optional<int> begin_worker(CLI::App& app, int argc, char** argv, const std::string& role,
                                JoinFields fields) {
  std::string log_file;
  app.add_option("--join", fields.endpoint, "the coordinator's endpoint, tcp://HOST:PORT")->required();
  app.add_option("--name", fields.name, "unique in the run and the same after a restart; default HOST-PID");
  app.add_option(
         "--give-up", fields.give_up_s,
         "seconds without a coordinator before it leaves with an error: the coordinator may come back, and a "
         "worker that was away when the run ended is not told; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--log", log_file, "also write the log to this file");
  if (auto code = parse_arguments(app, argc, argv)) return code;
  log::init(fields.name.empty() ? role : fields.name, log_file);

  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  fields.stop = [] { return signals > 0; };
  return {};
}

}  // namespace cohort
