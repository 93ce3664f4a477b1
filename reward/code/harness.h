// Trusted programs that run beside or around the candidate inside the jail.
#pragma once

#include <string>
#include <string_view>

namespace cohort::code {

extern const std::string_view kPythonHarness;
extern const std::string_view kNativeHarness;
std::string make_nonce();

}  // namespace cohort::code
