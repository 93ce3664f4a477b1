// What a process knows of itself: how long something took, the CPU time and memory it used, its machine's name.
// Thread-safe; none of them throws.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace cohort {

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double cpu_seconds(const rusage& used);     // user and system time
double cpu_seconds(int who = RUSAGE_SELF);  // or RUSAGE_CHILDREN, RUSAGE_THREAD
uint64_t resident_bytes();
std::string host_name();  // "host" when the machine does not say

}  // namespace cohort
