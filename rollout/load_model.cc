#include <filesystem>

#include "rollout/worker.h"
#include "transport/base/error.h"

namespace cohort {

WorkerModel load_rollout_model(const std::string& folder, const RunnerOptions& options) {
  const ModelConfig config = ModelConfig::read(folder);
  const bool has_weights = std::filesystem::exists(folder + "/model.safetensors") ||
                           std::filesystem::exists(folder + "/model.safetensors.index.json");
  const bool cuda = options.device.starts_with("cuda");
  std::shared_ptr<const WeightSet> weights;
  if (has_weights)
    weights = std::make_shared<WeightSet>(read_weights(folder, config, cuda ? DType::bf16 : config.dtype));
  WorkerModel model;
  model.prompts = std::make_shared<const PromptEncoder>(PromptEncoder::read(folder));
#ifdef COHORT_WITH_CUDA
  if (cuda) model.runner = make_cuda_runner(config, std::move(weights), options);
#else
  if (cuda)
    fail("device \"{}\": this build has no CUDA: configure with --preset cuda (needs nvcc), or use device = \"cpu\"",
         options.device);
#endif
  if (!cuda) model.runner = make_torch_runner(config, std::move(weights), options);
  model.has_weights = has_weights;
  return model;
}

}  // namespace cohort
