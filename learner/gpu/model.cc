#include "learner/gpu/model.h"

#include <algorithm>

#include "learner/gpu/model_pass.h"
#include "learner/gpu/runtime.h"
#include "transport/base/error.h"

namespace cohort::gpu {

using torch::Tensor;

namespace {

Matrix matrix(const Tensor& x) {
  return {x.data_ptr(), type_of(x), x.size(0), x.size(1), x.stride(0), false};
}

}  // namespace

Model::Model(const ModelConfig& config, const Options& options)
    : config_(config), options_(options), rope_(config, torch::kCPU) {
  const auto specs = config.tensors(DType::f32);
  elements_ = static_cast<int64_t>((specs.back().offset + specs.back().bytes + 63) / 64 * 16);
  if (config.head_dim % 2 != 0 || config.head_dim > 256)
    fail("heads of {} elements: the GPU learner takes even sizes up to 256", config.head_dim);
  const size_t flat = static_cast<size_t>(elements_ + options.padding);
  require_memory(flat * size_of(options.type) + (options.trainable ? flat * 4 : 0),
                 options.trainable ? "a policy with its gradients" : "a reference policy",
                 "use a smaller model or a GPU of its own");
  const auto on_gpu = torch::TensorOptions(torch::kCUDA);
  weights_ = torch::zeros({elements_ + options.padding}, on_gpu.dtype(dtype_of(options.type)));
  if (options.trainable) {
    gradients_ = torch::zeros({elements_ + options.padding}, on_gpu.dtype(torch::kFloat));
    const int64_t qkv = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim;
    const int64_t widest = std::max({qkv, config.hidden_size, 2 * config.intermediate_size});
    scratch_ = torch::empty({std::max({norm_scratch(config.hidden_size), bias_scratch(widest),
                                       config.qk_norm ? head_scratch(config.head_dim) : 0})},
                            on_gpu.dtype(torch::kFloat));
  }
  place_parameters();
}

Model::~Model() = default;

void Model::place_parameters() {
  const auto specs = config_.tensors(DType::f32);
  const auto find = [&](const std::string& name) {
    const auto it =
        std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& t) { return t.name == name; });
    Range r;
    if (it == specs.end()) return r;
    r.begin = static_cast<int64_t>(it->offset / 4), r.rows = it->shape[0];
    r.columns = it->shape.size() > 1 ? it->shape[1] : 1;
    return r;
  };
  const auto joined = [&](const std::vector<std::string>& names) {
    std::vector<Range> out;
    for (const std::string& name : names) {
      const Range r = find(name);
      if (!r.exists()) continue;
      if (!out.empty() && out.back().begin + out.back().rows * out.back().columns == r.begin &&
          out.back().columns == r.columns)
        out.back().rows += r.rows;
      else
        out.push_back(r);
    }
    return out;
  };
  const auto linear = [&](const std::string& prefix, const std::vector<std::string>& names) {
    std::vector<std::string> weights, biases;
    for (const std::string& n : names)
      weights.push_back(prefix + n + ".weight"), biases.push_back(prefix + n + ".bias");
    Linear l{joined(weights), joined(biases)};
    for (const Range& r : l.weights) l.outputs += r.rows, l.inputs = r.columns;
    return l;
  };
  embed_ = find("model.embed_tokens.weight");
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const std::string at = fmt::format("model.layers.{}.", i);
    Layer layer;
    layer.begin = INT64_MAX;
    for (const TensorSpec& t : specs)
      if (t.name.starts_with(at)) layer.begin = std::min(layer.begin, static_cast<int64_t>(t.offset / 4));
    layer.input_norm = find(at + "input_layernorm.weight");
    layer.qkv = linear(at + "self_attn.", {"q_proj", "k_proj", "v_proj"});
    layer.q_norm = find(at + "self_attn.q_norm.weight");
    layer.k_norm = find(at + "self_attn.k_norm.weight");
    layer.o = linear(at + "self_attn.", {"o_proj"});
    layer.post_norm = find(at + "post_attention_layernorm.weight");
    layer.gate_up = linear(at + "mlp.", {"gate_proj", "up_proj"});
    layer.down = linear(at + "mlp.", {"down_proj"});
    layers_.push_back(std::move(layer));
  }
  final_norm_ = find("model.norm.weight");
  head_ = config_.tie_word_embeddings ? embed_ : find("lm_head.weight");
}

const void* Model::weight_at(const Range& r) const {
  return r.exists() ? static_cast<const char*>(weights_.data_ptr()) +
                          static_cast<size_t>(r.begin) * size_of(options_.type)
                    : nullptr;
}
float* Model::gradient_at(const Range& r) const {
  return gradients_.data_ptr<float>() + r.begin;
}
Matrix Model::weight(const Range& r) const {
  return {weight_at(r), options_.type, r.rows, r.columns, r.columns, false};
}
Matrix Model::gradient(const Range& r) const {
  return {gradient_at(r), Type::f32, r.rows, r.columns, r.columns, false};
}
Tensor Model::empty(std::initializer_list<int64_t> shape) const {
  return torch::empty(shape, weights_.options());
}
Tensor Model::empty_float(std::initializer_list<int64_t> shape) const {
  return torch::empty(shape, weights_.options().dtype(torch::kFloat));
}

// Pieces ---------------------------------------------------------------------------------------------------------

Tensor Model::bias_of(const Linear& l) const {
  std::vector<Tensor> parts;
  for (const Range& r : l.biases) parts.push_back(weights_.narrow(0, r.begin, r.rows));
  return parts.empty() ? Tensor() : parts.size() == 1 ? parts[0] : torch::cat(parts);
}

void Model::multiply(const Linear& l, const Tensor& x, const Tensor& y, bool add) const {
  int64_t at = 0;
  for (const Range& r : l.weights) {
    gemm(matrix(y.narrow(1, at, r.rows)), matrix(x), weight(r).t(), add);
    at += r.rows;
  }
}

void Model::add_to_stream(const Linear& l, const Tensor& x, Tensor& stream) const {
  multiply(l, x, stream, /*add=*/true);
  if (!l.biases.empty()) stream.add_(bias_of(l));
}

Tensor Model::linear_grad(const Linear& l, const Tensor& d, const Tensor& x) {
  Tensor dx = empty({x.size(0), l.inputs});
  int64_t at = 0;
  for (const Range& r : l.weights) {
    const Matrix part = matrix(d.narrow(1, at, r.rows));
    gemm(gradient(r), part.t(), matrix(x), /*add=*/true);
    gemm(matrix(dx), part, weight(r), /*add=*/at > 0);
    at += r.rows;
  }
  if (l.biases.size() == 1) {
    bias_grad(options_.type, d.size(0), l.outputs, data(d), gradient_at(l.biases[0]), floats(scratch_));
  } else if (!l.biases.empty()) {
    Tensor sum = torch::zeros({l.outputs}, gradients_.options());
    bias_grad(options_.type, d.size(0), l.outputs, data(d), floats(sum), floats(scratch_));
    at = 0;
    for (const Range& r : l.biases) {
      gradients_.narrow(0, r.begin, r.rows).add_(sum.narrow(0, at, r.rows));
      at += r.rows;
    }
  }
  return dx;
}

void Model::norm(const Tensor& stream, const Range& w, Tensor& kept, Tensor& y, Tensor& inverse) const {
  kept = empty({stream.size(0), stream.size(1)}), y = torch::empty_like(kept);
  inverse = empty_float({stream.size(0)});
  rms_norm(options_.type, stream.size(0), stream.size(1), floats(stream), weight_at(w),
           float(config_.rms_norm_eps), data(kept), data(y), floats(inverse));
}

void Model::norm_grad(const Tensor& dy, const Tensor& x, const Tensor& inverse, const Range& w,
                      const Tensor& residual, Tensor& dx) {
  rms_norm_grad(options_.type, x.size(0), x.size(1), data(dy), data(x), weight_at(w), floats(inverse),
                data(residual), data(dx), gradient_at(w), floats(scratch_));
}

// A layer --------------------------------------------------------------------------------------------------------

Model::Kept Model::layer_forward(size_t i, Tensor& stream, const Pass& pass, bool again) {
  const Layer& layer = layers_[i];
  const int64_t heads = config_.num_heads, kv = config_.num_kv_heads, dim = config_.head_dim,
                tokens = pass.tokens;
  Kept k;
  norm(stream, layer.input_norm, k.x, k.h1, k.inverse1);
  multiply(layer.qkv, k.h1, pass.qkv_product);
  k.qkv = empty({tokens, layer.qkv.outputs});
  if (layer.q_norm.exists())
    k.qkv_given = torch::empty_like(k.qkv), k.head_inverse = empty_float({tokens, heads + kv});
  rotate_qkv(options_.type, tokens,
             {heads, kv, dim, weight_at(layer.q_norm), weight_at(layer.k_norm), float(config_.rms_norm_eps)},
             floats(pass.qkv_product), data(bias_of(layer.qkv)), floats(pass.cos), floats(pass.sin),
             ints(pass.table_row), data(k.qkv), data(k.qkv_given), floats(k.head_inverse));
  k.attention = attend(k.qkv.view({tokens, heads + 2 * kv, dim}), heads, kv, pass.sequences);
  add_to_stream(layer.o, k.attention.out_THE.view({tokens, heads * dim}), stream);
  norm(stream, layer.post_norm, k.middle, k.h2, k.inverse2);
  k.gate_up = empty({tokens, layer.gate_up.outputs});
  multiply(layer.gate_up, k.h2, k.gate_up);
  if (!layer.gate_up.biases.empty())
    add_bias(options_.type, tokens, layer.gate_up.outputs, data(k.gate_up), data(bias_of(layer.gate_up)));
  if (again) return k;
  swiglu(options_.type, tokens, config_.intermediate_size, data(k.gate_up), data(pass.act));
  add_to_stream(layer.down, pass.act, stream);
  return k;
}

void Model::layer_backward(size_t i, Kept& k, Tensor& d, const Pass& pass) {
  const Layer& layer = layers_[i];
  const int64_t heads = config_.num_heads, kv = config_.num_kv_heads, dim = config_.head_dim,
                tokens = pass.tokens;
  // MLP. The products of linear_grad in another order: the activation appears only as its gradient is spent.
  Tensor d_act = empty({tokens, config_.intermediate_size});
  const Range& down = layer.down.weights[0];
  gemm(matrix(d_act), matrix(d), weight(down));
  swiglu_grad(options_.type, tokens, config_.intermediate_size, data(k.gate_up), data(d_act));
  gemm(gradient(down), matrix(d).t(), matrix(d_act), /*add=*/true);
  if (!layer.down.biases.empty())
    bias_grad(options_.type, tokens, layer.down.outputs, data(d), gradient_at(layer.down.biases[0]),
              floats(scratch_));
  d_act.reset();
  Tensor dh = linear_grad(layer.gate_up, k.gate_up, k.h2);
  k.gate_up.reset(), k.h2.reset();
  norm_grad(dh, k.middle, k.inverse2, layer.post_norm, d, d);
  dh.reset(), k.middle.reset();
  // attention
  Tensor d_out = linear_grad(layer.o, d, k.attention.out_THE.view({tokens, heads * dim}));
  auto grads = attend_grad(d_out.view({tokens, heads, dim}), k.qkv.view({tokens, heads + 2 * kv, dim}), heads,
                           kv, k.attention, pass.sequences);
  d_out.reset(), k.attention = {};
  Tensor d_qkv = torch::empty_like(k.qkv);
  rotate_qkv_grad(
      options_.type, tokens,
      {heads, kv, dim, weight_at(layer.q_norm), weight_at(layer.k_norm), float(config_.rms_norm_eps)},
      data(grads[0]), data(grads[1]), data(grads[2]), data(k.qkv_given), floats(k.head_inverse),
      floats(pass.cos), floats(pass.sin), ints(pass.table_row), data(d_qkv),
      layer.q_norm.exists() ? gradient_at(layer.q_norm) : nullptr,
      layer.k_norm.exists() ? gradient_at(layer.k_norm) : nullptr, floats(scratch_));
  grads.clear(), k.qkv.reset(), k.qkv_given.reset();
  dh = linear_grad(layer.qkv, d_qkv, k.h1);
  norm_grad(dh, k.x, k.inverse1, layer.input_norm, d, d);
  k = {};
}

// Log-prob and entropy ---------------------------------------------------------------------------------------------

// As few chunks as kChunkElements allows, about equally long.
int64_t Model::chunk_rows(int64_t predicted) const {
  const int64_t most = std::max<int64_t>(1, kChunkElements / config_.vocab_size);
  const int64_t chunks = std::max<int64_t>(1, (predicted + most - 1) / most);
  return std::max<int64_t>(1, (predicted + chunks - 1) / chunks);
}

void Model::head_forward(Pass& p, bool keep) {
  const int64_t n = p.predicted, width = config_.hidden_size, vocab = config_.vocab_size,
                chunk = chunk_rows(n);
  p.logprobs = empty_float({n}), p.entropy = empty_float({n}), p.normaliser = empty_float({n});
  if (n == 0) return;
  Tensor x = empty_float({n, width});
  gather_rows(Type::f32, n, width, data(p.stream), ints(p.row), data(x));
  p.stream.reset();
  norm(x, final_norm_, p.head_x, p.head_y, p.head_inverse);
  x.reset();
  p.logits = empty_float({chunk, vocab});
  for (int64_t at = 0; at < n; at += chunk) {
    const int64_t rows = std::min(chunk, n - at);
    gemm(matrix(p.logits.narrow(0, 0, rows)), matrix(p.head_y.narrow(0, at, rows)), weight(head_).t());
    token_stats(rows, vocab, vocab, floats(p.logits), p.inverse_temperature, ints(p.target) + at,
                floats(p.logprobs) + at, floats(p.entropy) + at, floats(p.normaliser) + at);
  }
  if (!keep) p.logits.reset();
}

// From the last chunk, whose logits are still there, to the first.
Tensor Model::head_backward(Pass& p, const Tensor& grad_logprobs, const Tensor& grad_entropy) {
  const int64_t n = p.predicted, width = config_.hidden_size, vocab = config_.vocab_size,
                chunk = chunk_rows(n);
  Tensor d = torch::zeros({p.tokens, width}, weights_.options());
  if (n == 0) return d;
  Tensor dy = empty({n, width});
  const int64_t last = (n - 1) / chunk * chunk;
  for (int64_t at = last; at >= 0; at -= chunk) {
    const int64_t rows = std::min(chunk, n - at);
    const Matrix y = matrix(p.head_y.narrow(0, at, rows));
    if (at != last) gemm(matrix(p.logits.narrow(0, 0, rows)), y, weight(head_).t());
    token_stats_grad(options_.type, rows, vocab, vocab, floats(p.logits), p.inverse_temperature,
                     ints(p.target) + at, floats(p.normaliser) + at, floats(p.entropy) + at,
                     floats(grad_logprobs) + at,
                     grad_entropy.defined() ? floats(grad_entropy) + at : nullptr);
    const Matrix d_logits{
        data(p.logits), options_.type, rows, vocab, options_.type == Type::bf16 ? 2 * vocab : vocab, false};
    gemm(matrix(dy.narrow(0, at, rows)), d_logits, weight(head_));
    gemm(gradient(head_), d_logits.t(), y, /*add=*/true);
  }
  p.logits.reset();
  norm_grad(dy, p.head_x, p.head_inverse, final_norm_, {}, dy);
  scatter_rows(options_.type, n, width, data(dy), ints(p.row), data(d));
  return d;
}

}  // namespace cohort::gpu
