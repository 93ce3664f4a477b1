// cohort-learner: one learner rank, started by mpirun (or alone, as the only rank).
//   cohort-learner --join ENDPOINT           trains with the coordinator there
//   cohort-learner sft --config RUN.toml     supervised fine-tuning
#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "actors/guard.h"
#include "learner/collectives.h"
#include "learner/sft.h"
#include "learner/train_loop.h"
#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

std::atomic<bool> stop{false};

// SIGINT goes to a terminal's whole process group: the front and the coordinator turn it into an ordered end,
// so a rank ignores it, as it does kOrderedEnd, which mpirun gives to all its ranks. In supervised training nobody but
// the ranks can end in order, so there kOrderedEnd counts as the first SIGTERM: the current step ends and a checkpoint
// is written. A second SIGTERM kills.
void handle_signals(bool sft) {
  signal(SIGINT, SIG_IGN);
  signal(kOrderedEnd, SIG_IGN);
  struct sigaction term {};
  term.sa_handler = [](int) { stop = true; };
  term.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGTERM, &term, nullptr);
  if (sft) sigaction(kOrderedEnd, &term, nullptr);
}

int learner(int argc, char** argv) {
  CLI::App app("One learner rank; mpirun starts as many as the run has.", "cohort-learner");
  std::string endpoint, config;
  std::vector<std::string> set;
  double welcome_s = 60;
  app.add_option("--join", endpoint, "the coordinator's endpoint, tcp://HOST:PORT");
  app.add_option("--wait", welcome_s, "seconds to wait for the coordinator")->capture_default_str();
  CLI::App* sft = app.add_subcommand("sft", "supervised fine-tuning of one model on JSON lines");
  sft->add_option("--config,config", config, "the run file; its [sft] section")->required();
  sft->add_option("--set", set, "SECTION.KEY=VALUE, over what the run file says");
  try {
    app.parse(argc, argv);
    if (!*sft && endpoint.empty()) throw CLI::RequiredError("--join ENDPOINT or sft");
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : Error::kBadUsage;
  }

  handle_signals(sft->parsed());
  const MpiSession mpi;
  Collectives ranks = mpi.world();
  log::init(fmt::format("{}-{}", *sft ? "sft" : "learner", ranks.rank()));
  try {
    if (*sft) {
      TomlTable file = TomlTable::read(config);
      for (const std::string& s : set) file.set(s);
      run_sft(read_sft_run(file), ranks, stop);
    } else {
      train_loop({endpoint, welcome_s}, ranks, stop);
    }
  } catch (const Error& e) {
    // All ranks throw the same Error (see on_all): one tells it, and all leave in order.
    if (ranks.is_root()) fmt::print(stderr, "cohort-learner: {}\n", e.what());
    log::flush();
    return e.exit_code();
  } catch (const std::exception& e) {
    fmt::print(stderr, "cohort-learner: rank {}: internal error: {}\n", ranks.rank(), e.what());
    log::flush();
    MpiSession::abort(Error::kFailed);  // the other ranks do not know of it
  }
  return 0;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("cohort-learner", [&] { return cohort::learner(argc, argv); });
}
