// What of a C++ program its tests use, as a list: cpp_surface.cc chooses it, cpp_server.cc serves it behind the program, cpp_stubs.cc
// stands for it before the tests. The number of an item is what a request names it by, and its line in the server's file "item".
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code/cpp_types.h"

namespace cohort::code {

struct CppItem {
  enum Kind {
    function,
    method,
    constructor,
    conversion,
    field,
    copy,
    move,
    assign,
    fields,  // of a class: whatever is said of the class itself
    enumeration,
    alias,
    variable,
    equality
  };
  Kind kind = function;
  const CppFunction* f = nullptr;
  int of_class = -1;
  std::string scope, name;
  size_t kept = std::string::npos;  // parameters, where defaults are left out
  bool overloaded = false, gone = false;
  const CppEnum* e = nullptr;
  std::string arguments;  // "<int>" of an instance of a function template

  bool whole() const { return kept == std::string::npos; }
  std::string path() const { return "::" + scope + name + arguments; }
};

// How the tests have a class (or enumeration): not at all, as its fields, as the number of an object that stays with the program, or as
// what an exception says. `want` in kWire.
enum class CppWant { nothing = 0, value = 1, object = 2, enumeration = 3, exception = 4 };

// Not to be copied: items point into `found`.
struct CppItems {
  CppItems(std::string_view program, std::string_view tests, std::string word);
  CppItems(const CppItems&) = delete;

  const std::string_view program, tests;
  const std::string word;           // at the end of every name of ours beside the program's
  const std::string ours;           // the namespace of ours
  CppDeclarations found;            // in the program
  std::set<std::string> own_words;  // that the tests declare
  std::vector<CppWant> want;        // of each class
  std::vector<CppItem> all;
  std::string left_out;  // why something that the tests name is missing: the first reason

  bool mentioned(const std::string& name) const { return words_.count(name) > 0; }
  // Whether the tests have the class itself.
  bool has(size_t k) const { return want[k] == CppWant::value || want[k] == CppWant::object; }
  // Of an item of a class.
  const CppClass& class_of(const CppItem& item) const {
    return found.classes[static_cast<size_t>(item.of_class)];
  }
  void leave_out(const std::string& why) {
    if (left_out.empty()) left_out = why;
  }

 private:
  std::set<std::string> words_;  // of the tests
};

// Whether what stands for parameters that are left out is the same for any program.
bool has_literal_defaults(const CppFunction& f);

// A class of the standard library that exceptions are made of, whatever its name is written like.
bool is_standard_exception(const std::string& base);
std::string without_std(std::string name);

}  // namespace cohort::code
