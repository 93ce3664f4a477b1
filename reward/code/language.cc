#include "reward/code/language.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "reward/infra_error.h"

namespace cohort::code {
namespace {

namespace fs = std::filesystem;

std::string lower(const std::string& text) {
  std::string out;
  for (char c : text) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::vector<CodeLanguage> built_in() {
  CodeLanguage c;
  c.name = "c";
  c.source = "solution.c";
  c.program = "program";
  c.compile = {"gcc", "-std=gnu17", "-O2", "-o", "{program}", "{source}", "-lm"};
  c.run = {"./{program}"};
  c.syntax = CodeSyntax::c;
  c.trial = "#include <stdio.h>\nint main(void) {\n  for (int c; (c = getchar()) != EOF;) putchar(c);\n}\n";
  CodeLanguage cpp = c;
  cpp.name = "cpp";
  cpp.aliases = {"c++", "cc", "cxx"};
  cpp.source = "solution.cpp";
  cpp.compile = {"g++", "-std=gnu++20", "-O2", "-o", "{program}", "{source}", "-lm"};
  cpp.precompile = "bits/stdc++.h";
  cpp.trial = "#include <bits/stdc++.h>\nint main() { std::cout << std::cin.rdbuf(); }\n";
  CodeLanguage python;
  python.name = "python";
  python.aliases = {"python3", "py"};
  python.source = "solution.py";
  python.run = {"{python}", "-I", "-B", "{source}"};
  python.syntax_errors = {"SyntaxError", "IndentationError", "TabError"};
  python.syntax = CodeSyntax::python;
  python.trial = "import sys\nsys.stdout.write(sys.stdin.read())\n";
  return {c, cpp, python};
}

// A bare command becomes a path; one with a '/' stays (inside the jail it may be the program itself).
void resolve(std::string& command, const std::string& python, const CodeLanguage& language) {
  if (command == "{python}") command = python;
  if (command.find('/') != std::string::npos) return;
  std::vector<std::string> folders = {"/usr/local/bin", "/usr/bin", "/bin"};
  for (const std::string& folder : language.read_only)
    folders.push_back(folder), folders.push_back(folder + "/bin");
  for (const std::string& folder : folders)
    if (access((folder + "/" + command).c_str(), X_OK) == 0) {
      command = folder + "/" + command;
      return;
    }
  // Not here: a machine that never meets this language needs no compiler for it. The jail says so when one is run.
  command = "/usr/bin/" + command;
}

void check(const CodeLanguage& l) {
  auto plain = [&](const char* key, const std::string& file) {
    if (file.find('/') != std::string::npos || file == "." || file == "..")
      fail_usage("reward.languages: {} = \"{}\" of \"{}\" must be a plain file name", key, file, l.name);
  };
  if (l.name.empty()) fail_usage("reward.languages: a language has no name");
  if (l.source.empty()) fail_usage("reward.languages: \"{}\" has no source (the file's name)", l.name);
  if (l.run.empty()) fail_usage("reward.languages: \"{}\" has no run command", l.name);
  if (!l.compile.empty() && l.program.empty())
    fail_usage("reward.languages: \"{}\" is compiled, so it needs program (the file that runs)", l.name);
  plain("source", l.source), plain("program", l.program);
  for (const std::string& folder : l.read_only)
    if (!folder.starts_with('/'))
      fail_usage("reward.languages: read_only = \"{}\" of \"{}\" must be an absolute path", folder, l.name);
  for (const auto* command : {&l.compile, &l.run})
    for (const std::string& word : *command)
      if (l.program.empty() && word.find("{program}") != std::string::npos)
        fail_usage("reward.languages: \"{}\" uses {{program}} but has no program", l.name);
  for (const auto* command : {&l.compile, &l.run})
    for (std::string_view word : *command) {
      if (word.starts_with("./")) word.remove_prefix(2);
      if (word.size() < 3 || word.front() != '{' || word.back() != '}') continue;
      const std::string name(word.substr(1, word.size() - 2));
      const std::string near = nearest_name(name, {"source", "program", "python"});
      if (!near.empty() && near != name)
        fail_usage("reward.languages: \"{}\" uses {}; did you mean {{{}}}?", l.name, word, near);
    }
}

}  // namespace

std::vector<CodeLanguage> make_languages(const std::vector<CodeLanguage>& own, const std::string& python) {
  std::vector<CodeLanguage> all = built_in();
  std::set<std::string> names;
  for (const CodeLanguage& language : own) {
    check(language);
    if (!names.insert(lower(language.name)).second)
      fail_usage("reward.languages: \"{}\" is there twice", language.name);
    std::erase_if(all, [&](const CodeLanguage& l) { return lower(l.name) == lower(language.name); });
    all.insert(all.begin(), language);  // before the built-in ones: its aliases win too
  }
  for (CodeLanguage& language : all) {
    if (!language.compile.empty()) resolve(language.compile[0], python, language);
    resolve(language.run[0], python, language);
  }
  return all;
}

const CodeLanguage& find_language(const std::vector<CodeLanguage>& languages, const std::string& name) {
  const std::string wanted = lower(name);
  for (const CodeLanguage& l : languages)
    if (lower(l.name) == wanted) return l;
  for (const CodeLanguage& l : languages)
    for (const std::string& alias : l.aliases)
      if (lower(alias) == wanted) return l;
  throw InfraError(fmt::format("the record's language \"{}\" is none of {}", name, names_of(languages)));
}

std::string names_of(const std::vector<CodeLanguage>& languages) {
  std::string names;
  for (const CodeLanguage& l : languages) names += (names.empty() ? "" : ", ") + l.name;
  return names;
}

std::vector<std::string> fill_in(const std::vector<std::string>& command, const CodeLanguage& language) {
  std::vector<std::string> out = command;
  for (std::string& word : out)
    for (const auto& [mark, file] : {std::pair<std::string, const std::string&>{"{source}", language.source},
                                     {"{program}", language.program}})
      for (size_t at; (at = word.find(mark)) != std::string::npos;) word.replace(at, mark.size(), file);
  return out;
}

Python find_python(const std::string& wanted) {
  Python python;
  std::string found = wanted;
  if (found.empty() && access(python.program.c_str(), X_OK) == 0) return python;
  const char* path = getenv("PATH");
  for (std::string_view rest = path ? path : ""; found.empty() && !rest.empty();) {
    const std::string candidate = std::string(rest.substr(0, rest.find(':'))) + "/python3";
    if (access(candidate.c_str(), X_OK) == 0) found = candidate;
    rest.remove_prefix(std::min(rest.find(':'), rest.size() - 1) + 1);
  }
  std::error_code error;
  const fs::path real = fs::canonical(found, error);
  if (error) {
    if (!wanted.empty()) fail_usage("code reward: python = \"{}\": {}", wanted, error.message());
    return python;  // there is none: a Python task will say so
  }
  python.program = real.string();
  const fs::path prefix = real.parent_path().parent_path();
  if (prefix != "/usr" && prefix != "/") python.prefix = prefix.string();
  return python;
}

}  // namespace cohort::code
