// What of a C++ program its tests use, as two sources: what serves it behind the program, and what stands for it before the tests.
//
// Data flow: declarations of the program (cpp_types.h) that the tests name → items, each a line of the server, which has the compiler say
// its types in the binary → shapes → clean definitions: functions and methods that ask, values with the same fields, objects that are
// a number. Names in them are identifiers of the program's text; types are the compiler's words for standard types or for these names.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code/cpp_types.h"

namespace cohort::code {

// A type as a binary says it: a function's, or `types<…>` with no result.
struct CppShape {
  std::string result;
  std::vector<std::string> parameters;
  std::vector<std::string> values;  // of constants beside it
};
std::optional<CppShape> read_shape(std::string_view text);

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
  bool empty() const { return items_.empty(); }
  // What stands behind the program and kWire: an item a line of a file "item".
  std::string server() const;
  // The item of that line is left out; false where there is none.
  bool leave_out(size_t line);
  // What stands before the tests. `binary`: of the server. Nothing where it says nothing.
  std::optional<std::string> stubs(std::string_view binary);
  // Whether a stub takes an array by a pointer. After stubs().
  bool has_arrays() const { return arrays_; }
  // Why something that the tests name is missing; "" where nothing is. After stubs().
  const std::string& left_out() const { return left_out_; }

 private:
  struct Item {
    enum Kind {
      function,
      method,
      constructor,
      conversion,
      field,
      copy,
      move,
      assign,
      fields,
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
  };

  bool mentioned(const std::string& name) const { return words_.count(name) > 0; }
  void add_instances();
  void choose_classes();
  void choose(const std::string& entry_point);
  void add_function(Item item);
  bool wants_value(const CppClass& c) const;
  bool is_exception(const CppClass& c) const;
  std::string path(const Item& item) const;
  std::string meant(const std::string& text) const;
  std::string shape_of(size_t i) const;
  std::string serve(size_t i) const;
  const CppShape* shape(size_t i) const;
  void drop_what_is_not_plain();
  bool plain(std::string_view type) const;
  bool plain(const CppShape& shape, size_t from = 0) const;
  std::string parameters(size_t i, size_t from, std::string& types, std::string& arguments,
                         std::string& sizes, bool defaults) const;
  std::string asks(size_t i, const std::string& self, const std::string& owner,
                   std::string& declaration) const;
  void define(int c, std::string& out, std::string& behind);
  bool has_equality(const CppClass& c, const CppFunction** found = nullptr) const;
  std::string fieldwise_equal(const CppClass& c) const;

  const std::string_view program_, tests_;
  const std::string word_;
  CppDeclarations found_;
  std::set<std::string> words_, own_words_, macros_, brace_made_, fields_used_;
  std::vector<int> want_;  // of each class: 0 is not there, 1 a value, 2 an object, 4 an exception
  std::vector<Item> items_;
  std::vector<const CppFunction*> templates_;
  std::map<size_t, CppShape> shapes_;
  bool arrays_ = false;
  std::string left_out_;
};

// Whether the tests compare with a function of that name: one of the program's does not take its place.
bool decides_tests(std::string_view name);

}  // namespace cohort::code
