// cohort guard PARENT PROGRAM ARGS…: what the supervisor starts its children through.
#include "actors/guard.h"
#include "launch/commands/commands.h"

namespace cohort {

int command_guard(int argc, char** argv) {
  return run_guard(argc, argv);
}

}  // namespace cohort
