// The jail itself: what a job is given and what comes back, limits against a program that says beforehand what it
// will use, and that nothing of any run is left.
#include "reward/sandbox/jail.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/core.h>
#include <algorithm>
#include <chrono>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "contract.h"
#include "host_state.h"

namespace cohort {
namespace {

using namespace sandbox;

const std::atomic<bool> kNever = false;

// In the child's interpreter: whatever the job's file says.
const std::vector<std::string> kWarmPython = {
    "/usr/bin/python3", "-I", "-B", "-c",
    "import os, json\nos.fork()\nexec(compile(open('job.py').read(), 'job.py', 'exec'))"};

Jail& jail() {
  static Jail one({.isolation = Want::automatic, .read_only = {}, .warm = kWarmPython});
  return one;
}
Outcome shell(Jail& j, const std::string& command, Job job = {}) {
  job.argv = {"/bin/sh", "-c", command};
  return j.run(job, kNever);
}
std::string compiled(const std::string& source) {
  Job job;
  job.argv = {"/usr/bin/gcc", "-O1", "-w", "-o", "program", "program.c", "-lm", "-lpthread"};
  job.files = {{"program.c", source}};
  job.take = "program";
  job.limits.cpu_s = 30, job.limits.wall_s = 120;
  const Outcome o = jail().run(job, kNever);
  EXPECT_TRUE(o.took) << o.err;
  return o.taken;
}

TEST(Jail, WhatAJobIsGiven) {
  Job job;
  job.stdin_data = "the input";
  job.files = {{"a.txt", "one"}, {"run.sh", "#!/bin/sh\necho script", true}};
  job.report_pipe = true;
  job.take = "made";
  const Outcome o =
      shell(jail(), "cat; cat a.txt; ./run.sh; echo told >&3; echo made > made; echo bad >&2; exit 0", job);
  EXPECT_EQ(o.out, "the inputonescript\n");
  EXPECT_EQ(o.err, "bad\n");
  EXPECT_EQ(o.report, "told\n");
  EXPECT_EQ(o.taken, "made\n");
  EXPECT_EQ(shell(jail(), "exit 7").exit_code, 7);
  EXPECT_EQ(shell(jail(), "kill -9 $$").signal, SIGKILL);
  Job missing;
  missing.argv = {"/usr/bin/no-such-program"};
  for (int i = 0; i < 20; ++i) {
    EXPECT_THROW(jail().run(missing, kNever), InfraError);
    EXPECT_EQ(shell(jail(), "echo again").out, "again\n");  // the cell is still good
  }
}

TEST(Jail, StandardFilesHaveTheirNames) {
  Jail fallback({.isolation = Want::process, .read_only = {}, .warm = {}});
  for (Jail* one : {&jail(), &fallback}) {
    Job job;
    job.stdin_data = "the input\n";
    const Outcome o =
        shell(*one, "cat /dev/stdin > /dev/stdout; echo bad | tee /dev/stderr; cat /dev/fd/0", job);
    EXPECT_EQ(o.out, "the input\nbad\nthe input\n") << o.err;
    EXPECT_EQ(o.err, "bad\n");
  }
}

TEST(Jail, ARunSeesNothingOfTheOneBefore) {
  Jail one({});  // runs one after the other share its only cell
  const std::string leave =
      "echo x > left; mkdir -p /tmp/d /dev/shm/e; echo x > /tmp/d/left; sleep 1000 & echo $$";
  const std::string look = "ls -A . /tmp /dev/shm | tr '\\n' ' '; ls /proc | grep -c '^[0-9]'; echo $$";
  EXPECT_EQ(shell(one, leave).out, "2\n");
  const Outcome o = shell(one, look);
  EXPECT_EQ(o.out.find("left"), std::string::npos) << o.out;
  EXPECT_TRUE(o.out.ends_with("2\n")) << o.out;  // process numbers begin again
}

TEST(Jail, AnIdleCellThatDiedIsReplaced) {
  Jail one({});
  ASSERT_EQ(shell(one, "echo first").out, "first\n");
  int killed = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (!std::isdigit(entry.path().filename().c_str()[0])) continue;
    std::ifstream in(entry.path() / "stat");
    std::string text{std::istreambuf_iterator<char>(in), {}};
    int parent = 0;
    if (text.empty() || sscanf(text.c_str() + text.rfind(')') + 1, " %*c %d", &parent) != 1) continue;
    if (parent == getpid()) killed += kill(std::stoi(entry.path().filename()), SIGKILL) == 0;
  }
  ASSERT_GE(killed, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(shell(one, "echo again").out, "again\n");
  EXPECT_EQ(shell(jail(), "echo again").out, "again\n");  // the others' cells were killed as well
}

TEST(Jail, ShowsFilesOfOneJobOnly) {
  char folder[] = "/tmp/shown-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  chmod(folder, 0755);
  std::ofstream(std::string(folder) + "/data") << "shown";
  Job job;
  job.show = {folder};
  const std::string path = std::string(folder) + "/data";
  EXPECT_EQ(shell(jail(), "cat " + path, job).out, "shown");
  EXPECT_NE(shell(jail(), "echo x > " + path, job).exit_code, 0);
  EXPECT_NE(shell(jail(), "echo x > " + std::string(folder) + "/new", job).exit_code, 0);
  EXPECT_EQ(shell(jail(), "cat " + path).out, "");
  job.show = {path};
  EXPECT_EQ(shell(jail(), "cat " + path, job).out, "shown");
  job.show = {"/no/such/file"};
  EXPECT_THROW(shell(jail(), "true", job), InfraError);
  EXPECT_EQ(shell(jail(), "echo fine").out, "fine\n");
  std::filesystem::remove_all(folder);
}

TEST(Jail, DescriptorsOfTheCaller) {
  int in[2], out[2], channel[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), 0);
  Job job;
  job.stdin_fd = in[1], job.stdout_fd = out[1], job.channel = channel[1];
  job.limits.wall_s = job.limits.cpu_s = 0;
  job.limits.output_bytes = 1000;  // of standard error, which is cut and ends nothing
  std::thread runs([&] {
    const Outcome o =
        shell(jail(),
              "head -c 100000 /dev/zero >&2; read a; echo \"got $a\"; read b <&3; echo \"and $b\" >&3", job);
    EXPECT_EQ(o.ended, Ended::exited);
    EXPECT_EQ(o.err.size(), 1000u);
    EXPECT_EQ(o.out, "");
  });
  char text[64] = {};
  ASSERT_EQ(write(in[0], "hello\n", 6), 6);
  ASSERT_GT(read(out[0], text, sizeof text), 0);
  EXPECT_STREQ(text, "got hello\n");
  ASSERT_EQ(write(channel[0], "bye\n", 4), 4);
  memset(text, 0, sizeof text);
  ASSERT_GT(read(channel[0], text, sizeof text), 0);
  EXPECT_STREQ(text, "and bye\n");
  runs.join();
  for (int fd : {in[0], in[1], out[0], out[1], channel[0], channel[1]}) close(fd);
}

TEST(Jail, WarmInterpreter) {
  if (jail().isolation() != Isolation::namespaces) GTEST_SKIP() << "no namespaces here";
  auto python = [](const std::string& code, Limits limits = {}) {
    Job job;
    job.argv = {"/usr/bin/python3", "job.py"};
    job.warm = true;
    job.files = {{"job.py", code}};
    job.limits = limits;
    return jail().run(job, kNever);
  };
  const Outcome first = python(
      "import os, sys, json\njson.evil = 1\nopen('left', 'w').write('x')\nopen('/tmp/left', 'w').write('x')\n"
      "pid = os.fork()\nif pid == 0:\n    import time; time.sleep(1000)\nprint('one', "
      "sorted(os.listdir('.')), os.getpid())\n");
  EXPECT_EQ(first.out, "one ['.tmp', 'job.py', 'left'] 2\n") << first.err;
  const Outcome second = python(
      "import os, json\nprint(hasattr(json, 'evil'), sorted(os.listdir('.')), os.listdir('/tmp'), "
      "os.getpid(), os.getuid(), "
      "[p for p in os.listdir('/proc') if p.isdigit()], 'LD_PRELOAD' in os.environ, "
      "sorted(os.listdir('/proc/self/fd')))");
  EXPECT_EQ(second.out, "False ['.tmp', 'job.py'] [] 2 1000 ['2'] False ['0', '1', '2', '3']\n")
      << second.err;
  EXPECT_EQ(python("import os; os.abort()").signal, SIGABRT);
  EXPECT_EQ(python("import sys; sys.exit(3)").exit_code, 3);
  Limits limits;
  limits.cpu_s = 0.3;
  EXPECT_EQ(python("while True: pass", limits).ended, Ended::cpu_timeout);
  limits = {};
  limits.memory_bytes = 64 << 20;
  EXPECT_EQ(python("x = []\nwhile True: x.append(bytearray(1 << 20))", limits).ended, Ended::memory);
  for (const char* call :
       {"socket.socket(socket.AF_INET)", "os.open('/etc/passwd', 0)", "os.open('/x', os.O_CREAT)",
        "os.setuid(0)", "os.kill(1, 9) or os.kill(0, 0) or os.open('/nothing', 0)", "os.chroot('/box')"})
    EXPECT_EQ(python(std::string("import os, socket\ntry:\n    ") + call +
                     "\n    print('done')\nexcept OSError: print('refused')")
                  .out,
              "refused\n")
        << call;
  EXPECT_EQ(python("print('still here')").out, "still here\n");
}

// Limits as a property: a program that announces what it will use is stopped by a limit it passes by a third and
// not by one it keeps by a third, whatever else it does.
constexpr const char* kUser = R"(
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double cpu() { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
int main(int argc, char** argv) {
  long cpu_ms = atol(argv[1]), memory_mb = atol(argv[2]), output_kb = atol(argv[3]), files_kb = atol(argv[4]);
  int children = atoi(argv[5]), inodes = atoi(argv[6]);
  char b[1024]; memset(b, 'x', sizeof b);
  for (long i = 0; i < output_kb; i++) if (write(1 + i % 2, b, sizeof b) < 0) return 9;
  for (int i = 0; i < inodes; i++) { char n[32]; sprintf(n, "i%d", i); int f = open(n, O_CREAT | O_WRONLY, 0600); if (f < 0) return 8; close(f); }
  int f = open("data", O_CREAT | O_WRONLY, 0600);
  for (long i = 0; i < files_kb; i++) if (write(f, b, sizeof b) < 0) return 7;
  close(f);
  char* p = malloc(memory_mb << 20);
  if (memory_mb && !p) return 6;
  for (long i = 0; i < memory_mb << 20; i += 4096) p[i] = 1;
  for (int i = 0; i < children; i++) if (fork() == 0) { usleep(300000); _exit(0); }
  usleep(30000);  // time to be seen
  double end = cpu() + cpu_ms * 1e-3;
  while (cpu() < end) { }
  while (wait(0) > 0) { }
  return 0;
}
)";

TEST(Jail, LimitsAsAProperty) {
  const std::string program = compiled(kUser);
  std::mt19937 random(20);
  struct Demand {
    const char* name;
    int64_t low, high;  // of the limit, in the demand's unit
    Ended ended;
  };
  const Demand demands[] = {{"cpu ms", 90, 300, Ended::cpu_timeout}, {"memory MiB", 24, 96, Ended::memory},
                            {"output KiB", 16, 2000, Ended::output}, {"files KiB", 100, 4000, Ended::output},
                            {"children", 4, 40, Ended::processes},   {"inodes", 20, 500, Ended::output}};
  for (int round = 0; round < 35; ++round) {
    int64_t limit[6], demand[6];
    const int passed = round % 7;  // 6: none
    std::string said;
    for (int i = 0; i < 6; ++i) {
      limit[i] = std::uniform_int_distribution<int64_t>(demands[i].low, demands[i].high)(random);
      demand[i] = i == passed ? limit[i] * 4 / 3 + 3
                              : std::uniform_int_distribution<int64_t>(0, limit[i] * 2 / 3 - 2)(random);
      said += fmt::format("{}: {} of {}  ", demands[i].name, demand[i], limit[i]);
    }
    Job job;
    job.argv = {"./program"};
    for (int64_t d : demand) job.argv.push_back(std::to_string(d));
    job.files = {{"program", program, true}};
    job.limits.wall_s = 20;
    job.limits.cpu_s = static_cast<double>(limit[0]) * 1e-3;
    job.limits.memory_bytes = (limit[1] + limit[3] / 1024 + 3)
                              << 20;  // files are memory, the program's own pages too
    job.limits.output_bytes = limit[2] << 10;
    job.limits.file_bytes = (limit[3] << 10) + (8 << 10);
    job.limits.processes = static_cast<int>(limit[4]) + 1;
    job.limits.inodes = static_cast<int>(limit[5]) + 2;
    const Outcome o = jail().run(job, kNever);
    if (passed == 1) demand[1] += 3;
    EXPECT_EQ(to_string(o.ended), std::string(to_string(passed < 6 ? demands[passed].ended : Ended::exited)))
        << said << " exit " << o.exit_code << " signal " << o.signal << " cpu " << o.cpu_s << " peak "
        << o.peak_bytes;
    EXPECT_TRUE(passed < 6 || o.exit_code == 0) << said;
  }
}

// Programs of the contract that leave, kill, fill or flood.
std::vector<std::string> hostile_programs() {
  std::vector<std::string> programs;
  for (const char* name : {"daemon", "fork_bomb", "kills_everybody", "inode_flood", "memory_over_children",
                           "ignores_signals", "stops_itself", "endless_stdout", "shared_memory_left",
                           "segmentation_fault", "many_files", "int80"}) {
    std::ifstream in(std::string(COHORT_SOURCE_DIR "/tests/reward/contract/") + name + ".c");
    std::stringstream text;
    text << in.rdbuf();
    programs.push_back(compiled(text.str()));
  }
  return programs;
}
Job hostile_job(const std::string& program) {
  Job job;
  job.argv = {"./program"};
  job.files = {{"program", program, true}};
  job.limits = {.wall_s = 0.15,
                .cpu_s = 0.05,
                .memory_bytes = 48 << 20,
                .output_bytes = 64 << 10,
                .file_bytes = 4 << 20,
                .inodes = 500,
                .processes = 12,
                .open_files = 64};
  return job;
}

TEST(Jail, HundredsOfHostileRunsAtOnceLeaveNothing) {
  const std::vector<std::string> programs = hostile_programs();
  for (const Want want : {Want::automatic, Want::process}) {
    const HostState before = HostState::now();
    {
      Jail own({.isolation = want, .read_only = {}, .warm = {}});
      std::atomic<int> next = 0, ran = 0;
      const int runs = want == Want::automatic ? 300 : 60;
      auto work = [&] {
        for (int i; (i = next++) < runs;) {
          const Outcome o = own.run(hostile_job(programs[static_cast<size_t>(i) % programs.size()]), kNever);
          ran += o.wall_s >= 0;
        }
      };
      std::vector<std::thread> threads;
      for (int t = 0; t < 8; ++t) threads.emplace_back(work);
      for (std::thread& t : threads) t.join();
      EXPECT_EQ(ran, runs);
      if (want == Want::automatic) {  // with the cells still there: only they are children
        const std::string added = HostState::now().added_since(before);
        EXPECT_EQ(added.find("process: "), std::string::npos) << added;
        EXPECT_EQ(added.find("mount: "), std::string::npos) << added;
        EXPECT_EQ(added.find("file: "), std::string::npos) << added;
      }
    }
    EXPECT_EQ(HostState::now().added_since(before), "");
  }
}

// Runs `inside` in a forked process, which gtest's one thread allows, and gives its exit code.
int in_a_process(const std::function<int()>& inside, int kill_after_ms = -1) {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) _exit(inside());
  if (kill_after_ms >= 0) usleep(static_cast<useconds_t>(kill_after_ms) * 1000), kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(Jail, AKilledWorkerTakesItsProgramsAlong) {
  const std::string program = compiled(
      "#include <unistd.h>\n#include <sys/prctl.h>\nint main(){prctl(PR_SET_NAME,\"cohortleft\");"
      "if(!fork())setsid();for(;;)pause();}");
  const HostState before = HostState::now();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t worker = fork();
  if (worker == 0) {
    close(ready[0]);
    Jail own({});
    Job job = hostile_job(program);
    job.limits.wall_s = 100;
    job.report_pipe = true;
    std::thread tell([&] {
      usleep(300000);
      if (write(ready[1], "x", 1) != 1) _exit(1);
    });
    own.run(job, kNever);
    _exit(0);
  }
  close(ready[1]);
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  EXPECT_NE(HostState::now().added_since(before).find("process: "), std::string::npos);  // it runs
  kill(worker, SIGKILL);
  waitpid(worker, nullptr, 0);
  std::string left;
  for (int i = 0; i < 100; ++i) {
    left = HostState::now().added_since(before);
    if (left.find("process: ") == std::string::npos) break;
    usleep(50000);
  }
  EXPECT_EQ(left.find("process: "), std::string::npos) << left;
}

TEST(Jail, AsAnOrdinaryUser) {
  if (geteuid() != 0) GTEST_SKIP() << "is one already";
  const std::string program = compiled(
      "#include <stdio.h>\n#include <unistd.h>\nint main(){printf(\"%d %d\", getuid(), getppid());}");
  const int code = in_a_process([&] {
    if (setgroups(0, nullptr) != 0 || setresgid(65534, 65534, 65534) != 0 ||
        setresuid(65534, 65534, 65534) != 0)
      return 10;
    for (const Want want : {Want::namespaces, Want::process}) {
      try {
        Jail own({.isolation = want, .read_only = {}, .warm = kWarmPython});
        Job job;
        job.argv = {"./program"};
        job.files = {{"program", program, true}};
        const Outcome o = own.run(job, kNever);
        if (want == Want::namespaces && o.out != "1000 1") return 11;
        if (want == Want::process && o.out.find("65534 ") != 0) return 12;
        job.argv = {"/usr/bin/python3", "-I", "-B", "job.py"};
        job.files = {{"job.py", "print(1 + 1)"}};
        job.warm = true;
        if (own.run(job, kNever).out != "2\n") return 13;
        job.warm = false;
        job.files = {{"job.py", "while True: pass"}};
        job.limits.cpu_s = 0.2;
        if (own.run(job, kNever).ended != Ended::cpu_timeout) return 14;
        job.files = {{"job.py", "x = []\nwhile True: x.append(bytearray(1 << 20))"}};
        job.limits = {};
        job.limits.memory_bytes = 64 << 20;
        if (own.run(job, kNever).ended != Ended::memory) return 15;
      } catch (const InfraError& e) {
        fprintf(stderr, "%s\n", e.what());
        return 16;
      }
    }
    return 0;
  });
  EXPECT_EQ(code, 0);
}

// The verdict of a program does not depend on who else wants the cores.
TEST(Jail, ABusyMachineChangesNoVerdict) {
  const std::string program = compiled(kUser);
  std::vector<pid_t> hogs;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  for (int i = 0; i < 4 * cores; ++i) {
    const pid_t pid = fork();
    if (pid == 0)
      for (std::atomic<int> x = 0;;) ++x;
    hogs.push_back(pid);
  }
  std::atomic<int> next = 0, wrong = 0;
  auto work = [&] {
    for (int i; (i = next++) < 60;) {
      Job job;
      job.argv = {"./program", i % 3 == 2 ? "600" : "60", "8", "1", "1", "0", "1"};
      job.files = {{"program", program, true}};
      job.limits.cpu_s = 0.2;
      job.limits.wall_s = 0.4;  // 60 ms of CPU take longer than that with so many at it
      const Outcome o = jail().run(job, kNever);
      wrong += o.ended != (i % 3 == 2 ? Ended::cpu_timeout : Ended::exited);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 2 * cores; ++t) threads.emplace_back(work);
  for (std::thread& t : threads) t.join();
  for (pid_t pid : hogs) kill(pid, SIGKILL), waitpid(pid, nullptr, 0);
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace cohort
