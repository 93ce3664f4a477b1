// `cohort data programs`: tasks for the `code` reward, demonstrations of a weak teacher, and an untrained model.
#pragma once

#include <CLI/CLI.hpp>

#include "launch/data/programs.h"
#include "launch/data/word_model.h"

namespace cohort {

struct ProgramsCommand {
  ProgramOptions task;
  WordModelOptions model;
  std::string output = "runs/code/data";
  size_t train = 4000, eval = 384, demonstrations = 48000;

  void declare(CLI::App& app);
  int run() const;
};

}  // namespace cohort
