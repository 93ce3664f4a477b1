// Runs untrusted programs and says how each ended.
//
// A jail keeps cells: small processes, each in namespaces of its own (user, mount, PID, network, IPC, UTS,
// cgroup) with a private read-only root and, where the machine allows, a control group. A cell runs one job at
// a time. For each job its init is cloned, ahead of time, into a fresh user, PID, mount and IPC namespace with
// a fresh working folder and /proc: it writes the job's files, starts the program with no capabilities,
// no_new_privs, rlimits, a seccomp filter and Landlock, and holds the limits on CPU, memory, wall clock,
// processes and files. This side drains the output while the program runs. Before run() returns, init has
// killed and reaped everything the program started, and when init exits the kernel drops its namespaces, and
// with them every file the job wrote.
//
// Where the kernel or its administrator refuses namespaces the run falls back to Landlock, seccomp, rlimits
// and a process group the program cannot leave, in a temporary folder; isolation() says so. What is lost then
// is in docs/sandbox.md and in `cohort doctor`.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "reward/infra_error.h"

namespace cohort::sandbox {

struct Limits {
  // Time on the clock, less what the program spent ready to run while other work had the cores; <= 0: none.
  double wall_s = 15;
  double cpu_s = 5;                    // of all its processes together; <= 0: none
  int64_t memory_bytes = 512LL << 20;  // resident, of all its processes together, and the files it writes
  int64_t output_bytes = 4LL << 20;    // standard output and error together
  int64_t file_bytes = 64LL << 20;     // everything it writes to its folder
  int inodes = 4096;                   // files, folders and links in it
  int processes = 64;                  // threads count
  int open_files = 128;
};

struct File {
  std::string name;          // in the working folder, no '/'
  std::string_view content;  // must live until run() returns
  bool executable = false;
};

struct Job {
  std::vector<std::string> argv;  // argv[0] is a path inside the jail
  std::vector<File> files;
  std::string_view stdin_data;  // handed over as a sealed file: the program cannot change it
  bool report_pipe = false;     // descriptor 3 leads to Outcome::report (at most 4 KiB)
  int channel = -1;             // becomes descriptor 3, read and write; not with report_pipe
  // Instead of stdin_data and Outcome::out; not closed by run(). With stdout_fd standard error is kept up to
  // the output limit and dropped from there on.
  int stdin_fd = -1, stdout_fd = -1;
  std::string take;               // after a clean exit bring this file of the working folder back
  std::vector<std::string> show;  // host files and folders to see, read-only, at the same path; at most 16
  // In a fork of Setup::warm instead of executing argv, which still runs where there are no namespaces.
  bool warm = false;
  Limits limits;
};

enum class Ended { exited, signalled, wall_timeout, cpu_timeout, memory, processes, output, cancelled };
const char* to_string(Ended ended);

struct Outcome {
  Ended ended = Ended::exited;
  int exit_code = 0;
  int signal = 0;
  std::string out, err, report;  // out and err cut at the output limit
  std::string taken;
  bool took = false;
  double wall_s = 0, cpu_s = 0;
  double delay_s = 0;      // of wall_s: ready to run, but no core was free
  int64_t peak_bytes = 0;  // largest resident size seen
};

enum class Isolation { namespaces, process };

// automatic: namespaces, else the fallback; the others insist.
enum class Want { automatic, namespaces, process };

struct Setup {
  Want isolation = Want::automatic;
  // Host folders and files to show besides the system's toolchain. One that is not there is an InfraError.
  std::vector<std::string> read_only;
  // An interpreter to keep warm, one a cell, started at a cell's first warm job: argv, run in the jail's root
  // with no job in sight. Its call of fork() waits for a job and returns 0 in a process that is in every respect
  // (fresh namespaces and folder, descriptors, limits, filters) the job's; in the interpreter itself the call
  // never returns. So the program is `…import what is slow…; os.fork(); run the file of the working folder`.
  std::vector<std::string> warm;
  bool cgroups = true;  // use control groups where they can be made
};

// Thread-safe; one Jail runs any number of jobs at once.
class Jail {
 public:
  // Tries the namespaces once with a trivial program. Throws InfraError when they are refused and no fallback
  // is allowed.
  explicit Jail(Setup setup);
  ~Jail();
  Isolation isolation() const { return isolation_; }
  // Why namespaces are not used, "" when they are.
  const std::string& refusal() const { return refusal_; }
  // The control groups in use, or why there are none.
  const std::string& cgroups() const;
  bool has_cgroups() const;
  // Blocks until the program and all it started are gone. Throws InfraError for a fault of the machine.
  Outcome run(const Job& job, const std::atomic<bool>& cancelled) const;

 private:
  class Cells;
  Setup setup_;
  std::unique_ptr<Cells> cells_;
  Isolation isolation_ = Isolation::namespaces;
  std::string refusal_;
};

}  // namespace cohort::sandbox
