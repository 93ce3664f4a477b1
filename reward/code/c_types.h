// What a C program declares, as far as tests that are compiled without it need it: the types, constants and variables that they
// name and the functions that they call. Read from the program's words; nothing but declarations of plain words comes out, so no line of
// the program's runs where the tests do.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cohort::code {

struct CParameter {
  std::string name;
  std::string type;      // without the name; "void*" for every pointer
  bool pointer = false;  // also an array, a function, or a type defined as a pointer
};

struct CFunction {
  std::string name;
  std::string result;     // "void" for none
  std::string prototype;  // as the program has it, without a body
  std::vector<CParameter> parameters;
  bool number = false;  // the result is none that can hold a pointer
};

struct CInterface {
  std::string headers;             // of the C library, that the program includes and its tests may count on
  std::string declarations;        // constants and types, in the program's order
  std::string variables;           // extern declarations
  std::vector<std::string> names;  // of those variables
  std::vector<std::string> sized;  // types whose size both sides must have alike
  std::vector<CFunction> functions;
  size_t tests_types = 0;  // bytes of the tests' text that define types of those functions: theirs count
  std::string refused;     // why not, in one line; else empty
};

// `called`: functions of the program that the tests name.
CInterface read_c_interface(std::string_view program, const std::vector<std::string>& called,
                            std::string_view tests);

}  // namespace cohort::code
