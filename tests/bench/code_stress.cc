#include "code_stress.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "reward/code.h"
#include "reward/grader.h"
#include "tests/reward/contract.h"
#include "tests/reward/host_state.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

// cpu_s 0.4, wall_s 0.8, memory_mb 64; the compiler's: cpu_s 4. A program passes at half of a limit.
constexpr const char* kOptions =
    "whole_completion = true\nreuse = false\n[limits]\nwall_s = 0.8\ncpu_s = 0.4\nmemory_mb = 64\noutput_kb "
    "= "
    "256\nfile_mb = 8\nprocesses = 32\n[compile]\nwall_s = 8\ncpu_s = 4\nmemory_mb = 512\noutput_kb = "
    "256\nfile_mb = "
    "64\nprocesses = 16\n";

struct Kind {
  const char* name;
  int weight;  // of 40
  json record;
  std::string source;
  VerdictKind expected;
};

std::vector<Kind> kinds() {
  using K = VerdictKind;
  const std::string burn_c =
      "#include <time.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint n=@N@;\nstatic "
      "void burn(double "
      "s){struct timespec t;do "
      "clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&t);while(t.tv_sec+t.tv_nsec*1e-9<s);}\n";
  const std::string burn_py = "import time\nn = @N@\ndef burn(s):\n    while time.process_time() < s: pass\n";
  auto io = [](const char* language) {
    return json{{"language", language}, {"tests", {{{"stdin", "7"}, {"stdout", "49"}}}}};
  };
  const json call =
      json::parse(R"({"language": "python", "entry_point": "f", "tests": [{"args": [7], "expected": 49}]})");
  const json script = {
      {"language", "python"}, {"entry_point", "f"}, {"test_code", "def check(f):\n    assert f(7) == 49\n"}};
  const json native = {{"language", "c"}, {"test_code", "int main(void){assert(f(7) == 49); return 0;}"}};
  const std::string show = "int main(void){int x;if(scanf(\"%d\",&x)==1)printf(\"%d\\n\",x*x);}";
  return {
      {"C, 0.2 s of CPU", 6, io("c"),
       burn_c + "int main(void){int x;burn(0.2);if(scanf(\"%d\",&x)==1)printf(\"%d\\n\",x*x);}", K::passed},
      {"C, half of the memory", 3, io("c"),
       burn_c + "int main(void){memset(malloc(32<<20),n|1,32<<20);puts(\"49\");}", K::passed},
      {"C, wrong", 2, io("c"), burn_c + "int main(void){puts(\"48\");}", K::failed},
      {"C, endless", 3, io("c"), burn_c + "int main(void){for(;;)++n;}", K::candidate_timeout},
      {"C, sleeps", 2, io("c"), burn_c + "#include <unistd.h>\nint main(void){sleep(60);}",
       K::candidate_timeout},
      {"C, over its memory", 2, io("c"), burn_c + "int main(void){for(;;)memset(malloc(1<<20),1,1<<20);}",
       K::candidate_memory},
      {"C, does not compile", 2, io("c"), burn_c + "int main(void){", K::compile_error},
      {"C, assertions", 3, native, burn_c + "int f(int x){burn(0.15);return x*x;}", K::passed},
      {"C++ with bits/stdc++.h", 2, io("cpp"), "#include <bits/stdc++.h>\nint n=@N@;\n" + show, K::passed},
      {"Python, 0.2 s of CPU", 4, io("python"), burn_py + "burn(0.2)\nprint(int(input())**2)", K::passed},
      {"Python, endless", 2, io("python"), burn_py + "while True: pass", K::candidate_timeout},
      {"Python, a call, 0.2 s of CPU", 4, call, burn_py + "def f(x):\n    burn(0.2)\n    return x*x",
       K::passed},
      {"Python, assertions, 0.15 s of CPU", 3, script, burn_py + "def f(x):\n    burn(0.15)\n    return x*x",
       K::passed},
      {"Python, assertions, wrong", 2, script, burn_py + "def f(x): return x", K::failed},
  };
}

Verdict grade(Grader& grader, const std::string& record, const std::string& program) {
  GradeInput input;
  input.record_json = record;
  input.completion = program;
  return grader.grade(input, false);
}

}  // namespace

int code_flip(int runs) {
  const auto grader = make_code_grader(TomlTable::parse(kOptions, "bench"));
  const std::vector<Kind> all = kinds();
  std::vector<size_t> wheel;
  for (size_t k = 0; k < all.size(); ++k) wheel.insert(wheel.end(), static_cast<size_t>(all[k].weight), k);
  std::atomic<int> number = 0;
  auto one = [&](size_t k) {
    std::string source = all[k].source;
    source.replace(source.find("@N@"), 3, std::to_string(++number));  // never compiled before
    return grade(*grader, all[k].record.dump(), source);
  };
  for (size_t k = 0; k < all.size(); ++k) {
    const Verdict v = one(k);  // before the load: what is made once is made now
    if (v.kind == all[k].expected) continue;
    fmt::print(stderr, "{}: {} {} {} even without load\n", all[k].name, to_string(v.kind), v.reason,
               v.evidence);
    return 1;
  }
  std::vector<pid_t> hogs;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const pid_t parent = getpid();
  for (int i = 0; i < 4 * cores; ++i) {
    const pid_t pid = fork();
    if (pid == 0)
      for (std::atomic<int> x = 0;; ++x)
        if ((x & 0xfffffff) == 0 && getppid() != parent) _exit(0);
    hogs.push_back(pid);
  }
  std::atomic<int> next = 0;
  std::vector<std::atomic<int>> wrong(all.size()), graded(all.size());
  std::mutex mutex;
  std::vector<std::string> said;
  std::vector<double> longest(all.size());
  auto work = [&] {
    for (int i; (i = next++) < runs;) {
      const size_t k = wheel[static_cast<size_t>(i) * 7 % wheel.size()];
      const auto began = Clock::now();
      const Verdict v = one(k);
      const double took = seconds_since(began);
      ++graded[k];
      const std::lock_guard lock(mutex);
      longest[k] = std::max(longest[k], took);
      if (v.kind == all[k].expected) continue;
      ++wrong[k];
      said.push_back(fmt::format("{}: {} {} {}", all[k].name, to_string(v.kind), v.reason, v.evidence));
    }
  };
  const auto began = Clock::now();
  std::vector<std::thread> workers;
  for (int t = 0; t < 2 * cores; ++t) workers.emplace_back(work);
  for (std::thread& t : workers) t.join();
  for (pid_t pid : hogs) kill(pid, SIGKILL), waitpid(pid, nullptr, 0);
  fmt::print("{} gradings, {} at once beside {} busy processes on {} cores, in {:.0f} s\n\n", runs, 2 * cores,
             4 * cores, cores, seconds_since(began));
  fmt::print("| program | gradings | verdict | flips | longest, s |\n| --- | --- | --- | --- | --- |\n");
  int flips = 0;
  for (size_t k = 0; k < all.size(); ++k) {
    fmt::print("| {} | {} | `{}` | {} | {:.1f} |\n", all[k].name, graded[k].load(),
               to_string(all[k].expected), wrong[k].load(), longest[k]);
    flips += wrong[k];
  }
  fmt::print("\nflips: {}\n", flips);
  for (const std::string& line : said) fmt::print("  {}\n", line);
  return flips == 0 ? 0 : 1;
}

int code_soak(int runs) {
  char name[] = "/tmp/code-soak-XXXXXX";
  const std::string folder = mkdtemp(name);
  std::ofstream(folder + "/hidden_tests.txt") << "hidden\n";
  std::vector<ContractCase> cases;
  for (ContractCase& c :
       read_contract(COHORT_SOURCE_DIR "/tests/reward/contract", folder + "/hidden_tests.txt")) {
    // compiler bombs take seconds each, and have no program; the others of the contract's list all run
    if (c.take.empty() && !(c.verdict == "compile_error" && c.group == "Compile"))
      cases.push_back(std::move(c));
  }
  const std::string options =
      "whole_completion = true\nreuse = false\n[limits]\nwall_s = 0.2\ncpu_s = 0.08\nmemory_mb = "
      "48\noutput_kb = "
      "64\nfile_mb = 2\nprocesses = 16\n";
  std::map<std::string, int> ends;
  std::mutex mutex;
  auto rounds = [&](int n) {
    const auto grader = make_code_grader(TomlTable::parse(options, "soak"));
    std::atomic<int> next = 0;
    auto work = [&] {
      for (int i; (i = next++) < n;) {
        const ContractCase& c = cases[static_cast<size_t>(i) % cases.size()];
        const Verdict v = grade(*grader, contract_record(c, c.inputs[0]).dump(), c.source);
        const std::lock_guard lock(mutex);
        ++ends[to_string(v.kind)];
        if (v.kind == VerdictKind::infra_error) fmt::print("{}: {}\n", c.name, v.reason);
      }
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) threads.emplace_back(work);
    for (std::thread& t : threads) t.join();
  };
  rounds(static_cast<int>(cases.size()));  // what is made once
  ends.clear();
  const HostState before = HostState::now();
  const auto began = Clock::now();
  rounds(runs);
  const double took = seconds_since(began);
  const std::string added = HostState::now().added_since(before);
  std::filesystem::remove_all(folder);
  fmt::print(
      "{} gradings of {} hostile programs on 8 threads in {:.0f} s ({:.0f}/s)\n\n| verdict | gradings |\n| "
      "--- | --- |\n",
      runs, cases.size(), took, runs / took);
  for (const auto& [kind, n] : ends) fmt::print("| `{}` | {} |\n", kind, n);
  fmt::print("\nadded to the machine: {}\n", added.empty() ? "nothing" : added);
  return added.empty() && ends["infra_error"] == 0 ? 0 : 1;
}

}  // namespace cohort
