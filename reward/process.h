// A user's own reward: a program in any language that reads one JSON object a line and answers with one, kept
// running.
//
//   in   {"id": 7, "record": {…}, "prompt": "…", "completion": "…", "finish_reason": "stop",
//   "completion_tokens": 31} out  {"id": 7, "score": 0.5, "verdict": "failed", "reason": "…", "evidence":
//   {…}}      all but id and score may be left out
//
// Lines with another id than the one asked for are skipped (late answers). What it writes to standard error
// goes to ours; in the jail its last line is told when it ends. A program that dies, does not answer in time
// or answers nonsense is ended and started again at the next job, and the job is an infra_error: the candidate
// is not to blame, so there is no score.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "reward/grader.h"

namespace cohort {

struct ProcessOptions {
  using is_options = void;
  std::vector<std::string> command;
  int instances = 1;
  double timeout_s = 60;
  bool jail = false;
  int memory_mb = 1024;
  int processes = 64;
  std::vector<std::string> read_only;

  template <class V>
  void visit(V& v) {
    v("command", command, "the program and its arguments");
    v("instances", instances, "programs running at once, each grading one completion at a time",
      between(1, 1024));
    v("timeout_s", timeout_s, "seconds for one answer, the program's start included", more_than(0));
    v("jail", jail,
      "run it in the sandbox of the code reward: no network, no files but the toolchain and its own");
    v("memory_mb", memory_mb, "jail: MiB of resident memory of one instance", between(1, 1 << 20));
    v("processes", processes, "jail: processes and threads of one instance", between(1, 4096));
    v("read_only", read_only, "jail: more host folders it may read");
  }
};

std::unique_ptr<Grader> make_process_grader(const TomlTable& options);

}  // namespace cohort
