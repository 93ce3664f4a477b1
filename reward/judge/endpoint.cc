#include "reward/judge/endpoint.h"

#include <fmt/core.h>

#include <algorithm>
#include <random>
#include <thread>

#include "reward/infra_error.h"
#include "reward/judge/reply.h"

namespace cohort::judge {
namespace {

constexpr double kFirstBackoff = 0.5, kLongestBackoff = 20, kLongestPause = 3600;
constexpr auto kStep = std::chrono::milliseconds(50);

std::chrono::steady_clock::duration span(double seconds) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(seconds));
}

// Between half of it and all of it: workers that failed together do not come back together.
double jittered(double seconds) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return seconds * std::uniform_real_distribution<double>(0.5, 1)(random);
}

bool worth_waiting(long status) {
  return status == 408 || status == 409 || status == 425 || status == 429 || status >= 500;
}

// An endpoint that does not know the response_format says so somewhere in its error.
const char* hint(const std::string& error) {
  const bool format = error.find("response_format") != std::string::npos;
  return format ? "; set response_format to what this endpoint knows, or to \"text\"" : "";
}

std::string one_line(std::string text) {
  text.resize(std::min<size_t>(text.size(), 160));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

}  // namespace

bool Endpoint::enter(const std::atomic<bool>& cancelled) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (cancelled.load(std::memory_order_relaxed)) return false;
    if (busy_ < options_.concurrency && Clock::now() >= not_before_) break;
    changed_.wait_for(lock, kStep);
  }
  ++busy_;
  return true;
}

void Endpoint::leave() {
  {
    std::lock_guard lock(mutex_);
    --busy_;
  }
  changed_.notify_one();
}

void Endpoint::pause_all(double seconds) {
  std::lock_guard lock(mutex_);
  not_before_ = std::max(not_before_, Clock::now() + span(std::min(seconds, kLongestPause)));
}

std::string Endpoint::without_key(std::string text) const {
  const std::string& key = options_.api_key;
  for (size_t at; !key.empty() && (at = text.find(key)) != std::string::npos;)
    text.replace(at, key.size(), "***");
  return text;
}

std::optional<std::string> Endpoint::attempt(const std::function<std::string()>& body,
                                             const std::function<void(const std::string&)>& accept,
                                             Usage& usage, const std::atomic<bool>& cancelled,
                                             double& wait_s) {
  if (!answers_.take_call(options_.account, options_.budget)) {
    const Answers::Spent spent = answers_.spent(options_.account);
    throw BudgetExhausted(fmt::format(
        "the run's budget is used up ({} calls, {} tokens); raise budget_calls or budget_tokens and start "
        "the run again",
        spent.calls, spent.tokens));
  }
  usage.calls += 1;
  std::vector<std::string> headers = {"Content-Type: application/json", "Accept: application/json"};
  if (!options_.api_key.empty()) headers.push_back("Authorization: Bearer " + options_.api_key);
  const std::string question = body();
  const std::optional<HttpReply> reply =
      http_.post(options_.url, headers, question, options_.timeout_s, cancelled);
  if (!reply) return std::nullopt;
  if (reply->status == 0) return one_line(without_key(reply->error));
  if (reply->status != 200) {
    // what an endpoint says of a key may quote it
    const bool of_key = reply->status == 401 || reply->status == 403;
    const std::string why =
        fmt::format("HTTP {}{}", reply->status,
                    of_key                ? ": the key in api_key_env is not accepted"
                    : reply->body.empty() ? ""
                                          : ": " + one_line(without_key(reply->body)) + hint(reply->body));
    if (!worth_waiting(reply->status)) throw InfraError(fmt::format("judge: {}: {}", options_.url, why));
    wait_s = reply->retry_after_s;
    if (wait_s > 0) pause_all(wait_s);
    return why;
  }
  const int64_t tokens = tokens_of(reply->body, question.size());
  usage.tokens += tokens;
  answers_.add_tokens(options_.account, tokens);
  try {
    accept(read_chat_completion(reply->body));
  } catch (const Nonsense& e) {
    return one_line(without_key(e.what()));
  }
  return "";
}

bool Endpoint::ask(const std::function<std::string()>& body,
                   const std::function<void(const std::string&)>& accept, Usage& usage,
                   const std::atomic<bool>& cancelled) {
  std::optional<Clock::time_point> until;
  for (int tries = 1;; ++tries) {
    double wait_s = 0;
    if (!enter(cancelled)) return false;
    std::optional<std::string> why;
    try {
      why = attempt(body, accept, usage, cancelled, wait_s);
    } catch (...) {
      leave();
      throw;
    }
    leave();
    if (!why) return false;
    if (why->empty()) return true;
    const Clock::time_point now = Clock::now();
    if (!until) until = now + span(options_.patience_s);
    const double backoff =
        std::max(wait_s, jittered(std::min(kLongestBackoff, kFirstBackoff * (1 << std::min(tries - 1, 10)))));
    const Clock::time_point next = now + span(backoff);
    if (next >= *until)
      throw InfraError(fmt::format("judge: {}: no answer in {} tries: {}", options_.url, tries, *why));
    while (Clock::now() < next) {
      if (cancelled.load(std::memory_order_relaxed)) return false;
      std::this_thread::sleep_for(std::min<Clock::duration>(kStep, next - Clock::now()));
    }
  }
}

}  // namespace cohort::judge
