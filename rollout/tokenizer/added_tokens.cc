#include "rollout/tokenizer/added_tokens.h"

#include <algorithm>

#include "rollout/tokenizer/regex.h"
#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort::tokenizer {
namespace {

// Is the character at `at` (one that begins there) part of a word? By the regular expression, for its
// Alphabetic.
bool is_word(std::string_view text, size_t at) {
  static const Regex word(R"([\w\x{200c}\x{200d}])");
  const Utf8Char c = utf8_at(text, at);
  size_t begin, end;
  return word.find(text.substr(at, c.length), 0, begin, end);
}

size_t previous(std::string_view text, size_t at) {
  do --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

}  // namespace

void StringSet::add(std::string_view text, int32_t value) {
  uint32_t node = 0;
  starts_[static_cast<unsigned char>(text[0])] = true;
  for (unsigned char c : text) {
    auto [next, fresh] = nodes_[node].next.try_emplace(c, static_cast<uint32_t>(nodes_.size()));
    node = next->second;
    if (fresh) nodes_.emplace_back();
  }
  nodes_[node].value = value;
}

bool StringSet::find(std::string_view text, size_t from, size_t& begin, size_t& end, int32_t& value) const {
  for (begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    bool found = false;
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      auto next = nodes_[node].next.find(static_cast<unsigned char>(text[i]));
      if (next == nodes_[node].next.end()) break;
      node = next->second;
      if (nodes_[node].value >= 0) found = true, end = i + 1, value = nodes_[node].value;
    }
    if (found) return true;
  }
  return false;
}

AddedTokens AddedTokens::read(const JsonView& tokens, const Vocabulary& vocabulary,
                              const Normalizer* normalizer) {
  AddedTokens out;
  if (tokens.is_null()) return out;
  for (const JsonView& view : tokens.elements()) {
    Token token;
    token.content = token.decoded = view.string("content");
    if (token.content.empty()) continue;
    const auto id = static_cast<int32_t>(view.integer("id", 0, (1 << 24) - 1));
    const int32_t in_vocabulary = vocabulary.id_of(token.content);
    if (in_vocabulary >= 0 && in_vocabulary != id)
      view.fail(
          fmt::format("'{}' has id {} here but {} in the vocabulary", token.content, id, in_vocabulary));
    if (in_vocabulary < 0 && vocabulary.token_of(id) != nullptr)
      view.fail(fmt::format("id {} of '{}' belongs to '{}' in the vocabulary", id, token.content,
                            *vocabulary.token_of(id)));
    if (auto other = out.tokens_.find(id);
        other != out.tokens_.end() && other->second.content != token.content)
      view.fail(fmt::format("id {} belongs to two added tokens, '{}' and '{}'", id, other->second.content,
                            token.content));
    token.single_word = view.flag("single_word", false);
    token.lstrip = view.flag("lstrip", false);
    token.rstrip = view.flag("rstrip", false);
    const bool special = view.flag("special", false);
    if (special) out.special_.insert(id);
    if (view.flag("normalized", !special)) {
      if (normalizer != nullptr) normalizer->apply(token.decoded);
      if (!token.decoded.empty()) out.normalized_.add(token.decoded, id);
    } else {
      out.raw_.add(token.content, id);
    }
    out.ids_[token.content] = id;
    out.size_ = std::max(out.size_, id + 1);
    out.tokens_[id] = std::move(token);
  }
  return out;
}

void AddedTokens::find_all(const StringSet& set, const Piece& piece, std::vector<Piece>& out) const {
  const std::string_view text = piece.text;
  size_t done = 0, from = 0, begin = 0, end = 0;
  int32_t id = -1;
  auto emit = [&](size_t b, size_t e, int32_t token) {
    out.push_back({text.substr(b, e - b), token, piece.first && b == 0});
  };
  while (!set.empty() && set.find(text, from, begin, end, id)) {
    from = end;
    const Token& token = tokens_.at(id);
    if (token.single_word &&
        ((begin > 0 && is_word(text, previous(text, begin))) || (end < text.size() && is_word(text, end))))
      continue;
    if (token.lstrip) {
      size_t start = begin;
      while (start > 0) {
        const size_t before = previous(text, start);
        if (!is_white_space(utf8_at(text, before).code)) break;
        start = before;
      }
      begin = std::max(start, done);  // the token before may already have taken these spaces
    }
    if (token.rstrip) {
      while (end < text.size()) {
        const Utf8Char c = utf8_at(text, end);
        if (!is_white_space(c.code)) break;
        end += c.length;
      }
    }
    if (done < begin) emit(done, begin, -1);
    emit(std::min(begin, end), end, id);
    done = end;
  }
  if (done < text.size()) emit(done, text.size(), -1);
}

void AddedTokens::extract(std::string_view text, const Normalizer* normalizer, std::vector<Piece>& out,
                          TextStore& store) const {
  std::vector<Piece> raw;
  find_all(raw_, {text, -1, true}, raw);
  for (Piece& piece : raw) {
    if (piece.id >= 0) {
      out.push_back(piece);
      continue;
    }
    if (normalizer != nullptr) {
      std::string& normal = store.emplace_back(piece.text);
      normalizer->apply(normal);
      piece.text = normal;
    }
    find_all(normalized_, piece, out);
  }
}

int32_t AddedTokens::id_of(std::string_view content) const {
  auto found = ids_.find(std::string(content));
  return found == ids_.end() ? -1 : found->second;
}

const std::string* AddedTokens::token_of(int32_t id) const {
  auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.decoded;
}

}  // namespace cohort::tokenizer
