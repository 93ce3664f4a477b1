// The jail beside its peers, and what is left of a machine after many hostile runs.
//   sandbox_bench speed [RUNS [NAME]]  milliseconds a run and runs a second: posix_spawn, the jail in four ways, bubblewrap; or only
//                                   those ways whose name has NAME in it
//   sandbox_bench soak [RUNS]       hostile programs on eight threads; the machine before and after
//   sandbox_bench flip [RUNS]       the same programs with four busy processes a core: does a verdict change?
// Every comparison is taken in turns in one process; medians with the lowest and highest round beside them.
#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

#include "reward/code/toolchain.h"
#include "reward/sandbox/jail.h"
#include "tests/reward/host_state.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using namespace sandbox;
using Clock = std::chrono::steady_clock;

const std::atomic<bool> kNever = false;

double middle(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x.empty() ? 0 : x[x.size() / 2];
}

// Starts the program, drains both pipes to their end, waits: what a grader without a jail would do.
void spawn_plainly(const std::vector<std::string>& argv) {
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) abort();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  std::vector<char*> pointers;
  for (const std::string& a : argv) pointers.push_back(const_cast<char*>(a.c_str()));
  pointers.push_back(nullptr);
  pid_t pid = -1;
  if (posix_spawn(&pid, pointers[0], &actions, nullptr, pointers.data(), environ) != 0) abort();
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]), close(err[1]);
  char buffer[4096];
  for (int fd : {out[0], err[0]}) {
    while (read(fd, buffer, sizeof buffer) > 0) {
    }
    close(fd);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (status != 0) {
    fmt::print(stderr, "{} ended with {}\n", argv[0], status);
    exit(1);
  }
}

void run_jailed(const Jail& jail, const Job& job) {
  const Outcome o = jail.run(job, kNever);
  if (o.ended == Ended::exited && o.exit_code == 0) return;
  fmt::print(stderr, "{} {} {}\n", to_string(o.ended), o.exit_code, o.err);
  exit(1);
}

struct Way {
  std::string name;
  std::function<void()> run;
  int share = 1;  // of the runs, for slow ones
  std::vector<double> ms, per_second, cpu_ms;
};

// CPU seconds of this process, its cells and all they have waited for: what other work on the machine does not change.
// In steps of 10 ms, so of many runs together.
double cpu_of(const std::string& pid) {
  double ticks = 0;
  std::ifstream stat("/proc/" + pid + "/stat");
  std::string text;
  std::getline(stat, text);
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 2)));
  std::string field;
  for (int i = 3; fields >> field && i <= 17; ++i)
    if (i >= 14) ticks += atof(field.c_str());
  double seconds = ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task", error)) {
    std::ifstream in(task.path() / "children");
    for (std::string child; in >> child;) seconds += cpu_of(child);
  }
  return seconds;
}

int speed(int runs, const std::string& only) {
  const std::vector<std::string> program = {"/bin/true"};
  const Jail bare({.isolation = Want::namespaces, .read_only = {}, .warm = {}, .cgroups = false});
  const Jail full({.isolation = Want::namespaces, .read_only = {}, .warm = {}});
  const Jail fallback({.isolation = Want::process, .read_only = {}, .warm = {}});
  Job job;
  job.argv = program;
  Job cold_python, warm_python;
  cold_python.argv = {"/usr/bin/python3", "-I", "-B", "job.py"};
  cold_python.files = {{"job.py", "pass"}};
  // as the code grader does it
  CodeOptions options;
  options.isolation = CodeIsolation::namespaces;
  const code::Toolchain toolchain(options);
  const Jail& grader = toolchain.jail(toolchain.language("python"));
  warm_python.argv = cold_python.argv;
  warm_python.files = {{"solution.py", "pass"}, {"mode", "run 4194304"}};
  warm_python.warm = true;
  const std::string_view imports =
      "from typing import List\nimport collections, heapq, itertools, math, random\n";
  Job cold_imports = cold_python, warm_imports = warm_python;
  cold_imports.files[0].content = warm_imports.files[0].content = imports;
  std::vector<Way> ways;
  ways.push_back({"posix_spawn, no jail", [&] { spawn_plainly(program); }});
  ways.push_back({"jail, no control groups", [&] { run_jailed(bare, job); }});
  ways.push_back({fmt::format("jail, control groups ({})", full.cgroups()), [&] { run_jailed(full, job); }});
  ways.push_back(
      {"jail, a new cell for every run",
       [&] { Jail one({.isolation = Want::namespaces, .read_only = {}, .warm = {}, .cgroups = false}); }, 4});
  ways.push_back({"process isolation (the fallback)", [&] { run_jailed(fallback, job); }, 2});
  if (access("/usr/bin/bwrap", X_OK) == 0) {
    std::vector<std::string> bwrap = {"/usr/bin/bwrap", "--unshare-all", "--die-with-parent",
                                      "--new-session",  "--clearenv",    "--ro-bind",
                                      "/usr",           "/usr",          "--proc",
                                      "/proc",          "--dev",         "/dev",
                                      "--tmpfs",        "/tmp"};
    for (const char* top : {"/bin", "/lib", "/lib64"}) {
      std::error_code error;
      if (!std::filesystem::is_symlink(top, error)) continue;
      for (const std::string& a :
           {std::string("--symlink"), std::filesystem::read_symlink(top).string(), std::string(top)})
        bwrap.push_back(a);
    }
    bwrap.push_back("/bin/true");
    ways.push_back({"bubblewrap, no seccomp, no limits", [bwrap] { spawn_plainly(bwrap); }, 2});
  } else {
    fmt::print("bubblewrap is not installed: not measured\n");
  }
  ways.push_back({"python3, no jail", [&] { spawn_plainly({"/usr/bin/python3", "-I", "-c", "pass"}); }, 4});
  ways.push_back({"python3, jail", [&] { run_jailed(full, cold_python); }, 4});
  ways.push_back({"python3, warm, jail", [&] { run_jailed(grader, warm_python); }});
  ways.push_back({"python3 and six imports, jail", [&] { run_jailed(full, cold_imports); }, 4});
  ways.push_back({"python3 and six imports, warm, jail", [&] { run_jailed(grader, warm_imports); }});

  std::erase_if(ways,
                [&](const Way& way) { return &way != &ways[0] && way.name.find(only) == way.name.npos; });
  constexpr int kRounds = 5;
  for (const int workers : {1, 8}) {
    for (Way& way : ways) {
      way.ms.clear(), way.per_second.clear(), way.cpu_ms.clear();
      way.run();
    }
    for (int round = 0; round < kRounds; ++round)
      for (Way& way : ways) {
        const int mine = std::max(workers, runs / way.share / kRounds);
        std::atomic<int> next = 0;
        std::mutex mutex;
        std::vector<double> times;
        const double cpu = cpu_of(std::to_string(getpid()));
        const auto began = Clock::now();
        auto work = [&] {
          while (next++ < mine) {
            const auto start = Clock::now();
            way.run();
            const double ms = seconds_since(start) * 1e3;
            const std::lock_guard lock(mutex);
            times.push_back(ms);
          }
        };
        std::vector<std::thread> threads;
        for (int t = 0; t < workers; ++t) threads.emplace_back(work);
        for (std::thread& t : threads) t.join();
        way.ms.push_back(middle(times));
        way.per_second.push_back(mine / seconds_since(began));
        way.cpu_ms.push_back(1e3 * (cpu_of(std::to_string(getpid())) - cpu) / mine);
      }
    fmt::print("\n{} worker{}, {} runs each in {} rounds\n\n", workers, workers > 1 ? "s" : "", runs,
               kRounds);
    fmt::print(
        "| | ms a run, median (of the rounds) | above posix_spawn | runs/s | CPU ms a run |\n"
        "| --- | --- | --- | --- | --- |\n");
    double plain = 0;
    for (const Way& way : ways) {
      const auto [low, high] = std::minmax_element(way.ms.begin(), way.ms.end());
      const auto [few, many] = std::minmax_element(way.per_second.begin(), way.per_second.end());
      if (plain == 0) plain = middle(way.ms);
      fmt::print("| {} | {:.2f} ({:.2f}–{:.2f}) | {:+.2f} | {:.0f} ({:.0f}–{:.0f}) | {:.2f} |\n", way.name,
                 middle(way.ms), *low, *high, middle(way.ms) - plain, middle(way.per_second), *few, *many,
                 middle(way.cpu_ms));
    }
    fflush(stdout);
  }
  return 0;
}

std::string compiled(const Jail& jail, const std::string& source, const char* name) {
  Job job;
  job.argv = {"/usr/bin/gcc", "-O1", "-w", "-o", "program", "program.c", "-lm", "-lpthread"};
  job.files = {{"program.c", source}};
  job.take = "program";
  job.limits.cpu_s = 30, job.limits.wall_s = 300;
  const Outcome o = jail.run(job, kNever);
  if (o.took) return o.taken;
  fmt::print(stderr, "{} does not compile: {}\n", name, o.err);
  exit(1);
}

std::string contract_source(const std::string& name) {
  std::ifstream in(COHORT_SOURCE_DIR "/tests/reward/contract/" + name + ".c");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

int64_t own_kib(const char* key) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) return strtol(line.c_str() + strlen(key) + 1, nullptr, 10);
  return 0;
}

int64_t machine_kib(const char* key) {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) return strtol(line.c_str() + strlen(key) + 1, nullptr, 10);
  return 0;
}

// Every program of the contract written in C that compiles.
int soak(int runs) {
  std::map<std::string, std::string> programs;
  {
    const Jail compiler({});
    for (const auto& entry :
         std::filesystem::directory_iterator(COHORT_SOURCE_DIR "/tests/reward/contract")) {
      const std::string name = entry.path().stem(), text = contract_source(name);
      const bool bomb =
          text.find("@SECRET@") != std::string::npos || text.find("#include \"/") != std::string::npos;
      static const std::vector<std::string> kBombs = {"macro_bomb", "diagnostics_flood", "huge_static_array",
                                                      "rept"};
      // those beside assertions have no main of their own
      const bool whole = text.find("int main(") != std::string::npos && !name.starts_with("script_");
      if (entry.path().extension() != ".c" || !whole || bomb ||
          std::count(kBombs.begin(), kBombs.end(), name))
        continue;
      programs[name] = compiled(compiler, text, name.c_str());
    }
  }
  std::vector<const std::string*> list;
  for (const auto& [name, program] : programs) list.push_back(&program);
  auto rounds = [&](int n, std::map<std::string, int>& ends) {
    const Jail jail({});
    std::atomic<int> next = 0;
    std::mutex mutex;
    auto work = [&] {
      for (int i; (i = next++) < n;) {
        Job job;
        job.argv = {"./program"};
        job.files = {{"program", *list[static_cast<size_t>(i) % list.size()], true}};
        job.stdin_data = "11\n";
        job.limits = {.wall_s = 0.1,
                      .cpu_s = 0.03,
                      .memory_bytes = 32 << 20,
                      .output_bytes = 64 << 10,
                      .file_bytes = 2 << 20,
                      .inodes = 300,
                      .processes = 12,
                      .open_files = 64};
        const Outcome o = jail.run(job, kNever);
        const std::lock_guard lock(mutex);
        ++ends[to_string(o.ended)];
      }
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) threads.emplace_back(work);
    for (std::thread& t : threads) t.join();
  };
  std::map<std::string, int> ends;
  rounds(400, ends);  // what is made once
  ends.clear();
  const HostState before = HostState::now();
  const int64_t memory = own_kib("VmRSS:"), slab = machine_kib("SUnreclaim:"), shared = machine_kib("Shmem:");
  const auto began = Clock::now();
  rounds(runs, ends);
  const double took = seconds_since(began);
  const std::string added = HostState::now().added_since(before);
  fmt::print("{} runs of {} hostile programs on 8 threads in {:.0f} s ({:.0f}/s)\n", runs, list.size(), took,
             runs / took);
  for (const auto& [ended, n] : ends) fmt::print("  {:<12} {}\n", ended, n);
  fmt::print("added to the machine: {}\n", added.empty() ? "nothing" : added);
  fmt::print(
      "this process {} KiB resident before, {} after; the machine's shared memory {} and {} KiB, "
      "unreclaimable slab {} and "
      "{} KiB\n",
      memory, own_kib("VmRSS:"), shared, machine_kib("Shmem:"), slab, machine_kib("SUnreclaim:"));
  return added.empty() ? 0 : 1;
}

// Programs at a fair distance from their limits, one kind after the other.
int flip(int runs) {
  const Jail jail({});
  const std::string
      busy = compiled(
          jail,
          "#include <time.h>\n#include <stdlib.h>\nint main(int n,char**v){struct timespec t;double "
          "e=atof(v[1]);do clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&t);while(t.tv_sec+t.tv_nsec*1e-9<e);}",
          "busy"),
      threads =
          compiled(jail,
                   "#include <pthread.h>\n#include <time.h>\nstatic void*f(void*p){struct timespec "
                   "t;do clock_gettime(CLOCK_THREAD_CPUTIME_ID,&t);while(t.tv_nsec<30000000);return p;}\n"
                   "int main(){pthread_t t[3];for(int i=0;i<3;i++)pthread_create(t+i,0,f,0);"
                   "for(int i=0;i<3;i++)pthread_join(t[i],0);}",
                   "threads"),
      children = compiled(
          jail,
          "#include <sys/wait.h>\n#include <time.h>\n#include <unistd.h>\nint main(){for(int i=0;i<8;"
          "i++){if(!fork()){struct timespec t;do clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&t);"
          "while(t.tv_nsec<10000000);_exit(0);}wait(0);}}",
          "children"),
      sleeps = compiled(jail, contract_source("sleeps"), "sleeps"),
      memory = compiled(jail, contract_source("mallocs"), "mallocs");
  struct Kind {
    const char* name;
    const std::string* program;
    const char* argument;
    Ended expected;
  };
  const std::vector<Kind> kinds = {
      {"0.1 s of CPU", &busy, "0.1", Ended::exited},
      {"three threads of 30 ms", &threads, "", Ended::exited},
      {"eight children of 10 ms, one after the other", &children, "", Ended::exited},
      {"endless", &busy, "1e9", Ended::cpu_timeout},
      {"sleeps", &sleeps, "", Ended::wall_timeout},
      {"allocates", &memory, "", Ended::memory}};
  std::vector<pid_t> hogs;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  for (int i = 0; i < 4 * cores; ++i) {
    const pid_t pid = fork();
    if (pid == 0)
      for (std::atomic<int> x = 0;;) ++x;
    hogs.push_back(pid);
  }
  std::atomic<int> next = 0;
  std::vector<std::atomic<int>> wrong(kinds.size()), all(kinds.size());
  std::mutex mutex;
  double longest = 0;
  auto work = [&] {
    for (int i; (i = next++) < runs;) {
      // two of three are programs that pass
      const size_t k = static_cast<size_t>(i % 3 == 2 ? 3 + i / 3 % 3 : i / 3 % 3);
      Job job;
      job.argv = {"./program", kinds[k].argument};
      job.files = {{"program", *kinds[k].program, true}};
      job.limits.cpu_s = 0.2;
      job.limits.wall_s = 0.4;
      job.limits.memory_bytes = 64 << 20;
      const Outcome o = jail.run(job, kNever);
      ++all[k];
      wrong[k] += o.ended != kinds[k].expected;
      const std::lock_guard lock(mutex);
      if (o.ended == Ended::exited) longest = std::max(longest, o.wall_s);
    }
  };
  const auto began = Clock::now();
  std::vector<std::thread> workers;
  for (int t = 0; t < 2 * cores; ++t) workers.emplace_back(work);
  for (std::thread& t : workers) t.join();
  for (pid_t pid : hogs) kill(pid, SIGKILL), waitpid(pid, nullptr, 0);
  int flips = 0;
  fmt::print("{} runs, {} at once beside {} busy processes on {} cores, cpu_s 0.2, wall_s 0.4, in {:.0f} s\n",
             runs, 2 * cores, 4 * cores, cores, seconds_since(began));
  for (size_t k = 0; k < kinds.size(); ++k) {
    fmt::print("  {:<46} {:>5} runs, {} with another end than \"{}\"\n", kinds[k].name, all[k].load(),
               wrong[k].load(), to_string(kinds[k].expected));
    flips += wrong[k];
  }
  fmt::print("flips: {}; the longest passing run took {:.2f} s\n", flips, longest);
  return flips == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const int runs = argc > 2 ? atoi(argv[2]) : 0;
  if (what == "speed") return cohort::speed(runs > 0 ? runs : 1000, argc > 3 ? argv[3] : "");
  if (what == "soak") return cohort::soak(runs > 0 ? runs : 10000);
  if (what == "flip") return cohort::flip(runs > 0 ? runs : 2000);
  fmt::print(stderr, "usage: sandbox_bench speed|soak|flip [RUNS [NAME]]\n");
  return 2;
}
