// The whole code grader under stress: compile, run, compare, as a reward worker does it.
#pragma once

namespace cohort {

// Programs of every language at a fair distance from their limits, graded again and again with four busy processes a
// core: does a verdict change? Returns the exit code.
int code_flip(int runs);

// The contract's programs graded again and again by eight threads; the machine before and after.
int code_soak(int runs);

}  // namespace cohort
