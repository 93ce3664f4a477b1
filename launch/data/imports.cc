#include "launch/data/imports.h"

#include <algorithm>

#include "transport/base/error.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

std::string text_field(const Json& row, const char* key, const std::string& where) {
  auto it = row.find(key);
  if (it == row.end() || !it->is_string()) fail("{}: no text field \"{}\"", where, key);
  return it->get<std::string>();
}

void put_prompt(Json& record, const std::string& text, const ImportOptions& options) {
  const std::string whole = options.instruction.empty() ? text : text + "\n" + options.instruction;
  if (options.messages) {
    record["messages"] = Json::array({Json{{"role", "user"}, {"content", whole}}});
  } else {
    record["prompt"] = whole;
  }
}

// 48/2 = <<48/2=24>>24  ->  48/2 = 24
std::string without_calculator_marks(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = text.find("<<", at), end = text.find(">>", begin);
    if (begin == std::string::npos || end == std::string::npos) return out + text.substr(at);
    out += text.substr(at, begin - at);
    at = end + 2;
  }
  return out;
}

}  // namespace

Json import_gsm8k(const Json& row, const std::string& id, const ImportOptions& options,
                  const std::string& where) {
  const std::string answer = text_field(row, "answer", where);
  const size_t mark = answer.rfind("####");
  if (mark == std::string::npos) fail("{}: \"answer\" has no final \"#### NUMBER\"", where);
  std::string gold = answer.substr(mark + 4);
  std::erase_if(gold, [](char c) { return c == ',' || c == ' ' || c == '\n' || c == '\r'; });
  if (gold.empty()) fail("{}: nothing follows \"####\" in \"answer\"", where);
  Json record = {{"id", id}};
  put_prompt(record, text_field(row, "question", where), options);
  if (options.demonstration) {
    record["messages"].push_back({{"role", "assistant"},
                                  {"content", without_calculator_marks(answer.substr(0, mark)) +
                                                  "The answer is \\boxed{" + gold + "}."}});
    return record;
  }
  record["gold"] = gold;
  record["solution"] = answer.substr(0, mark);
  return record;
}

Json import_humaneval(const Json& row, const ImportOptions& options, const std::string& where) {
  Json record = {{"id", text_field(row, "task_id", where)}};
  const std::string prompt = text_field(row, "prompt", where);
  put_prompt(record, options.messages ? "```python\n" + prompt + "```" : prompt, options);
  record["language"] = "python";
  record["entry_point"] = text_field(row, "entry_point", where);
  record["prelude"] = prompt;  // the helpers a few tests call, which are not the candidate's to change
  record["test_code"] = text_field(row, "test", where);
  return record;
}

}  // namespace cohort
