// What a C++ text declares, as far as another process can use it: functions, classes, enumerations, names of types, variables.
//
// Read by tokens, so it can be wrong (conditional compilation, macros): whatever is made of it is put before the compiler in the
// program's own source, which has to agree, and nothing that is trusted depends on it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cohort::code {

struct CppParameter {
  std::string text;      // type and name, without what is left out
  std::string name;      // may be ""
  std::string fallback;  // of a default argument
};

struct CppFunction {
  std::string scope;   // "ns::" or "ns::Class::"; "" outside
  std::string name;    // "push", "operator+", "operator bool"; a constructor has its class's
  std::string result;  // "" for a constructor or conversion
  std::string tail;    // " const", " const &"
  std::vector<CppParameter> parameters;
  bool constructor = false, is_static = false, is_template = false, is_friend = false, is_explicit = false;
  bool open = true;  // public
  // a constructor: its initialisers, and whether its body is empty
  std::vector<std::pair<std::string, std::string>> sets;
  bool only_sets = false;
  bool is_default = false;  // `= default`
  std::string body;         // with its braces
};

struct CppField {
  std::string name, fallback;
  std::string text;  // what stands before its name
  bool open = true;
};

struct CppEnum {
  std::string scope, name;
  bool scoped = false;
  int owner = -1;
  std::vector<std::string> names;
};

struct CppClass {
  std::string scope, name;
  std::string head;       // `class T, int N` of a template
  std::string arguments;  // "<int, 3>" of one of its instances
  std::vector<std::string> bases;
  std::vector<CppField> fields;        // not static ones
  std::vector<CppFunction> functions;  // of the class itself
  int owner = -1;                      // index of the class it is in
  bool is_struct = false, open = true, is_final = false;
  bool destructor = false, copies = false, is_virtual = false;
  bool odd = false;  // something in it was not understood: bit-fields, anonymous unions, references
  std::string path() const { return scope + name + arguments; }
};

struct CppNames {  // of `using` and `typedef`, or of variables
  std::string scope, name;
};

struct CppDeclarations {
  std::vector<CppFunction> functions;  // outside of classes
  std::vector<CppClass> classes;       // in the order of the text; one inside another behind it
  std::vector<CppEnum> enums;
  std::vector<CppNames> aliases, variables;
  std::vector<std::pair<std::string, std::string>> macros;  // without parameters; others have the value "("
  std::vector<std::string> used_names;                      // X of `using std::X;` outside of brackets
  std::vector<std::string> used_namespaces;                 // `using namespace a::b;` outside of brackets
};

CppDeclarations read_declarations(std::string_view text);

}  // namespace cohort::code
