#include "reward/code/symbols.h"

#include <elf.h>
#include <string.h>

namespace cohort::code {
namespace {

// A copy of what is in the file there: nothing in it need be aligned or whole.
template <class T>
std::optional<T> at(std::string_view elf, uint64_t offset) {
  if (offset > elf.size() || elf.size() - offset < sizeof(T)) return {};
  T value;
  memcpy(&value, elf.data() + offset, sizeof value);
  return value;
}

}  // namespace

std::optional<uint64_t> symbol_address(std::string_view elf, std::string_view name) {
  constexpr uint64_t kLow = 0x400000,
                     kHigh = 0x40000000;  // where the linker puts a program that is not moved
  const auto head = at<Elf64_Ehdr>(elf, 0);
  if (!head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_type != ET_EXEC) return {};
  std::optional<uint64_t> found;
  for (unsigned s = 0; s < head->e_shnum; ++s) {
    const auto table = at<Elf64_Shdr>(elf, head->e_shoff + s * sizeof(Elf64_Shdr));
    if (!table || table->sh_type != SHT_SYMTAB) continue;
    const auto names = at<Elf64_Shdr>(elf, head->e_shoff + table->sh_link * sizeof(Elf64_Shdr));
    for (uint64_t k = 0; names && k < table->sh_size / sizeof(Elf64_Sym); ++k) {
      const auto symbol = at<Elf64_Sym>(elf, table->sh_offset + k * sizeof(Elf64_Sym));
      if (!symbol) break;
      if (ELF64_ST_TYPE(symbol->st_info) != STT_OBJECT) continue;
      const uint64_t text = names->sh_offset + symbol->st_name;
      if (text >= elf.size() || elf.size() - text <= name.size() || elf.substr(text, name.size()) != name ||
          elf[text + name.size()] != 0)
        continue;
      if (found && *found != symbol->st_value) return {};  // two of that name
      found = symbol->st_value;
    }
  }
  if (found && (*found < kLow || *found >= kHigh)) return {};
  return found;
}

}  // namespace cohort::code
