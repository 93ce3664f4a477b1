// cohort run RUN.toml, under mpirun: what each rank becomes.
//
//   ranks 0 .. L-1   cohort-learner, L = learner.ranks
//   ranks L ..       cohort-supervisor; the first starts the coordinator, the first of each node that node's
//   workers
//
// The coordinator starts before any rank enters MPI_Init (which waits for all of them), and tells its
// endpoint in RUN_DIR/cluster.endpoint, marked with this mpirun's id, since a file of a run before may still
// lie there.
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstring>
#include <fstream>

#include "actors/guard.h"
#include "launch/commands/commands.h"
#include "launch/commands/parse.h"
#include "launch/front.h"
#include "launch/run_config.h"
#include "launch/train/children.h"
#include "launch/train/cluster.h"

namespace cohort {
namespace {

[[noreturn]] void become(const std::vector<std::string>& command) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // with the mpirun (or its daemon on this node) that started us
  std::vector<char*> argv;
  for (const std::string& s : command) argv.push_back(const_cast<char*>(s.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  fail("{}: cannot be started: {}", command[0], std::strerror(errno));
}

int become_rank(const std::string& path, const std::vector<std::string>& set, const ClusterPlace& place) {
  const RunConfig config = read_run_config(path, set, Purpose::train);
  const int learners = config.learner.ranks;
  if (place.size <= learners)
    fail_usage(
        "{} ranks were started and learner.ranks = {}: at least one more is needed for the coordinator and "
        "the workers",
        place.size, learners);
  signal(kOrderedEnd, SIG_IGN);  // until what this rank becomes has its own way with it
  setenv("COHORT_LEARNER_RANKS", std::to_string(learners).c_str(), 1);
  for (const auto& [name, value] : quiet_environment()) setenv(name.c_str(), value.c_str(), 0);
  if (place.rank < learners) {
    setenv("OMP_NUM_THREADS", std::to_string(std::max(1, config.learner.threads)).c_str(), 1);
    become({sibling_program("cohort-learner"), "--join", wait_cluster_endpoint(config.run.dir, place, 120)});
  }
  std::vector<std::string> command = {sibling_program("cohort-supervisor"), path};
  for (const std::string& s : set) command.insert(command.end(), {"--set", s});
  become(command);
}

}  // namespace

int command_run(int argc, char** argv) {
  CLI::App app(
      "Under mpirun, on a cluster: mpirun -n RANKS cohort run RUN.toml. The first learner.ranks ranks train; "
      "the others "
      "supervise: one per node, with rollout.workers and grading.workers on each. run.dir lies on a shared "
      "file system. SIGUSR2 to mpirun ends the run in order, with a checkpoint (Ctrl-C lets it kill all "
      "ranks).");
  std::string path;
  std::vector<std::string> set;
  app.add_option("run_file", path, "the run file (TOML)")->required();
  app.add_option("--set", set, "section.key=value: overrides a key of the run file; may be repeated")
      ->expected(1)
      ->take_all();
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  const ClusterPlace place = cluster_place();
  try {
    return become_rank(path, set, place);
  } catch (const Error& e) {
    if (place.rank == 0) throw;
    usleep(
        500000);  // every rank fails alike; the first one's line is enough, and mpirun ends the rest after it
    return e.exit_code();
  }
}

}  // namespace cohort
