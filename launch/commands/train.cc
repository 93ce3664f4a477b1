// cohort train RUN.toml: the whole loop on this machine.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "launch/commands/commands.h"
#include "launch/commands/parse.h"
#include "launch/data/jsonl.h"
#include "launch/front.h"
#include "launch/report/page.h"
#include "launch/run_config.h"
#include "launch/train/session.h"

namespace cohort {

int command_train(int argc, char** argv) {
  CLI::App app(
      "Trains by GRPO on this machine: one coordinator, rollout and reward workers, learner ranks under "
      "mpirun. "
      "Goes on where it stopped when the run folder exists. Ctrl-C stops with a checkpoint, a second one at "
      "once.");
  std::string path, live = "auto";
  std::vector<std::string> set;
  app.add_option("run_file", path, "the run file (TOML); launch/recipes/ has examples")->required();
  app.add_option("--set", set, "section.key=value: overrides a key of the run file; may be repeated")
      ->expected(1)
      ->take_all();
  app.add_option("--live", live,
                 "line: one line written over; plain: a line now and then; off; auto: line on a terminal")
      ->check(CLI::IsMember({"auto", "line", "plain", "off"}))
      ->capture_default_str();
  if (auto code = parse_arguments(app, argc, argv)) return *code;

  for (const char* program : {"cohort-coordinator", "cohort-rollout", "cohort-reward", "cohort-learner"})
    sibling_program(program);
  const RunConfig config = read_run_config(path, set, Purpose::train);
  const RunFolder folder(config);
  if (checkpointed_steps(folder.path()) >= config.run.total_steps) {
    fmt::print("{}: all {} steps are trained; nothing to do\n", folder.path(), config.run.total_steps);
    return 0;
  }
  fmt::print("{} {} in {} ({} steps)\n", folder.resumes() ? "going on with" : "starting", config.run.name,
             folder.path(), config.run.total_steps);
  const bool terminal = isatty(STDOUT_FILENO);
  const int outcome = run_session(config, folder.path(),
                                  live == "off"                                    ? Live::off
                                  : live == "line" || (live == "auto" && terminal) ? Live::line
                                                                                   : Live::plain);
  if (std::filesystem::exists(folder.path() + "/ledger.sqlite")) try {
      write_text(folder.path() + "/report.html", report_page(read_run(folder.path())));
      fmt::print("report: {}/report.html\n", folder.path());
    } catch (const Error&) {
      if (outcome == 0) throw;  // else what ended the run has been said, and keeps this from working too
    }
  const int64_t kept = checkpointed_steps(folder.path());
  if (outcome == 0 && kept < config.run.total_steps)
    fail("{}: ended after {} of {} steps; the same command goes on", folder.path(), kept,
         config.run.total_steps);
  if (outcome == 0)
    fmt::print("model: {}/model\n", folder.path());
  else
    fmt::print("{} of {} steps are in a checkpoint; the same command goes on from there\n", kept,
               config.run.total_steps);
  return outcome;
}

}  // namespace cohort
