// One batch through gpu::Model: its indices to the GPU, the layers in order and in reverse, and the memory all of it
// should take.
#include "learner/gpu/model_pass.h"

#include <algorithm>
#include <numeric>

#include "kernels/packed_attention.h"

namespace cohort::gpu {

using torch::Tensor;

namespace {

// Many small int32 arrays as one transfer.
class Upload {
 public:
  template <class From>
  size_t add(const std::vector<From>& values) {
    begins_.push_back(all_.size());
    for (From v : values) all_.push_back(static_cast<int32_t>(v));
    ends_.push_back(all_.size());
    while (all_.size() % 4 != 0) all_.push_back(0);
    return begins_.size() - 1;
  }
  void send() {
    gpu_ = torch::from_blob(all_.data(), {static_cast<int64_t>(all_.size())}, torch::kInt32).to(torch::kCUDA);
  }
  Tensor operator[](size_t i) const {
    return gpu_.narrow(0, static_cast<int64_t>(begins_[i]), static_cast<int64_t>(ends_[i] - begins_[i]));
  }

 private:
  std::vector<int32_t> all_;
  std::vector<size_t> begins_, ends_;
  Tensor gpu_;
};

}  // namespace

// cos and sin: one table of all positions, or, where the frequencies depend on a sequence's length, a row a token.
void Model::set_rotation(Pass& pass, const PackedBatch& batch, std::vector<int32_t>& table_rows) {
  const int64_t last = *std::max_element(batch.positions.begin(), batch.positions.end());
  const auto host = [](const std::vector<int64_t>& v) {
    return torch::from_blob(const_cast<int64_t*>(v.data()), {static_cast<int64_t>(v.size())}, torch::kLong);
  };
  if (config_.rope.type == "dynamic" && last >= config_.max_position_embeddings) {
    const auto [cos, sin] = rope_.at(host(batch.positions));
    pass.cos = cos.to(torch::kCUDA), pass.sin = sin.to(torch::kCUDA);
    table_rows.resize(batch.positions.size());
    std::iota(table_rows.begin(), table_rows.end(), 0);
    return;
  }
  if (!cos_.defined() || cos_.size(0) <= last) {
    int64_t size = std::max<int64_t>(1024, 2 * (last + 1));
    if (config_.rope.type == "dynamic") size = std::min(size, config_.max_position_embeddings);
    const auto [cos, sin] = rope_.at(torch::arange(size, torch::kLong));
    cos_ = cos.to(torch::kCUDA), sin_ = sin.to(torch::kCUDA);
  }
  pass.cos = cos_, pass.sin = sin_;
  table_rows.assign(batch.positions.begin(), batch.positions.end());
}

std::unique_ptr<Model::Pass> Model::begin(const PackedBatch& batch, double temperature) {
  auto pass = std::make_unique<Pass>();
  pass->tokens = static_cast<int64_t>(batch.tokens.size());
  pass->predicted = static_cast<int64_t>(batch.rows.size());
  pass->inverse_temperature = static_cast<float>(1 / temperature);
  std::vector<int32_t> table_rows;
  set_rotation(*pass, batch, table_rows);

  // the tokens' places, token by token: the order in which the embedding's gradient is summed
  std::vector<int32_t> order(batch.tokens.size()), distinct, begins;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return batch.tokens[static_cast<size_t>(a)] < batch.tokens[static_cast<size_t>(b)];
  });
  for (size_t i = 0; i < order.size(); ++i) {
    const auto token = static_cast<int32_t>(batch.tokens[static_cast<size_t>(order[i])]);
    if (distinct.empty() || distinct.back() != token)
      distinct.push_back(token), begins.push_back(static_cast<int32_t>(i));
  }
  begins.push_back(static_cast<int32_t>(order.size()));
  pass->distinct = static_cast<int64_t>(distinct.size());

  std::vector<int32_t> tiles;
  for (const cuda::PackedTile& t : cuda::packed_tiles(batch.cu_seqlens))
    tiles.insert(tiles.end(), {t.begin, t.length, t.first, t.index});

  Upload upload;
  const size_t token = upload.add(batch.tokens), row = upload.add(batch.rows),
               target = upload.add(batch.targets), cu = upload.add(batch.cu_seqlens),
               table = upload.add(table_rows), ordered = upload.add(order), unique = upload.add(distinct),
               begin = upload.add(begins), tile = upload.add(tiles);
  upload.send();
  pass->token = upload[token], pass->row = upload[row], pass->target = upload[target];
  pass->table_row = upload[table], pass->order = upload[ordered];
  pass->distinct_token = upload[unique], pass->distinct_begin = upload[begin];
  pass->sequences.cu_seqlens = upload[cu], pass->sequences.host = batch.cu_seqlens;
  pass->sequences.tiles = upload[tile];
  for (size_t i = 1; i < batch.cu_seqlens.size(); ++i)
    pass->sequences.longest =
        std::max(pass->sequences.longest, batch.cu_seqlens[i] - batch.cu_seqlens[i - 1]);
  return pass;
}

void Model::run_layers(Pass& pass, bool keep) {
  Tensor rows = empty({pass.tokens, config_.hidden_size});
  gather_rows(options_.type, pass.tokens, config_.hidden_size, weight_at(embed_), ints(pass.token),
              data(rows));
  pass.stream = rows.to(torch::kFloat);
  rows.reset();
  pass.qkv_product = empty_float({pass.tokens, layers_[0].qkv.outputs});
  pass.act = empty({pass.tokens, config_.intermediate_size});
  for (size_t i = 0; i < layers_.size(); ++i) {
    Kept input;
    if (keep && options_.recompute) input.stream = pass.stream.clone();
    Kept kept = layer_forward(i, pass.stream, pass);
    if (keep) pass.kept.push_back(std::move(options_.recompute ? input : kept));
  }
  pass.qkv_product.reset(), pass.act.reset();
}

Model::Scores Model::score(const PackedBatch& batch, double temperature) {
  const torch::NoGradGuard no_grad;
  if (batch.tokens.empty()) return {empty_float({0}), empty_float({0})};
  const auto pass = begin(batch, temperature);
  run_layers(*pass, false);
  head_forward(*pass, false);
  return {pass->logprobs, pass->entropy};
}

Model::Scores Model::forward(const PackedBatch& batch, double temperature) {
  const torch::NoGradGuard no_grad;
  pass_.reset();
  if (batch.tokens.empty()) return {empty_float({0}), empty_float({0})};
  auto pass = begin(batch, temperature);
  run_layers(*pass, true);
  head_forward(*pass, true);
  pass_ = std::move(pass);
  return {pass_->logprobs, pass_->entropy};
}

void Model::backward(const Tensor& grad_logprobs, const Tensor& grad_entropy,
                     const std::function<void(size_t from)>& complete) {
  const torch::NoGradGuard no_grad;
  if (pass_) {
    const std::unique_ptr<Pass> pass = std::move(pass_);
    Tensor d = head_backward(*pass, grad_logprobs, grad_entropy);
    pass->head_x.reset(), pass->head_y.reset();
    if (complete) complete(static_cast<size_t>(final_norm_.begin));
    if (options_.recompute) pass->qkv_product = empty_float({pass->tokens, layers_[0].qkv.outputs});
    for (size_t i = layers_.size(); i-- > 0;) {
      if (options_.recompute) {
        Tensor stream = std::move(pass->kept[i].stream);
        pass->kept[i] = layer_forward(i, stream, *pass, /*again=*/true);
      }
      layer_backward(i, pass->kept[i], d, *pass);
      if (complete) complete(static_cast<size_t>(layers_[i].begin));
    }
    embed_grad(options_.type, pass->distinct, config_.hidden_size, ints(pass->distinct_token),
               ints(pass->distinct_begin), ints(pass->order), data(d), gradient_at(embed_));
  }
  if (complete) complete(0);
}

size_t Model::activation_bytes(int64_t tokens, int64_t predicted) const {
  const ModelConfig& c = config_;
  const size_t element = size_of(options_.type);
  const auto n = static_cast<size_t>(tokens), m = static_cast<size_t>(predicted),
             width = static_cast<size_t>(c.hidden_size), inner = static_cast<size_t>(c.intermediate_size),
             q = static_cast<size_t>(c.num_heads * c.head_dim),
             kv = static_cast<size_t>(c.num_kv_heads * c.head_dim), qkv = q + 2 * kv;
  const size_t head_norms =
      c.qk_norm ? qkv * element + 4 * static_cast<size_t>(c.num_heads + c.num_kv_heads) : 0;
  const size_t layer = n * (element * (4 * width + qkv + q + 2 * inner) +
                            4 * (2 + static_cast<size_t>(c.num_heads)) + head_norms);
  const size_t stream = n * width * 4, layers = static_cast<size_t>(c.num_layers),
               kept = (options_.recompute ? stream : layer) * layers;
  // beside them: in forward the stream, a QKV product and an activation, and with recompute what that layer would keep; in
  // backward the stream's gradient, the activation's and one more of the width
  const size_t forward = stream + n * (4 * qkv + element * inner),
               backward = n * element * (2 * width + inner),
               working = options_.recompute ? layer + forward : std::max(forward, backward);
  // the predicted tokens' rows of the stream before and after its norm; then logits, and the gradients of rows and stream
  const size_t rows = m * width * element * 2,
               head = rows +
                      std::max(stream + m * width * 4, m * width * element + m * 5 * 4 + n * width * element +
                                                           4 * static_cast<size_t>(chunk_rows(predicted)) *
                                                               static_cast<size_t>(c.vocab_size));
  return kept + std::max(working, head);
}

}  // namespace cohort::gpu
