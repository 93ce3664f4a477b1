// Command lines by CLI11, with the project's exit codes: --help is 0, anything wrong is 2 and one line.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>

#include "transport/base/error.h"

namespace cohort {

// Nothing when the arguments were read, else the exit code to leave with (help was asked for and printed).
// Throws Error (exit code 2) for wrong ones. argv[0] is "cohort VERB" and becomes the program's name in the
// help.
inline std::optional<int> parse_arguments(CLI::App& app, int argc, char** argv) {
  app.name(argv[0]);
  app.set_help_all_flag("--help-all", "the help of every subcommand too");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& e) {
    std::string line = e.what();
    for (char& c : line)
      if (c == '\n') c = ' ';
    fail_usage("{} (see {} --help)", line, argv[0]);
  }
  return {};
}

}  // namespace cohort
