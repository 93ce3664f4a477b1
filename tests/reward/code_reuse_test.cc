// What is done once: identical programs, identical compilations, the precompiled header; and which test comes first.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "reward/code/normalise.h"
#include "reward/code/once_cache.h"
#include "reward/code/order.h"
#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;
using code::FailureCounts, code::normalise, code::OnceCache;

TEST(CodeReuse, NormalisedPrograms) {
  struct Row {
    CodeSyntax syntax;
    const char *a, *b;
    bool same;
  };
  const CodeSyntax c = CodeSyntax::c, py = CodeSyntax::python;
  for (const Row& row : {
           Row{c, "int main() { return 0; }", "int  main() {   // nothing\n\n\treturn 0; }\n\n",
               false},  // lines stay
           Row{c, "int main() {\n return 0; }", "int  main() {   // nothing\n\n\treturn 0; }\n\n", true},
           Row{c, "int a/* x */b;", "int a b;", true},
           Row{c, "int a/**/b;", "int ab;", false},
           Row{c, "char* s = \"a  b\";", "char* s = \"a b\";", false},
           Row{c, "char* s = \"//\"; int x;", "char* s = \"//\"; int y;", false},
           Row{c, "char c = '\"'; // x\n", "char c = '\"';\n", true},
           Row{c, "int x = 1'000'000; // y", "int x = 1'000'000;", true},
           Row{c, "#define A 1 /* x */\nint a;", "#define A 1\nint a;", true},
           Row{c, "#define A 1\nint a;", "#define A 1 int a;", false},
           Row{c, "int l = __LINE__;", "\nint l = __LINE__;", false},
           Row{c, "auto s = R\"(a  b)\";", "auto s = R\"(a b)\";", false},
           Row{c, "// a \\\nint x;", "int x;", false},
           Row{py, "def f():\n    return 1", "def f():  # one\n\n    return 1  \n\n", true},
           Row{py, "def f():\n    return 1", "def f():\n  return 1", false},
           Row{py, "s = '#1'", "s = '#2'", false},
           Row{py, "s = '''a  # b\n\nc'''", "s = '''a  \n\nc'''", false},
           Row{py, "s = \"\\\"#\" # x", "s = \"\\\"#\"", true},
           Row{py, "s = 'a", "s = 'a # b", false},
           Row{CodeSyntax::none, "a \n\n", "a", true},
           Row{CodeSyntax::none, "a  b", "a b", false},
       })
    EXPECT_EQ(normalise(row.a, row.syntax) == normalise(row.b, row.syntax), row.same) << row.a << "\n"
                                                                                      << row.b;
}

TEST(CodeReuse, OneOfManyThreadsMakesTheValue) {
  OnceCache<int> cache(100);
  std::atomic<int> made = 0, reused = 0, throws = 0;
  std::vector<std::thread> threads;
  const std::atomic<bool> never = false;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      try {
        const auto got = cache.get("k", never, [&] {
          if (made++ == 0) throw std::runtime_error("the first fails; the next in line makes it");
          std::this_thread::sleep_for(std::chrono::milliseconds(30));
          return OnceCache<int>::Made{7};
        });
        ASSERT_TRUE(got);
        EXPECT_EQ(got->value, 7);
        reused += got->reused;
      } catch (const std::runtime_error&) {
        ++throws;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(made, 2);
  EXPECT_EQ(throws, 1);
  EXPECT_EQ(reused, 6);
  // not kept: made again; cancelled while another makes it: nothing
  EXPECT_FALSE(cache.get("x", never, [] { return OnceCache<int>::Made{1, 1, false}; })->reused);
  EXPECT_FALSE(cache.get("x", never, [] { return OnceCache<int>::Made{1, 1, false}; })->reused);
  std::atomic<bool> cancelled = false, go = false;
  std::thread maker([&] {
    cache.get("slow", never, [&] {
      while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return OnceCache<int>::Made{1};
    });
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::thread later([&] { cancelled = true; });
  const auto got = cache.get("slow", cancelled, [] { return OnceCache<int>::Made{2}; });
  EXPECT_TRUE(!got || got->value == 2);  // cancelled, or came first
  go = true;
  maker.join(), later.join();
}

TEST(CodeReuse, TheLeastRecentlyUsedGoes) {
  OnceCache<int> cache(3);
  const std::atomic<bool> never = false;
  auto get = [&](const std::string& key) {
    return cache.get(key, never, [] { return OnceCache<int>::Made{1}; })->reused;
  };
  for (const char* key : {"a", "b", "c"}) EXPECT_FALSE(get(key));
  EXPECT_TRUE(get("a"));
  EXPECT_FALSE(get("d"));  // b goes
  for (const char* key : {"a", "c", "d"}) EXPECT_TRUE(get(key));
  EXPECT_FALSE(get("b"));
}

TEST(CodeReuse, TestsThatFailMostComeFirst) {
  FailureCounts counts(2);
  EXPECT_EQ(counts.order("r", 3), (std::vector<size_t>{0, 1, 2}));
  counts.failed("r", 2, 3), counts.failed("r", 2, 3), counts.failed("r", 1, 3);
  EXPECT_EQ(counts.order("r", 3), (std::vector<size_t>{2, 1, 0}));
  counts.failed("s", 0, 3), counts.failed("t", 0, 3);  // r is forgotten
  EXPECT_EQ(counts.order("r", 3), (std::vector<size_t>{0, 1, 2}));
}

json three_tests() {
  return {{"language", "python"},
          {"tests",
           {{{"stdin", "1"}, {"stdout", "1"}},
            {{"stdin", "2"}, {"stdout", "4"}},
            {{"stdin", "3"}, {"stdout", "9"}}}}};
}

TEST(CodeReuse, IdenticalProgramsAreGradedOnce) {
  auto grader = make();
  const Verdict a = grade("print(int(input()) ** 2)", three_tests(), *grader);
  const Verdict b = grade("# the same\nprint(int(input()) ** 2)  # again\n\n", three_tests(), *grader);
  EXPECT_VERDICT(a, K::passed);
  EXPECT_VERDICT(b, K::passed);
  EXPECT_FALSE(evidence(a).contains("reused"));
  EXPECT_EQ(evidence(b)["reused"], true);
  EXPECT_NE(a.hash, b.hash);  // of what was said, not of what was run
  json other = three_tests();
  other["tests"][0]["stdout"] = "2";
  EXPECT_VERDICT(grade("print(int(input()) ** 2)", other, *grader), K::failed);  // another record
  // many at once: one runs
  std::vector<std::thread> threads;
  std::atomic<int> reused = 0;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      const Verdict v =
          grade("import time\ntime.sleep(0.2)\nprint(int(input()) ** 2)", three_tests(), *grader);
      EXPECT_EQ(v.kind, K::passed) << v.reason;
      reused += evidence(v).contains("reused");
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(reused, 5);
  auto each = make("reuse = false");
  grade("print(1)", three_tests(), *each);
  EXPECT_FALSE(evidence(grade("print(1)", three_tests(), *each)).contains("reused"));
}

TEST(CodeReuse, GradingStopsWhenTheScoreIsDecided) {
  auto grader = make();
  // right for 1 and 2 only: the third test decides, and is tried first from then on
  Verdict v = grade("n = int(input())\nprint(n ** 2 if n < 3 else 0)", three_tests(), *grader);
  EXPECT_EQ(evidence(v)["tests_run"], 3);
  EXPECT_EQ(evidence(v)["first_failing_test"], 3);
  v = grade("n = int(input())\nprint(n ** 2 if n < 3 else 1)", three_tests(), *grader);
  EXPECT_EQ(evidence(v)["tests_run"], 1);
  EXPECT_EQ(evidence(v)["first_failing_test"], 3);  // by its number in the record
  auto given = make("test_order = \"given\"");
  for (int i = 0; i < 2; ++i) {
    v = grade("n = int(input())\nprint(n ** 2 if n < 3 else " + std::to_string(i) + ")", three_tests(),
              *given);
    EXPECT_EQ(evidence(v)["tests_run"], 3);
  }
  auto partial = make("partial_credit = true");  // nothing is decided before the last test
  v = grade("n = int(input())\nprint(n ** 2 if n > 1 else 0)", three_tests(), *partial);
  EXPECT_EQ(evidence(v)["tests_run"], 3);
  EXPECT_DOUBLE_EQ(v.score, 2.0 / 3);
}

struct CacheFolder {
  std::string path;
  CacheFolder() {
    path = COHORT_BIN_DIR "/../cache-test-XXXXXX";  // not in /tmp, which every jail has its own of
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    path = std::filesystem::canonical(path).string();
  }
  ~CacheFolder() { std::filesystem::remove_all(path); }
  std::string header() const {
    for (const auto& e : std::filesystem::recursive_directory_iterator(path))
      if (e.path().extension() == ".gch") return e.path().string();
    return "";
  }
};

TEST(CodeReuse, PrecompiledHeaderIsMadeOnceAndNotTheCandidatesToTouch) {
  const CacheFolder cache;
  const std::string options = "cache_dir = \"" + cache.path + "\"";
  auto grader = make(options);
  const json record = {{"language", "cpp"}, {"tests", {{{"stdin", "3 1 2"}, {"stdout", "1 2 3"}}}}};
  const std::string sorts =
      "#include <bits/stdc++.h>\nint main(){std::vector<int>v;int x;while(std::cin>>x)v.push_back(x);"
      "std::ranges::sort(v);for(int y:v)std::cout<<y<<' ';}";
  EXPECT_VERDICT(grade(sorts, record, *grader), K::passed);
  const std::string header = cache.header();
  ASSERT_NE(header, "");
  struct stat before {};
  ASSERT_EQ(stat(header.c_str(), &before), 0);
  EXPECT_EQ(before.st_mode & 0777, 0444u);
  // what the header holds is really used: the compiler refuses other flags for it, and needs none of its text
  const std::string folder = std::filesystem::path(header).parent_path().parent_path().string();
  for (const std::string& source : {
           "#include <bits/stdc++.h>\nint main(){std::ofstream(\"" + header + "\")<<1;std::remove(\"" +
               header + "\");std::ofstream(\"" + folder + "/x\")<<1;std::cout<<(std::ifstream(\"" + header +
               "\")?\"seen\":\"1 2 3\");}",
           "#include <bits/stdc++.h>\n#pragma GCC pch_preprocess \"" + header +
               "\"\nint main(){std::cout<<\"1 2 3\";}",
           "asm(\".incbin \\\"" + header + "\\\"\");\n#include <cstdio>\nint main(){puts(\"1 2 3\");}",
       })
    EXPECT_NE(grade(source, record, *grader).kind, K::infra_error);
  struct stat after {};
  ASSERT_EQ(stat(header.c_str(), &after), 0);
  EXPECT_EQ(before.st_mtime, after.st_mtime);
  EXPECT_EQ(before.st_size, after.st_size);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_FALSE(std::filesystem::exists(folder + "/x"));
  EXPECT_VERDICT(grade(sorts + "\n", record, *make(options)), K::passed);  // another worker finds it
  ASSERT_EQ(stat(header.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  // Both kinds of isolation use it: with another in its place, of ours, programs are compiled with that.
  const std::string marked = cache.path + "/marked.h";
  std::ofstream(marked) << "#define MARKED\n#include <bits/stdc++.h>\n";
  ASSERT_EQ(std::system(("g++ -std=gnu++20 -O2 -x c++-header " + marked + " -o " + marked + ".gch").c_str()),
            0);
  std::filesystem::remove(header);
  std::filesystem::rename(marked + ".gch", header);
  std::filesystem::permissions(header, std::filesystem::perms(0444));
  std::vector<std::string> isolations = {"auto", "process"};
  std::filesystem::permissions(cache.path, std::filesystem::perms(0755));
  for (std::filesystem::path p = cache.path; p != "/"; p = p.parent_path())
    if ((std::filesystem::status(p).permissions() & std::filesystem::perms::others_exec) ==
        std::filesystem::perms::none)
      isolations = {"auto"};  // closed to nobody, as whom root's programs run there
  for (const std::string& isolation : isolations)
    EXPECT_VERDICT(grade("#include <bits/stdc++.h>\n#ifdef MARKED\nint main() { puts(\"1 2 3\"); }\n#endif\n",
                         record, *make(options + "\nisolation = \"" + isolation + "\"")),
                   K::passed);
  // one that others could have written is not believed
  std::filesystem::permissions(header, std::filesystem::perms(0666));
  std::ofstream(header) << "nonsense";
  EXPECT_VERDICT(grade(sorts + "\n\n ", record, *make(options)), K::passed);
  EXPECT_VERDICT(grade(sorts, record, *make("precompiled_headers = false")), K::passed);
}

TEST(CodeReuse, ColdAndWarmInterpretersAgree) {
  auto warm = make(), cold = make("warm_python = false");
  const json record = {{"language", "python"}, {"tests", {{{"stdin", "5"}, {"stdout", "ok"}}}}};
  {  // the worker's own standard output is nothing to an interpreter that it starts
    const int ours = dup(1), file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    if (file >= 0) dup2(file, 1);
    const K kind = grade("print('ok')", record, *warm).kind;
    dup2(ours, 1);
    close(ours), close(file);
    EXPECT_EQ(kind, K::passed);
  }
  for (const auto& [source, kind] : std::vector<std::pair<std::string, K>>{
           {"import sys\nprint('ok' if __name__ == '__main__' and sys.argv == ['solution.py'] and input() == "
            "'5' else '')",
            K::passed},
           {"import sys\nsys.stdout.write('ok')\nsys.exit(0)", K::passed},
           {"import sys\nprint('ok')\nsys.exit(3)", K::candidate_crash},
           {"print('ok'", K::compile_error},
           {"raise MemoryError", K::candidate_memory},
           {"import threading\nthreading.Thread(target=lambda: print('ok')).start()", K::passed},
           {"import atexit\natexit.register(lambda: print('ok'))", K::passed},
           {"import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", K::candidate_crash},
           // files and finalisers of objects that live to the end
           {"out = open(1, 'w')\nout.write('ok')", K::passed},
           {"import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint('ok')", K::passed},
           {"class A:\n  def __init__(self): self.me = self\n  def __del__(self): print(text)\ntext = 'ok'\n"
            "a = A()",
            K::passed},
           {"class A:\n  def __del__(self): print('ok')\na = [A()]\nimport sys\nsys.exit()", K::passed},
           {"import os\nfrom io import BytesIO, IOBase\nimport sys\nclass Fast(IOBase):\n  def "
            "__init__(self):\n    "
            "self.all = BytesIO()\n  def write(self, s): self.all.write(s.encode())\n  def flush(self):\n    "
            "os.write(1, self.all.getvalue())\n    self.all.truncate(0)\nsys.stdout = Fast()\nprint('ok')",
            K::passed},
           {"import sys\nsys.stdout.close()\nimport os\nos.write(1, b'ok')", K::passed},
           {"import sys\nsys.stdout = None", K::failed},
           {"import os, sys\nif os.fork() == 0: sys.exit(3)\nos.wait()\nprint('ok')", K::passed},
           {"import sys\ndel sys.modules['__main__']\nprint('ok')", K::passed},
           {"print('ok' if __builtins__.max(1, 2) == 2 and not __annotations__ else '')", K::passed},
           {"open('/dev/stdout', 'w').write('ok' if open('/dev/stdin').read() == '5' else '')", K::passed},
           {"import dataclasses\n@dataclasses.dataclass\nclass A:\n  x: int = 1\nprint('ok' if A() == A(1) "
            "else '')",
            K::passed},
           {"import pickle\nclass A: pass\nprint('ok' if type(pickle.loads(pickle.dumps(A()))) is A else '')",
            K::passed},
       }) {
    EXPECT_VERDICT(grade(source, record, *cold), kind);
    EXPECT_VERDICT(grade(source, record, *warm), kind);
  }
}

}  // namespace
}  // namespace cohort
