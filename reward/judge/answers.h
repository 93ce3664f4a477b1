// What a judge answered before, and what the run has spent: one SQLite file that all workers of a host share.
//
//   answers(key, answer)             key: xxh3-128 of endpoint, model, settings, texts and the vote's number
//   spent(account, calls, tokens)    account: run and reward
//
// Thread-safe, and safe between processes (WAL; a writer waits up to 10 s for another). A file that cannot be used
// is an InfraError: without it neither the budget nor the cache could be kept.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

struct sqlite3;

namespace cohort::judge {

class Answers {
 public:
  // Made with its folders when it is not there. ":memory:" is this process's own.
  explicit Answers(const std::string& path);
  ~Answers();
  std::optional<std::string> find(const std::string& key);
  void keep(const std::string& key, const std::string& answer);

  struct Spent {
    int64_t calls = 0, tokens = 0;
  };
  // Counts one call, unless the account has used `calls` calls or `tokens` tokens already (0: no such limit): then
  // false, and nothing is counted. One statement, so two processes cannot both take the last call.
  bool take_call(const std::string& account, const Spent& budget);
  void add_tokens(const std::string& account, int64_t tokens);
  Spent spent(const std::string& account);

 private:
  class Query;
  void run(const char* sql);
  const std::string path_;
  std::mutex mutex_;
  sqlite3* db_ = nullptr;
};

// ~/.cache/cohort/judge.sqlite, or below XDG_CACHE_HOME.
std::string default_answers_path();

}  // namespace cohort::judge
