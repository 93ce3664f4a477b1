// A language model as judge, behind any OpenAI-compatible endpoint.
//
//   record + completion -> template (judge/prompt.h) -> `votes` questions, for a pairwise template each in both
//   orders -> cache (judge/answers.h) or endpoint (judge/endpoint.h) -> strict reading (judge/reply.h) -> score
//
// The score is the votes' mean or median. A verdict is made of all of its votes or of none: when one cannot be had
// the whole is an infra_error (the votes that came are in the cache and not asked for again). Equal questions that
// are asked at once are asked once. A completion without the text that the template looks at is `no_answer`, unasked.
//
// Pairwise: a grader sees one completion at a time, so it is compared with the record's reference, a response of a
// model to beat or of a person: {{first}} and {{second}} are completion and reference, then reference and completion.
// A win counts 1, a tie 1/2, and the score is the mean of the two orders: a judge that always prefers the first place
// makes 1/2 of every pair.
#pragma once

#include <memory>
#include <string>

#include "reward/grader.h"

namespace cohort {

// What `response_format` says. json_schema: as OpenAI, vLLM, SGLang and llama.cpp's server have it; json_object_schema:
// json_object with the schema beside it, as llama-cpp-python and some hosted endpoints have it.
enum class JudgeFormat { text, json_object, json_schema, json_object_schema };
inline EnumNames<JudgeFormat> enum_names(JudgeFormat) {
  return {{JudgeFormat::text, "text"},
          {JudgeFormat::json_object, "json_object"},
          {JudgeFormat::json_schema, "json_schema"},
          {JudgeFormat::json_object_schema, "json_object_schema"}};
}
enum class JudgeAggregate { mean, median };
inline EnumNames<JudgeAggregate> enum_names(JudgeAggregate) {
  return {{JudgeAggregate::mean, "mean"}, {JudgeAggregate::median, "median"}};
}

struct JudgeOptions {
  using is_options = void;
  std::string base_url, model, api_key_env, ca_file;
  std::string prompt = "correctness", prompt_text;
  std::string question_field, reference_field = "reference";
  bool think_in_prompt = false;
  int votes = 1;
  JudgeAggregate aggregate = JudgeAggregate::mean;
  double pass_score = 0.5;
  double temperature = 0;
  int64_t seed = 1;
  int max_tokens = 1024;
  JudgeFormat response_format = JudgeFormat::json_object;
  int concurrency = 16;
  double timeout_s = 60, patience_s = 120;
  int64_t budget_calls = 0, budget_tokens = 0;
  std::string cache;

  template <class V>
  void visit(V& v) {
    v("base_url", base_url, "of the endpoint, e.g. http://judge:8000/v1; /chat/completions is added");
    v("model", model, "the model's name there");
    v("api_key_env", api_key_env, "environment variable of the worker with the API key; empty: none is sent");
    v("ca_file", ca_file,
      "PEM file on the worker's host with the certificates an https endpoint may have, in place of the "
      "system's");
    v("prompt", prompt,
      "correctness, helpfulness, harmlessness, preference, or a template file on the worker's host");
    v("prompt_text", prompt_text, "the template itself, instead of `prompt`");
    v("question_field", question_field, "record field with the question; empty: prompt, else messages");
    v("reference_field", reference_field, "record field with the reference answer or response");
    v("think_in_prompt", think_in_prompt, "the prompt's chat template already opens <think>");
    v("votes", votes, "answers a verdict is made of, each with a seed of its own", between(1, 64));
    v("aggregate", aggregate, "mean or median of the votes' scores");
    v("pass_score", pass_score, "a score above it is `passed`", between(0, 1));
    v("temperature", temperature, "of the judge; votes differ little at 0", between(0, 2));
    v("seed", seed, "vote i is asked with seed + i", at_least(0));
    v("max_tokens", max_tokens, "longest answer; one that is cut off is no answer", at_least(16));
    v("response_format", response_format,
      "what the endpoint is asked to enforce: text (nothing), json_object (any JSON), json_schema (the "
      "answer's "
      "own form), json_object_schema (the same, as llama-cpp-python takes it)");
    v("concurrency", concurrency, "requests of one worker at once", between(1, 1024));
    v("timeout_s", timeout_s, "seconds for one request", more_than(0));
    v("patience_s", patience_s, "seconds of failing after which a grading is an infra_error", at_least(0));
    v("budget_calls", budget_calls, "requests of the whole run, 0: no limit; then the run ends in order",
      at_least(0));
    v("budget_tokens", budget_tokens, "tokens of the whole run, 0: no limit", at_least(0));
    v("cache", cache,
      "SQLite file of answers and of what was spent; empty: ~/.cache/cohort/judge.sqlite; none: in memory");
  }
};

// `spec.run_id` names the budget's account. Throws Error for options that cannot work: also when the template cannot
// be read or the environment variable is not set on this host.
std::unique_ptr<Grader> make_judge_grader(const RewardSpec& spec);

}  // namespace cohort
