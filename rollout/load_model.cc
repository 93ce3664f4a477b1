#include <filesystem>

#include "rollout/worker.h"

namespace cohort {

WorkerModel load_torch_model(const std::string& folder, const RunnerOptions& options) {
  const ModelConfig config = ModelConfig::read(folder);
  const bool has_weights = std::filesystem::exists(folder + "/model.safetensors") ||
                           std::filesystem::exists(folder + "/model.safetensors.index.json");
  std::shared_ptr<const WeightSet> weights;
  if (has_weights) weights = std::make_shared<WeightSet>(read_weights(folder, config, config.dtype));
  WorkerModel model;
  model.prompts = std::make_shared<const PromptEncoder>(PromptEncoder::read(folder));
  model.runner = make_torch_runner(config, std::move(weights), options);
  model.has_weights = has_weights;
  return model;
}

}  // namespace cohort
