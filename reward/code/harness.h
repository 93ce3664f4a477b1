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

std::string make_nonce();  // 32 hex digits

}  // namespace cohort::code
