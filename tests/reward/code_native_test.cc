// C and C++ scripts of assertions: honest programs pass whatever the tests compare, forged passes do not.
#include <set>
#include "reward/code/native_tests.h"

#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;

Verdict tested(const char* language, const std::string& source, const std::string& tests,
               const std::string& entry = "") {
  json record = {{"language", language}, {"test_code", tests}};
  if (!entry.empty()) record["entry_point"] = entry;
  // what shares the process is what this file is about
  return grade(source, record, language == std::string("c") ? in_process() : automatic());
}

const std::string kSquares = "int main() { assert(sq(2) == 4); assert(sq(3) == 9); return 0; }";

TEST(CodeNative, HonestC) {
  EXPECT_VERDICT(tested("c", "int sq(int x){return x*x;}", kSquares), K::passed);
  EXPECT_VERDICT(tested("c", "int sq(int x){return x+x;}", kSquares), K::failed);
  const std::string text =
      "#include <stdlib.h>\n#include <string.h>\n#include <stdbool.h>\n"
      "char* twice(const char* s){char* r=malloc(2*strlen(s)+1);strcpy(r,s);return strcat(r,s);}\n"
      "bool even(int x){return x%2==0;}\ndouble half(double x){return x/2;}\n"
      "struct node{int v;struct node*next;};struct node*none(void){return NULL;}\n";
  EXPECT_VERDICT(
      tested("c", text,
             "#include <string.h>\n#include <math.h>\n#include <stdbool.h>\nint main(void) {\n"
             "  assert(strcmp(twice(\"ab\"), \"abab\") == 0);\n  assert(!strcmp(twice(\"\"), \"\"));\n"
             "  int want[] = {1, 2}, got[] = {1, 2};\n  assert(memcmp(want, got, sizeof want) == 0);\n"
             "  assert(even(4) == true && even(3) == false);\n  assert(even(2));\n"
             "  assert(fabs(half(3) - 1.5) < 1e-9);\n  assert(none() == NULL); assert(none() == 0);\n"
             "  for (int i = 0; i < 3; i++) assert(even(2 * i));\n  return 0;\n}"),
      K::passed);
  // a test's own headers take no assertion away from the harness, nor do its own macros
  const std::string sum = "int sum(const int* a, int n){int s=0;while(n--)s+=*a++;return s;}";
  for (const char* check : {"assert(sum(a, 2) == 3)", "CHECK(sum(a, 2) == 3)"}) {
    const std::string tests = std::string(
                                  "#include <assert.h>\n#define CHECK(x) assert(x)\n"
                                  "int main(void) { int a[] = {1, 2}; ") +
                              check + "; }";
    EXPECT_VERDICT(tested("c", sum, tests), K::passed);
    EXPECT_VERDICT(tested("c", "int sum(const int* a, int n){return 0;}", tests), K::failed);
  }
  // a main of the program's own, to show what it can do
  for (const char* language : {"c", "cpp"})
    for (const char* main : {"int main(void) { return sq(1); }",
                             "#include <stdio.h>\nint main(int argc, char** argv) { puts(\"main(\"); }"}) {
      EXPECT_VERDICT(tested(language, std::string("int sq(int x){return x*x;}\n") + main,
                            "#include <assert.h>\n" + kSquares),
                     K::passed);
      EXPECT_VERDICT(tested(language, std::string("int sq(int x){return x+x;}\n") + main,
                            "#include <assert.h>\n" + kSquares),
                     K::failed);
    }
  // a test without assertions that says by its status
  EXPECT_VERDICT(tested("c", "int sq(int x){return x*x;}", "int main(void){return sq(2) == 4 ? 0 : 1;}"),
                 K::passed);
  EXPECT_VERDICT(tested("c", "int sq(int x){return x+1;}", "int main(void){return sq(2) == 4 ? 0 : 1;}"),
                 K::candidate_crash);
  // its own assertions are its own; a function of the C library's name is what is tested
  EXPECT_VERDICT(tested("c", "#include <assert.h>\nint sq(int x){assert(x > 0);return x*x;}", kSquares),
                 K::passed);
  EXPECT_VERDICT(
      tested("c", "int abs(int x){return x<0?-x:x;}", "int main(){assert(abs(-3) == 3);return 0;}", "abs"),
      K::passed);
}

TEST(CodeNative, HonestCppOfEveryType) {
  const std::string program = R"(
#include <bits/stdc++.h>
using namespace std;
vector<int> twice(vector<int> v) { for (int& x : v) x *= 2; return v; }
string hello(string s) { return "hello " + s; }
pair<int, string> both(int x) { return {x, to_string(x)}; }
map<string, int> counts(vector<string> v) { map<string, int> m; for (auto& s : v) ++m[s]; return m; }
optional<int> maybe(int x) { return x > 0 ? optional<int>(x) : nullopt; }
tuple<int, double> three(int x) { return {x, x / 2.0}; }
array<int, 3> row(int x) { return {x, x + 1, x + 2}; }
vector<bool> bits(int x) { return {(x & 1) != 0, (x & 2) != 0}; }
set<int> unique_of(vector<int> v) { return set<int>(v.begin(), v.end()); }
enum class Color { red, green };
Color next(Color c) { return c == Color::red ? Color::green : Color::red; }
struct Fraction {
  int n, d;
  bool operator==(Fraction o) { return n * o.d == d * o.n; }   // not const, as people write it
};
Fraction add(Fraction a, Fraction b) { return {a.n * b.d + b.n * a.d, a.d * b.d}; }
struct Packed { unsigned low : 3; static const int kind = 7; };
Packed pack(int x) { Packed p; p.low = x; return p; }
struct Keyed { int first, second; bool operator==(const Keyed& o) const { return second == o.second; } };
unique_ptr<int> nothing() { return nullptr; }
size_t size_of(const string& s) { return s.size(); }
bool yes() { return true; }
template <class T> T largest(vector<T> v) { return *max_element(v.begin(), v.end()); }
)";
  const std::string tests = R"cpp(
#include <cassert>
    int main() {
      assert(twice({1, 2}) == (vector<int>{2, 4}));
      assert(twice({}) == vector<int>());
      assert((twice({3}) == vector<int>{6}));
      assert(twice((std::vector<int>({(int)1, (int)2}))) == (std::vector<int>({(int)2, (int)4})));
      assert(hello("x") == "hello x");
      assert(hello("") == string("hello "));
      assert("hello e" == hello("e"));
      assert(both(3) == make_pair(3, string("3")));
      assert(both(3) == std::pair<int, string>(3, "3"));
      assert((counts({"a", "a"}) == map<string, int>{{"a", 2}}));
      assert((counts({}) == map<string, int>{}));
      assert(maybe(2) == 2);
      assert(maybe(0) == nullopt);
      assert(maybe(2) == optional<int>(2));
      assert(three(1) == make_tuple(1, 0.5));
      assert((row(1) == array<int, 3>{1, 2, 3}));
      assert((bits(1) == vector<bool>{true, false}));
      assert(bits(2)[1] == true);
      assert((unique_of({2, 2}) == set<int>{2}));
      assert(next(Color::red) == Color::green);
      assert(add({1, 2}, {1, 2}) == (Fraction{1, 1}));
      assert(pack(5).low == 5);
      assert(Packed::kind == 7);
      assert((Keyed{1, 2} == Keyed{3, 2}));
      assert(nothing() == nullptr);
      assert(nothing().get() == NULL);
      assert(nothing().get() == 0);
      assert(size_of("abc") == 3);
      assert(size_of("") == 0);
      assert(yes() == true);
      assert(yes() && size_of("a") == 1);
      assert((yes() && (size_of("a") == 1 && size_of("") == 0)) && hello("a") == "hello a");
      assert(largest<int>({1}) == 1 || yes());
      assert(maybe(1) && *maybe(1) == 1);  // comments, too
      assert(/* here */ size_of("ab") == 2);
      assert(yes() ? size_of("a") == 1 : false);
      assert(largest(vector<double>{0.5, 0.25}) == 0.5);
      assert(largest<int>({1, 2}) == 2);
      assert(abs(largest<double>({0.1, 0.2}) - 0.2) < 1e-9);
      assert([](int x) { return x == 1; }(1) == true);
      assert((double)0 == 0.0);
      assert('a' == "abc"[0]);
      assert(hello(R"(== ")") == R"(hello == ")"s);
      const char* raw = "x";
      assert(raw[1] == '\0');
    }
  )cpp";
  EXPECT_VERDICT(tested("cpp", program, tests), K::passed);
  EXPECT_VERDICT(tested("cpp", program, "int main() { assert(hello(\"x\") == \"hello y\"); }"), K::failed);
  EXPECT_VERDICT(tested("cpp", program, "int main() { assert(twice({1}) == vector<int>{1}); }"), K::failed);
}

TEST(CodeNative, ForgedC) {
  const std::string wrong = "int sq(int x){return x+x+1;}\n",
                    unix = "#include <unistd.h>\n#include <stdlib.h>\n";
  for (const std::string& forged : std::vector<std::string>{
           "#define NDEBUG\n" + wrong,
           wrong + "#define __assert_fail(...) ((void)0)\n#define assert(x) ((void)0)",
           wrong + "int main(){return 0;}\n#define main other",
           "#include \"harness.c\"\n" + wrong,
           "#include __FILE__\n" + wrong,
           "#define H \"harness.c\"\n#include H\n" + wrong,
           unix + "int sq(int x){exit(0);}",
           unix + "int sq(int x){_exit(0);}",
           unix + wrong + "__attribute__((constructor)) static void c(void){exit(0);}",
           unix + wrong + "int __wrap_main(int c,char**v){return 0;}",
           unix + wrong + "int __real_main(int c,char**v){return 0;}",
           "void abort(void){}\n" + wrong,
           wrong + "#define if while\n#define return",
           wrong + "#define \\\nassert(x) 1",
           wrong + "#define sq(x) 4",
           "#include <setjmp.h>\n#include <signal.h>\n" + wrong +
               "static void h(int s){signal(s,h);}__attribute__((constructor)) static void "
               "c(void){signal(SIGILL,h);}",
       }) {
    const Verdict v = tested("c", forged, kSquares);
    EXPECT_NE(v.kind, K::passed) << forged;
    EXPECT_NE(v.kind, K::infra_error) << v.reason;
  }
  const std::string text = "int main(){assert(strcmp(name(), \"cohort\") == 0);return 0;}";
  for (const std::string& forged : std::vector<std::string>{
           "int strcmp(const char*a,const char*b){return 0;}",
           "#define strcmp(a,b) 0",
           "static int strcmp(const char*a,const char*b){return 0;}",
           "int agree(const char*a,const char*b){return 0;}\nint strcmp(const char*,const char*) "
           "__attribute__((alias(\"agree\")));",
           "__asm__(\".globl strcmp\\nstrcmp: xorl %eax,%eax\\nret\");",
           "#pragma redefine_extname strcmp agree\nint agree(const char*a,const char*b){return 0;}",
       }) {
    const Verdict v =
        tested("c", forged + "\nconst char* name(void){return \"\";}", "#include <string.h>\n" + text);
    EXPECT_NE(v.kind, K::passed) << forged;
    EXPECT_NE(v.kind, K::infra_error) << v.reason;
  }
}

TEST(CodeNative, ForgedCpp) {
  const std::string tests =
      "#include <vector>\n#include <string>\nint main() { assert(f(7) == 49); assert(g(2) == "
      "(std::vector<int>{2, 4})); "
      "assert(h() == \"yes\"); }";
  const std::string
      std_ = "#include <string>\n#include <vector>\n",
      rest =
          "int f(int x){return 49;}\nstd::vector<int> g(int x){return {2,4};}\nstd::string h(){return "
          "\"yes\";}\n";
  EXPECT_VERDICT(tested("cpp", std_ + rest, tests), K::passed);
  for (const char* of_vectors : {"assert((g(2) == (std::vector<int>{2, 4})));",
                                 "assert(f(7) == 49 && g(2) == std::vector<int>({2, 4}));"}) {
    const std::string main = std::string("int main() { ") + of_vectors + " }";
    EXPECT_VERDICT(tested("cpp", std_ + rest, main), K::passed);
    EXPECT_VERDICT(tested("cpp",
                          std_ + "bool operator==(const std::vector<int>&, const std::vector<int>&) { return "
                                 "true; }\nint f(int x){return "
                                 "49;}\nstd::vector<int> g(int){return {};}",
                          main),
                   K::failed);
  }
  const std::string any =
      "struct E { template <class T> bool operator==(const T&) const { return true; } };\n";
  for (const std::string& forged : std::vector<std::string>{
           std_ + any + "E f(int){return {};} E g(int){return {};} E h(){return {};}",
           std_ + any +
               "E f(int){return {};}\nstd::vector<int> g(int x){return {2,4};}\nstd::string h(){return "
               "\"yes\";}",
           std_ + "bool operator==(const std::vector<int>&, const std::vector<int>&) { return true; }\nint "
                  "f(int){return "
                  "49;}\nstd::vector<int> g(int){return {};}\nstd::string h(){return \"yes\";}",
           std_ +
               "bool operator==(const std::string&, const char*) { return true; }\nint f(int){return 49;}\n"
               "std::vector<int> g(int){return {2,4};}\nstd::string h(){return \"\";}",
           std_ + "template <class A, class B> bool operator==(const A&, const B&) { return true; }\nstruct "
                  "N {};\n"
                  "N f(int){return {};}\nstd::vector<int> g(int){return {2,4};}\nstd::string h(){return "
                  "\"yes\";}",
           std_ + "namespace std { template <class T> class optional_ { public: bool operator==(const T&) "
                  "const { return true; } "
                  "}; }\nstd::optional_<int> f(int){return {};}\nstd::vector<int> g(int){return "
                  "{2,4};}\nstd::string "
                  "h(){return \"yes\";}",
           std_ + "#define true false\n#define bool int\nint f(int x){return 0;}\nstd::vector<int> g(int "
                  "x){return "
                  "{2,4};}\nstd::string h(){return \"yes\";}",
       }) {
    const Verdict v = tested("cpp", forged, tests);
    EXPECT_EQ(v.kind, K::failed) << to_string(v.kind) << " " << v.reason << v.evidence << "\n" << forged;
  }
}

TEST(CodeNative, TheControlRunsNoncesAreNoOthers) {
  const code::NativeTests one("abc"), two("abd");
  std::set<std::string> seen;
  int differ = 0;
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(seen.insert(one.nonce(i % 2 == 0)).second);
    differ += one.nonce(false).back() != one.nonce(false).back();
  }
  EXPECT_GT(differ, 0);
  EXPECT_NE(one.harness(), two.harness());
  EXPECT_EQ(one.source("x", "y", true).find("WORD"), std::string::npos);
  EXPECT_TRUE(code::has_assertions("void t() { assert(1); }"));
  EXPECT_FALSE(code::has_assertions("// assert\nint main() { puts(\"assert(1)\"); }"));
}

}  // namespace
}  // namespace cohort
