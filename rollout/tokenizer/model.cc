#include "rollout/tokenizer/model.h"

#include "rollout/tokenizer/bpe.h"
#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort::tokenizer {
namespace {

constexpr int64_t kMostTokens =
    1 << 24;  // no vocabulary comes near; keeps a flipped digit from asking for gigabytes

// One token a piece, or the unknown token.
class WordLevel final : public Model {
 public:
  WordLevel(const JsonView& model, bool byte_pieces)
      : vocabulary_(Vocabulary::read(model.at("vocab"))), byte_pieces_(byte_pieces) {
    unk_ = vocabulary_.id_of(model.string_or("unk_token", ""));
  }

  void tokenize(std::string_view piece, std::vector<int32_t>& out) const override {
    std::string mapped;
    if (byte_pieces_) {
      for (unsigned char b : piece) mapped += ByteAlphabet::get().text[b];
      piece = mapped;
    }
    int32_t id = vocabulary_.id_of(piece);
    if (id < 0) id = unk_;
    if (id < 0)
      fail("the word-level tokenizer has neither {} nor an unknown token in its vocabulary",
           nlohmann::json(piece).dump());
    out.push_back(id);
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  bool byte_pieces_;
  int32_t unk_ = -1;
};

}  // namespace

Vocabulary Vocabulary::read(const JsonView& vocab) {
  if (!vocab.json().is_object()) vocab.fail("expected an object of token: id");
  Vocabulary out;
  out.ids_.reserve(vocab.json().size());
  for (const auto& [token, value] : vocab.json().items()) {
    if (!value.is_number_integer() || value < 0 || value >= kMostTokens)
      vocab.fail(fmt::format("the id of token '{}' is not an integer from 0 to {}", token, kMostTokens - 1));
    const auto id = value.template get<int32_t>();
    auto entry = out.ids_.emplace(token, id).first;
    if (id >= out.size()) out.tokens_.resize(id + 1);
    if (out.tokens_[id] != nullptr)
      vocab.fail(fmt::format("id {} belongs to two tokens, '{}' and '{}'", id, *out.tokens_[id], token));
    out.tokens_[id] = &entry->first;
  }
  return out;
}

std::unique_ptr<Model> read_model(const JsonView& model, bool byte_pieces) {
  // Old files carry no type; only BPE has merges.
  const std::string type = model.has("type")     ? model.type()
                           : model.has("merges") ? "BPE"
                           : model.has("vocab")  ? "WordLevel"
                                                 : "";
  if (type == "BPE") return std::make_unique<Bpe>(model, byte_pieces);
  if (type == "WordLevel") return std::make_unique<WordLevel>(model, byte_pieces);
  model.fail(fmt::format("model type '{}' is not supported (known: BPE, WordLevel)", type));
}

}  // namespace cohort::tokenizer
