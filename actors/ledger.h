// The run's memory: an SQLite file (WAL) that users may SELECT from at any time, written by one thread.
//
// Data flow: the event loop calls write() with the rows of one event -> bounded queue -> writer thread takes
// all that is queued into one transaction (group commit) -> COMMIT with fsync -> committed() rises ->
// on_commit wakes the event loop, which lets go the Acks and messages that waited for it. close() drains the
// queue; abandon() drops it, which is what a kill does. When SQLite fails (disk full, I/O error) the writer
// stops for good and every later call throws that Error: nothing is acknowledged that is not on disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "actors/ledger_schema.h"
#include "transport/messages.h"

namespace cohort {

struct Blob {
  std::string bytes;
};
template <class T>
Blob to_blob(const std::vector<T>& values) {
  return {std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
}
using Value = std::variant<std::monostate, int64_t, double, std::string, Blob>;

struct Row {
  Stmt statement;
  std::vector<Value> values;
};
using Ticket = uint64_t;  // of one write(); tickets commit in their order

struct LedgerOptions {
  std::string dir;                         // the run folder; the file is dir/ledger.sqlite
  size_t queue_events = 16384;             // write() blocks at this many waiting events …
  size_t queue_bytes = size_t{256} << 20;  // … or bytes
  bool fsync = true;       // false: a commit survives a kill of the process but not of the machine (tests)
  int64_t max_pages = 0;   // of the file, past which writes fail as on a full disk; 0: none (tests)
  bool background = true;  // false: no thread, the owner calls commit_now() (deterministic tests)
};

// What a run folder is bound to. A ledger made for another is refused with one line naming the difference.
struct RunIdentity {
  std::string name;
  std::string config_toml;
  std::string train_hash;  // of the training prompts' file
};

// One completion as it is kept.
struct StoredCompletion {
  Completion data;  // prompt_ids empty: they are the group's
  bool graded = false;
  double reward = 0;
  std::vector<RewardPart> parts;
  uint32_t attempts = 0;  // infrastructure errors so far
};
struct StoredGroup {
  GroupId group = 0;
  std::string split;
  uint64_t line = 0, draw = 0;
  int64_t eval_version = -1;  // -1: a training group
  uint32_t size = 0;
  Version birth = 0;
  std::string state;  // as in the groups table
  uint64_t ready_order = 0;
  std::vector<int32_t> prompt_ids;
  std::vector<std::pair<uint32_t, StoredCompletion>> completions;  // those that were sampled
};
struct StoredEval {
  Version version = 0;
  double pass_at_1 = 0, low = 0, high = 0, reward_mean = 0;
};
struct LedgerState {
  std::string run_id;
  uint64_t epoch = 0;  // of this coordinator, grows with every start
  GroupId next_group = 1;
  uint64_t next_draw = 0;  // position in the prompt order
  uint64_t ready_order = 0;
  uint32_t next_step = 0;         // batches formed
  uint32_t trained_steps = 0;     // highest step with metrics, + 1
  uint32_t checkpointed = 0;      // newest checkpoint's next_step
  std::vector<StoredGroup> open;  // outstanding groups, by id; and all groups of evaluations without a result
  std::vector<StoredEval> evals;
  // by part of the reward: calls and tokens of paid endpoints so far
  std::map<std::string, std::pair<uint64_t, uint64_t>> spent;
};

class Ledger {
 public:
  // Opens or creates dir/ledger.sqlite. Throws Error when another coordinator holds the folder, when the
  // ledger belongs to another run or configuration, or when it cannot be read or written.
  Ledger(LedgerOptions options, const RunIdentity& identity);
  ~Ledger();  // as abandon()

  const LedgerState& state() const { return state_; }  // as found at start
  // All rows of one event, written in one transaction or not at all. Event loop's thread. Blocks while the
  // queue is full.
  Ticket write(std::vector<Row> rows);
  Ticket last() const { return last_; }
  Ticket committed() const { return committed_.load(std::memory_order_acquire); }
  // Called on the writer thread after each commit (and when it failed). Set once, before the first write.
  void on_commit(std::function<void()> callback);
  void check() const;  // throws the writer's Error if there is one
  void commit_now();   // background = false: commits all that is queued
  // The groups of a batch in their order, with their completions. Only for steps below the ledger's next
  // step. Reads what is committed; blocks for the query.
  std::vector<StoredGroup> read_batch(uint32_t step);
  void close();    // drains; throws if that fails
  void abandon();  // drops what is queued

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  LedgerState state_;
  Ticket last_ = 0;
  std::atomic<Ticket> committed_{0};
};

}  // namespace cohort
