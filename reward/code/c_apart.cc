#include "reward/code/c_apart.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/code/c_types.h"
#include "reward/code/native_tests.h"
#include "reward/code/symbols.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

#include "reward/code/c_ask.inc"
#include "reward/code/c_memory.inc"
#include "reward/code/c_serve.inc"
#include "reward/code/c_wire.inc"

// Around what is ours: at -O2 it takes the compiler twice as long as most tests do.
constexpr std::string_view kQuick = "#pragma GCC push_options\n#pragma GCC optimize(\"Og\")\n";
constexpr std::string_view kAsBefore = "#pragma GCC pop_options\n";

// Names of ours begin with WORD_, or with @ in what also holds words of the program: c_types.h lets no @ through.
std::string with_word(std::string_view text, const std::string& word, std::string_view mark = "WORD_") {
  return replaced(text, mark, "cohort_" + word + "_");
}

bool is_void(const CFunction& f) {
  return f.result == "void";
}

// The arguments of each function as one structure, and what both processes must have the same size for.
std::string frames(const CInterface& interface) {
  std::string text, sizes;
  for (size_t i = 0; i < interface.functions.size(); ++i) {
    const CFunction& f = interface.functions[i];
    text += fmt::format("struct @frame_{} {{ ", i);
    for (size_t a = 0; a < f.parameters.size(); ++a) {
      // not const: it is filled in
      std::string type = f.parameters[a].type;
      if (type.starts_with("const ")) type = type.substr(6);
      text += fmt::format("{} a{}; ", type, a);
    }
    text += "};\n";
    sizes += fmt::format("sizeof(struct @frame_{}), ", i);
    if (!is_void(f)) sizes += fmt::format("sizeof({}), ", f.result);
  }
  for (const std::string& type : interface.sized) sizes += fmt::format("sizeof({}), ", type);
  return text + fmt::format(
                    "static const unsigned @sizes[] = {{{}0}};\nenum {{ @sizes_length = sizeof "
                    "@sizes }};\n",
                    sizes);
}

std::string stub(const CFunction& f, size_t index) {
  std::string fill, give;
  for (size_t a = 0; a < f.parameters.size(); ++a) {
    const CParameter& p = f.parameters[a];
    if (p.pointer) {
      fill += fmt::format("  @frame.a{} = (void*)(@u64){};\n", a, p.name);
      give += fmt::format(
          "  @pointer((const volatile void*)(@u64){0}, __builtin_dynamic_object_size((const "
          "void*){0}, @EXTENT));\n",
          p.name);
    } else {
      fill += fmt::format("  @frame.a{} = {};\n", a, p.name);
      give += fmt::format(
          "  if (@is_whole(@frame.a{0})) @reach_words(&@frame.a{0}, sizeof "
          "@frame.a{0});\n",
          a);
    }
  }
  std::string text = fmt::format(
      "static inline __attribute__((always_inline)) {} {{\n  struct @frame_{} @frame;\n"
      "  @fill(&@frame, 0, sizeof @frame);\n{}  @begin();\n{}",
      f.prototype, index, fill, give);
  if (is_void(f)) return text + fmt::format("  @ask({}, &@frame, sizeof @frame, 0, 0, 0);\n}}\n", index);
  return text + fmt::format(
                    "  __typeof__(__extension__ ({{ {} @any; @any; }})) @result;\n"
                    "  @ask({}, &@frame, sizeof @frame, (void*)&@result, sizeof @result, {});\n"
                    "  return @result;\n}}\n",
                    f.result, index, f.number ? 0 : 1);
}

// What joins tests and program behind the back of a call.
std::string shared_state(std::string_view program, std::string_view tests,
                         const std::vector<std::string>& called) {
  auto names = [&](std::string_view text, std::initializer_list<const char*> words) -> std::string {
    for (const Token& token : tokens_of(text))
      for (const char* word : words)
        if (token.kind == Token::word && of(text, token) == word &&
            std::find(called.begin(), called.end(), word) == called.end())  // else one of its own
          return word;
    return "";
  };
  if (const std::string word = names(tests, {"freopen", "dup2", "dup"}); !word.empty())
    return fmt::format("its tests use {}: what it reads and writes is not theirs", word);
  // its end would not be theirs, its pages are fetched by a handler of theirs, and only the first stack has marks around its variables
  if (const std::string word =
          names(tests, {"fork", "vfork", "signal", "sigaction", "pthread_create", "thrd_create", "mmap"});
      !word.empty())
    return fmt::format("its tests use {}", word);
  for (const auto& both : {std::initializer_list<const char*>{"fopen", "open", "tmpfile", "remove", "creat"},
                           std::initializer_list<const char*>{"setenv", "putenv", "getenv", "unsetenv"},
                           std::initializer_list<const char*>{"setlocale"}})
    if (const std::string word = names(tests, both); !word.empty() && !names(program, both).empty())
      return fmt::format("its tests use {}, as it does: files and settings are not shared", word);
  return "";
}

// Whether tests point into an array of arrays by `&a[i][j]`: to the compiler that is a row.
bool points_into_rows(std::string_view tests) {
  const std::vector<Token> all = tokens_of(tests);
  const std::vector<size_t> behind = behind_brackets(tests, all);
  for (size_t i = 0; i < all.size(); ++i) {
    if (of(tests, all[i]) != "&") continue;
    const size_t name = skip(all, i + 1), first = skip(all, std::min(all.size(), name + 1));
    if (first >= all.size() || all[name].kind != Token::word || of(tests, all[first]) != "[") continue;
    const size_t second = skip(all, behind[first]);
    if (second < all.size() && of(tests, all[second]) == "[") return true;
  }
  return false;
}

// What the compiler is told for the tests' side. Older than gcc 12 has neither of the first two.
std::vector<std::string> script_arguments(const Toolchain& toolchain, const CodeLanguage& c, bool variables,
                                          const std::atomic<bool>& cancelled) {
  std::vector<std::string> arguments = {
      "-ftrivial-auto-var-init=zero"};  // nothing of one variable is left in another
  if (variables) arguments.push_back("-mno-direct-extern-access");  // which are far away
  if (!toolchain.compile(c, "int main(void) { return 0; }\n", {}, arguments, cancelled).ok())
    arguments.clear();
  for (const char* other : {"-fstack-reuse=none", "-fPIE", "-static", "-no-pie", "-nostartfiles",
                            "-fno-stack-protector", "-Wl,--no-relax", "-Wl,-Ttext-segment=0x3e5a41000000",
                            // marks around variables, no checks of what is read or written
                            "-fsanitize=kernel-address", "-fsanitize-address-use-after-scope",
                            "-fasan-shadow-offset=0x369000000000", "--param=asan-stack=1",
                            "--param=asan-globals=1", "--param=asan-instrument-allocas=1",
                            "--param=asan-instrument-reads=0", "--param=asan-instrument-writes=0"})
    arguments.emplace_back(other);
  return arguments;
}

// Whether a process here can have memory where the tests' lies: not every guest and emulator has so many addresses.
bool has_addresses() {
  static const bool there = [] {
    void* const wanted = reinterpret_cast<void*>(0x3e5a41000000);
    void* const got = mmap(wanted, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got != MAP_FAILED) munmap(got, 4096);
    return got == wanted;
  }();
  return there;
}

// The two sources.
std::string c_server(std::string_view program, const CInterface& interface, const std::string& word) {
  std::string cases, kept, pointers;
  for (size_t i = 0; i < interface.functions.size(); ++i) {
    const CFunction& f = interface.functions[i];
    std::string call;
    for (size_t a = 0; a < f.parameters.size(); ++a) call += fmt::format("{}@given.a{}", a ? ", " : "", a);
    // by its address: the compiler has its own idea of one that is called abs
    pointers += fmt::format("static __typeof__(&{}) volatile @function_{} = &{};\n", f.name, i, f.name);
    call = fmt::format("@function_{}({})", i, call);
    cases += fmt::format(
        "    case {0}: {{\n      struct @frame_{0} @given;\n      @copy(&@given, arguments, sizeof "
        "@given);\n",
        i);
    if (is_void(f))
      cases += fmt::format("      {};\n      @answer(0, 0);\n", call);
    else
      cases += fmt::format("      {} @result = {};\n      @answer((const void*)&@result, sizeof @result);\n",
                           f.result, call);
    cases += "      break;\n    }\n";
  }
  // what the tests read is not optimised away
  for (const std::string& name : interface.names) kept += fmt::format("(const void*)&{}, ", name);
  return "#line 1 \"solution.c\"\n" + without_main(program) + undone_words(false) + std::string(kQuick) +
         with_word(kWire, word) + with_word(frames(interface), word, "@") + with_word(kServe, word) +
         std::string(kAsBefore) +
         with_word(fmt::format("const void* volatile @kept[] = {{{}0}};\n", kept) + pointers +
                       "static void @call(unsigned which, const char* arguments) {\n  switch (which) {\n" +
                       cases + "    default: @exit(1);\n  }\n}\n",
                   word, "@");
}

std::string c_script(const CInterface& interface, std::string_view tests, const std::string& word) {
  // the headers that tests beside the program would find
  std::string text = interface.headers + "#include <assert.h>\n#line 1 \"boundary\"\n" + std::string(kQuick) +
                     with_word(kWire, word) + with_word(kMemory, word) + std::string(kAsBefore) +
                     interface.declarations;
  if (interface.tests_types > 0)
    text +=
        fmt::format("#line 1 \"tests\"\n{}\n#line 1 \"boundary\"\n", tests.substr(0, interface.tests_types));
  text += with_word(frames(interface), word, "@") + std::string(kQuick) + with_word(kAsk, word) +
          std::string(kAsBefore) + interface.variables +
          with_word(fmt::format("enum {{ @EXTENT = {} }};\n", points_into_rows(tests) ? 0 : 1), word, "@");
  for (size_t i = 0; i < interface.functions.size(); ++i) {
    const std::string& name = interface.functions[i].name;
    if (of_c_library(
            name))  // it is the entry point (defines_library), and a header of the tests declares another
      text += with_word(fmt::format("#undef {0}\n#define {0} @own_{0}\n", name), word, "@");
    text += with_word(stub(interface.functions[i], i), word, "@");
  }
  // so that the compiler sees what the tests' own functions pass on
  if (tests.size() < 8000 && tests.find("int main") != tests.npos)
    text += "__attribute__((flatten)) int main();\n";
  const auto lines =
      std::count(tests.begin(), tests.begin() + static_cast<long>(interface.tests_types), '\n');
  return text + fmt::format("#line {} \"tests\"\n{}\n", lines + 1, tests.substr(interface.tests_types));
}

}  // namespace

ApartOutcome run_c_apart(const Toolchain& toolchain, std::string_view program, const TestSet& set,
                         std::string_view tests, const std::string& word, const sandbox::Limits& limits,
                         const std::atomic<bool>& cancelled) {
  const std::vector<std::string> called = called_by_tests(program, set, tests);
  if (called.empty()) return {{}, "it defines no function that its tests call", {}};
  const CInterface interface = read_c_interface(program, called, tests);
  if (!interface.refused.empty()) return {{}, interface.refused, {}};
  if (!has_addresses()) return {{}, "this machine has no addresses where its tests could lie", {}};
  if (std::string why = shared_state(program, tests, called); !why.empty()) return {{}, std::move(why), {}};
  const CodeLanguage& c = toolchain.language("c");
  std::vector<std::string> arguments = {"-Wl,--wrap=free,--wrap=realloc"};
  if (!interface.names.empty())
    arguments.push_back("-no-pie");  // its variables' addresses are known before it runs
  const Compiled served = toolchain.compile(c, c_server(program, interface, word), {}, arguments, cancelled);
  if (!served.ok())
    return end_not_compiled(served,
                            "boundary:", "one of its functions cannot be called from another process");
  arguments = script_arguments(toolchain, c, !interface.names.empty(), cancelled);
  for (const std::string& name : interface.names)
    if (const auto at = symbol_address(served.program.content, name))
      arguments.push_back(fmt::format("-Wl,--defsym={}={:#x}", name, *at));
  const Compiled asks = toolchain.compile(c, c_script(interface, tests, word), {}, arguments, cancelled);
  return end_of_pair(toolchain, c, served, asks, "", limits, cancelled);
}

}  // namespace cohort::code
