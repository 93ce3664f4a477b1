// Every message of the protocol as a plain struct. transport/schema.capnp is the wire form, codec.h turns one
// into the other; docs/protocol.md explains the conversation. The data flow in one paragraph:
//
//   worker --Hello--> coordinator --Welcome--> worker              (again after each reconnect, with what it
//   holds) rollout --Credit(groups)--> coord --Lease--> rollout --Completion*--> coord --Ack--> rollout
//   reward  --Credit(jobs)----> coord --GradeJob--> reward --Graded--> coord --Ack--> reward
//   learner --BatchRequest(step)--> coord --Batch--> learner --Trained/Checkpointed--> coord --Ack--> learner
//   learner 0 --Published(version, endpoint)--> coord --WeightsAvailable--> rollouts --WeightsHeld--> coord
//
// Reliable messages (worker to coordinator: Completion, LeaseReturned, Graded, Trained, Checkpointed) carry a
// sequence number given by the worker's Link; it keeps each until the coordinator's Ack, which is sent only
// once the ledger has it on disk, and sends it again after a reconnect. Applying one twice has no effect.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "transport/verdict.h"

namespace cohort {

using GroupId = uint64_t;  // never reused in a run folder, 1-based
using Version = uint32_t;  // number of optimizer steps behind the weights

enum class Role : uint8_t { rollout, reward, learner, observer };
const char* to_string(Role role);

// `count` consecutive tokens sampled by weights of `version`.
struct VersionRun {
  Version version = 0;
  uint32_t count = 0;
  bool operator==(const VersionRun&) const = default;
};

struct SamplingParams {
  double temperature = 1;  // 0: greedy
  double top_p = 1;
  int32_t top_k = 0;  // 0: off
  double min_p = 0;
  int32_t max_tokens = 256;
  std::vector<std::string> stop;  // strings that end a completion (left out of its text, kept in its tokens)
  std::vector<int32_t> stop_token_ids;  // besides the model folder's eos tokens
  bool ignore_eos = false;
  uint64_t seed = 0;  // with group and index it decides every random number of a completion
  bool operator==(const SamplingParams&) const = default;
};

// ---- both ways
// ---------------------------------------------------------------------------------------------- A worker
// presents itself. `held`: leases or jobs it still works on, so that a restarted coordinator (or a worker's
// reconnect) loses nothing. The coordinator answers Welcome or Refused.
struct HeldLease {
  GroupId group = 0;
  std::vector<uint32_t> indices;
  bool operator==(const HeldLease&) const = default;
};
struct Hello {
  Role role = Role::observer;
  std::string name;    // unique in the run, stable over reconnects: "rollout-0"
  std::string run_id;  // "" takes the coordinator's; another than the coordinator's is refused
  std::string host;
  uint32_t pid = 0;
  uint32_t rank = 0, ranks = 1;  // learners only
  Version version = 0;           // weights it holds (rollout) or its next step (learner)
  uint32_t protocol = 2;
  std::vector<HeldLease> held;      // rollout
  std::vector<uint64_t> held_jobs;  // reward
  bool operator==(const Hello&) const = default;
};
struct Welcome {
  std::string run_id;
  uint64_t epoch = 0;       // grows with every coordinator start
  std::string config_toml;  // the resolved run file
  uint32_t heartbeat_ms = 1000;
  uint32_t timeout_ms = 10000;  // silence after which either side counts the other as gone
  uint32_t trained_steps = 0;  // the ledger has the Trained of each step below; rank 0 sends later ones again
  bool operator==(const Welcome&) const = default;
};
struct Refused {
  std::string reason;  // one line; the worker exits with it
  bool operator==(const Refused&) const = default;
};
struct Heartbeat {  // worker to coordinator; answered by HeartbeatAck
  Version version = 0;
  uint32_t active = 0;                       // sequences being decoded, jobs being graded
  uint32_t queued = 0;                       // held but not started
  uint64_t tokens = 0;                       // since start: sampled (rollout), trained (learner)
  double busy_s = 0, wait_s = 0, cpu_s = 0;  // since start
  uint64_t rss_bytes = 0;
  bool operator==(const Heartbeat&) const = default;
};
struct HeartbeatAck {
  bool operator==(const HeartbeatAck&) const = default;
};
struct Ack {
  uint64_t seq = 0;  // cumulative: all up to and including this one are on disk
  bool operator==(const Ack&) const = default;
};
struct Goodbye {
  std::string reason;
  bool operator==(const Goodbye&) const = default;
};
struct Shutdown {     // coordinator to worker: finish and leave
  bool drain = true;  // finish what runs (bounded by its own limits) or drop it (held leases go back)
  std::string reason;
  bool operator==(const Shutdown&) const = default;
};
// The receiver knows nothing of the sender (the coordinator restarted): say Hello again.
struct HelloAgain {
  bool operator==(const HelloAgain&) const = default;
};

// Free capacity since the last Hello, cumulative: the coordinator may have sent at most `granted` leases
// (groups) or jobs in this conversation. Cumulative, so that one lost or repeated message does no harm.
struct Credit {
  uint64_t granted = 0;
  bool operator==(const Credit&) const = default;
};

// ---- rollout
// ------------------------------------------------------------------------------------------------
struct Lease {
  GroupId group = 0;
  std::string prompt_json;  // the prompt's record: "prompt" or "messages", and what its rewards read
  std::vector<uint32_t>
      indices;  // which completions of the group are wanted (all, or what a dead worker left)
  SamplingParams sampling;
  bool eval = false;  // held-out evaluation: not trained on
  bool operator==(const Lease&) const = default;
};
struct Completion {
  GroupId group = 0;
  uint32_t index = 0;
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> token_ids;    // ends with the stop token when there is one
  std::vector<float> logprobs;       // of the distribution really sampled, one a token
  std::vector<VersionRun> versions;  // counts add up to token_ids.size()
  std::string text;                  // decoded, without special tokens and stop string
  std::string finish_reason;         // stop, length, abort
  double seconds = 0;                // from its first token's step to its last
  bool operator==(const Completion&) const = default;
};
struct LeaseReturned {  // a draining worker gives back what it did not finish
  GroupId group = 0;
  std::vector<uint32_t> indices;
  std::string error;  // non-empty: the prompt cannot be sampled (too long, no template…); the group fails
  bool operator==(const LeaseReturned&) const = default;
};
struct WeightsHeld {  // the worker swapped to this version
  Version version = 0;
  bool operator==(const WeightsHeld&) const = default;
};

// ---- reward
// -------------------------------------------------------------------------------------------------
struct GradeJob {
  uint64_t job = 0;
  GroupId group = 0;
  uint32_t index = 0;
  std::string record_json;  // the prompt's record
  std::string prompt_text;  // as rendered for the model, "" when not kept
  std::string completion;
  std::string finish_reason;
  uint32_t completion_tokens = 0;
  int64_t deadline_step = 0;  // earliest deadline first
  bool operator==(const GradeJob&) const = default;
};
struct Graded {
  uint64_t job = 0;
  GroupId group = 0;
  uint32_t index = 0;
  std::vector<RewardPart> parts;  // in the order of the run file
  double seconds = 0;             // grading all parts took
  double waited_s = 0;            // before that, in the worker's queue
  bool operator==(const Graded&) const = default;
};
struct Cancel {  // coordinator to rollout (group) or reward (job): no longer wanted
  GroupId group = 0;
  uint64_t job = 0;
  bool operator==(const Cancel&) const = default;
};

// ---- learner
// ------------------------------------------------------------------------------------------------
struct BatchRequest {
  uint32_t step = 0;
  bool operator==(const BatchRequest&) const = default;
};
struct Sample {
  GroupId group = 0;
  uint32_t index = 0;
  std::vector<int32_t> prompt_ids, token_ids;
  std::vector<float> logprobs;
  std::vector<VersionRun> versions;
  double reward = 0;
  bool truncated = false;  // finish_reason == length
  bool operator==(const Sample&) const = default;
};
struct GroupRewards {
  GroupId group = 0;
  std::vector<double> rewards;  // by index
  bool operator==(const GroupRewards&) const = default;
};
struct Batch {
  uint32_t step = 0;
  std::vector<GroupRewards> groups;  // of the whole batch, the same on every rank: advantages need all of it
  std::vector<Sample> samples;       // this rank's share, balanced by tokens
  uint64_t total_tokens = 0;         // completion tokens of the whole batch over all ranks
  uint32_t total_samples = 0;
  bool operator==(const Batch&) const = default;
};
struct NoMoreBatches {  // the run is over or winding down: write a checkpoint and leave
  std::string reason;
  bool operator==(const NoMoreBatches&) const = default;
};
struct Metric {
  std::string name;
  double value = 0;
  bool operator==(const Metric&) const = default;
};
struct Trained {  // rank 0, after the optimizer step: version is now step + 1
  uint32_t step = 0;
  std::vector<Metric> metrics;
  bool operator==(const Trained&) const = default;
};
struct Checkpointed {  // rank 0: a checkpoint that contains every step < next_step is on disk at `path`
  uint32_t next_step = 0;
  std::string path;
  bool operator==(const Checkpointed&) const = default;
};
struct Published {  // rank 0: weights of `version` can be fetched from `endpoint`
  Version version = 0;
  std::string endpoint;
  uint64_t bytes = 0;
  bool operator==(const Published&) const = default;
};
struct WeightsAvailable {
  Version version = 0;
  std::string endpoint;
  uint64_t bytes = 0;
  bool operator==(const WeightsAvailable&) const = default;
};

// ---- observer (cohort status, the live line)
// ------------------------------------------------------------------
struct StatusRequest {
  bool operator==(const StatusRequest&) const = default;
};
struct Status {
  std::string json;  // documented in docs/protocol.md
  bool operator==(const Status&) const = default;
};

using Message =
    std::variant<Hello, Welcome, Refused, Heartbeat, HeartbeatAck, Ack, Goodbye, Shutdown, HelloAgain, Credit,
                 Lease, Completion, LeaseReturned, WeightsHeld, GradeJob, Graded, Cancel, BatchRequest, Batch,
                 NoMoreBatches, Trained, Checkpointed, Published, WeightsAvailable, StatusRequest, Status>;

// A message with its sequence number: 0 for messages that need no Ack.
struct Envelope {
  uint64_t seq = 0;
  Message message;
  bool operator==(const Envelope&) const = default;
};

}  // namespace cohort
