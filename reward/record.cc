#include "reward/record.h"

#include <xxhash.h>

#include <new>

#include "transport/base/nesting.h"

namespace cohort {

nlohmann::json parse_record(const std::string& text) {
  if (text.empty()) return nlohmann::json::object();
  if (nested_too_deeply(text))
    throw InfraError(fmt::format("the record nests deeper than {} levels", kDeepestJson));
  nlohmann::json record = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) throw InfraError("the record is not a JSON object");
  return record;
}

const nlohmann::json& required(const nlohmann::json& record, const std::string& key) {
  auto it = record.find(key);
  if (it == record.end()) throw InfraError(fmt::format("the record has no field \"{}\"", key));
  return *it;
}

std::string required_text(const nlohmann::json& record, const std::string& key) {
  const nlohmann::json& value = required(record, key);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return dump_line(value);
  throw InfraError(fmt::format("the record's field \"{}\" must be a string or a number", key));
}

std::string dump_line(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string valid_utf8(std::string_view text) {
  return nlohmann::json::parse(dump_line(std::string(text))).get<std::string>();
}

Verdict make_verdict(VerdictKind kind, double score, std::string reason, const nlohmann::json& evidence) {
  Verdict verdict;
  verdict.kind = kind;
  verdict.score = is_no_reward(kind) ? 0 : score;
  verdict.reason = std::move(reason);
  for (char& c : verdict.reason)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // one line
  verdict.evidence = dump_line(evidence);
  return verdict;
}

std::string hash_parts(std::initializer_list<std::string_view> parts) {
  size_t all = 0;
  for (std::string_view part : parts) all += 8 + part.size();
  std::string bytes;
  bytes.reserve(all);
  for (std::string_view part : parts) {
    const uint64_t size = part.size();
    char length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(size >> (8 * i));
    bytes.append(length, 8).append(part);
  }
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

std::string_view after_thinking(std::string_view response) {
  constexpr std::string_view close = "</think>";
  const size_t at = response.rfind(close);
  return at == std::string_view::npos ? response : response.substr(at + close.size());
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(blank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

Verdict RecordGrader::grade(const GradeInput& input, const std::atomic<bool>& cancelled) {
  Verdict verdict;
  if (cancelled.load(std::memory_order_relaxed)) {
    verdict = make_verdict(VerdictKind::cancelled, 0, "cancelled");
  } else {
    try {
      verdict = decide(parse_record(input.record_json), input, cancelled);
    } catch (const InfraError& e) {
      verdict = make_verdict(VerdictKind::infra_error, 0, e.what());
    } catch (const std::bad_alloc&) {
      verdict = make_verdict(VerdictKind::infra_error, 0, "the worker is out of memory");
    } catch (const nlohmann::json::exception& e) {
      verdict =
          make_verdict(VerdictKind::infra_error, 0, fmt::format("the record cannot be read: {}", e.what()));
    }
  }
  const std::string version = std::to_string(version_);
  if (reads_all_input()) {
    verdict.hash = hash_parts({kind_, version, options_, input.record_json, input.completion, input.prompt,
                               input.finish_reason, std::to_string(input.completion_tokens)});
  } else {
    verdict.hash = hash_parts({kind_, version, options_, input.record_json, input.completion});
  }
  return verdict;
}

}  // namespace cohort
