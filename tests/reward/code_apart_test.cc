// C++ scripts of assertions that run in a process without the program: what they can use, and what no program can do there.
#include <gmock/gmock.h>

#include <fstream>

#include "reward/code/cpp_apart.h"
#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;
using testing::HasSubstr;

TEST(CodeApart, ValuesOfEveryKindGoThereAndBack) {
  const std::string program = R"(
#include <bits/stdc++.h>
using namespace std;
map<string, vector<int>> groups(map<string, vector<int>> m) { for (auto& [k, v] : m) v.push_back(1); return m; }
unordered_map<int, string> names(unordered_map<int, string> m) { m[2] = "b"; return m; }
tuple<int, double, string> three(pair<int, double> p, optional<string> s) { return {p.first, p.second, s.value_or("none")}; }
const char* same(const char* s) { return s; }
array<int, 3> row(array<int, 3> a) { a[0] = 9; return a; }
vector<bool> flip(vector<bool> a) { a.flip(); return a; }
set<vector<string>> sets(const set<vector<string>>& a) { return a; }
multiset<char> letters(string s) { return {s.begin(), s.end()}; }
optional<long long> maybe(unsigned long long x) { if (x) return static_cast<long long>(x); return nullopt; }
void order(vector<int>& v, int& moves) { sort(v.begin(), v.end()); moves = 7; }
list<deque<float>> deep(list<deque<float>> x) { return x; }
bool even(int x) noexcept { return x % 2 == 0; }
static int none() { return -1; }
long double third(long double x) { return x / 3; }
vector<vector<int>> grid(int n) { return vector<vector<int>>(n, vector<int>(n, n)); }
const string& kept(const string& s) { static string k; return k = s + "!"; }
string nul(string s) { return s + '\0' + s; }
)";
  const Verdict v = apart(program, R"(
#undef NDEBUG
#include <cassert>
bool issame(vector<int> a, vector<int> b) { return a == b; }
int main() {
  auto candidate = groups;
  assert((candidate({{"a", {1}}}) == map<string, vector<int>>{{"a", {1, 1}}}));
  assert((names({{1, "a"}}) == unordered_map<int, string>{{1, "a"}, {2, "b"}}));
  assert(three({1, 0.5}, nullopt) == make_tuple(1, 0.5, string("none")));
  assert(three({1, 0.5}, "x") == make_tuple(1, 0.5, string("x")));
  assert(strcmp(same("abc"), "abc") == 0);
  assert(same(nullptr) == nullptr);
  assert((row({1, 2, 3}) == array<int, 3>{9, 2, 3}));
  assert(flip({true, false}) == (vector<bool>{false, true}));
  assert(sets({{"q", "r"}}).begin()->at(1) == "r");
  assert(letters("abca").count('a') == 2);
  assert(maybe(0) == nullopt && maybe(1ull << 62) == 1ll << 62);
  vector<int> v = {3, 1, 2};
  int moves = 0;
  order(v, moves);
  assert(issame(v, {1, 2, 3}) && moves == 7);
  assert(deep({{1.5f}, {}}).size() == 2);
  assert(even(4) && !even(3));
  assert(none() == -1);
  assert(abs(third(1) - 1.0L / 3) < 1e-15);
  assert(grid(3)[2][1] == 3 && grid(0).empty());
  assert(kept("a") == "a!");
  assert(nul("x") == string("x\0x", 3));
  for (int i = 0; i < 200; ++i) assert(even(2 * i));
}
)");
  EXPECT_EQ(v.kind, K::passed) << v.reason << v.evidence;
  EXPECT_THAT(v.evidence, Not(HasSubstr("in_process")));
}

TEST(CodeApart, EveryEndHasItsVerdict) {
  const std::string tests = "#include <assert.h>\n#include <stdexcept>\nint main() { assert(f(2) == 4); }";
  auto verdict = [&](const std::string& body, const std::string& script = "") {
    return apart("#include <stdexcept>\n#include <cstdlib>\n#include <vector>\nint f(int x) { " + body + " }",
                 script.empty() ? tests : script);
  };
  EXPECT_EQ(verdict("return x * x;").kind, K::passed);
  EXPECT_THAT(verdict("return x + 1;").reason, HasSubstr("f(2) == 4"));
  EXPECT_EQ(verdict("return x + 1;").kind, K::failed);
  const std::string lingers =
      "#include <unistd.h>\nstruct S { ~S() { sleep(5); } } s;\nint f(int x) { return x + 1; }";
  EXPECT_EQ(evidence(apart(lingers, tests))["ended"], "stopped when its tests had ended");
  EXPECT_EQ(verdict("exit(0);").kind, K::failed);
  EXPECT_EQ(verdict("exit(3);").kind, K::candidate_crash);
  EXPECT_EQ(verdict("abort();").kind, K::candidate_crash);
  EXPECT_EQ(verdict("for (volatile int i = 0;; i = x);").kind, K::candidate_timeout);
  EXPECT_EQ(verdict("static std::vector<char*> v; for (;;) { v.push_back((char*)calloc(1, 1 << 20)); "
                    "for (int i = 0; i < 1 << 20; i += 4096) v.back()[i] = 1; }")
                .kind,
            K::candidate_memory);
  EXPECT_EQ(verdict("return x").kind, K::compile_error);
  EXPECT_EQ(verdict("throw std::out_of_range(\"far\");").kind, K::candidate_crash);
  EXPECT_THAT(verdict("throw std::out_of_range(\"far\");").reason, HasSubstr("far"));
  const std::string catches =
      "#include <assert.h>\nint main() { try { f(1); assert(false); } catch (const std::out_of_range& e) { "
      "assert(std::string(e.what()) == \"far\"); } }";
  EXPECT_EQ(verdict("throw std::out_of_range(\"far\");", catches).kind, K::passed);
  EXPECT_EQ(verdict("throw std::length_error(\"far\");", catches).kind, K::candidate_crash);
  EXPECT_EQ(verdict("return x;", catches).kind, K::failed);
  EXPECT_EQ(verdict("return x;", "int main() { return f(2) == 2 ? 0 : 1; }").kind, K::passed);
  EXPECT_EQ(verdict("return x;", "int main() { return f(2) == 3 ? 0 : 1; }").kind, K::failed);
}

TEST(CodeApart, NoProgramFindsOrForgesItsTests) {
  const std::string tests =
      "#include <assert.h>\nint main() { assert(f(7) == 49000049); assert(f(8) == 64000064); }";
  const std::string head =
      "#include <unistd.h>\n#include <string.h>\n#include <stdio.h>\n#include <stdlib.h>\n";
  const std::string frame =
      "static void say(long n, const char* s, long have) { write(3, &n, 8); write(3, s, have); }\n";
  for (const std::string& forged : std::vector<std::string>{
           "int f(int) { return 0; }\n__attribute__((constructor)) static void c() { _exit(0); }",
           frame + "int f(int) { say(5, \"\\0\\1\\1\\1\\1\", 5); _exit(0); }",
           frame + "int f(int) { say(-1, \"\", 0); _exit(0); }",
           frame + "int f(int) { say(1, \"\", 1); _exit(0); }",
           frame + "int f(int) { say(300, \"\", 1); _exit(0); }",
           frame +
               "__attribute__((constructor)) static void c() { say(0, \"\", 0); }\nint f(int) { return 1; }",
           "int f(int) { close(3); return 0; }",
           "int f(int) { fputs(\"Assertion `x' failed.\\n\", stderr); puts(\"passed\"); return 0; }",
           "int f(int) { kill(-1, 9); kill(getppid(), 9); return 0; }",
           "struct B { bool operator==(B) const { return true; } };\nint f(int) { return 1; }\n"
           "bool operator==(B, int) { return true; }",
           "#define assert(x) ((void)0)\n#define NDEBUG\nint f(int) { return 1; }",
           "int f(int) { char b[4096]; for (int fd = 0; fd < 64; ++fd) if (fd != 3) { long n = pread(fd, b, "
           "sizeof b, 0); for (long i = 0; i + 8 < n; ++i) if (!memcmp(b + i, \"490000\", 6)) return "
           "49000049; } "
           "return 0; }",
       }) {
    const Verdict v = apart(head + "#include <signal.h>\n" + forged, tests);
    EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash)
        << to_string(v.kind) << " " << v.reason << "\n"
        << forged;
  }
  // an answer of more than was sent, and containers longer than their frame
  for (const char* bytes :
       {"\"\\0\\377\\377\\377\\377\\377\\377\\377\\177\", 9", "\"\\0\\2\\0\\0\\0\\0\\0\\0\\0x\", 10"}) {
    const Verdict v = apart(head + frame + "#include <string>\nstd::string f(int) { say(sizeof(\"\") * 9, " +
                                bytes + "); _exit(0); }",
                            "#include <assert.h>\nint main() { assert(f(1) == \"xx\"); }");
    EXPECT_EQ(v.kind, K::failed) << v.reason;
  }
}

// The same program passes where it shares a process with its tests: this is what running apart is for.
TEST(CodeApart, WhatIsInItsOwnMemoryIsFoundInProcessOnly) {
  std::ifstream in(COHORT_SOURCE_DIR "/tests/reward/contract/script_finds_expected.cpp");
  const std::string program((std::istreambuf_iterator<char>(in)), {});
  const std::string tests = "#include <assert.h>\nint main() { assert(f(7) == \"answer-is-4711\"); }";
  EXPECT_EQ(apart(program, tests).kind, K::failed);
  EXPECT_EQ(apart(program, tests, automatic()).kind, K::failed);
  const Verdict v = apart(program, tests, in_process());
  EXPECT_EQ(v.kind, K::passed) << v.reason;
  EXPECT_THAT(v.evidence, HasSubstr("\"in_process\":true"));
}

TEST(CodeApart, WhatCannotBeCalledFromOutside) {
  for (const char* program :
       {"struct P { int x; bool operator==(int y) const { return x == y; } };\nP f(int x) { return {x}; }",
        "struct S { int f(int x) { return x; } } s;\nint g(int x) { return s.f(x); }\n#define f(x) g(x)"}) {
    const std::string tests = "#include <assert.h>\nint main() { assert(f(2) == 2); }";
    const Verdict v = apart(program, tests, automatic());
    EXPECT_EQ(v.kind, K::passed) << v.reason << program;
    EXPECT_THAT(v.evidence, HasSubstr("\"in_process\":true"));
    const Verdict strict = apart(program, tests);
    EXPECT_EQ(strict.kind, K::compile_error) << strict.reason << program;
    EXPECT_THAT(strict.reason, HasSubstr("does not fit its tests"));
  }
}

// Apart or not, what tests compare with is not the program's.
TEST(CodeApart, TheLibraryIsNotThePrograms) {
  auto in = [](const char* language, const std::string& source, const std::string& tests,
               json more = json::object()) {
    more.update({{"language", language}, {"test_code", "#include <assert.h>\nint main() { " + tests + " }"}});
    return grade(source, more);
  };
  for (const char* language : {"c", "cpp"})
    for (const char* forged :
         {"const char* f(int x) { return \"no\"; }\nint strcmp(const char* a, const char* b) { return 0; }",
          "const char* f(int x) { return \"no\"; }\n#define strcmp(a, b) 0\n"}) {
      const Verdict v = in(language, forged, "assert(strcmp(f(1), \"yes\") == 0);");
      EXPECT_VERDICT(v, K::failed);
      EXPECT_EQ(v.reason, "test 1: defines strcmp, with which its tests compare");
    }
  EXPECT_VERDICT(in("cpp",
                    "namespace a {\nextern \"C\" {\nint strcmp(const char*, const char*) { return 0; "
                    "}\n}\n}\nusing namespace a;",
                    "assert(strcmp(\"a\", \"b\") == 0);"),
                 K::failed);
  // its own where nobody else means them, where it is asked for them, and as methods
  EXPECT_VERDICT(in("c", "int round(int x) { return x / 10 * 10; }\nint f(int x) { return round(x); }",
                    "assert(f(17) == 10);"),
                 K::passed);
  EXPECT_VERDICT(
      in("c", "unsigned long strlen(const char* s) { unsigned long n = 0; while (s[n]) ++n; return n; }",
         "assert(strlen(\"abc\") == 3);", {{"entry_point", "strlen"}}),
      K::passed);
  EXPECT_VERDICT(in("cpp",
                    "struct Bag { int n = 0; void put(int) { ++n; } int free() { return 8 - n; } int round() "
                    "{ return n; } };",
                    "Bag b; b.put(1); assert(b.free() == 7 && b.round() == 1);"),
                 K::passed);
}

// A host that cannot keep them apart would fail every program, and says so instead.
TEST(CodeApart, ACompilerThatCannotDoItIsNoVerdict) {
  const std::string c = R"(
[[languages]]
name = "c"
source = "solution.c"
program = "program"
run = ["./{program}"]
compile = ["sh", "-c", 'for a; do [ "$a" != -static ] || { echo "error: no libc.a" >&2; exit 1; }; done; exec gcc "$@"', "gcc", "-o", "{program}", "{source}", "-lm"]
)";
  const json record = {{"language", "c"}, {"test_code", "int main(void) { assert(f(2) == 4); }"}};
  const auto strict = make(c), joins = make("cpp_tests = \"auto\"\n" + c);
  const char* program = "int f(int x) { return 2 * x; }";
  const Verdict v = grade(program, record, *strict);
  EXPECT_VERDICT(v, K::infra_error);
  EXPECT_THAT(
      v.reason,
      HasSubstr("scripts of assertions in c cannot be kept apart from programs here: its tests do not "
                "compile without it: error: no libc.a"));
  EXPECT_VERDICT(grade(program, record, *joins), K::passed);
  EXPECT_VERDICT(grade(program, record), K::passed);
}

TEST(CodeApart, CFunctionsOfNumbersAndText) {
  const std::string program = R"(
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define ONE 1
static inline int sq(const int x) { printf("noise %d\n", x); return x * x; }
char *twice(const char *s) { char *r = malloc(2 * strlen(s) + 1); strcpy(r, s); return strcat(r, s); }
bool even(int64_t x) { return x % 2 == 0; }
unsigned long long
big(size_t a, uint8_t b) { return a * 1000000007ULL + b; }
double half(double x) { return x / 2; }
const char* none(void) { return NULL; }
int count;
void bump() { count += ONE; }
int counted(void) { return count; }
int len(const char s[]) { return s ? (int)strlen(s) : -1; }
long double third(long double x) { return x / 3; }
char next(char c) { return c + 1; }
)";
  const std::string tests = R"(
#include <assert.h>
int sq(int);
int main(void) {
  assert(sq(-3) == 9);
  char* t = twice("ab");
  assert(strcmp(t, "abab") == 0);
  free(t);
  assert(even(4) && !even(3));
  assert(big(1ul << 40, 200) == (1ul << 40) * 1000000007ULL + 200);
  assert(half(3) == 1.5 && third(1) * 3 > 0.99L && next('a') == 'b');
  assert(none() == NULL);
  bump(), bump();
  assert(counted() == 2);
  assert(len("abc") == 3 && len(NULL) == -1);
}
)";
  auto in_c = [](const std::string& source, const std::string& script, Grader& grader = separate()) {
    return grade(source, {{"language", "c"}, {"test_code", script}}, grader);
  };
  EXPECT_VERDICT(in_c(program, tests), K::passed);
  EXPECT_FALSE(evidence(in_c(program, tests)).contains("in_process"));
  const std::string one = "#include <assert.h>\nint main(void) { assert(f(3) == 9); }";
  const std::string head = "#include <stdlib.h>\nint f(int x) { ";
  EXPECT_THAT(in_c(head + "return x; }", one).reason, HasSubstr("f(3) == 9"));
  EXPECT_VERDICT(in_c(head + "return x; }", one), K::failed);
  EXPECT_VERDICT(in_c(head + "exit(0); }", one), K::failed);
  EXPECT_VERDICT(in_c(head + "exit(3); }", one), K::candidate_crash);
  EXPECT_VERDICT(in_c(head + "abort(); }", one), K::candidate_crash);
  EXPECT_VERDICT(in_c(head + "for (;;) { } }", one), K::candidate_timeout);
  EXPECT_VERDICT(in_c(head + "return x * x }", one), K::compile_error);
  EXPECT_VERDICT(
      in_c("#include <unistd.h>\n" + head + "write(3, \"\\11\\0\\0\\0\\0\\0\\0\\0\\11\", 9); return 0; }",
           one),
      K::failed);
  EXPECT_VERDICT(in_c(head + "return x * x; }\nint main(void) { return f(1); }", one), K::passed);
}

// That they cannot be apart, which joins them, is for the tests to say: no exit status or text that is the program's answer does.
TEST(CodeApart, NoAnswerJoinsThem) {
  for (int status = 118; status < 126; ++status)
    EXPECT_VERDICT(apart("int f(int x) { return " + std::to_string(status) + " + 0 * x; }",
                         "int main() { return f(1) == 2 ? 0 : f(1); }"),
                   status == 121 ? K::candidate_crash : K::failed);
  const json record = {
      {"language", "c"},
      {"test_code",
       "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void) {\n"
       "  if (strcmp(f(1), \"one\") != 0) { fprintf(stderr, \"%s\\n\", f(1)); abort(); }\n}\n"}};
  for (const char* text : {"one", "Assertion `ended by signal 34 (", "Assertion `ended by signal 36 ("})
    EXPECT_VERDICT(
        grade("const char *f(int x) { return \"" + std::string(text) + "\"; }", record, separate()),
        text == std::string("one") ? K::passed : K::failed);
}

TEST(CodeApart, ACompilerThatRanOutDoesNotJoinThem) {
  using namespace code;
  Compiled failed;
  failed.refused = {VerdictKind::compile_error, "error: no matching function"};
  failed.diagnostics = "boundary:12: error: no matching function";
  failed.outcome.ended = sandbox::Ended::exited;
  EXPECT_TRUE(cannot_be_apart(failed, "boundary:"));
  EXPECT_FALSE(cannot_be_apart(failed, "elsewhere:"));
  for (sandbox::Ended over : {sandbox::Ended::cpu_timeout, sandbox::Ended::wall_timeout,
                              sandbox::Ended::memory, sandbox::Ended::output, sandbox::Ended::signalled}) {
    failed.outcome.ended = over;
    EXPECT_FALSE(cannot_be_apart(failed, ""));
  }
  failed.outcome.ended = sandbox::Ended::cancelled;
  failed.refused.kind = VerdictKind::cancelled;
  EXPECT_FALSE(cannot_be_apart(failed, ""));
}

}  // namespace
}  // namespace cohort
