#include "reward/sandbox/embedded.h"

// The assembler puts the files that COHORT_JAIL_PROGRAM and COHORT_WARM_LIBRARY name into this object.
asm(R"(
  .section .rodata
  .balign 16
  cohort_jail_begin: .incbin ")" COHORT_JAIL_PROGRAM R"("
  cohort_jail_end:
  .balign 16
  cohort_warm_begin: .incbin ")" COHORT_WARM_LIBRARY R"("
  cohort_warm_end:
  .byte 0
  .text
)");

extern "C" {
extern const char cohort_jail_begin[], cohort_jail_end[], cohort_warm_begin[], cohort_warm_end[];
}

namespace cohort::sandbox {

std::string_view keeper_program() {
  return {cohort_jail_begin, static_cast<size_t>(cohort_jail_end - cohort_jail_begin)};
}
std::string_view warm_library() {
  return {cohort_warm_begin, static_cast<size_t>(cohort_warm_end - cohort_warm_begin)};
}

}  // namespace cohort::sandbox
