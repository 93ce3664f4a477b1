// What stands before a C++ program's tests, behind kWire and kAsk: clean definitions of what they name of the program's.
#pragma once

#include <string>

#include "reward/code/cpp_items.h"
#include "reward/code/cpp_shapes.h"

namespace cohort::code {

// Names what it leaves out in `items`.
std::string cpp_stubs(CppItems& items, const CppShapes& shapes);

// --- for cpp_class_stubs.cc

// A class in two pieces: its definition, and what goes behind those of all classes.
struct CppClassText {
  std::string definition, behind;
};
// With those inside it; nothing where the binary says nothing of it.
CppClassText cpp_class_stub(CppItems& items, const CppShapes& shapes, int k);

// The parameters of an item's stub from the one numbered `from` of its shape on.
struct CppParameters {
  std::string defined, declared;  // "int a0, char a1 = 'x'"; `declared` has what may be left out
  std::string types, arguments;   // ", int, char", ", a0, a1"
  std::string sizes;              // what the compiler knows of arrays by pointers
  bool arrays = false;
  // Such a stub knows sizes where it is called only.
  const char* inlined() const { return arrays ? "[[gnu::always_inline]] inline " : "inline "; }
};
CppParameters cpp_parameters(const CppItem& item, const CppShape& shape, size_t from);

// A stub in two pieces. `owner`: "ns::Class::" of a method, else "". `self`: "*this" or "".
struct CppStub {
  std::string declaration, definition;
};
CppStub cpp_stub(const CppItems& items, size_t i, const CppShape& shape, const std::string& owner,
                 const std::string& self);

// "enum class Colour : int { red = 0, };"
std::string cpp_enumeration(const CppItem& item, const CppShape& shape);

}  // namespace cohort::code
