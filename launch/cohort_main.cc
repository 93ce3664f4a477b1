// The front: `cohort VERB …` runs a verb of this executable or execs the one it belongs to.
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "launch/commands/commands.h"
#include "launch/front.h"
#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> table = {
      {"train", "the whole loop on this machine: RUN.toml; goes on where it stopped if the run folder exists",
       command_train, ""},
      {"run", "the same under mpirun, on a cluster", command_run, ""},
      {"rollout", "a rollout worker that joins a running job: --join ENDPOINT", nullptr, "cohort-rollout"},
      {"reward", "a reward worker that joins a running job: --join ENDPOINT", nullptr, "cohort-reward"},
      {"status", "who is there, queues, waits, staleness: RUN_DIR or ENDPOINT", command_status, ""},
      {"doctor", "what this machine offers: CPU, GPUs, MPI, namespaces, compilers", command_doctor, ""},
      {"sft", "supervised fine-tuning: RUN.toml", command_sft, ""},
      {"generate", "completions of a prompt or of a file of prompts", nullptr, "cohort-rollout"},
      {"score", "per-token log-probs of given completions", nullptr, "cohort-rollout"},
      {"eval", "pass@k and maj@k of a model on a file of prompts, with confidence intervals", nullptr,
       "cohort-rollout"},
      {"verify", "one typed verdict a line: math, code, judge …; replay RUN ID grades a recorded one again", nullptr, "cohort-reward"},
      {"tokenize", "text to token ids, or back with --decode", command_tokenize, ""},
      {"data", "make or import prompt sets: countdown, gsm8k, humaneval", command_data, ""},
      {"report", "a self-contained HTML page of a run: RUN_DIR", command_report, ""},
      {"guard", "", command_guard, "", true},
  };
  return table;
}

namespace {

void print_help() {
  fmt::print(
      "Cohort: reinforcement learning of language models from verifiable rewards.\n\nusage: cohort VERB "
      "[arguments]\n\n");
  for (const Verb& verb : verbs())
    if (!verb.hidden) fmt::print("  {:<10} {}\n", verb.name, verb.line);
  fmt::print("\n`cohort VERB --help` explains a verb. Exit codes: 0 ok, 1 failed, 2 bad usage.\n");
}

int front(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  if (name == "--help" || name == "-h" || name == "help") return print_help(), 0;
  if (name == "--version") return fmt::print("cohort {}\n", COHORT_VERSION), 0;
  if (name.empty()) return print_help(), Error::kBadUsage;
  std::vector<std::string> known;
  for (const Verb& verb : verbs()) {
    if (!verb.hidden) known.push_back(verb.name);
    if (verb.name != name) continue;
    if (verb.function) {
      std::string program = "cohort " + name;
      argv[1] = program.data();
      return verb.function(argc - 1, argv + 1);
    }
    const std::string path = sibling_program(verb.program);
    std::string own = verb.program;
    const bool worker = "cohort-" + verb.name == verb.program;
    if (worker) ++argv;    // it sees "cohort-rollout --join …"
    argv[0] = own.data();  // or "cohort-rollout generate …"
    execv(path.c_str(), argv);
    fail("{}: cannot be started: {}", path, std::strerror(errno));
  }
  const std::string near = nearest_name(name, known);
  fail_usage("no verb '{}'{} (see cohort --help)", name,
             near.empty() ? "" : "; did you mean '" + near + "'?");
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("cohort", [&] { return cohort::front(argc, argv); });
}
