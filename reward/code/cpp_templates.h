// Templates of a program, of which its tests see instances only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "reward/code/cpp_items.h"

namespace cohort::code {

// A class in `items.found` for each instance of a class template that the tests name, or that such a one has fields of.
void add_class_instances(CppItems& items);

// An item for each instance of these function templates that an object file of program and tests together has: of standard types and
// the program's own, the others are left out.
void add_function_instances(CppItems& items, const std::vector<const CppFunction*>& templates,
                            std::string_view object);

// The parameters of an instance's template as what they stand for: "using T = int; …", for a scope in which its text is read.
std::string names_of_arguments(const CppClass& c);

// The declaration of an instance's template itself; "" where it is none that can be written down.
std::string declared_template(const CppClass& c);

}  // namespace cohort::code
