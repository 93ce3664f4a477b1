#include "learner/train_loop.h"

#include <unistd.h>

#include <chrono>
#include <optional>

#include "learner/grpo_step.h"
#include "learner/metrics_file.h"
#include "learner/training_state.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"
#include "transport/link.h"
#include "transport/nccl.h"
#include "transport/weights.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
// What heartbeats tell; written by the training thread, read by the link's.
struct Activity {
  std::atomic<uint32_t> next_step{0};
  std::atomic<uint64_t> tokens{0};
  std::atomic<double> busy_s{0}, wait_s{0};
  std::atomic<uint32_t> active{0};
};

LinkOptions link_options(const TrainLoopOptions& options, const Collectives& ranks, Activity& activity) {
  LinkOptions link;
  link.endpoint = options.endpoint;
  const uint32_t rank = static_cast<uint32_t>(ranks.rank()), size = static_cast<uint32_t>(ranks.size());
  link.hello = [&activity, rank, size, host = host_name()] {
    Hello hello;
    hello.role = Role::learner;
    hello.name = fmt::format("learner-{}", rank);
    hello.host = host;
    hello.pid = static_cast<uint32_t>(getpid());
    hello.rank = rank, hello.ranks = size;
    hello.version = activity.next_step;
    return hello;
  };
  link.heartbeat = [&activity] {
    Heartbeat h;
    h.version = activity.next_step;
    h.active = activity.active;
    h.tokens = activity.tokens;
    h.busy_s = activity.busy_s, h.wait_s = activity.wait_s;
    h.cpu_s = cpu_seconds();
    h.rss_bytes = resident_bytes();
    return h;
  };
  return link;
}

// Workers of other machines must reach it unless the whole run is on this one.
std::string weight_endpoint(const std::string& coordinator) {
  return coordinator.find("127.0.0.1") != std::string::npos ||
                 coordinator.find("localhost") != std::string::npos
             ? "tcp://127.0.0.1:0"
             : "tcp://0.0.0.0:0";
}

class Trainer {
 public:
  Trainer(const TrainLoopOptions& loop, Collectives& ranks, const std::atomic<bool>& stop)
      : loop_(loop), ranks_(ranks), stop_(stop), link_(link_options(loop, ranks, activity_)) {}

  void run() {
    on_all(ranks_, [&] { set_up(); });
    on_all(ranks_, [&] { load(); });
    begin();
    for (;;) {
      std::optional<Batch> batch = next_batch();
      if (!batch) break;
      step(*batch);
      if (next_step_ % static_cast<uint64_t>(options_.save_steps) == 0) checkpoint();
    }
    finish();
  }

 private:
  enum What : int64_t { got_batch = 0, no_more = 1, stopped = 2 };

  void set_up() {
    welcome_ = link_.wait_welcome(loop_.welcome_s);
    options_ = read_train_options(TomlTable::parse(welcome_.config_toml, "run file"));
    log::init(fmt::format("learner-{}", ranks_.rank()),
              fmt::format("{}/logs/learner-{}.log", options_.run_dir, ranks_.rank()));
    set_compute_threads(options_.learner.threads);
  }

  void load() {
    const ModelConfig config = ModelConfig::read(options_.model_path);
    const WeightSet weights = read_weights(options_.model_path, config, DType::f32);
    policy_.emplace(config, options_.learner.device, options_.learner.dtype, true,
                    options_.learner.recompute);
    policy_->load(weights);
    if (options_.grpo.kl_loss_coef > 0) {
      reference_.emplace(config, options_.learner.device, options_.learner.dtype, false);
      reference_->load(weights);
    }
    const GrpoStepOptions step{options_.grpo, options_.learner.micro_batch_tokens, options_.temperature,
                               static_cast<double>(options_.max_new_tokens),
                               static_cast<uint32_t>(options_.max_staleness)};
    const int64_t updates = options_.total_steps * options_.grpo.mini_batches * options_.grpo.ppo_epochs;
    updater_ = make_updater(options_.learner, *policy_, ranks_, updates);
    updater_->start(weights);
    grpo_.emplace(step, *policy_, reference_ ? &*reference_ : nullptr, *updater_, ranks_);
    state_.emplace(
        options_.run_dir + "/checkpoints", options_.learner.keep_checkpoints,
        std::vector<std::pair<std::string, std::string>>{{"kind", "grpo"}, {"run_id", welcome_.run_id}},
        *policy_, *updater_, ranks_);
  }

  void begin() {
    if (const auto header = state_->restore()) {
      next_step_ = header->next_step;
      log::info("continues at step {} from its checkpoint", next_step_);
    }
    activity_.next_step = static_cast<uint32_t>(next_step_);
    on_root(ranks_, [&] {
      metrics_.emplace(options_.run_dir + "/metrics.jsonl", next_step_);
      server_.emplace(weight_endpoint(loop_.endpoint), size_t{1} << 20, 2, broadcast_root());
    });
    if (state_->saved()) {
      // What the checkpoint holds is not trained again: the ledger gets now what a kill kept from it.
      on_root(ranks_, [&] {
        for (const Trained& trained : metrics_->since(welcome_.trained_steps)) link_.send(trained);
      });
      tell_checkpoint(*state_->saved());
    }
    publish();
  }

  BroadcastRoot broadcast_root() const {
    BroadcastRoot root;
    root.options.timeout_s = options_.weight_timeout_s;
    if (!options_.try_nccl) return root;
    try {
      root.end = make_nccl_broadcaster(-1, "rollout.weight_transport");
    } catch (const Error& e) {
      if (options_.need_nccl) throw;
      log::info("weights go to other GPUs over ZeroMQ: {}", e.what());
    }
    return root;
  }

  // This rank's share of the next step; nothing when the run is over. All ranks get one or none does.
  std::optional<Batch> next_batch() {
    const auto began = Clock::now();
    const auto wanted = static_cast<uint32_t>(next_step_);
    std::optional<Batch> batch;
    What what = got_batch;
    link_.send(BatchRequest{wanted});
    std::string error;
    while (!batch && what == got_batch) {
      std::optional<Message> message = link_.receive(std::chrono::milliseconds(200));
      if (stop_) {
        what = stopped;
      } else if (!message) {
        if (error = link_.ended(); !error.empty()) break;
      } else if (auto* b = std::get_if<Batch>(&*message)) {
        if (b->step == wanted) batch = std::move(*b);  // another step's: the answer to a request made twice
      } else if (auto* n = std::get_if<NoMoreBatches>(&*message)) {
        what = no_more;
        reason_ = n->reason;
      } else if (std::holds_alternative<Welcome>(*message)) {
        link_.send(BatchRequest{wanted});
      }
    }
    if (error = ranks_.first_error(error); !error.empty()) throw Error(error);
    const int64_t all = ranks_.max(what);
    if (all == stopped) reason_ = "it was told to stop";
    wait_s_ = seconds_since(began);
    activity_.wait_s = activity_.wait_s + wait_s_;
    if (all != got_batch) batch.reset();
    return batch;
  }

  void step(const Batch& batch) {
    const auto began = Clock::now();
    activity_.active = static_cast<uint32_t>(batch.samples.size());
    std::vector<Metric> metrics = grpo_->train(batch);
    const uint32_t k = batch.step;
    next_step_ = k + 1;
    activity_.next_step = k + 1;
    activity_.active = 0;
    uint64_t tokens = 0;
    for (const Sample& s : batch.samples) tokens += s.prompt_ids.size() + s.token_ids.size();
    activity_.tokens += tokens;
    check_updates(metrics);
    metrics.push_back({"time/wait_for_batch", wait_s_});
    metrics.push_back({"time/step", wait_s_ + seconds_since(began)});
    on_root(ranks_, [&] {
      metrics_->write(k, metrics);
      const auto value = [&](const char* name) {
        for (const Metric& m : metrics)
          if (m.name == name) return m.value;
        return 0.0;
      };
      log::info(
          "step {}: reward {:.4f}, length {:.1f}, entropy {:.3f}, kl {:.2e}, grad norm {:.3f}, {:.0f} "
          "tokens/s, waited {:.2f} s",
          k, value("reward/mean"), value("response_length/mean"), value("entropy"), value("approx_kl"),
          value("grad_norm"), value("tokens_per_second"), wait_s_);
      link_.send(Trained{k, metrics});
    });
    if (next_step_ % static_cast<uint64_t>(options_.weight_sync_steps) == 0) publish();
    activity_.busy_s = activity_.busy_s + seconds_since(began);
  }

  // A gradient that is not finite is skipped; a run in which that goes on is over.
  void check_updates(const std::vector<Metric>& metrics) {
    double updates = 0, skipped = 0;
    for (const Metric& m : metrics) {
      if (m.name == "updates") updates = m.value;
      if (m.name == "updates/skipped") skipped = m.value;
    }
    if (skipped == 0) {
      skipped_steps_ = 0;
      return;
    }
    log::warn("step {}: {} of {} updates were skipped, their gradient was not finite", next_step_ - 1,
              skipped, updates);
    if (skipped == updates && ++skipped_steps_ >= 3)
      fail(
          "training diverged: no finite gradient for {} steps up to step {}; lower learner.learning_rate and "
          "go on from "
          "an earlier checkpoint",
          skipped_steps_, next_step_ - 1);
  }

  void publish() {
    on_root(ranks_, [this] { publish_from_root(); });
  }
  void publish_from_root() {
    const auto version = static_cast<Version>(next_step_);
    const DType dtype = options_.learner.publishes_bf16() ? DType::bf16 : DType::f32;
    auto weights = std::make_shared<WeightSet>(options_.share_on_gpu ? policy_->publishable(version, dtype)
                                                                     : policy_->snapshot(version, dtype));
    const uint64_t bytes = weights->manifest.total_bytes;
    server_->publish(std::move(weights));
    link_.send(Published{static_cast<Version>(next_step_), server_->endpoint(), bytes});
  }

  void checkpoint() {
    const auto began = Clock::now();
    const std::string path = state_->save(next_step_);
    if (ranks_.is_root()) log::debug("checkpoint {} in {:.2f} s", path, seconds_since(began));
    tell_checkpoint(next_step_);
  }
  void tell_checkpoint(uint64_t next_step) {
    if (ranks_.is_root())
      link_.send(Checkpointed{static_cast<uint32_t>(next_step),
                              fmt::format("{}/checkpoints/step-{:08d}", options_.run_dir, next_step)});
  }

  void finish() {
    if (state_->saved() != next_step_) checkpoint();
    const WeightSet weights = exact_weights(*updater_, policy_->config(), static_cast<Version>(next_step_));
    if (!stop_)
      on_root(ranks_, [&] {
        const ModelConfig& config = policy_->config();
        write_model_folder(options_.run_dir + "/model", config, weights, config.dtype, options_.model_path);
      });
    log::info("leaves after step {}: {}", static_cast<int64_t>(next_step_) - 1, reason_);
    if (!link_.flush(30)) log::warn("the coordinator did not acknowledge everything within 30 s");
    link_.send(Goodbye{reason_});
    ranks_.barrier();
  }

  TrainLoopOptions loop_;
  Collectives& ranks_;
  const std::atomic<bool>& stop_;
  Activity activity_;
  Link link_;
  Welcome welcome_;
  TrainOptions options_;
  std::optional<Policy> policy_, reference_;
  std::unique_ptr<Updater> updater_;
  std::optional<GrpoStep> grpo_;
  std::optional<TrainingState> state_;
  std::optional<MetricsFile> metrics_;  // rank 0
  std::optional<WeightServer> server_;  // rank 0
  uint64_t next_step_ = 0;
  double wait_s_ = 0;
  int skipped_steps_ = 0;
  std::string reason_;
};

}  // namespace

TrainOptions read_train_options(const TomlTable& file) {
  TrainOptions o;
  const auto section = [&](const char* name) { return file.get_table(name).value_or(TomlTable()); };
  const TomlTable run = section("run"), model = section("model"), rollout = section("rollout"),
                  async = section("async");
  const auto need = [&](const TomlTable& table, const char* where, const char* key) {
    const auto value = table.get_string(key);
    if (!value || value->empty()) fail_usage("{}.{} is missing in the run file", where, key);
    return *value;
  };
  const auto at_least = [&](const TomlTable& table, const char* key, int64_t least, int64_t& out) {
    out = table.get_int(key).value_or(out);
    if (out < least) fail_usage("{} = {} must be at least {}", table.where(key), out, least);
  };
  o.run_dir = need(run, "run", "dir");
  o.model_path = need(model, "model", "path");
  at_least(run, "total_steps", 1, o.total_steps);
  at_least(run, "save_steps", 1, o.save_steps);
  at_least(rollout, "max_new_tokens", 1, o.max_new_tokens);
  at_least(async, "max_staleness", 0, o.max_staleness);
  at_least(async, "weight_sync_steps", 1, o.weight_sync_steps);
  o.share_on_gpu = rollout.get_string("weight_transport").value_or("auto") != "zmq";
  o.weight_timeout_s = rollout.get_double("weight_timeout_s").value_or(o.weight_timeout_s);
  o.temperature = rollout.get_double("temperature").value_or(o.temperature);
  if (o.temperature <= 0)
    fail_usage("{} = {}: training needs samples, so more than 0", rollout.where("temperature"),
               o.temperature);
  read_options(section("learner"), o.learner);
  read_options(section("grpo"), o.grpo);
  const bool on_gpu = o.learner.device.starts_with("cuda");
  const std::string transport = rollout.get_string("weight_transport").value_or("auto");
  o.need_nccl = transport == "nccl", o.try_nccl = on_gpu && (o.need_nccl || transport == "auto");
  if (o.need_nccl && !on_gpu)
    fail_usage("{} = \"nccl\" needs learner.device = \"cuda\"; use \"auto\" or \"zmq\"",
               rollout.where("weight_transport"));
  check_grpo_options(o.grpo);
  return o;
}

void train_loop(const TrainLoopOptions& options, Collectives& ranks, const std::atomic<bool>& stop) {
  Trainer(options, ranks, stop).run();
}

}  // namespace cohort
