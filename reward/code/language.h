// A language is data: how a program is named, compiled and started. C, C++ and Python are built in; the run
// file's [[reward.languages]] add others or replace these.
#pragma once

#include <string>
#include <vector>

#include "transport/base/options.h"

namespace cohort {

// What may be taken away from a program's text without changing the program (code/normalise.h).
enum class CodeSyntax { none, c, python };
inline EnumNames<CodeSyntax> enum_names(CodeSyntax) {
  return {{CodeSyntax::none, "none"}, {CodeSyntax::c, "c"}, {CodeSyntax::python, "python"}};
}

struct CodeLanguage {
  using is_options = void;
  std::string name;
  std::vector<std::string> aliases;
  std::string source;
  std::string program;
  std::vector<std::string> compile;
  std::vector<std::string> run;
  std::vector<std::string> read_only;
  std::vector<std::string> syntax_errors;
  std::string precompile;
  std::string trial;
  CodeSyntax syntax = CodeSyntax::none;

  template <class V>
  void visit(V& v) {
    v("name", name, "as in a record's \"language\"; case does not matter");
    v("aliases", aliases, "other names for it");
    v("source", source, "the file the program is written to; {source} in the commands");
    v("program", program, "the one file the compiler makes, which is what runs; {program} in the commands");
    v("compile", compile, "the compiler's command; empty: the source itself runs");
    v("run", run, "the program's command");
    v("read_only", read_only, "host folders that its programs and compiler may read, e.g. a toolchain");
    v("syntax_errors", syntax_errors,
      "a crash whose last line on standard error begins with one of these is a compile_error");
    v("precompile", precompile, "a header that is compiled once and reused, e.g. bits/stdc++.h");
    v("trial", trial,
      "a program that writes what it reads; where it does not, before the first program, the language is "
      "broken here and all of its gradings are an infra_error, not their programs' fault");
    v("syntax", syntax,
      "c or python: programs that differ in comments and blanks only are the same program; none: only in "
      "blanks at the end");
  }
};

namespace code {

// The built-in ones, replaced and extended by `own`. A bare command ("perl") is looked up in this machine's
// system folders; {python} is `python`. Throws Error naming the language whose options do not fit together.
std::vector<CodeLanguage> make_languages(const std::vector<CodeLanguage>& own, const std::string& python);

// Throws InfraError naming those known.
const CodeLanguage& find_language(const std::vector<CodeLanguage>& languages, const std::string& name);

// "c, cpp, python"
std::string names_of(const std::vector<CodeLanguage>& languages);

// `command` with {source} and {program} filled in.
std::vector<std::string> fill_in(const std::vector<std::string>& command, const CodeLanguage& language);

// The Python interpreter: `wanted`, else /usr/bin/python3, else the first python3 in PATH. `prefix`: to show in
// the jail when it lies outside the system's folders, else "". Throws Error when `wanted` is not there.
struct Python {
  std::string program = "/usr/bin/python3";
  std::string prefix;
};
Python find_python(const std::string& wanted);

}  // namespace code
}  // namespace cohort
