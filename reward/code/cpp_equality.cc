#include "reward/code/cpp_equality.h"

#include <fmt/core.h>

#include <algorithm>
#include <regex>
#include <set>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_text.h"

namespace cohort::code {
namespace {

bool compares(const CppFunction& f, const CppClass& c) {
  if ((f.name != "operator==" && f.name != "operator!=") || f.is_template || f.parameters.empty())
    return false;
  return std::all_of(f.parameters.begin(), f.parameters.end(),
                     [&](const CppParameter& p) { return mentions(p.text, c.name); });
}

// Without blanks and comments, but for one behind `return`.
std::string squeezed(const std::string& body) {
  std::string text;
  for (const Token& t : tokens_of(body))
    if (t.kind != Token::skipped) text += std::string(of(body, t)) + (of(body, t) == "return" ? " " : "");
  return text;
}

// "tie(a, b) == tie(c, d)" as "a==c&&b==d", another expression as it is; "" where the sides have other lengths.
std::string untied(const std::string& expression) {
  static const std::regex tied(R"((?:std::)?tie\(([^()]*)\)==(?:std::)?tie\(([^()]*)\))");
  std::smatch m;
  if (!std::regex_match(expression, m, tied)) return expression;
  const auto left = split(std::string(m[1])), right = split(std::string(m[2]));
  std::string out;
  if (left.size() == right.size())
    for (size_t i = 0; i < left.size(); ++i) out += (i ? "&&" : "") + left[i] + "==" + right[i];
  return out;
}

// The comparison of one field with itself, whose name goes into `compared`; "" where it is something else.
std::string comparison(const std::string& text, std::set<std::string>& compared) {
  static const std::regex same(R"(\(*(?:this->|\w+\.|\(\*this\)\.)?(\w+)==(?:this->|\w+\.)?(\w+)\)*)");
  static const std::regex near(
      R"(\(*(?:std::)?f?abs\((?:this->|\w+\.)?(\w+)-(?:this->|\w+\.)?(\w+)\)<=?[\w.-]+\)*)");
  std::smatch m;
  const bool equals = std::regex_match(text, m, same);
  if (!equals && !std::regex_match(text, m, near)) return "";
  if (m[1] != m[2]) return "";
  const std::string name = m[1];
  compared.insert(name);
  return equals ? fmt::format("a.{0} == b.{0}", name) : fmt::format("std::abs(a.{0} - b.{0}) <= 1e-6", name);
}

}  // namespace

const CppFunction* equality_of(const CppDeclarations& found, const CppClass& c) {
  const CppFunction* equal = nullptr;
  auto take = [&](const CppFunction& f) {
    if (!equal || equal->name != "operator==") equal = &f;
  };
  for (const CppFunction& f : c.functions)
    if (compares(f, c) || (f.name == "operator<=>" && f.is_default && !equal)) take(f);
  for (const CppFunction& f : found.functions)
    if (compares(f, c) && f.parameters.size() == 2) take(f);
  return equal;
}

std::string fieldwise_equal(const CppDeclarations& found, const CppClass& c) {
  const CppFunction* equal = equality_of(found, c);
  if (!equal || c.fields.empty()) return "";
  std::string out;
  auto add = [&](const std::string& part) { out += (out.empty() ? "" : " && ") + part; };
  if (equal->is_default) {
    for (const CppField& f : c.fields) add("a." + f.name + " == b." + f.name);
    return out;
  }
  static const std::regex whole(R"(\{return ([^;?|]*);\})");
  std::smatch m;
  const std::string text = squeezed(equal->body);
  constexpr size_t kLongest = 1000;  // std::regex calls itself for each character
  if (text.size() > kLongest || !std::regex_match(text, m, whole)) return "";
  std::set<std::string> compared;
  for (std::string rest = untied(m[1]); !rest.empty();) {
    const size_t end = std::min(rest.find("&&"), rest.size());
    const std::string part = comparison(rest.substr(0, end), compared);
    if (part.empty()) return "";
    add(part);
    rest = end < rest.size() ? rest.substr(end + 2) : "";
  }
  for (const CppField& f : c.fields)
    if (!compared.count(f.name)) return "";
  return compared.size() == c.fields.size() ? out : "";
}

}  // namespace cohort::code
