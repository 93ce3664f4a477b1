#include <xxhash.h>

#include <filesystem>
#include <map>
#include <memory>

#include "learner/folder/json_fields.h"
#include "learner/folder/model_config.h"
#include "learner/folder/safetensors.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

// Where each tensor is: one file, or the shards an index names.
class TensorFiles {
 public:
  explicit TensorFiles(const std::string& folder) : folder_(folder) {
    const std::string single = folder + "/model.safetensors";
    index_path_ = single + ".index.json";
    if (fs::exists(single)) {
      index_path_.clear();
      open("model.safetensors");
      for (auto& [name, entry] : files_.at("model.safetensors")->entries())
        place_[name] = "model.safetensors";
      return;
    }
    if (!fs::exists(index_path_))
      fail("{}: no model.safetensors and no model.safetensors.index.json in this folder", folder);
    const auto index = read_json_file(index_path_);
    const JsonFields fields(index, index_path_);
    if (!fields.has("weight_map") || !fields.value("weight_map").is_object())
      fields.bad("weight_map", "an object from tensor names to file names");
    for (auto& [name, file] : fields.value("weight_map").items()) {
      if (!file.is_string()) fields.bad("weight_map", "an object from tensor names to file names");
      const std::string file_name = file;
      if (file_name.find('/') != std::string::npos)  // a shard lies beside its index, never elsewhere
        fail("{}: weight_map: \"{}\" leaves the folder", index_path_, file_name);
      place_[name] = file_name;
    }
  }

  bool has(const std::string& name) const { return place_.count(name) != 0; }

  const SafetensorsFile& file_of(const std::string& name) {
    auto it = place_.find(name);
    if (it == place_.end())
      fail("{}: tensor {} is missing", index_path_.empty() ? folder_ + "/model.safetensors" : index_path_,
           name);
    open(it->second);
    const SafetensorsFile& file = *files_.at(it->second);
    if (!file.entries().count(name))
      fail("{}: tensor {} is missing, though {} says it is here", file.path(), name, index_path_);
    return file;
  }

 private:
  void open(const std::string& file) {
    if (!files_.count(file)) files_[file] = std::make_unique<SafetensorsFile>(folder_ + "/" + file);
  }
  std::string folder_, index_path_;
  std::map<std::string, std::string> place_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> files_;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

}  // namespace

WeightSet read_weights(const std::string& folder, const ModelConfig& config, DType to) {
  TensorFiles files(folder);
  WeightSet out;
  out.manifest.tensors = config.tensors(to);
  const TensorSpec& last = out.manifest.tensors.back();
  out.manifest.total_bytes = (last.offset + last.bytes + 63) / 64 * 64;
  // every tensor is looked at before the buffer is filled: a wrong folder is refused at once
  for (const TensorSpec& spec : out.manifest.tensors) {
    const SafetensorsFile& file = files.file_of(spec.name);
    const SafetensorsEntry& entry = file.entries().at(spec.name);
    if (entry.shape != spec.shape)
      fail("{}: tensor {} has shape {}, config.json asks for {}", file.path(), spec.name,
           shape_text(entry.shape), shape_text(spec.shape));
    if (entry.dtype != "F32" && entry.dtype != "BF16" && entry.dtype != "F16")
      fail("{}: tensor {} has dtype {}; F32, BF16 and F16 are supported", file.path(), spec.name,
           entry.dtype);
  }
  out.data.resize(out.manifest.total_bytes);
  for (const TensorSpec& spec : out.manifest.tensors) {
    const SafetensorsFile& file = files.file_of(spec.name);
    const SafetensorsEntry& entry = file.entries().at(spec.name);
    const DType from = entry.dtype == "F32" ? DType::f32 : entry.dtype == "BF16" ? DType::bf16 : DType::f16;
    convert_elements(file.bytes(entry).data(), from, out.data.data() + spec.offset, to,
                     spec.bytes / (to == DType::f32 ? 4 : 2));
  }
  out.manifest.checksum = XXH3_64bits(out.data.data(), out.data.size());
  return out;
}

}  // namespace cohort
