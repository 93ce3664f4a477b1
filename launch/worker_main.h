// What every `cohort-… --join` worker begins with: its flags, its log and its signals.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>

namespace cohort {

// The fields that each kind of worker has in its own options; they are set when the arguments are read.
struct JoinFields {
  std::string& endpoint;
  std::string& name;
  double& give_up_s;
  std::function<bool()>& stop;
};

// Adds --join, --name, --give-up and --log to `app`, parses, opens the log and takes SIGINT and SIGTERM: the first one
// makes stop() true (the worker gives back what it holds, flushes what it made and leaves), a second one leaves
// at once. Nothing when the worker may begin, else the exit code to leave with. `role`: its log's name when --name
// is not given. Throws Error (exit code 2) for wrong arguments.
std::optional<int> begin_worker(CLI::App& app, int argc, char** argv, const std::string& role,
                                JoinFields fields);

}  // namespace cohort
