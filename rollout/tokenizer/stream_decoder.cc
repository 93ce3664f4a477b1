#include "rollout/tokenizer/tokenizer.h"
#include "rollout/tokenizer/unicode.h"

namespace cohort {
namespace {

// The window of a decoder that must be asked again with context never grows past this many held-back tokens.
constexpr size_t kMostHeld = 16;

}  // namespace

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}

// Two ways. Where each token stands for bytes of its own (byte-level), those are appended and everything up
// to an unfinished character is given out: what is held back is at most three bytes. Elsewhere a token's text
// depends on its neighbours (a space between, a first one stripped), so the tokens given out last stay as
// context and the new text is what the window has more than the context alone.
std::string StreamDecoder::push(int32_t id) {
  using namespace tokenizer;
  if (tokenizer_->append_bytes(id, pending_)) {
    std::string out;
    size_t i = 0;
    while (i < pending_.size()) {
      const Utf8Char c = utf8_at(pending_, i);
      if (c.code == kIncomplete) break;
      if (c.code == kInvalid)
        out += kReplacement;
      else
        out.append(pending_, i, c.length);
      i += c.length;
    }
    pending_.erase(0, i);
    return out;
  }
  ids_.push_back(id);
  const std::string before = tokenizer_->decode(std::span(ids_).first(context_));
  const std::string now = tokenizer_->decode(ids_);
  const bool unfinished = now.ends_with(kReplacement) && ids_.size() - context_ < kMostHeld;
  if (now.size() <= before.size() || unfinished) return "";
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(context_));
  context_ = ids_.size();
  return now.substr(before.size());
}

std::string StreamDecoder::finish() {
  std::string out = tokenizer::replace_invalid(pending_);
  if (ids_.size() > context_) {
    const std::string before = tokenizer_->decode(std::span(ids_).first(context_));
    const std::string now = tokenizer_->decode(ids_);
    if (now.size() > before.size()) out += now.substr(before.size());
  }
  pending_.clear();
  ids_.clear();
  context_ = 0;
  return out;
}

}  // namespace cohort
