// C++ tasks as they are set: classes, structures, linked lists, arrays, overloads, templates. Each has a correct program, which passes
// apart from its tests as it does beside them, and a wrong one, which fails in both (cpp_tasks.txt).
#include <gmock/gmock.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <regex>
#include <thread>

#include "reward/code/cpp_surface.h"
#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;
using testing::HasSubstr;

// Twelve programs, each with another SEED, on two threads.
void never_pass(const std::string& declared, const std::vector<std::string>& tests) {
  std::atomic<int> next = 0;
  auto work = [&] {
    for (int i; (i = next++) < 12;) {
      std::string program = declared;
      program.replace(program.find("SEED"), 4, std::to_string(i * 7919 + 1));
      const Verdict v =
          apart(program, "#include <assert.h>\n" + tests[static_cast<size_t>(i) % tests.size()]);
      EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash)
          << i << " " << to_string(v.kind) << " " << v.reason;
    }
  };
  std::thread second(work);
  work();
  second.join();
}

struct Task {
  std::string name, program, tests;
  std::vector<std::string> wrong;
};

// `from => to` done to a text, whatever blanks `from` has there.
std::string changed(const std::string& text, const std::string& change) {
  const size_t arrow = change.find(" => ");
  std::string pattern;
  for (char c : change.substr(0, arrow)) {
    if (c == ' ')
      pattern += "\\s*";
    else
      pattern += std::string(isalnum(static_cast<unsigned char>(c)) || c == '_' ? "" : "\\") + c;
  }
  std::smatch found;
  if (!std::regex_search(text, found, std::regex(pattern))) return text;
  return found.prefix().str() + change.substr(arrow + 4) + found.suffix().str();
}

std::vector<Task> tasks() {
  std::ifstream in(COHORT_SOURCE_DIR "/tests/reward/cpp_tasks.txt");
  std::vector<Task> all;
  bool in_tests = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("=== ")) {
      all.push_back({line.substr(4), "", "", {}});
      in_tests = false;
    } else if (line == "--- tests") {
      in_tests = true;
    } else if (line.starts_with("--- wrong ")) {
      all.back().wrong.push_back(line.substr(10));
    } else {
      (in_tests ? all.back().tests : all.back().program) += line + "\n";
    }
  }
  return all;
}

TEST(CodeApartCpp, TasksHaveTheVerdictsOfTheSharedProcess) {
  const std::vector<Task> all = tasks();
  EXPECT_GE(all.size(), 30u);
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  auto work = [&] {
    for (size_t i; (i = next++) < all.size();) {
      const Task& task = all[i];
      const Verdict right = apart(task.program, task.tests);
      const Verdict beside = apart(task.program, task.tests, in_process());
      std::vector<std::pair<Verdict, Verdict>> wrong;
      for (const std::string& change : task.wrong) {
        const std::string program = changed(task.program, change);
        if (program == task.program) ADD_FAILURE() << task.name << ": no " << change;
        wrong.emplace_back(apart(program, task.tests), apart(program, task.tests, in_process()));
      }
      const std::lock_guard lock(mutex);
      EXPECT_EQ(right.kind, K::passed) << task.name << ": " << right.reason << right.evidence;
      EXPECT_FALSE(evidence(right).contains("in_process")) << task.name;
      EXPECT_EQ(beside.kind, K::passed) << task.name << ": " << beside.reason;
      EXPECT_FALSE(wrong.empty()) << task.name;
      for (const auto& [there, here] : wrong) {
        EXPECT_STREQ(to_string(there.kind), to_string(here.kind))
            << task.name << ": " << there.reason << "; " << here.reason;
        EXPECT_TRUE(there.kind == K::failed || there.kind == K::candidate_crash)
            << task.name << ": " << there.reason;
      }
    }
  };
  std::thread second(work);
  work();
  second.join();
}

// Each is wrong, and tries to pass.
TEST(CodeApartCpp, NoProgramForgesItsTests) {
  const std::string head =
      "#include <bits/stdc++.h>\n#include <unistd.h>\n#include <signal.h>\nusing namespace std;\n";
  const std::string counter =
      "int main() { Counter c(41); c.add(1); assert(c.get() == 42); Counter d = c; assert(d.get() == 42); }";
  const std::string points =
      "int main() { Point p = mid(Point{0, 0}, Point{4, 6}); assert(p == (Point{2, 3})); assert(p.x == 2); }";
  const std::string list =
      "int main() { Node* a = new Node(7); a->next = new Node(8); Node* r = reverse(a); assert(r && r->val "
      "== 8 && r->next == a); }";
  const std::string scan =
      "static int found(int low) { FILE* m = fopen(\"/proc/self/maps\", \"r\"); char line[400]; while "
      "(fgets(line, 400, m)) { "
      "unsigned long a, b; char r; if (sscanf(line, \"%lx-%lx %c\", &a, &b, &r) != 3 || r != 'r' || "
      "strstr(line, \"[v\")) continue; "
      "for (unsigned long p = a; p + 8 <= b; p += 4) if (*(int*)p == 42 && ((int*)p)[1] == low) return 42; } "
      "return 0; }\n";
  for (const auto& [program, tests] : std::vector<std::pair<std::string, std::string>>{
           {"struct Counter { Counter(int) { _exit(0); } void add(int) {} int get() const { return 0; } };",
            counter},
           {"struct Counter { Counter(int) {} ~Counter() { _exit(0); } void add(int) {} int get() const { "
            "return 0; } };",
            counter},
           {"struct Counter { Counter(int) {} void add(int) { exit(0); } int get() const { return 0; } };",
            counter},
           {"__attribute__((constructor)) static void c() { _exit(0); }\nstruct Counter { int n; Counter(int "
            "x) : n(x) {} void add(int) {} "
            "int get() const { return n; } };",
            counter},
           {"#define get() cheat()\nstruct Counter { Counter(int) {} void add(int) {} int get() const { "
            "return 0; } };\nint "
            "cheat_all();",
            counter},
           {"#define assert(x) ((void)0)\n#define NDEBUG\nstruct Counter { Counter(int) {} void add(int) {} "
            "int get() const { return 0; } };",
            counter},
           {"#define main solution_main\nstruct Counter { Counter(int) {} void add(int) {} int get() const { "
            "return 0; } };",
            counter},
           {scan + "struct Counter { Counter(int) {} void add(int) {} int get() const { return found(4711); "
                   "} };",
            counter},
           {"struct Any { template <class T> bool operator==(const T&) const { return true; } };\nstruct "
            "Counter { Counter(int) {} void "
            "add(int) {} Any get() const { return {}; } };",
            counter},
           {"struct Any { bool operator==(int) const { return true; } friend bool operator==(int, Any) { "
            "return true; } };\nstruct Counter "
            "{ int z = 0; Counter(int) {} void add(int) {} Any get() const { return {}; } };",
            counter},
           {"namespace std { template <> struct equal_to<int> { bool operator()(int, int) const { return "
            "true; } }; template <> struct "
            "less<int> { bool operator()(int, int) const { return false; } }; }\nstruct Counter { "
            "Counter(int) {} void add(int) {} int "
            "get() const { return 0; } };",
            counter},
           {"struct Counter { Counter(int) { kill(getppid(), 9); kill(-1, 9); } void add(int) {} int get() "
            "const { return 0; } };",
            counter},
           {"struct Point { int x, y; bool operator==(const Point&) const { return true; } };\nPoint "
            "mid(Point, Point) { return {0, 0}; }",
            points},
           {"struct Point { int x, y; };\nbool operator==(const Point&, const Point&) { return true; "
            "}\nPoint mid(Point, Point) { return {2, 0}; }",
            points},
           {"struct Point { int x, y; bool operator==(const Point& o) const { return x == o.x; } };\nPoint "
            "mid(Point, Point) { return {2, 0}; }",
            points},
           {"struct Point { int x, y; bool operator==(const Point& o) const { return x == o.x && x == o.x; } "
            "};\nPoint mid(Point, Point) { "
            "return {2, 0}; }",
            points},
           {"struct Point { int x, y; bool operator==(const Point& o) const { return abs(x - o.x) < 100 && "
            "abs(y - o.y) < 100; } };\nPoint "
            "mid(Point, Point) { return {2, 0}; }",
            points},
           {"struct Point { int x, y; virtual ~Point() {} Point(int a, int b) : x(a), y(b) {} bool "
            "operator==(const Point&) const { return true; } "
            "};\nPoint mid(Point, Point) { return {2, 0}; }",
            points},
           {"struct Node { int val; Node* next; Node(int x) : val(x), next(nullptr) {} };\nNode* "
            "reverse(Node* h) { return h; }",
            list},
           {"struct Node { int val; Node* next; Node(int x) : val(8), next(this) {} };\nNode* reverse(Node* "
            "h) { h->val = 8; return h; }",
            list},
           {"struct Node { int val; Node* next; Node(int x) : val(x), next(nullptr) {} };\nNode* "
            "reverse(Node* h) { return (Node*)0x1000; }",
            list},
           {"template <class T> struct Vec { bool operator==(const T&) const { return true; } };\ntemplate "
            "<class T> Vec<T> twice(T) { return {}; }",
            "int main() { assert(twice(2) == 4); }"},
           {"#define INT_MAX 5\nint largest(vector<int>) { return 5; }",
            "int main() { assert(largest({INT_MAX, 1}) == INT_MAX); assert(largest({3}) == 3); }"},
           {"double fabs(int) { return 0; }\nstruct D { double v; };\ndouble half(double) { return 77; }",
            "int main() { assert(fabs(half(1) - 0.5) < 1e-9); }"},
           {"void fill(int* a, int n) { for (int i = -64; i < 64; ++i) if (a[i] == 4711 && i >= n) { a[0] = "
            "4711; return; } }",
            "int main() { int secret[4] = {4711, 4711, 4711, 4711}; int a[1] = {0}; fill(a, 1); assert(a[0] "
            "== secret[0]); }"},
           {"int call(function<int(int)> f) { return f(1) ? 0 : 0; }",
            "int main() { int n = 0; assert(call([&](int x) { return n += x; }) == 1); }"},
       }) {
    const Verdict v = apart(head + program, "#include <assert.h>\n" + tests);
    EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash || v.kind == K::compile_error)
        << to_string(v.kind) << " " << v.reason << "\n"
        << program;
  }
}

// Answers of a program that has taken the socket: bytes, counts and numbers at random, and frames that are nearly right.
TEST(CodeApartCpp, RandomAnswersNeverPass) {
  const std::string declared = R"(
#include <bits/stdc++.h>
#include <unistd.h>
using namespace std;
struct Node { int val; Node* next; Node(int x) : val(x), next(nullptr) {} };
class Box { int n; public: Box(int x) : n(x + 1) {} int get() const { return n; } Box& self() { return *this; } int& at(int i) { return n; } virtual ~Box() {} };
unique_ptr<Box> make(int x) { return nullptr; }
Node* grow(Node* n) { return n; }
vector<string> words(map<string, int> m, function<int(int)> f) { return {}; }
void fill(int* a, int n) {}
int* table(int n) { return nullptr; }
variant<int, string> either(optional<int> x) { return 0; }
static long seed() { return SEED; }
static mt19937_64 draw(seed());
__attribute__((constructor)) static void take() {
  for (;;) {
    unsigned long n = 0;
    if (read(3, &n, 8) != 8) _exit(0);
    string in(n, 0);
    for (unsigned long got = 0; got < n;) { long r = read(3, &in[got], n - got); if (r <= 0) _exit(0); got += r; }
    string out;
    auto put = [&](unsigned long x, int bytes) { out.append((const char*)&x, bytes); };
    const int how = draw() % 8;
    put(how == 0 ? draw() % 4 : how == 1 ? 0 : how == 2 ? 2 : 1, 1);
    if (how > 2 && draw() % 4) put(0, 8);
    for (int k = draw() % 12; k > 0; --k) {
      const int kind = draw() % 6;
      if (kind == 0) put(draw(), 8);
      else if (kind == 1) put(draw() % 4, 8);
      else if (kind == 2) put(draw() % 3, 4);
      else if (kind == 3) put(draw() % 300, 1);
      else if (kind == 4) put(1ul << (draw() % 64), 8);
      else out += in.substr(draw() % (in.size() + 1), draw() % 40);
    }
    if (draw() % 3) put(0, 8);
    n = draw() % 16 ? out.size() : draw() % 100;
    out.resize(n);
    if (write(3, &n, 8) != 8 || write(3, out.data(), n) != (long)n) _exit(0);
  }
}
)";
  const std::vector<std::string> tests = {
      "int main() { Box b(2); assert(b.get() == 1234567); assert(&b.self() == &b); b.at(0) = 5; "
      "assert(b.get() == 1234567); }",
      "int main() { auto u = make(3); assert(u && u->get() == 1234567); auto v = make(4); assert(v && "
      "v->get() == 7654321); }",
      "int main() { Node* n = new Node(1); n->next = new Node(2); Node* r = grow(n); assert(r != n && r->val "
      "== 1234567); }",
      "int main() { int k = 0; auto w = words({{\"a\", 1}}, [&](int x) { return k += x; }); assert(w.size() "
      "== 3 && w[2] == \"zzzzzzzz\"); }",
      "int main() { int a[3] = {1, 2, 3}; fill(a, 3); assert(a[0] == 1234567 && a[2] == 7654321); int* t = "
      "table(3); assert(t && t[2] == 7654321); }",
      "int main() { assert(get<string>(either(3)) == \"zzzzzzzz\"); }"};
  never_pass(declared, tests);
}

// The same of a program that serves its tests, with bytes of its answers changed on the way: its own write() does that.
TEST(CodeApartCpp, DamagedAnswersNeverPass) {
  const std::string declared = R"(
#include <bits/stdc++.h>
#include <sys/syscall.h>
#include <unistd.h>
using namespace std;
struct Node { int val; Node* next; Node(int x) : val(x), next(nullptr) {} };
class Box { int n; public: Box(int x) : n(x + 1) {} int get() const { return n; } Box& self() { return *this; } Box* other() { return new Box(n); } virtual ~Box() {} };
Node* grow(Node* n) { Node* m = new Node(5); m->next = n; return m; }
vector<string> words(map<string, int> m, function<int(int)> f) { vector<string> v; for (auto& [k, x] : m) v.push_back(k + to_string(f(x))); return v; }
void fill(int* a, int n) { for (int i = 0; i < n; ++i) a[i] = i; }
int* table(int n) { return new int[n]; }
extern "C" ssize_t write(int fd, const void* data, size_t n) {
  static mt19937_64 draw(SEED);
  string bytes((const char*)data, n);
  if (fd == 3)
    for (int k = draw() % 4 == 0; k > 0 && n > 9; --k) bytes[8 + draw() % (n - 8)] = draw() % 2 ? draw() % 8 : draw();
  return syscall(SYS_write, fd, bytes.data(), n);
}
)";
  const std::vector<std::string> tests = {
      "int main() { for (int i = 0; i < 9; ++i) { Box b(2); b.self().self(); Box* o = b.other(); "
      "assert(o->get() < 9); delete o; } assert(Box(1).get() == 1234567); }",
      "int main() { Node* n = new Node(1); for (int i = 0; i < 9; ++i) n = grow(n); assert(n->next->val == "
      "1234567); }",
      "int main() { int k = 0; for (int i = 0; i < 9; ++i) words({{\"a\", 1}, {\"b\", 2}}, [&](int x) { "
      "return k += x; }); assert(k == 1234567); }",
      "int main() { int a[3] = {1, 2, 3}; for (int i = 0; i < 9; ++i) { fill(a, 3); int* t = table(3); "
      "delete[] t; } assert(a[0] == 1234567 && a[2] == 7654321); }"};
  never_pass(declared, tests);
}

// The reason names what stands in the way; beside their program the same tests pass.
TEST(CodeApartCpp, WhatStaysBesideItsTestsSaysWhy) {
  const std::string head = "#include <bits/stdc++.h>\nusing namespace std;\n";
  for (const auto& [program, tests, reason] : std::vector<std::array<std::string, 3>>{
           {"struct S { vector<int> v; vector<int>::iterator begin() { return v.begin(); } void add(int x) { "
            "v.push_back(x); } };",
            "S s; s.add(4); assert(*s.begin() == 4);", "S::begin has types of its own"},
           {"void* address(int x) { return x ? (void*)8 : nullptr; }", "assert(address(0) == nullptr);",
            "address has types of its own"},
           {"template <class F> int twice(F f) { return f() * 2; }", "assert(twice([] { return 2; }) == 4);",
            "twice is asked for with types of the tests' own"},
           {"struct A { virtual int f() const { return 1; } virtual ~A() {} };\nint call(const A& a) { "
            "return a.f(); }",
            "struct B : A { int f() const override { return 2; } }; assert(call(B()) == 2);",
            "do not compile without it"},
           {"struct M { map<int, int> m; mutable int asked = 0; int get(int k) const { ++asked; return "
            "m.at(k); } bool operator==(const M& o) const { "
            "return m == o.m; } };",
            "M a, b; a.m[1] = 2; b.m[1] = 2; a.asked = 1; assert(a == b);", "cannot be copied"},
           {"int sum(const int* a, int n) { return n ? *a + sum(a + 1, n - 1) : 0; }",
            "vector<int> v = {1, 2, 3}; auto f = sum; assert(f(v.data() + 1, 2) == 5);", "cannot be copied"},
       }) {
    const std::string script = "#include <assert.h>\nint main() { " + tests + " }";
    const Verdict strict = apart(head + program, script);
    EXPECT_VERDICT(strict, K::compile_error);
    EXPECT_THAT(strict.reason, HasSubstr(reason)) << program;
    EXPECT_VERDICT(apart(head + program, script, in_process()), K::passed);
  }
}

// A program can have a binary say anything of its items: no text of it gets into the tests' source, and none ends the grader.
TEST(CodeApartCpp, ABinaryThatLiesIsReadWithCare) {
  const char* program = R"(
namespace ns { enum class Colour { red, green }; struct Point { int x, y; int sum() const { return x + y; } }; }
struct Stack { Stack(int* a); ~Stack(); int size = 0; void push(int); operator bool() const; static int made(); enum Kind { one }; };
struct Odd : std::exception { };
using Number = long;
const int limit = 3;
int f(int* a, ns::Point p = {}, int n = 1) { return n; }
)";
  const char* tests =
      "int main() { Stack s(0); s.push(Stack::made()); if (s) s.size = f(0, ns::Point{1, 2}); limit; "
      "Number n; ns::Colour c; p.sum(); p.x; }";
  const std::vector<std::string> types = {"void()",
                                          "int(int)",
                                          "int&(S&)",
                                          "int(*())[3]",
                                          "cohort_w::types<>",
                                          "cohort_w::types<int>",
                                          "cohort_w::types<int, evil>",
                                          "void(evil)",
                                          "int(int*, ns::Point)",
                                          "evil(int)",
                                          "()",
                                          "types<",
                                          "int(const Stack&)"};
  for (const std::string& type : types)
    for (const char* values : {"", "true", "1", "2", "true, true", "evil", "1, 2, 3"})
      for (size_t odd = 0; odd < 40; ++odd) {  // one item unlike the others
        code::CppSurface surface(program, tests, "f", "w");
        std::string binary;
        for (size_t i = 0; i < 40; ++i)
          binary += "cohort_w::shape() [with int N = " + std::to_string(i) +
                    "; F = " + (i == odd ? type : "cohort_w::types<int, int>") + "; auto ...V = {" +
                    (i == odd ? values : "1") + "}]" + '\0';
        const auto stubs = surface.stubs(binary);
        ASSERT_TRUE(stubs);
        EXPECT_EQ(stubs->find("evil"), std::string::npos) << *stubs;
      }
}

TEST(CodeApartCpp, ShapesAreReadAsTheCompilerSaysThem) {
  auto read = [](const std::string& text) -> std::string {
    const auto shape = code::read_shape(text);
    if (!shape) return "none";
    std::string out = shape->result + "(";
    for (const std::string& p : shape->parameters) out += p + ";";
    out += ")";
    for (const std::string& v : shape->values) out += " " + v;
    return out;
  };
  EXPECT_EQ(read("int(const std::vector<int, std::allocator<int> >&, double); auto ...V = {true}]"),
            "int(const std::vector<int, std::allocator<int> >&;double;) true");
  EXPECT_EQ(read("void(); auto ...V = {true}]"), "void() true");
  EXPECT_EQ(read("cohort_w::types<int, int [3], P*>; auto ...V = {1}]"), "(int;int [3];P*;) 1");
  EXPECT_EQ(read("types<>; auto ...V = {}]"), "()");
  EXPECT_EQ(read("int(int (*)(int, int), int (&)[3]); auto ...V = {true, false}]"),
            "int(int (*)(int, int);int (&)[3];) true false");
  for (const char* other :
       {"", "int", "int(int)", "int(; auto ...V = {", "); auto ...V = {}", "int; auto ...V = {}]"})
    EXPECT_EQ(read(other), "none") << other;
}

}  // namespace
}  // namespace cohort
