#include "reward/judge/reply.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "reward/record.h"
#include "transport/base/nesting.h"

namespace cohort::judge {
namespace {

using nlohmann::json;

constexpr int64_t kMostTokens = int64_t{1} << 32;

std::string short_of(std::string_view text) {
  return std::string(text.substr(0, 120));
}

// nlohmann keeps the last of several equal keys; here two are one too many.
json parse_unique(const std::string& text) {
  if (nested_too_deeply(text)) throw Nonsense("the answer nests too deeply");
  std::vector<std::set<std::string>> keys;
  bool twice = false;
  json value = json::parse(
      text,
      [&](int, json::parse_event_t event, json& parsed) {
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        if (event == json::parse_event_t::object_end) keys.pop_back();
        if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
          twice = true;
        return true;
      },
      /*allow_exceptions=*/false);
  if (value.is_discarded()) throw Nonsense("the answer is no JSON: " + short_of(text));
  if (twice) throw Nonsense("a key of the answer occurs twice");
  return value;
}

std::string_view unwrapped(std::string_view text) {
  text = trim(text);
  if (text.starts_with("<think>")) {
    const size_t close = text.find("</think>");
    if (close == std::string_view::npos) throw Nonsense("the judge did not come to an answer");
    text = trim(text.substr(close + 8));
  }
  if (text.starts_with("```") && text.ends_with("```") && text.size() >= 6) {
    text = text.substr(3, text.size() - 6);
    if (text.starts_with("json")) text.remove_prefix(4);
    text = trim(text);
  }
  return text;
}

}  // namespace

std::string read_chat_completion(const std::string& body) {
  if (nested_too_deeply(body)) throw Nonsense("the body nests too deeply");
  const json reply = json::parse(body, nullptr, false);
  if (!reply.is_object()) throw Nonsense("the body is no JSON object: " + short_of(body));
  const auto choices = reply.find("choices");
  if (choices == reply.end() || !choices->is_array() || choices->size() != 1 || !(*choices)[0].is_object())
    throw Nonsense("the body has not one choice");
  const json& choice = (*choices)[0];
  const auto finish = choice.find("finish_reason");
  if (finish == choice.end() || *finish != "stop")
    throw Nonsense("finish_reason is " + (finish == choice.end() ? "missing" : short_of(dump_line(*finish))));
  const auto message = choice.find("message");
  if (message == choice.end() || !message->is_object()) throw Nonsense("the choice has no message");
  if (const auto refusal = message->find("refusal"); refusal != message->end() && refusal->is_string())
    throw Nonsense("the judge refused: " + short_of(refusal->get<std::string>()));
  const auto content = message->find("content");
  if (content == message->end() || !content->is_string()) throw Nonsense("the message has no text");
  return content->get<std::string>();
}

int64_t tokens_of(const std::string& body, size_t question_bytes) {
  const json reply = json::parse(body, nullptr, false);
  if (reply.is_object() && reply.contains("usage") && reply["usage"].is_object()) {
    const auto total = reply["usage"].find("total_tokens");
    if (total != reply["usage"].end() && total->is_number_integer() && total->get<int64_t>() >= 0)
      return std::min(total->get<int64_t>(), kMostTokens);  // a sum of them stays a number
  }
  return static_cast<int64_t>((question_bytes + body.size()) / 3);
}

Answer read_answer(const std::string& text, const Template& form, const std::string& nonce) {
  const json answer = parse_unique(std::string(unwrapped(text)));
  if (!answer.is_object()) throw Nonsense("the answer is no JSON object");
  for (const auto& [key, value] : answer.items())
    if (key != "reason" && key != "verdict" && key != "nonce")
      throw Nonsense("the answer has a key \"" + short_of(key) + "\"");
  for (const char* key : {"reason", "verdict", "nonce"})
    if (!answer.contains(key)) throw Nonsense(fmt::format("the answer has no \"{}\"", key));
  if (answer["nonce"] != nonce) throw Nonsense("the answer's nonce is not this question's");
  if (!answer["reason"].is_string()) throw Nonsense("\"reason\" is no text");
  Answer out;
  out.reason = answer["reason"].get<std::string>();
  const json& verdict = answer["verdict"];
  if (form.verdicts.empty()) {
    if (!verdict.is_number_integer() || verdict < form.low || verdict > form.high)
      throw Nonsense(fmt::format("\"verdict\" is no whole number from {} to {}", form.low, form.high));
    out.verdict = dump_line(verdict);
    out.score = (verdict.get<double>() - form.low) / (form.high - form.low);
    return out;
  }
  const auto known = verdict.is_string()
                         ? std::find(form.verdicts.begin(), form.verdicts.end(), verdict.get<std::string>())
                         : form.verdicts.end();
  if (known == form.verdicts.end()) throw Nonsense("\"verdict\" is none of those asked for");
  out.verdict = *known;
  out.score = form.scores[static_cast<size_t>(known - form.verdicts.begin())];
  return out;
}

}  // namespace cohort::judge
