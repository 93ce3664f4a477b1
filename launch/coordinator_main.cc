// cohort-coordinator: owns the sockets, the ledger and the staleness gate of one run.
#include <CLI/CLI.hpp>

#include "actors/coordinator_loop.h"
#include "transport/base/error.h"

int main(int argc, char** argv) {
  CLI::App app("Coordinates one run: leases prompts, hands out grading jobs and batches, keeps the ledger.",
               "cohort-coordinator");
  cohort::CoordinatorCommand command;
  app.add_option("--config", command.config_path, "the run file (TOML)")->required();
  app.add_option("--run-dir", command.run_dir,
                 "the run folder: ledger.sqlite, coordinator.endpoint, coordinator.log")
      ->required();
  app.add_option("--endpoint", command.endpoint,
                 "where to listen, instead of [coordinator] endpoint: tcp://HOST:PORT, port 0 picks one");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : cohort::Error::kBadUsage;
  }
  return cohort::run_main("cohort-coordinator", [&] { return cohort::run_coordinator(command); });
}
