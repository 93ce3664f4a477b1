#include "reward/code/cpp_apart.h"

#include <fmt/core.h>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_surface.h"
#include "reward/code/native_tests.h"

namespace cohort::code {
namespace {

#include "reward/code/cpp_ask.inc"
#include "reward/code/cpp_serve.inc"
#include "reward/code/cpp_wire.inc"

// For what is ours behind the program, whose own functions and templates stay as fast as they are: 0.4 s of a class's compilation.
constexpr const char* kQuick = "#pragma GCC optimize(\"O1\")\n";

constexpr std::string_view kItem = "item:";  // in what the compiler says of a line of surface.server()

// The line of a file "item" that the compiler complains of first, or 0.
size_t item_in(const std::string& diagnostics) {
  for (size_t at = 0; (at = diagnostics.find(kItem, at)) != diagnostics.npos; at += kItem.size()) {
    if (at > 0 && diagnostics[at - 1] != '\n' && diagnostics[at - 1] != ' ') continue;
    const size_t line = strtoul(diagnostics.c_str() + at + kItem.size(), nullptr, 10);
    if (line > 0) return line;
  }
  return 0;
}

std::string cpp_program(std::string_view program, const CppSurface& surface, const std::string& word) {
  const bool hooks =
      program.find("operator new") == program.npos && program.find("operator delete") == program.npos;
  return "#line 1 \"solution.cpp\"\n" + without_main(program) + undone_words(true) + kQuick +
         replaced(kWire, "WORD", word) +
         replaced(surface.server(), "KSERVE", replaced(kServe, "WORD", word)) +
         (hooks ? replaced(kHooks, "WORD", word) : "");
}

}  // namespace

ApartOutcome run_cpp_apart(const Toolchain& toolchain, std::string_view program_text, const TestSet& set,
                           std::string_view tests_text, const std::string& word,
                           const sandbox::Limits& limits, const std::atomic<bool>& cancelled) {
  const CodeLanguage& cpp = toolchain.language("cpp");
  CppSurface surface(program_text, tests_text, set.entry_point, word);
  if (surface.has_templates()) {
    const Compiled both = toolchain.compile(cpp, surface.together(), {}, {"-O0", "-c"}, cancelled);
    if (both.ok())
      surface.add_instances(both.program.content);
    else if (!cannot_be_apart(both, ""))
      return {{}, both.refused.reason, both};
  }
  if (surface.empty())
    return {
        {}, surface.left_out().empty() ? "it defines nothing that its tests name" : surface.left_out(), {}};
  Compiled program = toolchain.compile(cpp, cpp_program(program_text, surface, word), {}, {}, cancelled);
  // what cannot be served is left out: the tests may not need it
  for (int left = 6; !program.ok() && left > 0 && cannot_be_apart(program, kItem); --left) {
    if (!surface.leave_out(item_in(program.diagnostics))) break;
    program = toolchain.compile(cpp, cpp_program(program_text, surface, word), {}, {}, cancelled);
  }
  if (!program.ok())
    return end_not_compiled(program, cannot_be_apart(program, kItem) ? kItem : "boundary:",
                            "what its tests name cannot be used from another process");
  const auto stubs = surface.stubs(program.program.content);
  if (!stubs) return {{}, "what its tests name says no types", {}};
  const std::string script =
      "#include <bits/stdc++.h>\n#line 1 \"boundary\"\n" + replaced(kWire, "WORD", word) +
      replaced(surface.has_arrays() ? kExtents : kNoExtents, "WORD", word) + replaced(kAsk, "WORD", word) +
      *stubs + fmt::format("#include <assert.h>\n#line 1 \"tests\"\n{}\n", tests_text);
  // arrays go to the program whole: with nothing in them that was on the stack before
  std::vector<std::string> flags;
  if (surface.has_arrays()) flags.push_back("-ftrivial-auto-var-init=zero");
  const Compiled tests = toolchain.compile(cpp, script, {}, flags, cancelled);
  return end_of_pair(toolchain, cpp, program, tests, surface.left_out(), limits, cancelled);
}

}  // namespace cohort::code
