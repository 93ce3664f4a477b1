// cohort generate: completions of a prompt, or of a file of prompts as they come.
//
// records -> engine (at most --batch sequences at once, and as many waiting) -> completions, held back until
// all before them in the input's order are written. Ends at the input's end with everything written; a bad
// record ends it with an error, after what came before it has been written.
#include <map>

#include "launch/commands/lines.h"
#include "launch/commands/parse.h"
#include "launch/commands/policy.h"
#include "rollout/engine.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

struct Waiting {
  Json fields;  // of the record, what goes to each of its lines
  std::vector<std::optional<Completion>> completions;
  size_t written = 0;
};

// Writes completions in the order of the records and their indices.
class OrderedOutput {
 public:
  OrderedOutput(const std::string& path, bool logprobs) : out_(path), logprobs_(logprobs) {}

  void expect(GroupId group, Json fields, int n) {
    waiting_[group] = {std::move(fields), std::vector<std::optional<Completion>>(size_t(n)), 0};
  }
  void take(Completion completion) {
    waiting_.at(completion.group).completions.at(completion.index) = std::move(completion);
    while (!waiting_.empty()) {
      Waiting& first = waiting_.begin()->second;
      for (; first.written < first.completions.size() && first.completions[first.written]; ++first.written)
        write(first.fields, *first.completions[first.written]);
      if (first.written < first.completions.size()) break;
      waiting_.erase(waiting_.begin());
    }
  }
  void flush() { out_.flush(); }
  void close() { out_.close(); }

 private:
  void write(const Json& fields, const Completion& c) {
    Json line;
    line["id"] = fields.at("id");
    line["index"] = c.index;
    line["completion"] = c.text;
    line["token_ids"] = c.token_ids;
    if (logprobs_) {
      Json& logprobs = line["logprobs"] = Json::array();
      for (float l : c.logprobs) logprobs.push_back(shortest(l));
    }
    line["finish_reason"] = c.finish_reason;
    for (const auto& [key, value] : fields.items())
      if (!line.contains(key)) line[key] = value;
    out_.write(line);
  }

  LineWriter out_;
  bool logprobs_;
  std::map<GroupId, Waiting> waiting_;
};

struct GenerateFlags {
  PolicyFlags policy;
  SamplingFlags sampling;
  std::string prompt, input, output;
  bool chat = false, logprobs = false;
};

class Generation {
 public:
  Generation(const GenerateFlags& flags, Policy policy)
      : flags_(flags),
        policy_(std::move(policy)),
        engine_(*policy_.runner, policy_.prompts->tokenizer()),
        out_(flags.output, flags.logprobs) {}

  // `group` decides the random numbers: the record's place in the input, so that a file gives the same
  // completions however it is fed.
  void add(GroupId group, Json record) {
    EngineRequest request;
    request.group = group;
    request.prompt_ids = policy_.prompts->encode(record);
    request.sampling = flags_.sampling.params;
    for (int i = 0; i < flags_.sampling.n; ++i) request.indices.push_back(uint32_t(i));
    engine_.add(std::move(request));
    if (!record.contains("id")) record["id"] = group;
    for (const char* known : {"prompt", "messages", "prompt_ids"}) record.erase(known);
    out_.expect(group, std::move(record), flags_.sampling.n);
  }
  void step() {
    std::vector<Completion> done = engine_.step();
    for (Completion& c : done) out_.take(std::move(c));
    if (!done.empty()) out_.flush();
  }
  bool idle() const { return engine_.idle(); }
  bool wants_more() const { return engine_.waiting() < size_t(flags_.policy.batch); }
  void close() { out_.close(); }

 private:
  const GenerateFlags& flags_;
  Policy policy_;
  Engine engine_;
  OrderedOutput out_;
};

void generate_file(const GenerateFlags& flags) {
  LineReader in(flags.input);
  Generation generation(flags, load_policy(flags.policy));
  std::string failure;
  GroupId group = 0;
  while (true) {
    while (failure.empty() && !in.at_end() && generation.wants_more()) {
      try {
        auto record = in.next(generation.idle());
        if (!record) break;
        try {
          generation.add(++group, std::move(record->json));
        } catch (const Error& e) {
          fail("{}: {}", in.where(record->line), e.what());
        }
      } catch (const Error& e) {
        failure = e.what();
      }
    }
    if (generation.idle() && (in.at_end() || !failure.empty())) break;
    generation.step();
  }
  generation.close();
  if (!failure.empty()) throw Error(failure);
}

void generate_prompt(const GenerateFlags& flags) {
  Json record;
  record["id"] = 0;
  if (flags.chat) {
    record["messages"] = Json::array({Json{{"role", "user"}, {"content", flags.prompt}}});
  } else {
    record["prompt"] = flags.prompt;
  }
  Generation generation(flags, load_policy(flags.policy, flags.sampling.n));
  generation.add(1, record);
  while (!generation.idle()) generation.step();
  generation.close();
}

}  // namespace

int command_generate(int argc, char** argv) {
  GenerateFlags flags;
  CLI::App app(
      "Completions of a prompt or of a file of prompts, one JSON line each, in the order of the input.\n"
      "In:  {\"id\", \"prompt\"} or {\"id\", \"messages\": [{\"role\", \"content\"}]} or {\"id\", "
      "\"prompt_ids\"}\n"
      "Out: {\"id\", \"index\", \"completion\", \"token_ids\", \"logprobs\", \"finish_reason\"} and the "
      "record's other fields");
  flags.policy.add_to(app);
  auto* prompt = app.add_option("--prompt", flags.prompt, "one prompt");
  auto* input = app.add_option("--input", flags.input, "JSON lines, - for standard input")->excludes(prompt);
  app.add_flag("--chat", flags.chat, "--prompt is a user's message for the model's chat template")
      ->needs(prompt);
  flags.sampling.add_to(app);
  app.add_flag("--logprobs", flags.logprobs, "the log-probability each token was sampled with");
  app.add_option("--output", flags.output, "JSON lines, default standard output");
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  if (prompt->empty() && input->empty()) fail_usage("give --prompt TEXT or --input FILE.jsonl");
  if (input->empty()) {
    generate_prompt(flags);
  } else {
    generate_file(flags);
  }
  return 0;
}

}  // namespace cohort
