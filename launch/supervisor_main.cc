// cohort-supervisor: a rank of `cohort run` that is no learner. Starts its node's workers and keeps them
// alive; the first of all also has the coordinator. Its workers are no MPI processes, so one that dies does
// not end the job.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>

#include "launch/commands/parse.h"
#include "launch/run_config.h"
#include "launch/train/cluster.h"
#include "launch/train/session.h"
#include "learner/collectives.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

// Is this the first supervisor on its machine?
bool first_on_node(Collectives& supervisors) {
  const std::string mine = host_name();
  for (int rank = 0; rank < supervisors.size(); ++rank) {
    std::string host = rank == supervisors.rank() ? mine : "";
    supervisors.broadcast(host, rank);
    if (host == mine && rank < supervisors.rank()) {
      for (int rest = rank + 1; rest < supervisors.size(); ++rest) {
        host = rest == supervisors.rank() ? mine : "";
        supervisors.broadcast(host, rest);
      }
      return false;
    }
  }
  return true;
}

int supervisor(int argc, char** argv) {
  CLI::App app("A rank of `cohort run` that starts its node's workers.");
  std::string path;
  std::vector<std::string> set;
  app.add_option("run_file", path, "the run file (TOML)")->required();
  app.add_option("--set", set, "section.key=value")->expected(1)->take_all();
  if (auto code = parse_arguments(app, argc, argv)) return *code;

  const ClusterPlace place = cluster_place();
  const RunConfig config = read_run_config(path, set, Purpose::train);
  const std::string dir = config.run.dir;
  std::optional<MpiSession> mpi;
  SessionParts parts;
  parts.learner = false;
  parts.learners = place.local_rank;
  parts.node = host_name() + "-";
  if (place.rank == config.learner.ranks) {
    const RunFolder folder(config);
    // Workers on other machines cannot reach a loopback address.
    if (place.size > place.local_size && config.coordinator.endpoint.starts_with("tcp://127.0.0.1:"))
      parts.endpoint =
          "tcp://0.0.0.0:" + config.coordinator.endpoint.substr(config.coordinator.endpoint.rfind(':') + 1);
    parts.on_endpoint = [&](const std::string& endpoint) {
      write_cluster_endpoint(dir, place, endpoint);
      Collectives supervisors = mpi.emplace().world();  // meets the learners, which only now know where to go
      first_on_node(supervisors);                       // it is: its rank is the lowest
    };
    int outcome = Error::kFailed;
    try {
      outcome = run_session(config, dir, Live::plain, parts);
    } catch (const Error& e) {
      fmt::print(stderr, "cohort run: {}\n", e.what());
    }
    // A coordinator that ended in order took its endpoint file away, and the learners leave by themselves.
    // Else they would wait for it, and this rank for them at MPI's end.
    if (std::filesystem::exists(dir + "/coordinator.endpoint")) MpiSession::abort(outcome ? outcome : 1);
    return outcome;
  }
  parts.coordinator = false;
  parts.endpoint = wait_cluster_endpoint(dir, place, 120);
  Collectives supervisors = mpi.emplace().world();
  parts.workers = first_on_node(supervisors);
  return parts.workers ? run_session(config, dir, Live::off, parts) : 0;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("cohort-supervisor", [&] { return cohort::supervisor(argc, argv); });
}
