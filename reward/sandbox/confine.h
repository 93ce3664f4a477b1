// What a program may ask of the kernel (seccomp) and, without namespaces, which files it may open (Landlock).
#pragma once

#include <linux/filter.h>

#include <vector>

#include "reward/sandbox/init.h"

namespace cohort::sandbox {

// The deny list as a BPF program; made once, by libseccomp. Throws InfraError. `process_isolation` also
// denies what namespaces would have made harmless: sockets of every family, and leaving the process group.
std::vector<sock_filter> make_filter(bool process_isolation);

// Landlock: the plan's mounts are readable, its folder is writable, nothing else can be opened. True as well
// where the kernel has no Landlock. Async-signal-safe.
bool confine_files(const Plan& plan);
bool landlock_available();

}  // namespace cohort::sandbox
