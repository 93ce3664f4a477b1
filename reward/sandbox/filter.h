// What a program may ask of the kernel, as a seccomp program made by libseccomp.
#pragma once

#include <linux/filter.h>

#include <vector>

namespace cohort::sandbox {

// Refused calls fail with an errno that programs know how to live with; a call of another architecture (32-bit,
// x32) ends the program, as nothing legitimate makes one. `process_isolation` also denies what namespaces would
// have made harmless: sockets of every family, and leaving the process group. Throws InfraError.
std::vector<sock_filter> make_filter(bool process_isolation);

}  // namespace cohort::sandbox
