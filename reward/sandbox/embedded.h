// The two programs of the inside, carried in this library so that a worker needs no other file at run time.
#pragma once

#include <string_view>

namespace cohort::sandbox {

std::string_view keeper_program();  // cohort-jail, static
std::string_view warm_library();    // to preload into a warm interpreter

}  // namespace cohort::sandbox
