// What stands behind a C++ program and kWire: says the types of its items in the binary, and serves them.
#pragma once

#include <string>

#include "reward/code/cpp_items.h"

namespace cohort::code {

// KSERVE in it is where kServe belongs. What is of one item is in line (its number + 1) of a file "item".
std::string cpp_server(const CppItems& items);

}  // namespace cohort::code
