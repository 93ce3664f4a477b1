// The coordinator's decisions: a state machine fed with messages and the time, single-threaded, without
// sockets or clocks of its own, so that tests drive it with fake workers. coordinator_loop.h joins it to the
// Router.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "actors/batch.h"
#include "actors/gate.h"
#include "actors/grading_metrics.h"
#include "actors/ledger.h"
#include "actors/options.h"
#include "actors/prompts.h"
#include "actors/registry.h"
#include "transport/endpoint.h"

namespace cohort {

// Where messages go: the Router, or a test's fake workers. False: the peer is gone.
using Send = std::function<bool(const PeerId&, const Envelope&)>;

class Coordinator {
 public:
  // `ledger` must be open and outlive this. `send` is called only inside advance(). Reads the prompt files.
  // Throws Error for options that cannot work together and for bad prompt files.
  Coordinator(CoordinatorConfig config, PromptFile train, PromptFile eval, Ledger& ledger, Send send,
              double now);

  void handle(const Incoming& incoming, double now);
  // Everything that follows from what was handled, what was committed and the time: Acks, leases, jobs,
  // batches, deaths. Throws the ledger's Error when writing failed.
  void advance(double now);
  // Ordered end: no new work, learners write a checkpoint, workers leave. Called twice: the first reason
  // stays.
  // `drain_grading`: reward workers finish what they hold, or else drop it.
  void begin_shutdown(const std::string& reason, double now, bool drain_grading = false);
  bool finished(double now) const;
  // After finished(): observers are told how it ended, and a worker that comes back now that the run is over.
  void farewell(const std::vector<Incoming>& late, double now);
  // Why the run cannot go on, "" while it can: an ordered end has begun, and starting again would not help.
  const std::string& failure() const { return failure_; }
  bool complete() const {
    return checkpointed_ >= total_steps();
  }                                           // every step is trained and in a checkpoint
  std::string status_json(double now) const;  // docs/ledger.md, "Status"
  // Prometheus text; `status` is what status_json just gave. docs/rewards.md lists the families.
  std::string metrics_text(const std::string& status) const;
  const StalenessGate& gate() const { return gate_; }

 private:
  // One completion of a group on its way.
  struct Slot {
    enum State : uint8_t { wanted, sampling, sampled, grading, graded } state = wanted;
    std::string worker;       // who samples or grades it now
    std::string last_grader;  // the one whose grading failed: the next try goes elsewhere
    double not_before = 0;    // wanted, sampled: no new try before this time
    double queued_at = 0;     // sampled, grading: when the job was made
    double waited_s = 0;      // grading: from then until it was sent
    int64_t deadline = 0;     // step by which it has to be graded; its key in jobs_
    uint32_t attempts = 0;    // infrastructure errors so far
    Completion data;
    std::vector<RewardPart> parts;
    double reward = 0;
  };
  struct Group {
    GroupId id = 0;
    bool eval = false;
    Version birth = 0;  // eval: the version under evaluation
    uint64_t draw = 0;
    Prompt prompt;
    std::vector<int32_t> prompt_ids;
    std::vector<Slot> slots;
    uint32_t n_sampled = 0, n_graded = 0;
  };
  struct EvalRun {
    Version version = 0;
    std::vector<size_t> prompts;  // indices into eval_
    size_t next = 0;              // the next to lease
    size_t done = 0, failed = 0;
    std::vector<uint32_t> passes;
    double reward_sum = 0;
    uint64_t completions = 0;
    Version min_version = ~Version{0}, max_version = 0;
  };
  struct Request {
    PeerId peer;
    uint32_t step = 0;
    double since = 0;
  };
  using JobKey =
      std::tuple<int64_t, GroupId, uint32_t>;  // deadline step, group, index: earliest deadline first

  uint32_t total_steps() const { return static_cast<uint32_t>(config_.run.total_steps); }
  // coordinator.cc
  void restore();
  void restore_group(const StoredGroup& stored);
  void row(Stmt statement, std::vector<Value> values) { rows_.push_back({statement, std::move(values)}); }
  // Leaves once everything written so far, and the rows of this event, are on disk: nobody acts on what a
  // crash could take back.
  void post(const PeerId& peer, Message message);
  void commit_rows();
  void release(double now);
  void dispatch(const Incoming& incoming, Worker& worker, double now);
  void on_hello(const PeerId& peer, const Hello& hello, double now);
  // `in_order`: it said Goodbye, so what it held says nothing of it or of the completions. `name` is a copy: the caller's
  // may be the registry's own, which goes with the entry.
  void lose(std::string name, const std::string& why, double now, bool in_order = false);
  // coordinator_rollout.cc
  void hold_leases(Worker& worker, const std::vector<HeldLease>& held, double now);
  void release_slots(const std::string& worker, double now, bool in_order);
  void lease_work(double now);
  bool lease_to(Worker& worker, Group& group, double now);
  void new_group(Worker& worker, bool eval, double now);
  void on_completion(Worker& worker, const Completion& completion, double now);
  void on_returned(Worker& worker, const LeaseReturned& returned, double now);
  void want(Group& group, uint32_t index, double not_before);
  // coordinator_reward.cc
  void hold_jobs(Worker& worker, const std::vector<uint64_t>& jobs, double now);
  void queue_job(Group& group, uint32_t index, double not_before);
  void send_jobs(double now);
  void on_graded(Worker& worker, const Graded& graded, double now);
  void spend(const Graded& graded, double now);
  void end_for_budget(const std::string& why, double now);
  void grading_failed(Group& group, uint32_t index, const std::string& worker, const std::string& why,
                      double now);
  void finish_group(Group& group, double now);
  void fail_group(Group& group, const std::string& why, double now);
  void erase_group(GroupId id);
  // coordinator_learner.cc
  void on_request(Worker& worker, const BatchRequest& request, double now);
  void on_trained(const Trained& trained, double now);
  void on_checkpointed(const Checkpointed& checkpointed, double now);
  void on_published(const Published& published, double now);
  void share_weights(double now, bool starved);
  void serve_requests(double now);
  bool form_batch(uint32_t step, double now);
  std::shared_ptr<const DeliveredBatch> batch_of(uint32_t step);
  bool starving() const;
  bool hopeless();
  // coordinator_eval.cc
  void maybe_start_eval(Version version, double now);
  void start_eval(Version version, double now);
  bool restore_eval(const std::vector<const StoredGroup*>& stored);
  void eval_group_done(const Group& group, bool failed, double now);
  bool final_eval_pending(double now) const;

  CoordinatorConfig config_;
  PromptFile train_, eval_;
  PromptOrder order_;
  Ledger& ledger_;
  Send send_;
  StalenessGate gate_;
  Registry registry_;

  std::vector<Row> rows_;  // of the event being handled
  struct Outgoing {
    Ticket ticket;
    PeerId peer;
    Message message;
  };
  std::deque<Outgoing> outgoing_;  // bounded by credit and by the number of workers

  std::map<GroupId, Group> groups_;  // outstanding
  std::set<GroupId> wanting_;        // groups with a completion nobody samples
  std::set<JobKey> jobs_;            // completions nobody grades
  GroupId next_group_ = 1;
  uint64_t next_draw_ = 0, ready_order_ = 0;
  size_t sampling_groups_ = 0;  // training groups with a completion not sampled yet
  uint64_t filtered_ = 0, failed_ = 0, failed_in_row_ = 0;
  uint64_t filtered_since_batch_ = 0;

  std::map<uint32_t, Request> requests_;  // by rank
  std::shared_ptr<const DeliveredBatch> current_;
  uint32_t trained_ = 0, checkpointed_ = 0;
  Ticket trained_ticket_ = 0;     // of the row that trained_ counts last
  uint32_t trained_on_disk_ = 0;  // as much of trained_ as is committed: what a Welcome may state
  int64_t stop_step_ = -1;        // >= 0: requests for this step and later are answered NoMoreBatches
  std::optional<Published> published_;
  std::optional<WeightsAvailable> shared_;  // what rollout workers were told last

  std::optional<EvalRun> eval_run_;
  std::optional<Version> eval_queued_;
  std::vector<StoredEval> evals_;
  double eval_progress_ = 0;  // when an evaluation last moved on, or new weights were published

  // status
  double started_ = 0, last_advance_ = 0, learner_wait_s_ = 0;
  double last_reward_ = 0;
  std::map<int64_t, uint64_t> lag_tokens_;  // of the last batch: lag -> tokens
  uint64_t completions_seen_ = 0, graded_seen_ = 0;

  GradingMetrics metrics_;
  std::string shutdown_reason_, failure_;
  double shutdown_deadline_ = 0;
  std::map<std::string, double> missing_;  // workers whose connection broke, since when: some come back
};

}  // namespace cohort
