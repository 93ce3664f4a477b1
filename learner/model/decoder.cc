#include "learner/model/decoder.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "learner/model/cpu/kernels.h"
#include "learner/model/ops.h"
#include "learner/model/random_init.h"
#include "learner/model/rope_table.h"
#include "transport/base/error.h"

namespace cohort {

using torch::Tensor;

namespace {

DType storage_dtype(torch::Dtype dtype) {
  switch (dtype) {
    case torch::kFloat:
    case torch::kDouble:
      return DType::f32;
    case torch::kBFloat16:
      return DType::bf16;
    case torch::kHalf:
      return DType::f16;
    default:
      fail("a model cannot be held in this dtype: use float32, bfloat16 or float16");
  }
}

torch::Dtype torch_dtype(DType dtype) {
  return dtype == DType::f32 ? torch::kFloat : dtype == DType::bf16 ? torch::kBFloat16 : torch::kHalf;
}

}  // namespace

// y = x · weightᵀ + bias. q, k and v (gate and up) are one product when their ranges of the flat tensor
// touch, which they do whenever each is a multiple of 64 bytes; else they are joined as they are used.
struct Decoder::Linear {
  std::vector<Tensor> weights, biases;

  static Tensor joined(const std::vector<Tensor>& parts) {
    return parts.empty() ? Tensor() : parts.size() == 1 ? parts[0] : torch::cat(parts, 0);
  }
  Tensor panels;  // of joined(weights), after pack_for_inference()
  int64_t outputs = 0;

  Tensor operator()(const Tensor& x) const {
    if (panels.defined() && !at::GradMode::is_enabled()) return product(x, {});
    return at::linear(x, joined(weights), joined(biases));
  }
  // residual + this(x)
  Tensor add_to(const Tensor& residual, const Tensor& x) const {
    if (panels.defined() && !at::GradMode::is_enabled()) return product(x, residual);
    Tensor sum = at::addmm(residual, x, joined(weights).t());
    return biases.empty() ? sum : sum + joined(biases);
  }

  void pack() {
    Tensor w = joined(weights).detach();
    const auto& k = cpu::kernels();
    outputs = w.size(0);
    panels = torch::empty({cpu::panels_size(w.size(0), w.size(1), k.panel)}, torch::kFloat);
    k.pack(w.size(0), w.size(1), w.data_ptr<float>(), w.size(1), 1, panels.data_ptr<float>(),
           w.size(1) * k.panel);
  }
  Tensor product(const Tensor& x, const Tensor& residual) const {
    const auto& k = cpu::kernels();
    const int64_t rows = x.size(0), inputs = x.size(1);
    const bool add = residual.defined() || !biases.empty();
    Tensor y = residual.defined() ? residual.clone() : torch::empty({rows, outputs}, x.options());
    if (!biases.empty()) residual.defined() ? y.add_(joined(biases)) : y.copy_(joined(biases).expand_as(y));
    Tensor in = x.contiguous();
    at::parallel_for(0, cpu::round_up(outputs, k.panel) / k.panel, 4, [&](int64_t a, int64_t b) {
      const int64_t first = a * k.panel, last = std::min(b * k.panel, outputs);
      k.gemm(rows, last - first, inputs, in.data_ptr<float>(), inputs, 1,
             panels.data_ptr<float>() + a * inputs * k.panel, inputs * k.panel, y.data_ptr<float>() + first,
             outputs, add);
    });
    return y;
  }
};

struct Decoder::Layer {
  Tensor input_norm, post_norm, q_norm, k_norm;
  Linear qkv, o, gate_up, down;
};

struct Decoder::Parts {
  std::vector<TensorSpec> specs;  // offsets in bytes, `element` bytes each
  int64_t element = 4;
  struct Leaf {  // what autograd sees: a range of the flat tensor as a tensor of its own
    Tensor value;
    int64_t begin = 0;
  };
  std::vector<Leaf> leaves;
  std::vector<Layer> layers;
  Tensor embed_VD, norm_D;
  Linear head;
  RopeTable rope;

  Parts(const ModelConfig& config, torch::Device device) : rope(config, device) {}

  const TensorSpec* find(const std::string& name) const {
    auto it = std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& t) { return t.name == name; });
    return it == specs.end() ? nullptr : &*it;
  }
  // The named tensors as one leaf where they lie against each other, else one each; none where the model has
  // none.
  std::vector<Tensor> leaves_of(const Tensor& flat, const std::vector<std::string>& names) {
    std::vector<const TensorSpec*> found;
    for (const std::string& name : names)
      if (const TensorSpec* t = find(name)) found.push_back(t);
    bool touching = true;
    for (size_t i = 1; i < found.size(); ++i)
      touching &= found[i - 1]->offset + found[i - 1]->bytes == found[i]->offset;
    std::vector<Tensor> out;
    for (size_t i = 0; i < found.size(); ++i) {
      std::vector<int64_t> shape = found[i]->shape;
      const int64_t begin = static_cast<int64_t>(found[i]->offset) / element;
      if (touching)
        for (; i + 1 < found.size(); ++i) shape[0] += found[i + 1]->shape[0];
      int64_t count = 1;
      for (int64_t n : shape) count *= n;
      out.push_back(flat.narrow(0, begin, count).view(shape).detach());
      leaves.push_back({out.back(), begin});
    }
    return out;
  }
};

Decoder::Decoder(const ModelConfig& config, torch::Device device, torch::Dtype dtype)
    : config_(config), parts_(std::make_shared<Parts>(config, device)) {
  Parts& p = *parts_;
  const DType layout = storage_dtype(dtype);
  p.specs = config.tensors(layout);
  p.element = layout == DType::f32 ? 4 : 2;
  const uint64_t bytes = (p.specs.back().offset + p.specs.back().bytes + 63) / 64 * 64;
  flat_ = torch::zeros({static_cast<int64_t>(bytes) / p.element}, torch::TensorOptions(dtype).device(device));
  auto one = [&](const std::string& name) {
    auto found = p.leaves_of(flat_, {name});
    return found.empty() ? Tensor() : found[0];
  };
  auto linear = [&](const std::string& prefix, const std::vector<std::string>& names) {
    std::vector<std::string> weights, biases;
    for (const std::string& n : names)
      weights.push_back(prefix + n + ".weight"), biases.push_back(prefix + n + ".bias");
    return Linear{.weights = p.leaves_of(flat_, weights), .biases = p.leaves_of(flat_, biases)};
  };
  p.embed_VD = one("model.embed_tokens.weight");
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string at = fmt::format("model.layers.{}.", i);
    Layer layer;
    layer.input_norm = one(at + "input_layernorm.weight");
    layer.qkv = linear(at + "self_attn.", {"q_proj", "k_proj", "v_proj"});
    layer.q_norm = one(at + "self_attn.q_norm.weight");
    layer.k_norm = one(at + "self_attn.k_norm.weight");
    layer.o = linear(at + "self_attn.", {"o_proj"});
    layer.post_norm = one(at + "post_attention_layernorm.weight");
    layer.gate_up = linear(at + "mlp.", {"gate_proj", "up_proj"});
    layer.down = linear(at + "mlp.", {"down_proj"});
    p.layers.push_back(std::move(layer));
  }
  p.norm_D = one("model.norm.weight");
  p.head.weights = {config.tie_word_embeddings ? p.embed_VD : one("lm_head.weight")};
}

void Decoder::init_random(uint64_t seed) {
  torch::NoGradGuard no_grad;
  Tensor host = torch::zeros(flat_.sizes(), torch::kFloat);
  for (size_t i = 0; i < parts_->specs.size(); ++i) {
    const TensorSpec& t = parts_->specs[i];
    float* at = host.data_ptr<float>() + static_cast<int64_t>(t.offset) / parts_->element;
    const size_t count = t.bytes / static_cast<uint64_t>(parts_->element);
    if (t.name.ends_with("norm.weight")) {
      std::fill_n(at, count, 1.0f);
    } else if (!t.name.ends_with(".bias")) {
      fill_normal(at, count, config_.initializer_range, seed, i);
    }
  }
  flat_.copy_(host);
}

void Decoder::load(const WeightSet& weights) {
  torch::NoGradGuard no_grad;
  const auto& theirs = weights.manifest.tensors;
  if (theirs.size() != parts_->specs.size())
    fail("weights of version {} hold {} tensors, this model {}: another model's", weights.manifest.version,
         theirs.size(), parts_->specs.size());
  for (size_t i = 0; i < theirs.size(); ++i) {
    const TensorSpec &from = theirs[i], &to = parts_->specs[i];
    if (from.name != to.name || from.shape != to.shape)
      fail("weights of version {}: tensor {} is {} with another name or shape: another model's",
           weights.manifest.version, to.name, from.name);
    const int64_t count = static_cast<int64_t>(to.bytes) / parts_->element;
    const uint64_t element = from.dtype == DType::f32 ? 4 : 2;
    if (from.offset + static_cast<uint64_t>(count) * element > weights.data.size())
      fail("weights of version {}: tensor {} lies outside the data", weights.manifest.version, from.name);
    Tensor view = torch::from_blob(const_cast<std::byte*>(weights.data.data() + from.offset), {count},
                                   torch::TensorOptions(torch_dtype(from.dtype)));
    flat_.narrow(0, static_cast<int64_t>(to.offset) / parts_->element, count).copy_(view);
  }
}

WeightSet Decoder::snapshot(Version version, DType dtype) const {
  torch::NoGradGuard no_grad;
  WeightSet out;
  out.manifest.version = version;
  out.manifest.tensors = config_.tensors(dtype);
  const TensorSpec& last = out.manifest.tensors.back();
  out.manifest.total_bytes = (last.offset + last.bytes + 63) / 64 * 64;
  out.data.resize(out.manifest.total_bytes);
  Tensor host = flat_.to(torch::kCPU, torch_dtype(dtype)).contiguous();
  const int64_t element = dtype == DType::f32 ? 4 : 2;
  for (size_t i = 0; i < parts_->specs.size(); ++i) {
    const TensorSpec& to = out.manifest.tensors[i];
    const int64_t begin = static_cast<int64_t>(parts_->specs[i].offset) / parts_->element;
    std::memcpy(out.data.data() + to.offset, static_cast<const std::byte*>(host.data_ptr()) + begin * element,
                to.bytes);
  }
  out.manifest.checksum = XXH3_64bits(out.data.data(), out.data.size());
  return out;
}

void Decoder::enable_gradients() {
  if (flat_grad_.defined()) return;
  // Each micro-batch allocates and frees the same megabytes. Returned to the system they would be paged in,
  // zeroed, every time: a tenth of a small model's step.
  if (flat_.is_cpu())
    mallopt(M_MMAP_THRESHOLD, 32 << 20), mallopt(M_TRIM_THRESHOLD, 1 << 30), mallopt(M_TOP_PAD, 16 << 20);
  const bool wide = flat_.scalar_type() == torch::kFloat || flat_.scalar_type() == torch::kDouble;
  flat_grad_ = torch::zeros(flat_.sizes(), flat_.options().dtype(wide ? flat_.scalar_type() : torch::kFloat));
  for (Parts::Leaf& leaf : parts_->leaves) {
    leaf.value.requires_grad_(true);
    Tensor range = flat_grad_.narrow(0, leaf.begin, leaf.value.numel()).view(leaf.value.sizes());
    if (wide) {
      leaf.value.mutable_grad() = range;  // backward adds into it
    } else {
      // gradients of 16-bit parameters gather in float32: many micro-batches would drown in bf16's 8 bits
      leaf.value.register_hook([range](const Tensor& grad) { range.add_(grad); });
    }
  }
}

void Decoder::zero_gradients() {
  flat_grad_.zero_();
  if (flat_.scalar_type() == flat_grad_.scalar_type()) return;
  for (Parts::Leaf& leaf : parts_->leaves) leaf.value.mutable_grad() = Tensor();  // the 16-bit copies
}

Tensor Decoder::forward(const Tensor& tokens_T, const Tensor& positions_T, Attention& attention) const {
  const Parts& p = *parts_;
  const double eps = config_.rms_norm_eps;
  auto [cos, sin] = parts_->rope.at(positions_T);
  Tensor x = at::embedding(p.embed_VD, tokens_T);
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const Layer& layer = p.layers[static_cast<size_t>(i)];
    const bool packed = layer.qkv.panels.defined() && !at::GradMode::is_enabled();
    Tensor q, k, v;
    if (packed)
      std::tie(q, k, v) =
          ops::split_rotate(layer.qkv(ops::rms_norm(x, layer.input_norm, eps)), cos, sin, config_.num_heads,
                            config_.num_kv_heads, layer.q_norm, layer.k_norm, eps);
    else
      std::tie(q, k, v) = ops::norm_qkv(x, layer.input_norm, Linear::joined(layer.qkv.weights),
                                        Linear::joined(layer.qkv.biases), cos, sin, config_.num_heads,
                                        config_.num_kv_heads, layer.q_norm, layer.k_norm, eps);
    x = layer.o.add_to(x, attention.attend(i, q, k, v).flatten(1));
    if (packed || !layer.gate_up.biases.empty())
      x = layer.down.add_to(x, ops::swiglu(layer.gate_up(ops::rms_norm(x, layer.post_norm, eps))));
    else
      x = ops::norm_mlp(x, layer.post_norm, Linear::joined(layer.gate_up.weights),
                        Linear::joined(layer.down.weights), eps);
  }
  return ops::rms_norm(x, p.norm_D, eps);
}

Tensor Decoder::logits(const Tensor& hidden_ND) const {
  Tensor out = parts_->head(hidden_ND);
  return out.scalar_type() == torch::kDouble ? out : out.to(torch::kFloat);
}

Tensor Decoder::lm_head() const {
  return parts_->head.weights[0];
}

void Decoder::pack_for_inference() {
  if (!flat_.is_cpu() || flat_.scalar_type() != torch::kFloat) return;
  for (Layer& layer : parts_->layers)
    for (Linear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) linear->pack();
  parts_->head.pack();
}

}  // namespace cohort
