// The types of the items as the server's binary says them. It is the program's, so nothing of it is believed: only plain types and
// numbers come out, which can be put into the tests' source.
#pragma once

#include <map>
#include <string_view>

#include "reward/code/cpp_items.h"
#include "reward/code/cpp_text.h"

namespace cohort::code {

class CppShapes {
 public:
  // Names what it leaves out in `items`.
  CppShapes(CppItems& items, std::string_view binary);

  // The binary says something.
  bool any() const { return any_; }
  // Of the item of that number, or null.
  const CppShape* of(size_t i) const;
  // Of classes as a whole: whether they are their fields here.
  static bool is_value(const CppShape& fields) { return !fields.values.empty() && fields.values[0] == "1"; }

  // Of words that every process has, or names of classes and enumerations that have a shape.
  bool plain(std::string_view type) const;
  bool plain_parameters(const CppShape& shape) const;
  // The same with its result.
  bool plain(const CppShape& shape) const { return plain_parameters(shape) && plain(shape.result); }

 private:
  bool is_own(std::string_view word) const;
  bool fits(size_t i, const CppShape& shape) const;
  void drop_what_is_not_plain();

  CppItems& items_;
  std::map<size_t, CppShape> shapes_;
  bool any_ = false;
};

}  // namespace cohort::code
