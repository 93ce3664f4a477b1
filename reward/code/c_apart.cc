#include "reward/code/c_apart.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "reward/code/native_tests.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

#include "reward/code/c_apart.inc"

constexpr const char* kText = "const char *";

// The ways to write a number's type, and the standard headers' names for them here.
constexpr std::pair<const char*, const char*> kNumbers[] = {{"char", "char"},
                                                            {"signed char", "signed char"},
                                                            {"unsigned char", "unsigned char"},
                                                            {"short", "short"},
                                                            {"short int", "short"},
                                                            {"unsigned short", "unsigned short"},
                                                            {"unsigned short int", "unsigned short"},
                                                            {"int", "int"},
                                                            {"signed", "int"},
                                                            {"signed int", "int"},
                                                            {"unsigned", "unsigned"},
                                                            {"unsigned int", "unsigned"},
                                                            {"long", "long"},
                                                            {"long int", "long"},
                                                            {"unsigned long", "unsigned long"},
                                                            {"unsigned long int", "unsigned long"},
                                                            {"long long", "long long"},
                                                            {"long long int", "long long"},
                                                            {"unsigned long long", "unsigned long long"},
                                                            {"unsigned long long int", "unsigned long long"},
                                                            {"float", "float"},
                                                            {"double", "double"},
                                                            {"long double", "long double"},
                                                            {"_Bool", "_Bool"},
                                                            {"bool", "_Bool"},
                                                            {"size_t", "unsigned long"},
                                                            {"ssize_t", "long"},
                                                            {"int8_t", "signed char"},
                                                            {"int16_t", "short"},
                                                            {"int32_t", "int"},
                                                            {"int64_t", "long"},
                                                            {"uint8_t", "unsigned char"},
                                                            {"uint16_t", "unsigned short"},
                                                            {"uint32_t", "unsigned"},
                                                            {"uint64_t", "unsigned long"}};

std::string number_type(const std::string& written) {
  for (const auto& [way, type] : kNumbers)
    if (written == way) return type;
  return "";
}

// "const char * s" → words joined by one blank, qualifiers of no weight to a caller left out.
std::string joined(std::string_view text, const std::vector<Token>& all, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) {
    const std::string_view word = of(text, all[i]);
    if (all[i].kind == Token::skipped || word == "static" || word == "inline" || word == "extern") continue;
    out += (out.empty() ? "" : " ") + std::string(word);
  }
  return out;
}

// A parameter's type, its name behind it or not; "" where it is none of ours.
std::string parameter_type(std::string text) {
  const bool array = text.ends_with(" [ ]");
  if (array) text.erase(text.size() - 4);
  for (int drop_name = array; drop_name < 2; ++drop_name) {
    if (drop_name) text.erase(std::min(text.size(), text.rfind(' ')));
    if (array) return text == "const char" || text == "char const" ? kText : "";
    if (text == "const char *" || text == "char const *" || text == "const char * const") return kText;
    const std::string type = number_type(text.starts_with("const ") ? text.substr(6) : text);
    if (!type.empty()) return type;
  }
  return "";
}

}  // namespace

std::optional<CFunction> plain_function(std::string_view text, const std::vector<Token>& all, size_t name) {
  CFunction function;
  function.name = of(text, all[name]);
  size_t begin = name;
  while (begin > 0) {
    const Token& before = all[begin - 1];
    const bool star = before.kind == Token::other && text[before.begin] == '*';
    // a line of the preprocessor ends with its line
    if (before.kind == Token::skipped && of(text, before).find('\n') != std::string_view::npos) {
      size_t line = begin - 1;
      while (line > 0 && of(text, all[line - 1]).find('\n') == std::string_view::npos) --line;
      line = skip(all, line);
      if (line < begin && of(text, all[line]) == "#") break;
    }
    if (before.kind != Token::skipped && before.kind != Token::word && !star) break;
    --begin;
  }
  const std::string result = joined(text, all, begin, name);
  function.result = result == "void" ? "void" : number_type(result);
  for (const char* way : {"const char *", "char const *", "char *"})
    if (result == way) function.result = way == std::string_view("char *") ? way : kText;
  if (function.result.empty()) return {};

  const size_t open = skip(all, name + 1), end = behind_bracket(text, all, open) - 1;
  if (text[all[end].begin] != ')') return {};
  size_t from = open + 1;
  for (size_t i = from; i <= end; ++i) {
    const char c = text[all[i].begin];
    if (all[i].kind == Token::other && (c == '(' || c == '{') && i != end) return {};
    if (i != end && !(all[i].kind == Token::other && c == ',')) continue;
    const std::string written = joined(text, all, from, i);
    from = i + 1;
    if (function.parameters.empty() && i == end && (written.empty() || written == "void")) break;
    function.parameters.push_back(parameter_type(written));
    if (function.parameters.back().empty()) return {};
  }
  return function;
}

namespace {

std::string type_of_pointer(const CFunction& f) {
  std::string parameters;
  for (const std::string& p : f.parameters) parameters += (parameters.empty() ? "" : ", ") + p;
  return fmt::format("{} (*)({})", f.result, parameters.empty() ? "void" : parameters);
}

bool is_text(const std::string& type) {
  return type.ends_with('*');
}

std::string server(std::string_view program, const std::vector<CFunction>& functions) {
  std::string checks, cases;
  for (size_t i = 0; i < functions.size(); ++i) {
    const CFunction& f = functions[i];
    checks += fmt::format("  _Static_assert(_Generic(&{}, {}: 1, default: 0), \"another type\");\n", f.name,
                          type_of_pointer(f));
    std::string take, call;
    for (size_t a = 0; a < f.parameters.size(); ++a) {
      take += is_text(f.parameters[a]) ? fmt::format("      const char* a{} = cohort_WORD_take_text();\n", a)
                                       : fmt::format("      {} a{}; cohort_WORD_take(&a{}, sizeof a{});\n",
                                                     f.parameters[a], a, a, a);
      call += fmt::format("{}a{}", a ? ", " : "", a);
    }
    cases += fmt::format("    case {}: {{\n{}      if (!cohort_WORD_in.ok) _exit(1);\n", i, take);
    call = fmt::format("{}({})", f.name, call);
    if (f.result == "void")
      cases += fmt::format("      {};\n", call);
    else if (is_text(f.result))
      cases += fmt::format("      cohort_WORD_add_text({});\n", call);
    else
      cases += fmt::format("      {} r = {};\n      cohort_WORD_add(&r, sizeof r);\n", f.result, call);
    cases += "      break;\n    }\n";
  }
  return "#line 1 \"solution.c\"\n" + without_main(program) + undone_words(false) + std::string(kWire) +
         "int main(void) {\n" + checks +
         "  while (cohort_WORD_receive()) {\n    unsigned which;\n    cohort_WORD_take(&which, sizeof "
         "which);\n"
         "    switch (which) {\n" +
         cases + "    }\n    if (!cohort_WORD_send()) break;\n  }\n  return 0;\n}\n";
}

std::string stub(const CFunction& f, size_t index) {
  std::string parameters, give;
  for (size_t a = 0; a < f.parameters.size(); ++a) {
    parameters += fmt::format("{}{} a{}", a ? ", " : "", f.parameters[a], a);
    give += is_text(f.parameters[a]) ? fmt::format(" cohort_WORD_add_text(a{});", a)
                                     : fmt::format(" cohort_WORD_add(&a{}, sizeof a{});", a, a);
  }
  std::string back = " cohort_WORD_end();";
  if (is_text(f.result))
    back = " char* r = cohort_WORD_take_text(); cohort_WORD_end(); return r;";
  else if (f.result != "void")
    back = fmt::format(" {} r; cohort_WORD_take(&r, sizeof r); cohort_WORD_end(); return r;", f.result);
  return fmt::format("{} {}({}) {{ cohort_WORD_begin({});{} cohort_WORD_ask();{} }}\n", f.result, f.name,
                     parameters.empty() ? "void" : parameters, index, give, back);
}

std::string script(const std::vector<CFunction>& functions, std::string_view tests) {
  std::string text = "#line 1 \"boundary\"\n";
  for (const char* header :
       {"ctype", "float", "limits", "math", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string"})
    text += fmt::format("#include <{}.h>\n", header);
  text += std::string(kWire) + std::string(kAsk);
  for (size_t i = 0; i < functions.size(); ++i) text += stub(functions[i], i);
  return text + fmt::format("#include <assert.h>\n#line 1 \"tests\"\n{}\n", tests);
}

}  // namespace

ApartOutcome run_c_apart(const Toolchain& toolchain, std::string_view program, const TestSet& set,
                         std::string_view tests, const std::string& word, const sandbox::Limits& limits,
                         const std::atomic<bool>& cancelled) {
  const std::vector<Token> all = tokens_of(program);
  const std::vector<std::string> called = called_by_tests(program, set, tests);
  if (called.empty()) return {{}, "it defines no function that its tests call", {}};
  std::vector<CFunction> functions;
  for (const std::string& name : called) {
    size_t at = 0;
    while (all[at].kind != Token::word || of(program, all[at]) != name || !defines_function(program, all, at))
      ++at;
    const auto function = plain_function(program, all, at);
    if (!function) return {{}, name + " has other types than numbers and C strings", {}};
    functions.push_back(*function);
  }
  const CodeLanguage& c = toolchain.language("c");
  const Compiled served =
      toolchain.compile(c, replaced(server(program, functions), "WORD", word), {}, {}, cancelled);
  if (!served.ok()) {
    if (!cannot_be_apart(served, "boundary:")) return {{}, served.refused.reason, served};
    return {{}, "one of its functions cannot be called from another process", {}};
  }
  const Compiled asks =
      toolchain.compile(c, replaced(script(functions, tests), "WORD", word), {}, {}, cancelled);
  if (!asks.ok()) {
    if (!cannot_be_apart(asks, "")) return {{}, asks.refused.reason, asks};
    return {{}, "its tests do not compile without it: " + asks.refused.reason, {}};
  }
  return {judge_apart(toolchain, c, served, asks, limits, cancelled), "", {}};
}

}  // namespace cohort::code
