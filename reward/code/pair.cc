#include "reward/code/pair.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <thread>

#include "reward/infra_error.h"

namespace cohort::code {
namespace {

struct SocketPair {
  int ends[2] = {-1, -1};
  SocketPair() {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw InfraError("no socket pair");
  }
  ~SocketPair() { close_end(0), close_end(1); }
  void close_end(int i) {
    if (ends[i] >= 0) close(ends[i]);
    ends[i] = -1;
  }
};

}  // namespace

sandbox::Limits limits_of_tests(const sandbox::Limits& of_program) {
  sandbox::Limits ours = of_program;
  ours.wall_s = of_program.wall_s + 10, ours.cpu_s = of_program.cpu_s + 10;
  ours.memory_bytes = std::max<int64_t>(of_program.memory_bytes, 256LL << 20);
  return ours;
}

PairOutcome run_pair(const sandbox::Jail& jail, sandbox::Job program, sandbox::Job tests,
                     const std::atomic<bool>& cancelled) {
  SocketPair pair;
  program.channel = pair.ends[0];
  tests.channel = pair.ends[1];
  std::atomic<bool> stop = false;
  PairOutcome outcome;
  std::exception_ptr fault, tests_fault;
  std::thread beside([&] {
    try {
      outcome.program = jail.run(program, stop);
    } catch (...) {
      fault = std::current_exception();
    }
    pair.close_end(0);  // the tests' next read ends
  });
  try {
    outcome.tests = jail.run(tests, cancelled);
  } catch (...) {
    tests_fault = std::current_exception();
  }
  pair.close_end(1);
  stop = true;
  beside.join();
  if (tests_fault) std::rethrow_exception(tests_fault);
  if (fault) std::rethrow_exception(fault);
  return outcome;
}

}  // namespace cohort::code
