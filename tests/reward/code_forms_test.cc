// Every form a record's tests may have, languages by TOML, and the ways to compare.
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;
using testing::HasSubstr;

json calls(const json& tests, const std::string& entry = "f") {
  return {{"language", "python"}, {"entry_point", entry}, {"tests", tests}};
}
json call(const json& args, const json& expected) {
  return {{"args", args}, {"expected", expected}};
}

TEST(CodeForms, CallsCompareValues) {
  const json add =
      calls(json::array({call(json::array({2, 3}), 5), call(json::array({"a", "b"}), "ab"),
                         call(json::array({json::array({1}), json::array({2})}), json::array({1, 2}))}));
  EXPECT_VERDICT(grade("def f(x, y): return x + y", add), K::passed);
  EXPECT_VERDICT(grade("def f(x, y): return x", add), K::failed);
  EXPECT_VERDICT(grade("class Solution:\n  def f(self, x, y): return x + y", add), K::passed);
  EXPECT_VERDICT(grade("def f(x, y): print(5); return x + y", add),
                 K::passed);  // its own words are not its result
  EXPECT_VERDICT(grade("def f(x, y): return x +", add), K::compile_error);
  EXPECT_VERDICT(grade("def f(x, y): return z", add), K::candidate_crash);
  EXPECT_VERDICT(grade("def g(x, y): return x", add), K::candidate_crash);
  EXPECT_VERDICT(grade("def f(x, y):\n  while True: pass", calls(json::array({call({1, 2}, 3)}))),
                 K::candidate_timeout);
  struct Row {
    const char *returns, *expected;
    bool equal;
  };
  for (const Row& row : {
           Row{"1000000007", "1000000006", false},
           Row{"2**100", "1267650600228229401496703205376", true},
           Row{"2**100", "1267650600228229401496703205377", false},
           Row{"2.0**100", "1267650600228229401496703205376", true},
           Row{"2.0**100", "1267650600228229401496703205375", false},
           Row{"0.1 + 0.2", "0.3", true},
           Row{"0.31", "0.3", false},
           Row{"3.0", "3", true},
           Row{"1000000006.0", "1000000007", false},
           Row{"float('nan')", "null", false},
           Row{"[1, 2]", "[1, 2, 3]", false},
           Row{"[1, 2, 3]", "[1, 2]", false},
           Row{"(1, 2)", "[1, 2]", true},
           Row{"{2, 1}", "[1, 2]", true},
           Row{"{2, 1}", "[1, 2, 2]", false},
           Row{"{1: 'a'}", "{\"1\": \"a\"}", true},
           Row{"{'a': 1, 'b': 2}", "{\"a\": 1}", false},
           Row{"None", "null", true},
           Row{"True", "true", true},
           Row{"'1'", "1", false},
           Row{"''", "null", false},
           Row{"lambda: 1", "1", false},
       }) {
    const std::string record =
        std::string(R"({"language": "python", "entry_point": "f", "tests": [{"args": [], "expected": )") +
        row.expected + "}]}";
    const Verdict v = grade_text(std::string("def f(): return ") + row.returns, record);
    EXPECT_STREQ(to_string(v.kind), row.equal ? "passed" : "failed")
        << row.returns << " / " << row.expected << ": " << v.reason;
  }
}

TEST(CodeForms, CallsCannotBeForged) {
  const json record = calls(json::array({call(json::array({7}), 49)}));
  for (const char* source : {
           "class E(int):\n  def __eq__(self, o): return True\ndef f(x): return E(1)",
           "class E:\n  def __eq__(self, o): return True\ndef f(x): return E()",
           "import os\nos._exit(0)",
           "import sys\nsys.exit(0)",
           "import os\ndef f(x): os._exit(0)",
           "import os\nfor i in range(1, 20):\n  try: os.write(i, b'49')\n  except OSError: pass\ndef f(x): "
           "return 1",
           "import os\ndef f(x):\n  for i in range(3, 20):\n    try: os.write(i, b'48 49')\n    except "
           "OSError: pass\n  os._exit(0)",
           "import gc\ndef f(x):\n  for o in gc.get_objects():\n    if isinstance(o, dict) and 'expected' in "
           "o: return o['expected']\n  return 0",
           "import sys\ndef f(x):\n  g = sys._getframe()\n  while g:\n    for v in list(g.f_locals.values()) "
           "+ list(g.f_globals.values()):\n      if v == 49: return v\n    g = g.f_back\n  return 0",
           "import json\njson.dumps = lambda *a: '49 49'\ndef f(x): return 1",
       })
    EXPECT_VERDICT(grade(source, record), K::failed);
}

TEST(CodeForms, AppsAndLiveCodeBench) {
  const json io = {{"language", "python"},
                   {"input_output", R"({"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]})"}};
  const std::string sum = "import sys\nprint(sum(map(int, sys.stdin.read().split())))";
  EXPECT_VERDICT(grade(sum, io), K::passed);
  EXPECT_VERDICT(grade("print(3)", io), K::failed);
  const json fn = {
      {"language", "python"},
      {"input_output", R"({"fn_name": "twice", "inputs": [[2], ["ab"]], "outputs": [[4], "abab"]})"}};
  EXPECT_VERDICT(grade("class Solution:\n  def twice(self, x): return x * 2", fn), K::passed);
  EXPECT_VERDICT(grade("def twice(x): return x", fn), K::failed);
  const json lcb = {
      {"language", "python"},
      {"func_name", "join"},
      {"tests", R"([{"input": "[1, 2]\n3", "output": "[1, 2, 3]", "testtype": "functional"}])"}};
  EXPECT_VERDICT(grade("def join(l, x): return l + [x]", lcb), K::passed);
  EXPECT_VERDICT(grade("def join(l, x): return l", lcb), K::failed);
}

TEST(CodeForms, AssertListsAsInMbpp) {
  auto half = make("partial_credit = true");
  const json record = {{"language", "python"},
                       {"test_setup_code", "import math\nclass Box:\n  def __init__(self, v): self.v = v"},
                       {"test_list",
                        {"assert f(4) == 2", "assert math.isclose(f(2), math.sqrt(2))",
                         "assert f(-4) == complex(0, 2)", "assert Box(f(9)).v == 3"}}};
  const std::string good = "import cmath, math\ndef f(x): return math.sqrt(x) if x >= 0 else cmath.sqrt(x)";
  const Verdict v = grade(good, record, *half);
  EXPECT_VERDICT(v, K::passed);
  const Verdict w = grade("def f(x): return abs(x) ** 0.5", record, *half);
  EXPECT_VERDICT(w, K::failed);
  EXPECT_DOUBLE_EQ(w.score, 0.75);
  EXPECT_EQ(evidence(w)["first_failing_test"], 3);
}

TEST(CodeForms, ScriptsHoldTheCandidateByProxies) {
  auto script = [](const std::string& source, const std::string& tests) {
    return grade(source, {{"language", "python"}, {"test_code", tests}});
  };
  // classes, methods, attributes, iterators, exceptions, functions as arguments, values of every plain type
  const std::string stack =
      "class Stack:\n  def __init__(self): self.items = []\n  def push(self, x): self.items.append(x)\n"
      "  def pop(self): return self.items.pop()\n  def __len__(self): return len(self.items)\n"
      "  def __iter__(self): return iter(self.items)\n";
  EXPECT_VERDICT(script(stack,
                        "s = Stack()\ns.push(1)\ns.push((2, {3: 'x'}))\nassert len(s) == 2\n"
                        "assert s.items == [1, (2, {3: 'x'})]\nassert list(s) == [1, (2, {3: 'x'})]\n"
                        "assert s.pop() == (2, {3: 'x'})\nassert s.pop() == 1\n"
                        "try:\n  s.pop()\n  assert False\nexcept IndexError: pass\n"),
                 K::passed);
  EXPECT_VERDICT(script(stack, "s = Stack()\ns.push(1)\nassert s.pop() == 2"), K::failed);
  EXPECT_VERDICT(script("def apply(g, xs): return [g(x) for x in xs]",
                        "assert apply(lambda x: x + 1, [1, 2]) == [2, 3]\nassert apply(str, (1,)) == ['1']"),
                 K::passed);
  EXPECT_VERDICT(script("def gen(n):\n  for i in range(n): yield i", "assert list(gen(3)) == [0, 1, 2]"),
                 K::passed);
  EXPECT_VERDICT(script("def naturals():\n  n = 0\n  while True:\n    yield n\n    n += 1",
                        "import itertools\nassert list(itertools.islice(naturals(), 3)) == [0, 1, 2]"),
                 K::passed);
  EXPECT_VERDICT(script("def same(x): return x",
                        "from fractions import Fraction\nfrom decimal import Decimal\n"
                        "for x in (None, True, 1, -2**200, 1.5, float('inf'), 1j, 'a\\u00e9\\ud800', "
                        "b'\\x00\\xff', bytearray(b'x'), [1, [2]], (1, (2,)), (),\n"
                        "          {1: [2], (3,): 4}, {1, 2}, frozenset({3}), range(3), Fraction(1, 3), "
                        "Decimal('0.10'), {}):\n"
                        "  assert same(x) == x and type(same(x)) is type(x), x\n"
                        "assert str(same(float('nan'))) == 'nan'\n"),
                 K::passed);
  // arguments are given by value: emptying the list that the test compares with is no way to pass
  EXPECT_VERDICT(
      script("def total(xs):\n  xs.clear()\n  return 0", "xs = [1, 2]\nassert total(xs) == sum(xs)"),
      K::failed);
  // what no other process can have is a fault of the record, not of the candidate
  EXPECT_VERDICT(script("def f(x): return 1", "class A: pass\nassert f(A()) == 1"), K::infra_error);
  EXPECT_VERDICT(script("def f(x): return 1", "assert f(1 == 1"), K::infra_error);
  auto in_process = make("python_tests = \"in_process\"");
  EXPECT_VERDICT(
      grade("def f(x): return x.v",
            {{"language", "python"}, {"test_code", "class A: v = 3\nassert f(A()) == 3"}}, *in_process),
      K::passed);
}

TEST(CodeForms, ScriptsInTheCandidatesProcess) {
  auto grader = make("python_tests = \"in_process\"");
  const json record = {{"language", "python"},
                       {"entry_point", "f"},
                       {"prelude", "def twice(x): return 2 * x\ndef f(x): pass"},
                       {"test_code", "def check(c):\n    assert c(7) == twice(7)\n"}};
  EXPECT_VERDICT(grade("def f(x): return x + x", record, *grader), K::passed);
  EXPECT_VERDICT(grade("def f(x): return x", record, *grader), K::failed);
  EXPECT_VERDICT(grade("import os\nos._exit(0)", record, *grader), K::failed);
}

TEST(CodeForms, ScriptsCannotBeForged) {
  const json record = {
      {"language", "python"},
      {"entry_point", "f"},
      {"prelude", "def near(x, y): return abs(x - y) < 1e-9\ndef f(x): pass"},
      {"test_code",
       "import math\nSECRET = 49\ndef check(c):\n    assert c(7) == SECRET\n    assert near(c(1), 1)\n"
       "    assert math.fabs(c(2) - 4) < 1e-6\n"}};
  EXPECT_VERDICT(grade("def f(x): return x * x", record), K::passed);
  const std::string always =
      "class E:\n  def __eq__(self, o): return True\n  def __ne__(self, o): return False\n"
      "  def __lt__(self, o): return True\n  def __sub__(self, o): return 0\n  def __float__(self): return "
      "0.0\n"
      "  def __abs__(self): return 0\n";
  for (const std::string& source : std::vector<std::string>{
           always + "def f(x): return E()",
           "class I(int):\n  def __eq__(self, o): return True\ndef f(x): return I(1)",
           "import os\nos._exit(0)",
           "import sys\nsys.exit(0)",
           "import os\ndef f(x): os._exit(0)",
           "import os\ndef f(x):\n  for i in range(1, 32):\n    try: os.write(i, b'[\"ok\", \"\"]')\n    "
           "except OSError: pass\n  os._exit(0)",
           "import os\nb = b'[\"ok\", 49]'\nfor i in range(3, 32):\n  try: os.write(i, len(b).to_bytes(8, "
           "'little') + b)\n  except OSError: pass\ndef f(x): return 0",
           "print('[\"ok\", \"\"]')\nprint('passes')\ndef f(x): return 0",
           "def near(x, y): return True\ndef f(x): return 49 if x == 7 else 4 if x == 2 else 0",
           "import builtins, math\nbuiltins.abs = lambda x: 0\nmath.fabs = lambda x: 0\nSECRET = 1\ndef "
           "check(c): pass\ndef f(x): return 1",
           "import gc, sys\ndef f(x):\n  for o in gc.get_objects():\n    if isinstance(o, dict) and 'SECRET' "
           "in o: return o['SECRET']\n"
           "  for m in list(sys.modules.values()):\n    if hasattr(m, 'SECRET'): return m.SECRET\n  return 0",
           "import sys\ndef f(x):\n  g = sys._getframe()\n  while g:\n    if 'SECRET' in g.f_globals: return "
           "g.f_globals['SECRET']\n    g = g.f_back\n  return 0",
           "import os\ndef f(x):\n  for p in os.listdir('/proc'):\n    try:\n      if b'SECRET' in "
           "open('/proc/' + p + '/mem', 'rb').read(): return 49\n    except OSError: pass\n"
           "  for d in ('.', '/', '/tmp', '/box'):\n    for n in os.listdir(d):\n      try:\n        if "
           "'SECRET' in open(os.path.join(d, n)).read(): return 49\n      except (OSError, UnicodeError): "
           "pass\n  return 0",
           "raise AssertionError",
           "def f(x): raise SystemExit(0)",
           "def f(x): raise StopIteration",
       }) {
    const Verdict v = grade(source, record);
    EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash || v.kind == K::candidate_output)
        << to_string(v.kind) << " " << v.reason << "\n"
        << source;
  }
}

TEST(CodeForms, CheckerPrograms) {
  json record = {{"language", "python"}, {"tests", {{{"stdin", "10"}, {"stdout", "any"}}}}};
  // two numbers above 0 that add up to the input
  record["checker"] = {
      {"language", "python"},
      {"source",
       "import sys\nn = int(open(sys.argv[1]).read())\na, b = map(int, open(sys.argv[2]).read().split())\n"
       "sys.exit(0 if a > 0 and b > 0 and a + b == n and open(sys.argv[3]).read() == 'any' else 1)"}};
  EXPECT_VERDICT(grade("n = int(input())\nprint(3, n - 3)", record), K::passed);
  EXPECT_VERDICT(grade("print(3, 3)", record), K::failed);
  EXPECT_VERDICT(grade("print('x')", record), K::failed);
  EXPECT_VERDICT(grade("import os\nprint(3 if not os.path.exists('answer.txt') else 0, 7)", record),
                 K::passed);
  record["checker"] = {{"language", "c"}, {"source", "#include <signal.h>\nint main(){raise(SIGSEGV);}"}};
  EXPECT_VERDICT(grade("print(3, 7)", record), K::unknown);
  record["checker"]["source"] = "int main( {";
  EXPECT_VERDICT(grade("print(3, 7)", record), K::infra_error);
}

TEST(CodeForms, DriverCallsAFunctionOfACompiledLanguage) {
  const json record = {
      {"language", "c"},
      {"driver", "#include <stdio.h>\nint main(){int x;while(scanf(\"%d\",&x)==1)printf(\"%d\\n\",sq(x));}"},
      {"tests", {{{"stdin", "2 3"}, {"stdout", "4\n9"}}}}};
  EXPECT_VERDICT(grade("int sq(int x){return x*x;}", record), K::passed);
  EXPECT_VERDICT(grade("int sq(int x){return x+x;}", record), K::failed);
  EXPECT_VERDICT(grade("int sq(int x){return x*x}", record), K::compile_error);
  EXPECT_VERDICT(grade("#include <stdlib.h>\nint sq(int x){exit(0);}", record), K::failed);
}

TEST(CodeForms, LanguagesByToml) {
  auto grader = make(R"(
[[languages]]
name = "perl"
aliases = ["pl"]
source = "solution.pl"
run = ["perl", "{source}"]
syntax_errors = ["Execution of solution.pl aborted due to compilation errors", "solution.pl had compilation errors"]

[[languages]]
name = "shell"
source = "solution.sh"
run = ["sh", "{source}"]

[[languages]]
name = "assembly"                  # compiled
source = "solution.s"
program = "out"
compile = ["gcc", "-o", "{program}", "{source}"]
run = ["./{program}"]

[[languages]]
name = "c"                         # in place of the built-in one
source = "main.c"
program = "a.out"
compile = ["gcc", "-DADD=1", "-o", "{program}", "{source}"]
run = ["./{program}"]
)");
  const json tests = {{{"stdin", "2 3\n"}, {"stdout", "5\n"}}};
  auto in = [&](const char* language, const std::string& source) {
    return grade(source, {{"language", language}, {"tests", tests}}, *grader);
  };
  const std::string perl = "my ($x, $y) = split ' ', <STDIN>; print $x + $y;";
  EXPECT_VERDICT(in("perl", perl), K::passed);
  EXPECT_VERDICT(in("PL", perl), K::passed);
  EXPECT_VERDICT(in("perl", "print 6"), K::failed);
  EXPECT_VERDICT(in("perl", "print (;\n"), K::compile_error);
  EXPECT_VERDICT(in("perl", "die 'x'"), K::candidate_crash);
  EXPECT_VERDICT(in("perl", "while (1) {}"), K::candidate_timeout);
  EXPECT_VERDICT(in("shell", "read x y; echo $((x + y))"), K::passed);
  EXPECT_VERDICT(in("assembly", ".globl main\nmain: xorl %eax, %eax\n ret\n"), K::failed);
  EXPECT_VERDICT(in("assembly", "nonsense\n"), K::compile_error);
  EXPECT_VERDICT(
      in("c", "#include <stdio.h>\nint main(){int a,b;scanf(\"%d%d\",&a,&b);printf(\"%d\",ADD*(a+b));}"),
      K::passed);
  EXPECT_VERDICT(in("python", "print(5)"), K::passed);
  EXPECT_VERDICT(in("go", "x"), K::infra_error);
  for (const auto& [options, says] : std::vector<std::pair<std::string, std::string>>{
           {"language = \"perl\"\n", "\"perl\" is none of the languages: c, cpp, python"},
           {"[[languages]]\nname = \"x\"\nsource = \"a\"\nrun = [\"./{souce}\"]\n", "did you mean {source}?"},
           {"[[languages]]\nname = \"x\"\nsource = \"a\"\nrun = [\"a\"]\nread_only = [\"b\"]\n",
            "absolute path"},
           {"[[languages]]\nname = \"x\"\n", "has no source"},
           {"[[languages]]\nname = \"x\"\nsource = \"a\"\n", "has no run"},
           {"[[languages]]\nname = \"x\"\nsource = \"a\"\nrun = [\"{program}\"]\n", "has no program"},
           {"[[languages]]\nname = \"x\"\nsource = \"../a\"\nrun = [\"a\"]\n", "plain file name"},
           {"[[languages]]\nname = \"x\"\nsorce = \"a\"\n", "source"},
       }) {
    try {
      make(options);
      ADD_FAILURE() << options;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
    }
  }
}

// What a host has not is no fault of the programs.
TEST(CodeForms, ALanguageThatThisHostLacksIsNoReward) {
  auto says = [&](const std::string& more) {
    auto grader = make("[[languages]]\nname = \"x\"\nsource = \"a\"\n" + more);
    const Verdict v = grade("x", {{"language", "x"}, {"tests", {{{"stdout", "x"}}}}}, *grader);
    EXPECT_VERDICT(v, K::infra_error);
    return v.reason;
  };
  EXPECT_NE(says("run = [\"no-such-command\"]").find("no-such-command"), std::string::npos);
  EXPECT_NE(says("run = [\"cat\", \"{source}\"]\nread_only = [\"/no/such\"]").find("/no/such"),
            std::string::npos);
  const std::string compiled = "program = \"p\"\nrun = [\"./p\"]\n";
  EXPECT_NE(says(compiled + "compile = [\"no-such-command\"]").find("no-such-command"), std::string::npos);
  EXPECT_NE(says(compiled + "compile = [\"sh\", \"-c\", \"no-such-command a\"]").find("no-such-command"),
            std::string::npos);
}

// An entry or a toolchain that would fail every program is found out before the first.
TEST(CodeForms, ATrialProgramTellsABrokenLanguageFromABrokenProgram) {
  auto graded = [&](const std::string& more, const char* source) {
    auto grader = make("[[languages]]\nname = \"x\"\nsource = \"a.sh\"\n" + more);
    return grade(source, {{"language", "x"}, {"tests", {{{"stdin", "5\n"}, {"stdout", "5\n"}}}}}, *grader);
  };
  auto refused = [&](const std::string& more) {
    const Verdict v = graded(more, "cat");
    EXPECT_VERDICT(v, K::infra_error);
    return v.reason;
  };
  const std::string runs = "run = [\"sh\", \"{source}\"]\n", trial = "trial = \"cat\"\n";
  EXPECT_VERDICT(graded(runs + trial, "cat"), K::passed);
  EXPECT_VERDICT(graded(runs + trial, "echo 6"), K::failed);
  EXPECT_THAT(refused("run = [\"echo\", \"{source}\"]\n" + trial), HasSubstr("writes \"a.sh\" instead of"));
  EXPECT_THAT(refused("run = [\"sh\", \"-c\", \"exit 3\"]\n" + trial), HasSubstr("exit status 3"));
  EXPECT_THAT(refused(runs + "trial = \"no-such-thing\"\n"), HasSubstr("no-such-thing: not found"));
  const std::string compiled = "program = \"p\"\nrun = [\"sh\", \"p\"]\n" + trial;
  EXPECT_THAT(refused(compiled + "compile = [\"sh\", \"-c\", \"echo error: no parser >&2; exit 1\"]\n"),
              HasSubstr("the trial program of \"x\" does not compile: error: no parser"));
  // once it has worked, a command that is not there is one of the program's: here the compiler runs its text
  const std::string as_macro =
      compiled + "compile = [\"sh\", \"-c\", \"grep -qx cat a.sh || sh a.sh; cp a.sh p\"]\n";
  EXPECT_VERDICT(graded(as_macro, "cat"), K::passed);
  EXPECT_VERDICT(graded(as_macro, "no-such-thing; exit 127"), K::candidate_crash);
  const std::string strict =
      compiled + "compile = [\"sh\", \"-c\", \"grep -qx cat a.sh || sh a.sh && cp a.sh p\"]\n";
  EXPECT_VERDICT(graded(strict, "no-such-thing"), K::compile_error);
}

// docs/code.md's own block.
TEST(CodeForms, LanguagesOfTheDocs) {
  std::ifstream in(COHORT_SOURCE_DIR "/docs/code.md");
  const std::string docs{std::istreambuf_iterator<char>(in), {}};
  const size_t begin = docs.find("```toml\n", docs.find("## Languages")) + 8;
  const auto rewards = *TomlTable::parse(docs.substr(begin, docs.find("```", begin) - begin), "docs/code.md")
                            .get_tables("reward");
  TomlTable options = rewards.at(0);
  options.set("whole_completion=true");
  const auto grader = make_code_grader(options);
  struct Example {
    const char *language, *needs, *right, *wrong, *broken;
  };
  int ran = 0;
  for (const Example& e : {
           Example{"pl", "/usr/bin/perl", "my ($x, $y) = split ' ', <STDIN>; print $x + $y;", "print 6;",
                   "print (;"},
           Example{"bash", "/usr/bin/bash", "read x y; echo $((x + y))", "echo 6", "if then"},
           Example{"fortran", "/usr/bin/gfortran", "program a\ninteger x,y\nread *,x,y\nprint *,x+y\nend",
                   "end", "foo bar\nend"},
           Example{"java", "/etc/java-17-openjdk/security",
                   "import java.util.*;\nclass Main { public static void main(String[] a) { Scanner s = new "
                   "Scanner(System.in); "
                   "System.out.println(s.nextInt() + s.nextInt()); } }",
                   "class Main { public static void main(String[] a) {} }", "class {"},
       }) {
    if (access(e.needs, F_OK) != 0) continue;
    ++ran;
    auto in_it = [&](const char* source) {
      return grade(source, {{"language", e.language}, {"tests", {{{"stdin", "2 3\n"}, {"stdout", "5\n"}}}}},
                   *grader);
    };
    EXPECT_VERDICT(in_it(e.right), K::passed);
    EXPECT_VERDICT(in_it(e.wrong), K::failed);
    EXPECT_VERDICT(in_it(e.broken), K::compile_error);
  }
  EXPECT_GE(ran, 2);
}

TEST(CodeForms, RecordsChooseTheComparison) {
  auto output = [](const std::string& text, const std::string& expected, const json& more) {
    json record = {{"language", "shell"}, {"tests", {{{"stdout", expected}}}}};
    record.update(more);
    static const auto grader =
        make("[[languages]]\nname = \"shell\"\nsource = \"s\"\nrun = [\"cat\", \"{source}\"]\n");
    return grade(text, record, *grader);
  };
  EXPECT_VERDICT(output("b\na\n", "a\nb\n", {{"compare", "unordered_lines"}}), K::passed);
  EXPECT_VERDICT(output("b\na\n", "a\nb\n", json::object()), K::failed);
  EXPECT_VERDICT(output("0.5001", "0.5", {{"compare", "floats"}, {"absolute_tolerance", 0.01}}), K::passed);
  EXPECT_VERDICT(output("0.5001", "0.5", {{"compare", "floats"}}), K::failed);
  EXPECT_VERDICT(output("a", "a", {{"compare", "near"}}), K::infra_error);
}

TEST(Compare, Table) {
  using C = OutputCompare;
  struct Row {
    std::string expected, actual;
    C how;
    bool equal;
  };
  const std::vector<Row> rows = {
      {"1 2\n3\n", "1  2 3", C::tokens, true},
      {"1 2", "1 2 3", C::tokens, false},
      {"1 2 3", "1 2", C::tokens, false},
      {"", " \n", C::tokens, true},
      {"x", "", C::tokens, false},
      {"1 2\n3\n", "1 2 \n3\n\n", C::lines, true},
      {"1 2\n3\n", "1  2\n3\n", C::lines, false},
      {"a\nb\n", "b\na\n\n", C::unordered_lines, true},
      {"a\na\nb", "a\nb\nb", C::unordered_lines, false},
      {"a\nb", "a\nb\nb", C::unordered_lines, false},
      {"a\n", "a", C::exact, false},
      {"a\n", "a\n", C::exact, true},
      {"0.3333333", "0.33333334", C::floats, true},
      {"0.3333", "0.3334", C::floats, false},
      {"1000000007", "1000000006", C::floats, false},
      {"1000000007", "1000000006.0", C::floats, false},
      {"1000000007", "1000000007.0", C::floats, true},
      {"1000000007.0", "1000000006", C::floats, false},
      {"1000000007", "+1000000007", C::floats, true},
      {"7", "007", C::floats, true},
      {"0", "-0", C::floats, true},
      {"9007199254740993", "9007199254740992.0", C::floats, false},
      {"123456789012345678901234567890", "123456789012345678901234567891", C::floats, false},
      {"5", "4.9999999999", C::floats, true},
      {"1e6", "1000000.5", C::floats, true},
      {"nan", "NaN", C::floats, true},
      {"nan", "nan(0x1)", C::floats, false},
      {"inf", "-inf", C::floats, false},
      {"inf", "Infinity", C::floats, true},
      {"1e400", "inf", C::floats, true},
      {"nan", "1", C::floats, false},
      {"1e10", "10000000000", C::floats, true},
      {"0x10", "16", C::floats, false},
      {"yes 1.0", "no 1.0", C::floats, false},
      {"1.0 2.0", "1.0", C::floats, false},
      {"1.0", "1.0 2.0", C::floats, false},
  };
  for (const Row& row : rows)
    EXPECT_EQ(compare_outputs(row.expected, row.actual, row.how).empty(), row.equal)
        << row.expected << " / " << row.actual;
}

}  // namespace
}  // namespace cohort
