#include "reward/code.h"

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "reward/grader.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using nlohmann::json;
using K = VerdictKind;

// Tight limits, so that the hostile programs below end soon.
std::unique_ptr<Grader> grader(const std::string& more = "") {
  return make_code_grader(TomlTable::parse("whole_completion = true\n" + more +
                                               "\n[limits]\nwall_s = 4\ncpu_s = 1\nmemory_mb = "
                                               "128\noutput_kb = 256\nfile_mb = 8\nprocesses = 32\n",
                                           "t.toml"));
}
Grader& shared() {
  static std::unique_ptr<Grader> g = grader();
  return *g;
}
Verdict run(const std::string& language, const std::string& source, const std::string& out = "ok",
            const std::string& in = "", json limits = json::object(), Grader& g = shared()) {
  GradeInput input;
  input.completion = source;
  input.record_json =
      json{{"language", language}, {"tests", {{{"stdin", in}, {"stdout", out}}}}, {"limits", limits}}.dump();
  return g.grade(input, false);
}
K kind(const std::string& language, const std::string& source, const std::string& out = "ok",
       const std::string& in = "") {
  const Verdict v = run(language, source, out, in);
  if (v.kind == K::infra_error || testing::Test::HasFailure())
    std::cerr << v.reason << " " << v.evidence << "\n";
  return v.kind;
}
const std::string kC =
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n#include "
    "<signal.h>\n#include <fcntl.h>\n";

// Children of this process, besides the jail's own cells, and mounts, before and after.
std::set<std::string> children() {
  std::set<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream in(entry.path() / "children");
    for (std::string pid, name; in >> pid;) {
      std::ifstream("/proc/" + pid + "/comm") >> name;
      if (name != "cohort-jail") out.insert(pid);
    }
  }
  return out;
}
std::string mounts() {
  std::ifstream in("/proc/self/mounts");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}
size_t temporary_folders() {
  size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path()))
    n += entry.path().filename().string().starts_with("cohort-jail-");
  return n;
}
size_t open_descriptors() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

TEST(Code, EveryLanguage) {
  EXPECT_EQ(kind("c", kC + "int main(){int a,b;scanf(\"%d%d\",&a,&b);printf(\"%d\\n\",a+b);}", "5", "2 3\n"),
            K::passed);
  EXPECT_EQ(
      kind("cpp", "#include <iostream>\nint main(){int a,b;std::cin>>a>>b;std::cout<<a+b;}", "5\n", "2 3"),
      K::passed);
  EXPECT_EQ(kind("python", "a,b=map(int,input().split())\nprint(a+b)", "5\n", "2 3"), K::passed);
  EXPECT_EQ(kind("c", kC + "int main(){puts(\"6\");}", "5"), K::failed);
  EXPECT_EQ(kind("python", "print(6)", "5"), K::failed);
  EXPECT_EQ(kind("c", "int main({", "5"), K::compile_error);
  EXPECT_EQ(kind("python", "print(", "5"), K::compile_error);
  EXPECT_EQ(kind("python", "1/0", "5"), K::candidate_crash);
  EXPECT_EQ(kind("python", "", "5"), K::no_answer);
  EXPECT_EQ(kind("cobol", "x", "5"), K::infra_error);
}

// Programs that try to reach out print what they got; every one must print exactly "ok".
TEST(Code, NothingOutsideIsReached) {
  const std::string python_try = R"(
import os, socket, signal, ctypes, sys
bad = []
def refused(name, f):
    try:
        r = f()
    except (OSError, PermissionError, AttributeError, ValueError):
        return
    bad.append(name + " " + repr(r)[:80])
for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/root", "/home", "/var", "/sys", "/usr/share", "/proc/1/environ",
             "/proc/1/root/etc", "/proc/sys/kernel/hostname", "/proc/cpuinfo"):
    refused(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
for path in ("/x", "/usr/bin/x", "/usr/lib/x", "/etc/x", "/bin/x", "/dev/x", "/proc/x"):
    refused("write " + path, lambda: open(path, "w"))
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, getattr(socket, "AF_VSOCK", 40), socket.AF_PACKET):
    refused("socket %d" % family, lambda: socket.socket(family, socket.SOCK_STREAM if family != socket.AF_NETLINK else socket.SOCK_RAW))
refused("setuid", lambda: os.setuid(0))
refused("chroot", lambda: os.chroot("/"))
refused("kill init", lambda: os.kill(1, signal.SIGKILL) or (_ for _ in ()).throw(OSError()))
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if libc.syscall(*args) >= 0: bad.append(name)
call("unshare user", 272, 0x10000000)
call("mount", 165, b"none", b"/box", b"tmpfs", 0, 0)
call("ptrace", 101, 16, 1, 0, 0)
call("io_uring", 425, 4, 0)
call("keyctl", 250, 0, -3, 1)
call("shmget", 29, 0, 4096, 0o1666)
call("memfd", 319, b"x", 0)
call("bpf", 321, 0, 0, 0)
call("perf", 298, 0, 0, -1, -1, 0)
call("clone user", 56, 0x10000000 | 17, 0, 0, 0, 0)
fds = [f for f in os.listdir("/proc/self/fd")] if os.path.isdir("/proc/self/fd") else []
if len(fds) > 4: bad.append("descriptors " + repr(fds))
pids = [p for p in os.listdir("/proc") if p.isdigit()] if os.path.isdir("/proc") else []
if len(pids) > 1: bad.append("processes " + repr(pids))
if os.getuid() == 0: bad.append("root")
if "COHORT" in repr(os.environ): bad.append("environment")
try:
    with open(0, "r+b", buffering=0, closefd=False) as f: f.write(b"x"); bad.append("stdin written")
except OSError: pass
print("ok" if not bad else "; ".join(bad))
)";
  setenv("COHORT_SECRET", "x", 1);
  const Verdict v = run("python", python_try, "ok", "some input");
  EXPECT_EQ(v.kind, K::passed) << v.reason << " " << v.evidence;
  // an abstract socket of this machine
  EXPECT_EQ(
      kind("c", kC + "#include <sys/socket.h>\n#include <sys/un.h>\nint main(){int "
                     "s=socket(AF_UNIX,SOCK_STREAM,0);struct sockaddr_un a={AF_UNIX,\"\\0cohort-test\"};"
                     "if(connect(s,(void*)&a,14))puts(\"ok\");}"),
      K::passed);
}

TEST(Code, NothingIsLeftBehind) {
  kind("c", kC + "int main(){puts(\"ok\");}");  // whatever is made once is made now
  const std::string mounts_before = mounts();
  const size_t folders_before = temporary_folders(), descriptors_before = open_descriptors();
  const std::string name = "cohortleft" + std::to_string(getpid());
  const std::string rename = "#include <sys/prctl.h>\n";
  // daemons, a fork bomb, processes that ignore everything: the right output on top, so that the verdict may
  // be a pass
  const std::vector<std::string> sources = {
      rename + kC + "int main(){if(!fork()){setsid();if(!fork()){prctl(PR_SET_NAME,\"" + name +
          "\");for(;;)pause();}_exit(0);}puts(\"ok\");}",
      rename + kC + "int main(){prctl(PR_SET_NAME,\"" + name +
          "\");for(int i=0;i<10;i++)fork();for(;;)pause();}",
      rename + kC + "int main(){prctl(PR_SET_NAME,\"" + name + "\");for(;;)if(fork()<0)pause();}",
      kC + "int main(){puts(\"ok\");fflush(stdout);kill(-1,SIGKILL);}",
      kC + "int "
           "main(){mkfifo(\"program2\",0600);symlink(\"/etc/"
           "passwd\",\"l\");open(\"f\",O_CREAT,0600);puts(\"ok\");}",
  };
  for (const std::string& source : sources) {
    const Verdict v = run("c", "#include <sys/stat.h>\n" + source, "ok", "", {{"wall_s", 1}});
    EXPECT_NE(v.kind, K::infra_error) << v.reason;
    EXPECT_NE(v.kind, K::compile_error) << v.evidence;
  }
  EXPECT_TRUE(children().empty());
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string pid, comm, state;
    stat >> pid >> comm >> state;
    if (state != "Z" && state != "X") {  // a dead one that this machine's init has not collected is gone
      EXPECT_NE(comm, "(" + name.substr(0, 15) + ")") << entry.path();
    }
  }
  EXPECT_EQ(mounts(), mounts_before);
  EXPECT_EQ(temporary_folders(), folders_before);
  EXPECT_EQ(open_descriptors(), descriptors_before);
}

TEST(Code, TestCodeAndForgery) {
  auto tested = [](const std::string& language, const std::string& source, const std::string& test_code,
                   const std::string& entry = "") {
    GradeInput input;
    input.completion = source;
    json record = {{"language", language}, {"test_code", test_code}};
    if (!entry.empty()) record["entry_point"] = entry;
    input.record_json = record.dump();
    const Verdict v = shared().grade(input, false);
    if (v.kind == K::infra_error) std::cerr << v.reason << "\n";
    return v.kind;
  };
  const std::string check = "def check(f):\n    assert f(2) == 4\n    assert f(3) == 9\n";
  EXPECT_EQ(tested("python", "def sq(x): return x*x", check, "sq"), K::passed);
  EXPECT_EQ(tested("python", "def sq(x): return x+x", check, "sq"), K::failed);
  EXPECT_EQ(tested("python", "def sq(x): return y", check, "sq"), K::candidate_crash);
  EXPECT_EQ(tested("python", "def other(x): return x", check, "sq"), K::candidate_crash);
  EXPECT_EQ(tested("python", "def sq(x:", check, "sq"), K::compile_error);
  EXPECT_EQ(tested("python", "import sys\nsys.exit(0)", check, "sq"), K::failed);
  EXPECT_EQ(tested("python", "import os\nos._exit(0)", check, "sq"), K::failed);
  EXPECT_EQ(tested("python", "print('ok')\nimport os\nos.write(1,b'ok')\nos._exit(0)", check, "sq"),
            K::failed);
  EXPECT_EQ(tested("python", "def sq(x):\n  while 1: pass", check, "sq"), K::candidate_timeout);
  EXPECT_EQ(tested("python", "if __name__ == '__main__':\n    1/0\ndef sq(x): return x*x", check, "sq"),
            K::passed);
  EXPECT_EQ(tested("python", "def sq(x): return x*x", "assert sq(2) == 4\nassert sq(-1) == 1"), K::passed);
  const std::string main_c = "int main() { assert(sq(2) == 4); assert(sq(3) == 9); }";
  for (const char* language : {"c", "cpp"}) {
    EXPECT_EQ(tested(language, "int sq(int x){return x*x;}", main_c), K::passed);
    EXPECT_EQ(tested(language, "int sq(int x){return x+x;}", main_c), K::failed);
    EXPECT_EQ(tested(language, "#define NDEBUG\nint sq(int x){return x+x;}", main_c), K::failed);
    EXPECT_EQ(tested(language, "#include <stdlib.h>\nint sq(int x){exit(0);}", main_c), K::failed);
    EXPECT_EQ(tested(language, "int sq(int x){return x*x}", main_c), K::compile_error);
    EXPECT_EQ(tested(language, "int sq(int x){return *(int*)0;}", main_c), K::candidate_crash);
  }
}

TEST(Code, FencesAndPartialCredit) {
  EXPECT_EQ(last_fenced_block("text\n```python\nprint(1)\n```\nmore\n```\nprint(2)\n```\n"), "print(2)\n");
  EXPECT_EQ(last_fenced_block("```python\nprint(1)\n```\n```c\nint x"), "print(1)\n");
  EXPECT_EQ(last_fenced_block("```c\nint x"), "int x");
  EXPECT_EQ(last_fenced_block("no code"), "");
  EXPECT_EQ(last_fenced_block("<think>\n```\na\n```\n</think> none"), "");
  EXPECT_EQ(last_fenced_block("````md\n```\nx\n```\n````"), "```\nx\n```\n");
  EXPECT_EQ(last_fenced_block("```"), "");
  auto half = make_code_grader(TomlTable::parse("partial_credit = true\nlanguage = \"python\"\n", "t.toml"));
  GradeInput input;
  input.completion = "Here:\n```python\nprint(int(input())*2)\n```";
  input.record_json =
      R"({"tests": [{"stdin": "1", "stdout": "2"}, {"stdin": "2", "stdout": "5"}, {"stdin": "x", "stdout": ""}, {"stdin": "4", "stdout": "8"}]})";
  const Verdict v = half->grade(input, false);
  EXPECT_EQ(v.kind, K::failed);
  EXPECT_DOUBLE_EQ(v.score, 0.5);
  EXPECT_EQ(json::parse(v.evidence)["first_failing_test"], 2);
  EXPECT_EQ(json::parse(v.evidence)["tests_passed"], 2);
}

// Where namespaces are refused: the same verdicts for what limits and filters can hold.
TEST(Code, ProcessIsolation) {
  auto weak =
      make_code_grader(TomlTable::parse("whole_completion = true\nisolation = \"process\"\n[limits]\nwall_s "
                                        "= 4\ncpu_s = 1\nmemory_mb = 128\noutput_kb = 256\n"
                                        "file_mb = 8\nprocesses = 32\n",
                                        "t.toml"));
  const size_t folders_before = temporary_folders();
  const std::string name = "cohortweak" + std::to_string(getpid() % 10000);
  struct Row {
    std::string language, source;
    K kind;
  };
  const std::vector<Row> rows = {
      {"python", "print('ok')", K::passed},
      {"cpp", "#include <iostream>\nint main(){std::cout<<\"ok\";}", K::passed},
      {"c", "int main({", K::compile_error},
      {"c", "int main(){for(;;);}", K::candidate_timeout},
      {"c", kC + "int main(){sleep(100);}", K::candidate_timeout},
      {"python", "x=[]\nwhile True: x.append(bytearray(1<<20))", K::candidate_memory},
      {"c", kC + "int main(){for(;;)puts(\"ok ok ok ok ok ok ok\");}", K::candidate_output},
      {"c", kC + "int main(){abort();}", K::candidate_crash},
      {"c", kC + "int main(){for(;;)fork();}", K::candidate_crash},
      {"c",
       kC + "#include <sys/prctl.h>\nint main(){if(!fork()){setsid();prctl(PR_SET_NAME,\"" + name +
           "\");for(;;)pause();}puts(\"ok\");}",
       K::passed},
      {"python", "import socket\ntry: socket.socket()\nexcept OSError: print('ok')", K::passed},
  };
  for (const Row& row : rows) {
    const auto began = std::chrono::steady_clock::now();
    const Verdict v = run(row.language, row.source, "ok", "", json::object(), *weak);
    const bool bomb = row.source.find("for(;;)fork") != std::string::npos;
    EXPECT_TRUE(v.kind == row.kind || (bomb && v.kind == K::candidate_timeout))
        << row.source << ": " << v.reason << " " << v.evidence;
    EXPECT_EQ(json::parse(v.evidence)["isolation"], "process");
    const double seconds = seconds_since(began);
    if (seconds > 5) std::cerr << row.source << " took " << seconds << " s\n";
  }
  const Verdict v = run("python", "print(open('/etc/passwd').read())", "", "", json::object(), *weak);
  if (v.kind != K::candidate_crash) std::cerr << "(no Landlock here: files of the machine can be read)\n";
  EXPECT_TRUE(children().empty());
  EXPECT_EQ(temporary_folders(), folders_before);
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string pid, comm, state;
    stat >> pid >> comm >> state;
    if (state != "Z" && state != "X") {  // a dead one that this machine's init has not collected is gone
      EXPECT_NE(comm, "(" + name.substr(0, 15) + ")") << entry.path();
    }
  }
}

TEST(Code, ManyAtOnceAndCancelled) {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 4; ++i) {
        const std::string text = std::to_string(t * 100 + i);
        right +=
            run("python", "print(input())", text, text, {{"wall_s", 60}, {"cpu_s", 20}}).kind == K::passed;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 32);
  std::atomic<bool> cancelled = false;
  GradeInput input;
  input.completion = "import time\ntime.sleep(60)";
  input.record_json = R"({"language": "python", "tests": [{"stdout": ""}], "limits": {"wall_s": 60}})";
  const auto began = std::chrono::steady_clock::now();
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    cancelled = true;
  });
  EXPECT_EQ(shared().grade(input, cancelled).kind, K::cancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
  later.join();
}

TEST(Code, RecordsThatCannotBeRead) {
  for (const char* record :
       {R"({"language": "c"})", R"({"language": "c", "tests": []})", R"({"language": "c", "tests": [{}]})",
        R"({"language": "c", "tests": [{"stdout": 1}]})", R"({"language": "c", "test_code": 1})",
        R"({"language": "c", "tests": [{"stdout": ""}], "limits": {"wall_s": -1}})",
        R"({"language": "c", "tests": [{"stdout": ""}], "limits": {"cpu": 1}})",
        R"({"language": 1, "tests": [{"stdout": ""}]})", R"({"tests": [{"stdout": ""}]})"}) {
    GradeInput input;
    input.completion = "int main(){}";
    input.record_json = record;
    EXPECT_EQ(shared().grade(input, false).kind, K::infra_error) << record;
  }
}

}  // namespace
}  // namespace cohort
