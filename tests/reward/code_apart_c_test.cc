// C scripts of assertions that run in a process without the program: what real tests use, and what no program can do there.
#include <gmock/gmock.h>

#include <fstream>
#include <tuple>

#include "reward/code/c_types.h"
#include "reward/code/symbols.h"
#include "tests/reward/c_tasks.h"
#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;
using testing::HasSubstr;

Verdict in_c(const std::string& source, const std::string& tests, Grader& grader = separate()) {
  return grade(source, {{"language", "c"}, {"test_code", tests}}, grader);
}

// Right and wrong programs get the verdict that they get beside their tests.
TEST(CodeApartC, TasksOfEveryKind) {
  for (const CTask& task : c_tasks()) {
    SCOPED_TRACE(task.name);
    const Verdict apart = in_c(task.program, task.tests);
    EXPECT_VERDICT(apart, K::passed);
    EXPECT_FALSE(evidence(apart).contains("in_process"));
    EXPECT_VERDICT(in_c(task.program, task.tests, in_process()), K::passed);
    for (const auto& [right, wrong] : task.mistakes) {
      std::string program = task.program;
      const size_t at = program.find(right);
      ASSERT_NE(at, program.npos) << right;
      program.replace(at, std::string(right).size(), wrong);
      const Verdict v = in_c(program, task.tests);
      EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash || v.kind == K::candidate_timeout)
          << to_string(v.kind) << " " << v.reason << "\n"
          << right << " -> " << wrong;
    }
  }
}

TEST(CodeApartC, UnderProcessIsolation) {
  const auto grader = make("isolation = \"process\"\ncpp_tests = \"separate\"");
  for (const CTask& task : c_tasks())
    for (const char* name :
         {"large arrays", "hash map with strings as keys", "qsort with a comparator of the tests"})
      if (task.name == std::string(name)) EXPECT_VERDICT(in_c(task.program, task.tests, *grader), K::passed);
}

// A program sees the objects that it was given and nothing beside them.
TEST(CodeApartC, NothingBesideAnArgumentIsThere) {
  const std::string program = R"(
int peek(const int *p, int d) { return p[d]; }
char look(const char *s, int d) { return s[d]; }
typedef struct Node { int value; struct Node *next; } Node;
int walk(const Node *n, int d) { const char *p = (const char *)n; return *(const int *)(p + d); }
)";
  const std::string tests = R"(
#include <assert.h>
#include <stdlib.h>
#include <string.h>
static struct { int in[2]; int want; } cases[] = {{{1, 2}, 4711}, {{3, 4}, 4712}, {{5, 6}, 4713}};
static int before = 4714, global[2] = {1, 1}, behind = 4715;
static int hidden(int x) { return x >= 4711 && x <= 4720; }
static void through(const int *p, int want) { for (int d = -40; d < 40; d++) assert(peek(p, d) != want); }
int main(void) {
  volatile int secret = 4716;
  int local[2] = {7, 8}, other[2] = {4717, 4718};
  int *heap = malloc(8), *next = malloc(8);
  heap[0] = heap[1] = 1, next[0] = 4719;
  Node nodes[2] = {{1, NULL}, {2, &nodes[0]}}, apart = {4720, NULL};
  assert(peek(cases[1].in, 1) == 4 && peek(local, 1) == 8 && peek(heap, 1) == 1 && walk(nodes, 0) == 1);
  for (int d = -200; d < 200; d++) {
    for (int i = 0; i < 3; i++) assert(!hidden(peek(cases[i].in, d)));
    assert(!hidden(peek(global, d)) && !hidden(peek(local, d)) && !hidden(peek(heap, d)) && !hidden(walk(nodes, d * 4)));
    assert(look("given", d) != 'Q');
  }
  assert(strcmp("QQQQQQ", "QQQQQ") && secret == 4716 && before == 4714 && behind == 4715 && other[1] == 4718);
  for (int i = 0; i < 3; i++) through(cases[i].in, cases[i].want);
  int uninitialised[64];
  for (int i = 0; i < 64; i++) assert(!hidden(peek(uninitialised, i)));
  assert(apart.value == 4720);
  return 0;
}
)";
  EXPECT_VERDICT(in_c(program, tests), K::passed);
  EXPECT_NE(in_c(program, tests, in_process()).kind, K::passed);
}

// A pointer that the program sends leads to what it was given, or nowhere.
TEST(CodeApartC, NoPointerLeadsIntoTheTests) {
  const std::string program = R"(
#include <stdlib.h>
#include <string.h>
struct box { char *p; };
struct loose { char pad; char bytes[11]; };
char *result(char *s, long d) { return s + d; }
void out(char *s, long d, char **to) { *to = s + d; }
struct box by_value(char *s, long d) { return (struct box){s + d}; }
struct box *own(char *s, long d) { struct box *b = malloc(sizeof *b); b->p = s + d; return b; }
struct box *crossing(char *s, long d) {
  char *two = malloc(3 * 4096), *edge = (char *)(((unsigned long)two + 4096 + 4095) & ~4095ul) - 4;
  s += d;
  memcpy(edge, &s, 8);
  return (struct box *)edge;
}
long number(char *s, long d) { return (long)(s + d); }
)";
  const std::string tests = R"(
#include <assert.h>
#include <stdlib.h>
static char variable[16] = "variable";
static struct { char before[1024]; char *to; char behind[1024]; } room;
static int bad(const char *p, const char *given, long d, long n) { return p == given + d && (d < 0 || d > n); }
int main(void) {
  char local[16] = "local", *heap = malloc(16), *given[] = {variable, local, heap};
  for (int g = 0; g < 3; g++)
    for (long d = -700; d < 700; d += 7) {
      char *s = given[g];
      assert(!bad(result(s, d), s, d, 16));
      out(s, d, &room.to);
      assert(!bad(room.to, s, d, 16));
      assert(!bad(by_value(s, d).p, s, d, 16));
      struct box *b = own(s, d);
      assert(!bad(b->p, s, d, 16));
      b = crossing(s, d);
      (void)*(volatile char *)((char *)b + 4);
      assert(!bad(b->p, s, d, 16));
      assert(number(s, 3) == (long)(s + 3));
    }
  assert(result(local, 16) == local + 16 && result(heap, 5) == heap + 5 && own(variable, 2)->p == variable + 2);
  return 0;
}
)";
  EXPECT_VERDICT(in_c(program, tests), K::passed);
}

TEST(CodeApartC, ForgeriesFail) {
  // each would pass by one of these, or by nothing
  const std::string tests = R"(
#include <assert.h>
#include <string.h>
static const char *expected = "answer-is-4711";
static int reached;
int open_door(int x) { reached += x; return 0; }
int door(int x) { return x + 1; }
int main(void) {
  char buffer[32] = "question";
  int a[3] = {1, 2, 3};
  assert(strcmp(f(buffer, a, 3, door), expected) == 0);
  assert(buffer[0] == 'Q' && a[2] == 4713 && !reached);
  return 0;
}
)";
  const std::string head = R"(
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <signal.h>
)",
                    f = "char *f(char *s, int *a, int n, int (*g)(int))";
  const std::string wire = R"(
struct head { unsigned long total; unsigned kind; unsigned short which, error; unsigned long payload, updates; };
static void say(unsigned kind, const void *payload, unsigned long n, const void *update, unsigned long m, unsigned long count) {
  char b[4096];
  struct head h = {sizeof h + n + m, kind, 0, 0, n, count};
  memcpy(b, &h, sizeof h); memcpy(b + sizeof h, payload, n); memcpy(b + sizeof h + n, update, m);
  write(3, b, h.total);
}
)";
  const std::string honest = f + " { s[0] = 'Q'; a[2] = 4713; return \"answer-is-4711\"; }";
  EXPECT_VERDICT(in_c(head + honest, tests), K::passed);
  for (
      const std::string& forged : {
          f + " { exit(0); }",
          f + " { _exit(0); }",
          f + " { kill(getppid(), SIGKILL); kill(-1, SIGKILL); exit(0); }",
          "__attribute__((constructor)) static void early(void) { _exit(0); }\n" + f + " { return s; }",
          "__attribute__((destructor)) static void late(void) { _exit(0); }\n" + f + " { return s; }",
          "#define assert(x) ((void)0)\n#define strcmp(a, b) 0\n" + f + " { return s; }",
          "#define main tests_main\n" + f + " { return s; }",
          "#define expected \"question\"\n#define if while\n" + f + " { return s; }",
          "#define strcmp strcasecmp\n#define reached 0\nenum { EXPECTED };\n" + f + " { return s; }",
          "int strcmp(const char *a, const char *b) { return 0; }\n" + f + " { return s; }",
          "void abort(void) { _exit(0); }\nvoid __assert_fail(const char *a, const char *b, unsigned c, "
          "const char *d) { }\n" +
              f + " { return s; }",
          "int reached = 0; const char *expected = \"question\";\n" + f + " { return s; }",
          // its own memory and everything that it can reach from its arguments
          f + R"( {
             FILE *maps = fopen("/proc/self/maps", "r"); char line[512]; unsigned long b, e; char r;
             while (maps && fgets(line, sizeof line, maps))
               if (sscanf(line, "%lx-%lx %c", &b, &e, &r) == 3 && r == 'r' && !strstr(line, "[v"))
                 for (char *p = (char *)b; p + 15 < (char *)e; p++)
                   if (!memcmp(p, "answer", 6) && !memcmp(p + 6, "-is-4711", 9)) { s[0] = 'Q'; a[2] = 4713; return p; }
             return s; })",
          // the door beside the one that it was given
          f + " { for (int d = -256; d <= 256; d += 16) if (d) ((int (*)(int))((char *)g + d))(1); return s; "
              "}",
          f + " { for (long d = 0; d < 1 << 20; d++) { char c = *((char *)g + d); if (c) s[0] = c; } return "
              "s; }",
          // a result of a wrong size, pages that nobody asked for, a call of what was not given, an end without a result
          wire + f + " { say(4, \"\", 0, \"\", 0, 0); pause(); return s; }",
          wire + f + " { say(4, &s, 8, &s, 8, 1); pause(); return s; }",
          wire + f + " { say(3, s, 8, \"\", 0, 0); pause(); return s; }",
          wire + f +
              " { unsigned long r[31] = {(unsigned long)g + 16}; say(2, r, sizeof r, \"\", 0, 0); pause(); "
              "return s; }",
          wire + f + " { say(4, &s, 8, \"\", 0, 1ul << 60); pause(); return s; }",
          // updates: beside what was given, of a length that is not there, a block that is not the tests' to free
          wire + f +
              " { unsigned long u[3] = {(unsigned long)(s + 32), 8 | 1ul << 63, 0}; say(4, &s, 8, u, 24, 1); "
              "pause(); return s; }",
          wire + f +
              " { unsigned long u[3] = {(unsigned long)s, 1ul << 39 | 1ul << 63, 0}; say(4, &s, 8, u, 24, "
              "1); pause(); return s; }",
          wire + f +
              " { unsigned long u[2] = {(unsigned long)s, 1ul << 61}; say(4, &s, 8, u, 16, 1); pause(); "
              "return s; }",
          wire + f +
              " { unsigned long u[3] = {(unsigned long)g, 8 | 1ul << 63, 0}; say(4, &s, 8, u, 24, 1); "
              "pause(); return s; }",
          wire + f +
              " { unsigned long u[3] = {0x3e5a41000000, 8 | 1ul << 63, 0}; say(4, &s, 8, u, 24, 1); pause(); "
              "return s; }",
          wire + f +
              " { unsigned long u[3] = {0x3e5b60000000, 8 | 1ul << 63, -1}; say(4, &s, 8, u, 24, 1); "
              "pause(); return s; }",
      }) {
    const Verdict v = in_c(head + forged, tests);
    EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash || v.kind == K::compile_error ||
                v.kind == K::candidate_timeout)
        << to_string(v.kind) << " " << v.reason << "\n"
        << forged;
    EXPECT_NE(v.kind, K::passed);
    if (forged.find("say(") != forged.npos) {
      EXPECT_THAT(v.reason, HasSubstr("no value of its type")) << forged;
    }
  }
}

// Whatever a program writes to the wire, the tests' process ends by its own word.
TEST(CodeApartC, RandomMessagesAreRefused) {
  const auto fresh = make("cpp_tests = \"separate\"\nreuse = false");
  const std::string program = R"(
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
struct head { unsigned long total; unsigned kind; unsigned short which, error; unsigned long payload, updates; };
static unsigned long at_random(void) { static FILE *f; unsigned long x; if (!f) f = fopen("/dev/urandom", "r"); fread(&x, 8, 1, f); return x; }
static unsigned long among(unsigned long n) { return at_random() % n; }
int f(char *s, int n, int (*g)(int)) {
  unsigned long b[600];
  for (int i = 0; i < 600; i++) b[i] = among(3) ? at_random() : among(20);
  struct head *h = (struct head *)b;
  const unsigned long payload = among(3) ? 4 : among(300), words = among(60);
  h->total = among(8) ? sizeof *h + payload + 8 * words : among(9000);
  h->kind = among(3) ? 4 : among(7);
  h->payload = among(8) ? payload : at_random() >> among(64);
  h->updates = among(6);
  char *p = (char *)(h + 1) + payload;
  for (unsigned long i = 0; i + 2 < words && p + 24 < (char *)(b + 600); i += 3, p += 24) {
    unsigned long u[3] = {(unsigned long)(among(4) ? s : among(2) ? (char *)g : (char *)0x3e5a41000000) + among(80) - 8,
                          (among(4) ? 8 : among(100)) | among(16) << 60, at_random()};
    memcpy(p, u, 24);
  }
  write(3, b, h->total < 4800 ? h->total : 4800);
  if (h->total < sizeof *h || h->total > 4800) _exit(0);  // it would wait for the rest
  char c;
  while (read(3, &c, 1) == 1) {}
  _exit(0);
}
)";
  const std::string tests = R"(
int door(int x) { return x; }
int main(void) { char s[32] = "secret"; assert(f(s, 32, door) == 0x12345678 && s[0] == 'x'); return 0; }
)";
  for (int i = 0; i < 120; ++i) {
    const Verdict v = in_c(program, tests, *fresh);
    ASSERT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash) << to_string(v.kind) << " " << v.reason;
    ASSERT_THAT(v.reason, testing::AnyOf(HasSubstr("no value of its type"),
                                         HasSubstr("ended before its tests"), HasSubstr("Assertion `")));
  }
}

// A task may be to write what tests compare with: then it is what they ask.
TEST(CodeApartC, EntryPointsOfTheLibrarysNames) {
  const std::string tests =
      "#include <string.h>\nint main(void) { assert(strcmp(\"a\", \"b\") < 0 && !strcmp(\"a\", \"a\")); }";
  const std::string right =
      "int strcmp(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return *a - *b; }";
  auto asked = [&](const std::string& program, const json& more) {
    json record = {{"language", "c"}, {"test_code", tests}};
    record.update(more);
    return grade("#include <string.h>\n" + program, record, separate());
  };
  EXPECT_VERDICT(asked(right, {{"entry_point", "strcmp"}}), K::passed);
  EXPECT_VERDICT(asked("int strcmp(const char *a, const char *b) { return 0; }", {{"entry_point", "strcmp"}}),
                 K::failed);
  EXPECT_VERDICT(asked(right, {{"entry_point", "f"}}), K::failed);
  const std::string abs_tests = "int main(void) { int x = -3; assert(abs(x) == 3); }";
  EXPECT_VERDICT(grade("int abs(int x) { return x; }",
                       {{"language", "c"}, {"test_code", abs_tests}, {"entry_point", "abs"}}, separate()),
                 K::failed);
}

TEST(CodeApartC, TypesThatTheTestsDefineAreTheirs) {
  const std::string program = R"(
typedef struct Node { int v; struct Node *next; } Node;
struct pair { int a, b; };
int sum(const Node *n) { int s = 0; for (; n; n = n->next) s += n->v; return s; }
struct pair swap(struct pair p) { return (struct pair){p.b, p.a}; }
)";
  const std::string tests = R"(
#include <assert.h>
typedef struct Node { int v; struct Node *next; } Node;
struct pair { int a, b; };
int sum(const Node *);
int main(void) {
  Node b = {2, 0}, a = {1, &b};
  assert(sum(&a) == 3);
  struct pair p = swap((struct pair){1, 2});
  assert(p.a == 2 && p.b == 1);
  return 0;
}
)";
  EXPECT_VERDICT(in_c(program, tests), K::passed);
  EXPECT_THAT(
      in_c(program + "#define p 1\n", "int main(void) { struct pair p = {1, 1}; assert(swap(p).a == 1); }")
          .reason,
      HasSubstr("does not fit"));
}

// These share the process, or are refused with a reason.
TEST(CodeApartC, WhatCannotBeApart) {
  const std::string one = "int main(void) { assert(f(3) == 9); }";
  for (const auto& [source, script, why] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"#define SQUARE(x) ((x) * (x))\nint f(int x) { return SQUARE(x); }",
            "int main(void) { assert(f(3) == SQUARE(3)); }", "a macro with parameters"},
           {"#include <stdarg.h>\nint f(int n, ...) { va_list a; va_start(a, n); int s = 0; while (n--) s += "
            "va_arg(a, int); return s; }",
            "int main(void) { assert(f(2, 4, 5) == 9); }", "any number of arguments"},
           {"struct __attribute__((packed)) p { char c; int x; }; int f(struct p q) { return q.x; }",
            "int main(void) { struct p q = {1, 9}; assert(f(q) == 9); }", "does not fit its tests"},
           {"#pragma pack(1)\nstruct p { char c; int x; }; int f(struct p q) { return q.x; }",
            "int main(void) { struct p q = {1, 9}; assert(f(q) == 9); }", "in another way"},
           {"#include <stdio.h>\nint f(FILE *to) { return fprintf(to, \"text\\n\"); }",
            "int main(void) { assert(f(stdout) == 5); }", "extent is not known"},
           {"#include <stdio.h>\nvoid f(int x) { printf(\"%d\", x); fflush(stdout); }",
            "int main(void) { freopen(\"o\", \"w\", stdout); f(7); FILE* r = fopen(\"o\", \"r\"); "
            "assert(fgetc(r) == '7'); }",
            "freopen"},
           {"int f(int x) { return x; }",
            "#include <signal.h>\nint main(void) { signal(SIGALRM, SIG_DFL); assert(f(3) == 3); }",
            "its tests use signal"},
       }) {
    const Verdict strict = in_c(source, script);
    EXPECT_VERDICT(strict, K::compile_error);
    EXPECT_THAT(strict.reason, HasSubstr(why)) << source;
    const Verdict v = in_c(source, script, automatic());
    EXPECT_VERDICT(v, K::passed);
    EXPECT_EQ(evidence(v)["in_process"], true) << source;
  }
}

TEST(CodeApartC, DeclarationsAreReadFromTheirText) {
  auto read = [](const std::string& program, const std::vector<std::string>& called,
                 const std::string& tests) { return code::read_c_interface(program, called, tests); };
  const auto i = read(R"(
#include <stdio.h>
#include "secret.h"
#define N 10 /* of them */
#define UNUSED 3
#define ll long long
typedef struct node { int v[N]; struct node *next; } node, *list;
enum color { RED, GREEN = 2 };
static int total = N, *at, table[2][N] = {{1}};
struct opaque { __typeof__(1) x; };
static inline __attribute__((noinline)) const node * f(list l, ll n, const char *const names[], int (*g)(int, ll), enum color c)
{ return l; }
)",
                      {"f"}, "int main(void) { total = table[0][1] + RED; }");
  EXPECT_EQ(i.refused, "");
  EXPECT_EQ(i.headers, "#include <stdio.h>\n");
  EXPECT_EQ(i.declarations,
            "#ifndef N\n#define N 10\n#endif\n#ifndef ll\n#define ll long long\n#endif\n"
            "typedef struct node { int v [ N ] ; struct node * next ; } node , * list;\n"
            "enum color { RED , GREEN = 2 };\n");
  EXPECT_EQ(i.variables, "extern int total;\nextern int table [ 2 ] [ N ];\n");
  ASSERT_EQ(i.functions.size(), 1u);
  const code::CFunction& f = i.functions[0];
  EXPECT_EQ(f.result, "const node *");
  EXPECT_FALSE(f.number);
  std::string parameters;
  for (const auto& p : f.parameters) parameters += p.type + " " + p.name + (p.pointer ? "*;" : ";");
  EXPECT_EQ(parameters, "void* l*;ll n;void* names*;void* g*;enum color c;");
  // what is no plain declaration gets no further
  const std::string use = "int main(void) { struct p x; f(N); }";
  for (const char* other :
       {"struct p { int x __attribute__((aligned(64))); };", "struct p { __typeof__(({ exit(0); 1; })) x; };",
        "struct p { int x[({ 3; })]; };", "struct p { _Alignas(64) int x; };"})
    EXPECT_THAT(read(other + std::string("int f(int x) { return x; }"), {"f"}, use).declarations,
                HasSubstr("struct p;\n"))
        << other;
  for (const char* macro :
       {"#define N exit(0)", "#define N ({ 1; })", "#define N 1; return 0", "#define N __FILE__[0]"})
    EXPECT_THAT(read(macro + std::string("\nint f(int x) { return x; }"), {"f"}, use).refused,
                HasSubstr("no constant"))
        << macro;
  for (const char* nothing : {"struct;", "enum; union;", "static struct;", "const;", "typedef;"})
    EXPECT_EQ(read(nothing + std::string("int f(int x) { return x; }"), {"f"}, use).refused, "") << nothing;
  for (const char* odd :
       {"f(int x) { return x; }", "int f(x) int x; { return x; }", "int f(int x, ...) { return x; }",
        "__typeof__(1) f(int x) { return x; }", "#define f(x) g(x)\n", "int f(int x", "", "}{", "int f("})
    EXPECT_NE(read(odd, {"f"}, use).refused, "") << odd;
}

TEST(CodeApartC, SymbolsAreReadWithCare) {
  std::string elf(64, '\0');
  EXPECT_FALSE(code::symbol_address("", "x"));
  EXPECT_FALSE(code::symbol_address(elf, "x"));
  std::ifstream in("/proc/self/exe", std::ios::binary);
  elf.assign(std::istreambuf_iterator<char>(in), {});
  elf.resize(std::min<size_t>(elf.size(), 1 << 20));
  elf[16] = 2;  // as if it were not moved
  for (unsigned i = 0; i < 2000; ++i) {
    std::string broken = elf.substr(0, 4096 + i * 131);
    for (unsigned k = 0; k < 8; ++k) broken[16 + (i * 7 + k * 13) % 48] = static_cast<char>(i * 31 + k);
    code::symbol_address(broken, "environ");
  }
}

}  // namespace
}  // namespace cohort
