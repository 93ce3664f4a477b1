// A record's tests, whatever form they have. docs/code.md lists the forms with examples.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "reward/code.h"
#include "reward/code/value.h"

namespace cohort::code {

struct Test {
  enum class Form {
    output,  // standard input; standard output is compared, or judged by the checker
    call,    // arguments; the result is compared
    script,  // a program of assertions
  };
  Form form = Form::output;
  std::string input;                   // output: standard input; call: the request as the harness reads it
  std::string expected;                // output
  std::vector<Value> expected_values;  // call: any of these will do
  std::string script;                  // script
};

struct Checker {
  std::string language, source;
};

struct TestSet {
  std::vector<Test> tests;
  std::string entry_point;  // call and script
  std::string prelude;      // script: runs before the tests, on their side; helpers the tests rely on
  std::string driver;       // output: appended to the program, reads the input and calls its function
  std::optional<Checker> checker;
  OutputCompare compare = OutputCompare::tokens;
  Tolerance tolerance;
};

// Throws InfraError ("the record …") naming the field that is missing or cannot be read.
TestSet read_tests(const nlohmann::json& record, const std::string& record_text, const CodeOptions& options);

}  // namespace cohort::code
