#include "reward/sandbox/inspect.h"

#include <fmt/core.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reward/infra_error.h"
#include "reward/sandbox/jail.h"

namespace cohort::sandbox {
namespace {

Offer landlock(bool namespaces) {
  const long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  Offer offer{"Landlock", abi > 0 ? fmt::format("ABI {}", abi) : "no", ""};
  if (namespaces)
    offer.lost = abi >= 2 ? "" : "the second layer below the private root";
  else if (abi < 1)
    offer.lost = "programs can read every file that their user can";
  else if (abi < 6)
    offer.lost = "before ABI 6 a program may signal other processes of its user";
  return offer;
}

}  // namespace

std::vector<Offer> inspect() {
  std::vector<Offer> offers;
  const std::atomic<bool> never = false;
  try {
    const Jail jail({});
    const bool namespaces = jail.isolation() == Isolation::namespaces;
    auto says = [&](const std::string& command) {
      Job job;
      job.argv = {"/bin/sh", "-c", command};
      const Outcome o = jail.run(job, never);
      return o.ended == Ended::exited && o.exit_code == 0;
    };
    offers.push_back(
        {"isolation",
         namespaces ? "user, mount, PID, network, IPC, UTS and cgroup namespaces"
                    : fmt::format("process isolation: namespaces are refused ({})", jail.refusal()),
         namespaces ? "" : "the private root, process list and network stack (docs/sandbox.md)"});
    offers.push_back(
        {"control groups", jail.has_cgroups() ? jail.cgroups() : "none: " + jail.cgroups(),
         jail.has_cgroups() ? "" : "memory and CPU time are polled: a program may pass its limit for 5 ms"});
    offers.push_back({"seccomp", "yes", ""});  // without it nothing runs
    offers.push_back(landlock(namespaces));
    if (namespaces) {
      const bool proc = says("test -e /proc/self/stat");
      offers.push_back(
          {"a /proc of its own", proc ? "yes" : "refused by the kernel",
           proc ? "" : "no watch of processes: limits are the control group's or each process's own"});
    }
    std::string found, missing;
    for (const char* program : {"gcc", "g++", "python3"})
      (says(fmt::format("test -x /usr/bin/{}", program)) ? found : missing) += std::string(" ") + program;
    offers.push_back({"languages inside", found.empty() ? "none" : found.substr(1),
                      missing.empty() ? "" : "not in /usr/bin:" + missing});
  } catch (const InfraError& e) {
    offers.push_back({"sandbox", e.what(), "the code reward cannot run programs"});
  }
  return offers;
}

}  // namespace cohort::sandbox
