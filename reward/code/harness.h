// Trusted programs that run beside or around the candidate in jails.
#pragma once

#include <string>
#include <string_view>

namespace cohort::code {

// harness.py: definitions only. A program is this + "main()"; it reads the file "mode": one word (run, call,
// serve, tests) and the largest message in bytes.
extern const std::string_view kPythonHarness;

// The whole of it in one interpreter, candidate and tests: for tests that separate processes cannot serve.
// Arguments: a nonce, the entry point. Reports on descriptor 3 with the nonce before it.
extern const std::string_view kPythonInProcess;

// Around a C or C++ program whose main is the tests': reports on descriptor 3 that main came to its end with 0.
// The nonce arrives on descriptor 0, which the program then finds empty.
extern const std::string_view kNativeHarness;
// Program and tests as one source that goes with it.
std::string with_native_tests(std::string_view source, std::string_view tests, bool cpp);

std::string make_nonce();  // 32 hex digits

}  // namespace cohort::code
