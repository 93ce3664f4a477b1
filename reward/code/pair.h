// Two jails at once, joined by a socket pair: tests in one, the program they ask in the other.
#pragma once

#include <atomic>

#include "reward/sandbox/jail.h"

namespace cohort::code {

struct PairOutcome {
  // of the program Ended::cancelled where it was still there when its tests were done
  sandbox::Outcome program, tests;
};

// Blocks until both are gone. The end of one ends the other's next read; a program that does not read is stopped when
// its tests are done. Both see the socket as descriptor 3. Throws InfraError for a fault of either jail.
PairOutcome run_pair(const sandbox::Jail& jail, sandbox::Job program, sandbox::Job tests,
                     const std::atomic<bool>& cancelled);

// The tests' limits: they wait while the program works.
sandbox::Limits limits_of_tests(const sandbox::Limits& of_program);

}  // namespace cohort::code
