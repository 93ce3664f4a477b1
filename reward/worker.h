// The reward worker: a Link to the coordinator on one side, grader threads on the other.
//
//   GradeJob -> queue, earliest deadline first -> "grader" threads -> Graded (kept by the Link until it is in
//   the ledger) free capacity -> Credit; Cancel takes a job out of the queue or tells its graders to stop
//
// Threads: the caller's, which receives; the graders, as many as `concurrency`, which wait for the queue and
// send; the Link's. Besides one job a thread the worker takes only as many more as its threads grade in
// kAheadSeconds, so that quick graders do not wait for the network and slow ones do not hoard. It ends with
// Shutdown (drain: what is held is graded; else it is dropped and the coordinator gives it to another), with
// a refusal, or with `stop`.
#pragma once

#include <functional>
#include <string>

#include "reward/grader.h"

namespace cohort {

struct RewardWorkerOptions {
  std::string endpoint;  // the coordinator's
  std::string name;      // unique in the run; "": made of host and pid
  int concurrency =
      0;  // jobs graded at once; 0: the run file's [grading] concurrency, and if that is 0 one a core
  double welcome_s = 60;       // how long to wait for the coordinator at the start
  double give_up_s = 600;      // and when it is gone later; 0: for ever
  double flush_s = 10;         // at the end, for verdicts to reach the ledger
  std::function<bool()> stop;  // polled: true drops what is held and leaves
};

// Blocks for the worker's life. The rewards are those of the run file that the coordinator sends. Returns
// when it was told to leave, throws Error for anything else.
void run_reward_worker(const RewardWorkerOptions& options);

}  // namespace cohort
