// Preloaded into a warm interpreter. Its fork() does not return in the parent: there it waits for jobs for ever
// and, for each, forks inside fresh namespaces. In the child, where 0 is returned as ever, everything is as
// for a program that was just started in a jail: the job's files in the working folder, its descriptors, its
// limits, no privileges, all filters.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

#include "reward/sandbox/init.h"

namespace cohort::sandbox {
namespace {

Cell cell;
bool armed = false;
pid_t (*real_fork)() = nullptr;

__attribute__((constructor)) void arm() {
  real_fork = reinterpret_cast<pid_t (*)()>(dlsym(RTLD_NEXT, "fork"));
  unsetenv("LD_PRELOAD");
  const void* data = map_file(kSetupFile);
  if (!data || !real_fork) _exit(kFailed);
  cell = read_cell(data);
  cell.resident = true;
  armed = true;
  for (int fd : {static_cast<int>(kSocket), static_cast<int>(kCpuFile), static_cast<int>(kOomFile),
                 static_cast<int>(kSetupFile)})
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  close(kWarmFile);
}

}  // namespace
}  // namespace cohort::sandbox

extern "C" __attribute__((visibility("default"))) pid_t fork() {
  using namespace cohort::sandbox;
  if (!armed) return real_fork();
  for (;;) {
    const pid_t init = clone_init(cell);
    if (init < 0) _exit(kFailed);
    if (init == 0) {
      run_init(cell, real_fork);
      armed = false;
      return 0;
    }
    int status = 0;
    while (waitpid(init, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != kServed) _exit(0);
  }
}
