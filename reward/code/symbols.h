// Where a compiled program has its variables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cohort::code {

// Of a variable in an ELF file for x86-64 that is loaded where it says. Nothing where it is not there, or where no such
// program has its variables: the file is not trusted.
std::optional<uint64_t> symbol_address(std::string_view elf, std::string_view name);

}  // namespace cohort::code
