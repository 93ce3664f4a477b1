// What of a C++ program its tests use, as two sources: what serves it behind the program, and what stands for it before the tests.
//
// Data flow: declarations of the program (cpp_types.h) that the tests name → items (cpp_items.h), each a line of the server
// (cpp_server.h), which has the compiler say its types in the binary → shapes (cpp_shapes.h) → clean definitions (cpp_stubs.h): functions
// and methods that ask, values with the same fields, objects that are a number. Names in them are identifiers of the program's text; types
// are the compiler's words for standard types or for these names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code/cpp_items.h"
#include "reward/code/cpp_text.h"

namespace cohort::code {

class CppSurface {
 public:
  // `word`: letters and digits that no program can know.
  CppSurface(std::string_view program, std::string_view tests, const std::string& entry_point,
             std::string word);

  // The tests name function templates. Of which types is for a compiler to say: it compiles `together`, which never runs, and
  // `add_instances` reads what the object file has. Only standard types and the program's own are taken from it.
  bool has_templates() const { return !templates_.empty(); }
  std::string together() const;
  void add_instances(std::string_view object);
  // Nothing of the program's is named by the tests.
  bool empty() const { return items_.all.empty(); }
  // What stands behind the program and kWire: an item a line of a file "item".
  std::string server() const;
  // The item of that line is left out; false where there is none.
  bool leave_out(size_t line);
  // What stands before the tests. `binary`: of the server. Nothing where it says nothing.
  std::optional<std::string> stubs(std::string_view binary);
  // Whether a stub takes an array by a pointer. After stubs().
  bool has_arrays() const { return arrays_; }
  // Why something that the tests name is missing; "" where nothing is. After stubs().
  const std::string& left_out() const { return items_.left_out; }

 private:
  CppItems items_;
  std::vector<const CppFunction*> templates_;
  bool arrays_ = false;
};

}  // namespace cohort::code
