// What stands between a supervisor and a child, so that killing either leaves nothing of the child's behind.
//
//   supervisor ─► guard ─► program ─► whatever it starts        (`cohort guard PARENT PROGRAM …`)
//   mpirun ─► rank                                               (`cohort guard 0 PROGRAM …`)
//
// The kernel tells the guard when the supervisor dies and kills the program when the guard dies
// (PR_SET_PDEATHSIG). Orphans of the program come to the guard, or, when that is gone too, to the supervisor
// (PR_SET_CHILD_SUBREAPER), and are killed there. So whichever one process is killed with SIGKILL, all below
// it goes.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace cohort {

// Asks a tree of processes under mpirun for an ordered end. mpirun passes it on to all its ranks and goes on itself; on
// SIGTERM and SIGINT it kills them a second later, which is too short for a checkpoint.
constexpr int kOrderedEnd = SIGUSR2;

// The command line that runs `command` behind the guard. parent: the supervisor's process id. 0: no process
// of its own, the guard becomes the program, which is killed when whoever started it dies (ranks of mpirun,
// which must be its children).
std::vector<std::string> guard_command(const std::string& guard, pid_t parent,
                                       const std::vector<std::string>& command);

// The program of such a command line; argv[1] is the parent. Passes SIGTERM, SIGINT and kOrderedEnd on, ends as the
// program ended.
int run_guard(int argc, char** argv);

// Children of this process other than `own`: orphans that came to it, where it is a subreaper.
std::vector<pid_t> adopted_children(const std::vector<pid_t>& own);

}  // namespace cohort
