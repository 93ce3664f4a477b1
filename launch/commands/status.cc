// cohort status RUN_DIR|ENDPOINT: who is there, queues, waits, staleness.
#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "launch/commands/commands.h"
#include "launch/commands/parse.h"
#include "launch/report/page.h"
#include "launch/train/observer.h"
#include "launch/train/status_line.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;

nlohmann::json ask(Link& link, const std::string& endpoint) {
  for (int tries = 0; tries < 10; ++tries) {
    link.send(StatusRequest{});
    while (auto message = link.receive(500ms))
      if (const auto* status = std::get_if<Status>(&*message)) return nlohmann::json::parse(status->json);
  }
  fail("{}: the coordinator does not answer", endpoint);
}

// What the ledger says of a run that nobody works on now.
int show_resting(const std::string& folder) {
  const RunData run = read_run(folder, 0);
  fmt::print("{} ({}): not running\n", run.run_name, run.run_id);
  fmt::print(
      "{} steps were formed, {} are in a checkpoint; {} completions, {} groups left out for equal rewards\n",
      run.steps.size(), checkpointed_steps(folder), run.completions, run.groups_filtered);
  if (!run.evals.empty()) {
    const EvalData& e = run.evals.back();
    fmt::print("held-out pass@1 {} at version {}\n", with_interval(e.pass_at_1, e.low, e.high), e.version);
  }
  return 0;
}

}  // namespace

int command_status(int argc, char** argv) {
  CLI::App app(
      "One screen: who is there, queues, waits, staleness. For a run that is not going on, what its ledger "
      "says.");
  std::string target;
  bool json = false;
  double watch = 0, wait = 5;
  app.add_option("target", target, "a run folder, or a coordinator's endpoint tcp://HOST:PORT")->required();
  app.add_flag("--json", json, "the coordinator's whole document");
  app.add_option("--watch", watch, "again every so many seconds, until Ctrl-C; 0: once")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--wait", wait, "seconds to wait for the coordinator")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  if (auto code = parse_arguments(app, argc, argv)) return *code;

  std::string endpoint = target;
  if (target.find("://") == std::string::npos) {
    if (!std::filesystem::is_directory(target))
      fail_usage("{}: is neither a run folder nor an endpoint tcp://HOST:PORT", target);
    std::ifstream file(target + "/coordinator.endpoint");
    if (!std::getline(file, endpoint)) return show_resting(target);
  }
  std::unique_ptr<Link> link;
  try {
    link = make_observer(endpoint, "status");
    link->wait_welcome(wait);
  } catch (const Error& e) {
    if (endpoint == target) throw;
    fmt::print(stderr, "{}\n", e.what());  // killed: it left its endpoint behind
    return show_resting(target);
  }
  do {
    const nlohmann::json status = ask(*link, endpoint);
    fmt::print("{}",
               json ? status.dump(1) + "\n" : (watch > 0 ? "\033[H\033[2J" : "") + status_screen(status));
    std::fflush(stdout);
    if (watch > 0) std::this_thread::sleep_for(std::chrono::duration<double>(watch));
  } while (watch > 0);
  return 0;
}

}  // namespace cohort
