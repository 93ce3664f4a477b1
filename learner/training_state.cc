#include "learner/training_state.h"

#include <nlohmann/json.hpp>

#include "transport/base/error.h"

namespace cohort {

namespace {

void agree(Collectives& ranks, bool mine, const std::function<void()>& body) {
  std::string error;
  int64_t code = 0;
  if (mine) {
    try {
      body();
    } catch (const Error& e) {
      error = e.what(), code = e.exit_code();
    } catch (const std::exception& e) {
      error = std::string("internal error: ") + e.what(), code = Error::kFailed;
    }
  }
  error = ranks.first_error(error);
  if (!error.empty()) throw Error(error, static_cast<int>(ranks.max(code)));
}

}  // namespace

void on_root(Collectives& ranks, const std::function<void()>& body) {
  agree(ranks, ranks.is_root(), body);
}
void on_all(Collectives& ranks, const std::function<void()>& body) {
  agree(ranks, true, body);
}

TrainingState::TrainingState(std::string dir, int keep,
                             std::vector<std::pair<std::string, std::string>> identity, const Policy& policy,
                             Updater& updater, Collectives& ranks)
    : dir_(std::move(dir)), keep_(keep), identity_(std::move(identity)), updater_(updater), ranks_(ranks) {
  // the architecture only: what a folder says of tokens and dtype may be edited without making it another
  // model
  const ModelConfig& c = policy.config();
  identity_.emplace_back(
      "model",
      fmt::format("{} of {} layers, width {}, {}/{} heads of {}, MLP {}, vocabulary {}, {} parameters",
                  c.model_type, c.num_layers, c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim,
                  c.intermediate_size, c.vocab_size, c.num_parameters()));
}

std::string TrainingState::save(uint64_t next_step, const std::map<std::string, std::string>& extra) {
  std::string path;
  const std::vector<CheckpointSection> sections = updater_.collect();
  on_root(ranks_, [&] {
    path = write_checkpoint(dir_, {identity_, next_step, updater_.updates(), extra}, sections, keep_);
  });
  updater_.release();
  saved_ = next_step;
  return path;
}

std::optional<CheckpointHeader> TrainingState::restore() {
  CheckpointHeader header;
  std::string text;
  on_root(ranks_, [&] {
    const auto path = latest_checkpoint(dir_);
    if (!path) return;
    header = read_checkpoint(*path, identity_, updater_.room());
    text =
        nlohmann::json{{"next_step", header.next_step}, {"updates", header.updates}, {"extra", header.extra}}
            .dump();
  });
  ranks_.broadcast(text);
  if (text.empty()) return {};
  const auto j = nlohmann::json::parse(text);
  header.identity = identity_;
  header.next_step = j.at("next_step"), header.updates = j.at("updates"), header.extra = j.at("extra");
  updater_.spread(header.updates);
  updater_.release();
  saved_ = header.next_step;
  return header;
}

}  // namespace cohort
