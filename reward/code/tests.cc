#include "reward/code/tests.h"

#include "reward/record.h"

namespace cohort::code {
namespace {

[[noreturn]] void unreadable(const std::string& what) {
  throw InfraError("the record" + what);
}

std::string optional_text(const nlohmann::json& record, const char* key) {
  const auto it = record.find(key);
  if (it == record.end() || it->is_null()) return "";
  if (!it->is_string()) unreadable(fmt::format("'s field \"{}\" must be a text", key));
  return it->get<std::string>();
}

// A text, or a list of lines.
std::string text_of(const Value& value, const char* what) {
  if (value.is_text()) return value.text;
  if (!value.is_list()) unreadable(fmt::format("'s {} must be a text or a list of lines", what));
  std::string text;
  for (const Value& line : value.items) {
    if (!line.is_text()) unreadable(fmt::format("'s {} must be a text or a list of lines", what));
    text += line.text + "\n";
  }
  return text;
}

Value parse_text(const std::string& text, const char* what) {
  try {
    return parse_value(text);
  } catch (const InfraError& e) {
    unreadable(fmt::format("'s {}: {}", what, e.what()));
  }
}

const Value* find_any(const Value& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const Value* value = object.find(key)) return value;
  return nullptr;
}

Test call_test(const std::string& entry, const Value& args, const Value* kwargs,
               std::vector<Value> expected) {
  if (entry.empty()) unreadable(" has tests with \"args\" but no \"entry_point\"");
  if (!args.is_list()) unreadable("'s \"args\" must be a list");
  if (kwargs && kwargs->kind != Value::Kind::object) unreadable("'s \"kwargs\" must be an object");
  Test test;
  test.form = Test::Form::call;
  test.input = fmt::format(R"({{"entry_point":{},"args":{},"kwargs":{}}})", dump_line(entry),
                           write_value(args), kwargs ? write_value(*kwargs) : "{}");
  test.expected_values = std::move(expected);
  return test;
}

Test read_test(const Value& test, const std::string& entry, bool has_checker) {
  if (test.kind != Value::Kind::object) unreadable("'s \"tests\" must be objects");
  if (const Value* args = test.find("args")) {
    const Value* expected = find_any(test, {"expected", "output"});
    if (!expected) unreadable(" has a test with \"args\" but no \"expected\"");
    return call_test(entry, *args, test.find("kwargs"), {*expected});
  }
  const Value* input = find_any(test, {"stdin", "input"});
  const Value* output = find_any(test, {"stdout", "output"});
  const Value* type = test.find("testtype");
  if (type && type->text == "functional") {  // LiveCodeBench: one argument a line, all of it as JSON text
    if (!input || !output || !input->is_text() || !output->is_text())
      unreadable(" has a functional test without a text \"input\" and \"output\"");
    Value args;
    args.kind = Value::Kind::list;
    std::string_view lines = input->text;
    while (!lines.empty()) {
      const size_t end = std::min(lines.find('\n'), lines.size());
      if (!trim(lines.substr(0, end)).empty())
        args.items.push_back(parse_text(std::string(lines.substr(0, end)), "functional \"input\""));
      lines.remove_prefix(std::min(end + 1, lines.size()));
    }
    return call_test(entry, args, nullptr, {parse_text(output->text, "functional \"output\"")});
  }
  if (!output && !has_checker) unreadable(" has a test that needs a text \"stdout\"");
  Test out;
  if (input) out.input = text_of(*input, "\"stdin\"");
  if (output) out.expected = text_of(*output, "\"stdout\"");
  return out;
}

// APPS: parallel lists; with a function's name its arguments and result, else standard input and output.
void read_parallel(const Value& record, const std::string& entry, TestSet& set) {
  const Value *inputs = record.find("inputs"), *outputs = record.find("outputs");
  if (!inputs || !outputs || !inputs->is_list() || !outputs->is_list() ||
      inputs->items.size() != outputs->items.size())
    unreadable(" needs \"inputs\" and \"outputs\", two lists of the same length");
  for (size_t i = 0; i < inputs->items.size(); ++i) {
    const Value &in = inputs->items[i], &out = outputs->items[i];
    if (entry.empty()) {
      Test test;
      test.input = text_of(in, "\"inputs\""), test.expected = text_of(out, "\"outputs\"");
      set.tests.push_back(std::move(test));
      continue;
    }
    std::vector<Value> expected = {out};  // that set puts some results into a list of one
    if (out.is_list() && out.items.size() == 1) expected.push_back(out.items[0]);
    set.tests.push_back(call_test(entry, in, nullptr, std::move(expected)));
  }
}

void read_scripts(const nlohmann::json& record, TestSet& set) {
  auto add = [&set](const nlohmann::json& text, const char* key) {
    if (!text.is_string()) unreadable(fmt::format("'s field \"{}\" must be a text or a list of texts", key));
    Test test;
    test.form = Test::Form::script;
    test.script = text.get<std::string>();
    set.tests.push_back(std::move(test));
  };
  for (const char* key : {"test_code", "test_list", "challenge_test_list"}) {
    const auto it = record.find(key);
    if (it == record.end()) continue;
    if (it->is_array())
      for (const nlohmann::json& one : *it) add(one, key);
    else
      add(*it, key);
  }
  set.prelude = optional_text(record, "prelude");
  if (const auto it = record.find("test_imports"); it != record.end() && it->is_array())
    for (const nlohmann::json& line : *it)
      if (line.is_string()) set.prelude += "\n" + line.get<std::string>();
  if (const std::string setup = optional_text(record, "test_setup_code"); !setup.empty())
    set.prelude += "\n" + setup;
}

void read_comparison(const nlohmann::json& record, TestSet& set) {
  if (const std::string how = optional_text(record, "compare"); !how.empty()) {
    const auto compare = value_named<OutputCompare>(how);
    if (!compare) unreadable(fmt::format("'s \"compare\": \"{}\" is no way to compare", how));
    set.compare = *compare;
  }
  for (auto [key, field] : {std::pair{"absolute_tolerance", &set.tolerance.absolute},
                            std::pair{"relative_tolerance", &set.tolerance.relative}}) {
    const auto it = record.find(key);
    if (it == record.end()) continue;
    if (!it->is_number() || it->get<double>() < 0)
      unreadable(fmt::format("'s field \"{}\" must be a number, at least 0", key));
    *field = it->get<double>();
  }
}

}  // namespace

TestSet read_tests(const nlohmann::json& record, const std::string& record_text, const CodeOptions& options) {
  TestSet set;
  set.compare = options.compare;
  set.tolerance = {options.absolute_tolerance, options.relative_tolerance};
  read_comparison(record, set);
  for (const char* key : {"entry_point", "fn_name", "func_name"})
    if (set.entry_point.empty()) set.entry_point = optional_text(record, key);
  set.driver = optional_text(record, "driver");
  if (const auto it = record.find("checker"); it != record.end()) {
    if (!it->is_object()) unreadable("'s field \"checker\" must be an object of \"language\" and \"source\"");
    set.checker = {required_text(*it, "language"), required_text(*it, "source")};
  }
  const bool listed = record.contains("tests"),
             apps = record.contains("input_output") || record.contains("inputs");
  const bool scripts = record.contains("test_code") || record.contains("test_list");
  if (listed + apps + scripts != 1)
    unreadable(
        " needs its tests in one form: \"tests\", \"test_code\", \"test_list\", \"inputs\" or "
        "\"input_output\"");
  if (scripts) {
    read_scripts(record, set);
  } else {
    // read again, so that whole numbers keep all their digits
    const Value values = parse_text(record_text, "text");
    if (listed) {
      Value unpacked;
      const Value* tests = values.find("tests");
      if (tests->is_text()) tests = &(unpacked = parse_text(tests->text, "\"tests\""));
      if (!tests->is_list()) unreadable("'s field \"tests\" must be a list");
      for (const Value& test : tests->items)
        set.tests.push_back(read_test(test, set.entry_point, set.checker.has_value()));
    } else {
      Value unpacked;
      const Value* where = values.find("input_output");
      if (where && where->is_text()) where = &(unpacked = parse_text(where->text, "\"input_output\""));
      if (!where) where = &values;
      if (const Value* name = where->find("fn_name"); name && name->is_text()) set.entry_point = name->text;
      read_parallel(*where, set.entry_point, set);
    }
  }
  if (set.tests.empty()) unreadable(" has no tests");
  return set;
}

}  // namespace cohort::code
