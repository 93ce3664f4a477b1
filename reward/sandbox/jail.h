// Runs one untrusted program and says how it ended.
//
// One run is two processes: an init, which is cloned from us into new user, mount, PID, network, IPC and UTS
// namespaces, builds a private root (read-only toolchain, small tmpfs), writes the job's files there and
// watches memory, CPU and process count; and the program itself, which init starts with no capabilities,
// no_new_privs, rlimits and a seccomp filter. This side drains the output while the program runs and holds
// the wall clock. When init goes, the kernel kills everything in its PID namespace and drops its mounts
// before we are told: nothing outlives run().
//
// Where the kernel or its administrator refuses namespaces the run falls back to Landlock, seccomp, rlimits
// and a process group the program cannot leave, in a temporary folder; isolation() says so.
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
  double wall_s = 15;
  double cpu_s = 5;                    // of all its processes together
  int64_t memory_bytes = 512LL << 20;  // resident, of all its processes together
  int64_t output_bytes = 4LL << 20;    // standard output and error together
  int64_t file_bytes = 64LL << 20;     // everything it writes to its folder
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
  int channel = -1;  // instead of the report pipe: becomes descriptor 3, read and write; stays the caller's
  std::string take;             // after a clean exit bring this file of the working folder back
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
  int64_t peak_bytes = 0;  // largest resident size seen
};

enum class Isolation { namespaces, process };

// automatic: namespaces, else the fallback; the others insist.
enum class Want { automatic, namespaces, process };

struct Setup {
  Want isolation = Want::automatic;
  std::vector<std::string> read_only;  // host folders to show besides the system's toolchain
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
  // Blocks until the program and all it started are gone. Throws InfraError for a fault of the machine.
  Outcome run(const Job& job, const std::atomic<bool>& cancelled) const;

 private:
  struct Prepared;
  Outcome run_as(Isolation isolation, const Job& job, const std::atomic<bool>& cancelled) const;
  Setup setup_;
  std::unique_ptr<Prepared> prepared_;
  Isolation isolation_ = Isolation::namespaces;
  std::string refusal_;
};

}  // namespace cohort::sandbox
