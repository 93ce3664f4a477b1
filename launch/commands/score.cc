// cohort score: the log-probability of each token of given completions, temperature 1, one forward pass a
// record.
#include <span>

#include "launch/commands/lines.h"
#include "launch/commands/parse.h"
#include "launch/commands/policy.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

std::vector<int32_t> completion_ids(const Json& record, const PromptEncoder& prompts) {
  if (record.contains("completion_ids")) return token_ids_of(record, "completion_ids");
  const auto text = record.find("completion");
  if (text == record.end()) fail("the record has neither \"completion_ids\" nor \"completion\"");
  if (!text->is_string()) fail("\"completion\" must be a string");
  if (!prompts.tokenizer()) fail("the model folder has no tokenizer.json: give \"completion_ids\"");
  return prompts.tokenizer()->encode(text->get<std::string>(), false);
}

Json score_record(const Json& record, Policy& policy) {
  std::vector<int32_t> ids = policy.prompts->encode(record);
  if (ids.empty()) fail("the prompt has no tokens: the first token of a completion needs one before it");
  const std::vector<int32_t> completion = completion_ids(record, *policy.prompts);
  ids.insert(ids.end(), completion.begin(), completion.end());
  for (int32_t id : ids)
    if (id >= policy.runner->config().vocab_size)
      fail("token {} is outside the model's vocabulary of {}", id, policy.runner->config().vocab_size);
  Json logprobs = Json::array();
  if (!completion.empty()) {
    const std::vector<float> all = policy.runner->score(ids);
    for (float l : std::span(all).last(completion.size())) logprobs.push_back(shortest(l));
  }
  return logprobs;
}

}  // namespace

int command_score(int argc, char** argv) {
  PolicyFlags flags;
  std::string input, output;
  CLI::App app(
      "Log-probabilities of given completions' tokens, one JSON line a record.\n"
      "In:  {\"id\", \"prompt_ids\", \"completion_ids\"} or {\"id\", \"prompt\" | \"messages\", "
      "\"completion\"}\n"
      "Out: {\"id\", \"logprobs\"} and the record's other fields");
  flags.add_to(app);
  app.add_option("--input", input, "JSON lines, - for standard input")->required();
  app.add_option("--output", output, "JSON lines, default standard output");
  if (auto code = parse_arguments(app, argc, argv)) return *code;

  LineReader in(input);
  Policy policy = load_policy(flags, 1);
  LineWriter out(output);
  while (auto record = in.next(true)) {
    Json line;
    try {
      line["id"] = record->json.contains("id") ? record->json["id"] : Json(record->line);
      line["logprobs"] = score_record(record->json, policy);
    } catch (const Error& e) {
      out.flush();
      fail("{}: {}", in.where(record->line), e.what());
    }
    for (const char* known : {"prompt", "messages", "prompt_ids", "completion", "completion_ids"})
      record->json.erase(known);
    for (const auto& [key, value] : record->json.items())
      if (!line.contains(key)) line[key] = value;
    out.write(line);
    out.flush();
  }
  out.close();
  return 0;
}

}  // namespace cohort
