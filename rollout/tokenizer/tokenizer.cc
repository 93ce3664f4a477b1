// Text to ids: repair UTF-8 → cut out added tokens, normalize the rest → pre-tokenizers cut that into pieces
// → the model gives each piece its ids → the post-processor adds special tokens. Ids to text: tokens →
// decoders.
#include "rollout/tokenizer/tokenizer.h"

#include "rollout/tokenizer/added_tokens.h"
#include "rollout/tokenizer/decoder.h"
#include "rollout/tokenizer/json_view.h"
#include "rollout/tokenizer/model.h"
#include "rollout/tokenizer/normalizer.h"
#include "rollout/tokenizer/post_processor.h"
#include "rollout/tokenizer/pre_tokenizer.h"
#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort {
namespace tokenizer {
namespace {

class JsonTokenizer final : public Tokenizer {
 public:
  explicit JsonTokenizer(const JsonView& file) {
    // "truncation" and "padding" are about batches of fixed shape and are left to the caller, as transformers
    // does.
    auto part = [&](const char* key, auto&& read) {
      if (file.has(key)) read(file.at(key));
    };
    if (!file.json().is_object()) file.fail("expected an object: is this a tokenizer.json?");
    part("normalizer", [&](const JsonView& v) { normalizer_ = read_normalizer(v); });
    part("pre_tokenizer", [&](const JsonView& v) { pre_tokenizers_ = read_pre_tokenizers(v); });
    part("post_processor", [&](const JsonView& v) { post_ = PostProcessor::read(v); });
    part("decoder", [&](const JsonView& v) { decoders_ = read_decoder(v); });
    model_ = read_model(file.at("model"), pre_tokenizers_.byte_pieces);
    part("added_tokens",
         [&](const JsonView& v) { added_ = AddedTokens::read(v, model_->vocabulary(), normalizer_.get()); });
    size_ = std::max(model_->vocabulary().size(), added_.size());
    for (const std::vector<int32_t>* ids : {&post_.before, &post_.behind})
      for (int32_t id : *ids)
        if (token_of(id) == nullptr)
          file.at("post_processor").fail(fmt::format("adds id {}, which no token has", id));
    if (decoders_.byte_level) read_token_bytes();
  }

  std::vector<int32_t> encode(std::string_view text, bool add_special) const override {
    std::string repaired;
    if (!is_utf8(text)) text = repaired = replace_invalid(text);
    TextStore store;
    std::vector<Piece> pieces, next;
    added_.extract(text, normalizer_.get(), pieces, store);
    for (const auto& pre_tokenizer : pre_tokenizers_.chain) {
      next.clear();
      for (const Piece& piece : pieces) {
        if (piece.id >= 0)
          next.push_back(piece);
        else if (!piece.text.empty())
          pre_tokenizer->split(piece, next, store);
      }
      pieces.swap(next);
    }
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + 8);
    if (add_special) ids = post_.before;
    for (const Piece& piece : pieces) {
      if (piece.id >= 0)
        ids.push_back(piece.id);
      else if (!piece.text.empty())
        model_->tokenize(piece.text, ids);
    }
    if (add_special) ids.insert(ids.end(), post_.behind.begin(), post_.behind.end());
    return ids;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    if (decoders_.byte_level) {
      std::string bytes;
      for (int32_t id : ids)
        if (id >= 0 && id < size_ && !(skip_special && is_special(id))) bytes += token_bytes_[id];
      return is_utf8(bytes) ? bytes : replace_invalid(bytes);
    }
    std::vector<std::string> tokens;
    for (int32_t id : ids) {
      const std::string* token = token_of(id);
      if (token != nullptr && !(skip_special && added_.is_special(id))) tokens.push_back(*token);
    }
    if (decoders_.chain) decoders_.chain->apply(tokens);
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && !decoders_.chain) text += ' ';
      text += tokens[i];
    }
    return text;
  }

  int32_t vocab_size() const override { return size_; }

  int32_t id_of(std::string_view token) const override {
    const int32_t id = added_.id_of(token);
    return id >= 0 ? id : model_->vocabulary().id_of(token);
  }

  bool is_special(int32_t id) const override { return added_.is_special(id); }

  bool append_bytes(int32_t id, std::string& out) const override {
    if (!decoders_.byte_level) return false;
    if (id >= 0 && id < size_ && !added_.is_special(id)) out += token_bytes_[id];
    return true;
  }

 private:
  const std::string* token_of(int32_t id) const {
    const std::string* token = added_.token_of(id);
    return token != nullptr ? token : model_->vocabulary().token_of(id);
  }

  void read_token_bytes() {
    token_bytes_.resize(size_);
    for (int32_t id = 0; id < size_; ++id) {
      const std::string* token = token_of(id);
      if (token != nullptr && !ByteAlphabet::get().bytes_of(*token, token_bytes_[id]))
        token_bytes_[id] = *token;
    }
  }

  std::unique_ptr<Normalizer> normalizer_;
  PreTokenizers pre_tokenizers_;
  std::unique_ptr<Model> model_;
  AddedTokens added_;
  PostProcessor post_;
  Decoders decoders_;
  int32_t size_ = 0;
  std::vector<std::string> token_bytes_;  // of a byte-level decoder: what each id stands for
};

}  // namespace
}  // namespace tokenizer

std::shared_ptr<const Tokenizer> Tokenizer::read(const std::string& folder) {
  return std::make_shared<tokenizer::JsonTokenizer>(tokenizer::JsonView::read(folder + "/tokenizer.json"));
}

}  // namespace cohort
