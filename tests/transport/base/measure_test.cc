#include "transport/base/measure.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace cohort {
namespace {

void work(double seconds) {
  const double began = cpu_seconds(RUSAGE_THREAD);
  while (cpu_seconds(RUSAGE_THREAD) - began < seconds) {
  }
}

TEST(Measure, TimeIsCountedWhereItIsSpent) {
  const auto began = std::chrono::steady_clock::now();
  const double own = cpu_seconds(), mine = cpu_seconds(RUSAGE_THREAD),
               children = cpu_seconds(RUSAGE_CHILDREN);
  std::thread([] { work(0.05); }).join();
  EXPECT_GE(cpu_seconds() - own, 0.05);
  EXPECT_LT(cpu_seconds(RUSAGE_THREAD) - mine, 0.04);  // another thread's
  EXPECT_GE(seconds_since(began), 0.05);
  const pid_t child = fork();
  if (child == 0) {
    work(0.05);
    _exit(0);
  }
  rusage used{};
  wait4(child, nullptr, 0, &used);
  EXPECT_GE(cpu_seconds(used), 0.05);
  EXPECT_GE(cpu_seconds(RUSAGE_CHILDREN) - children, 0.05);
}

TEST(Measure, MemoryAndName) {
  const uint64_t before = resident_bytes();
  const std::vector<char> touched(64 << 20, 1);
  EXPECT_GE(resident_bytes(), before + touched.size() / 2);
  EXPECT_FALSE(host_name().empty());
}

}  // namespace
}  // namespace cohort
