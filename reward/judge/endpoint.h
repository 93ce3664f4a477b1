// An OpenAI-compatible endpoint as a judge sees it: questions go in, texts come out, and what an endpoint does when
// it is down, slow, busy or broken is waited for with patience and never taken for an answer.
//
// One question, tried until it is answered:
//
//   wait for one of `concurrency` slots and for the pause that a 429 or 503 asked for (all threads keep it)
//     -> take a call from the budget -> POST -> 200 and `accept` takes the text: done
//   no connection, time-out, 408 409 425 429 5xx, nonsense: back off and try again, 0.5 s doubled up to 20 s with
//   jitter, or as long as Retry-After says; after `patience_s` from the first failure: InfraError
//   any other status (key, model or request are wrong): InfraError at once, as waiting mends none of them
//
// Every wait looks at `cancelled` each 50 ms.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "reward/judge/answers.h"
#include "reward/judge/http.h"

namespace cohort::judge {

// The run's calls or tokens are used up: no retry helps.
class BudgetExhausted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct EndpointOptions {
  std::string url;      // of chat completions
  std::string api_key;  // "" sends none; never part of a message, an error or a file
  std::string ca_file;  // "": the system's certificates
  int concurrency = 16;
  double timeout_s = 60;
  double patience_s = 120;
  std::string account;  // of the budget
  Answers::Spent budget;
};

// What one grading used, over its threads.
struct Usage {
  std::atomic<uint32_t> calls = 0;
  std::atomic<int64_t> tokens = 0;
};

class Endpoint {
 public:
  Endpoint(EndpointOptions options, Answers& answers)
      : options_(std::move(options)), answers_(answers), http_(options_.ca_file) {}
  // `body` makes the request of each try; `accept` is given the text of the reply and throws Nonsense when it is no
  // answer. False when cancelled. Throws InfraError and BudgetExhausted. Thread-safe.
  bool ask(const std::function<std::string()>& body, const std::function<void(const std::string&)>& accept,
           Usage& usage, const std::atomic<bool>& cancelled);

 private:
  using Clock = std::chrono::steady_clock;
  bool enter(const std::atomic<bool>& cancelled);
  void leave();
  void pause_all(double seconds);
  // Why this try failed, "" when it did not; `wait_s` is what the endpoint asks for. Nothing when cancelled.
  std::optional<std::string> attempt(const std::function<std::string()>& body,
                                     const std::function<void(const std::string&)>& accept, Usage& usage,
                                     const std::atomic<bool>& cancelled, double& wait_s);
  std::string without_key(std::string text) const;

  const EndpointOptions options_;
  Answers& answers_;
  HttpClient http_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int busy_ = 0;
  Clock::time_point not_before_{};
};

}  // namespace cohort::judge
