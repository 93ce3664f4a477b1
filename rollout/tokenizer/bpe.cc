#include "rollout/tokenizer/bpe.h"

#include <bit>
#include <limits>
#include <queue>

#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort::tokenizer {

void MergeTable::reserve(size_t merges) {
  const size_t slots = std::bit_ceil(std::max<size_t>(16, merges * 2));
  slots_.assign(slots, Slot{kEmpty, {}});
  mask_ = slots - 1;
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = key_of(left, right);
  size_t i = place(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, merge};
}

void merge_short(const MergeTable& merges, std::vector<int32_t>& symbols) {
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  size_t n = symbols.size();
  if (n < 2) return;
  // ranks[i]: of the pair (i, i + 1). Kept on the stack for the usual word.
  std::array<MergeTable::Merge, 64> few;
  std::vector<MergeTable::Merge> many(n > few.size() ? n : 0);
  MergeTable::Merge* ranks = n > few.size() ? many.data() : few.data();
  auto look_up = [&](size_t i) {
    const MergeTable::Merge* m = merges.find(symbols[i], symbols[i + 1]);
    ranks[i] = m != nullptr ? *m : MergeTable::Merge{kNone, -1};
  };
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (ranks[i].rank < ranks[best].rank) best = i;
    if (ranks[best].rank == kNone) break;
    symbols[best] = ranks[best].id;
    for (size_t i = best + 1; i + 1 < n; ++i) symbols[i] = symbols[i + 1];
    for (size_t i = best + 1; i + 2 < n; ++i) ranks[i] = ranks[i + 1];
    --n;
    if (best + 1 < n) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  symbols.resize(n);
}

void merge_long(const MergeTable& merges, std::vector<int32_t>& symbols) {
  struct Candidate {
    uint32_t rank;
    uint32_t at;  // position of the left symbol
    int32_t left, right, id;
    bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  constexpr uint32_t kEnd = std::numeric_limits<uint32_t>::max();
  const auto n = static_cast<uint32_t>(symbols.size());
  if (n < 2) return;
  std::vector<uint32_t> next(n), before(n);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  auto offer = [&](uint32_t at) {
    const int32_t left = symbols[at], right = symbols[next[at]];
    if (const MergeTable::Merge* m = merges.find(left, right)) queue.push({m->rank, at, left, right, m->id});
  };
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1 < n ? i + 1 : kEnd;
    before[i] = i > 0 ? i - 1 : kEnd;
  }
  for (uint32_t i = 0; i + 1 < n; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    // A candidate has expired when one of its two symbols was merged since; -1 marks a symbol that is gone.
    if (symbols[top.at] != top.left || next[top.at] == kEnd || symbols[next[top.at]] != top.right) continue;
    const uint32_t gone = next[top.at];
    symbols[top.at] = top.id;
    symbols[gone] = -1;
    next[top.at] = next[gone];
    if (next[gone] != kEnd) before[next[gone]] = top.at;
    if (before[top.at] != kEnd) offer(before[top.at]);
    if (next[top.at] != kEnd) offer(top.at);
  }
  std::erase(symbols, -1);
}

Bpe::Bpe(const JsonView& model, bool byte_pieces)
    : vocabulary_(Vocabulary::read(model.at("vocab"))),
      byte_pieces_(byte_pieces),
      ignore_merges_(model.flag("ignore_merges", false)),
      byte_fallback_(model.flag("byte_fallback", false)),
      fuse_unk_(model.flag("fuse_unk", false)),
      prefix_(model.string_or("continuing_subword_prefix", "")),
      suffix_(model.string_or("end_of_word_suffix", "")) {
  if (model.has("dropout") && model.at("dropout").json() != 0.0)
    model.at("dropout").fail("BPE dropout is not supported: ids would be random");
  if (model.has("unk_token")) {
    unk_ = vocabulary_.id_of(model.string("unk_token"));
    if (unk_ < 0)
      model.at("unk_token").fail(fmt::format("'{}' is not in the vocabulary", model.string("unk_token")));
  }
  for (int b = 0; b < 256; ++b) {
    byte_symbol_[b] = vocabulary_.id_of(ByteAlphabet::get().text[b]);
    fallback_[b] = vocabulary_.id_of(fmt::format("<0x{:02X}>", b));
  }
  plain_ = byte_pieces_ && prefix_.empty() && suffix_.empty();
  read_merges(model);
}

void Bpe::read_merges(const JsonView& model) {
  const JsonView view = model.at("merges");
  const nlohmann::json& merges = view.json();
  if (!merges.is_array()) view.fail(fmt::format("expected an array, found {}", merges.type_name()));
  merges_.reserve(merges.size());
  auto bad = [&](size_t i, const std::string& what) { view.fail(fmt::format("[{}]: {}", i, what)); };
  std::string merged;
  for (size_t i = 0; i < merges.size(); ++i) {
    const nlohmann::json& entry = merges[i];
    std::string_view left, right;
    if (entry.is_string()) {  // "a b", the form before tokenizers 0.20
      const std::string_view text = entry.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
        bad(i, fmt::format("'{}' is not two tokens with one space between", text));
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      left = entry[0].get_ref<const std::string&>();
      right = entry[1].get_ref<const std::string&>();
    } else {
      bad(i, "expected \"left right\" or [\"left\", \"right\"]");
    }
    if (!right.starts_with(prefix_))
      bad(i, fmt::format("'{}' does not begin with the continuing_subword_prefix", right));
    merged.assign(left).append(right.substr(prefix_.size()));
    const int32_t a = vocabulary_.id_of(left), b = vocabulary_.id_of(right), id = vocabulary_.id_of(merged);
    if (a < 0) bad(i, fmt::format("'{}' is not in the vocabulary", left));
    if (b < 0) bad(i, fmt::format("'{}' is not in the vocabulary", right));
    if (id < 0) bad(i, fmt::format("the merged token '{}' is not in the vocabulary", merged));
    merges_.set(a, b, {static_cast<uint32_t>(i), id});
  }
}

bool Bpe::symbols_of_bytes(std::string_view piece, std::vector<int32_t>& out) const {
  for (unsigned char b : piece) {
    const int32_t id = byte_symbol_[b];
    if (id >= 0)
      out.push_back(id);
    else if (unk_ >= 0 || byte_fallback_)
      return false;  // else the byte is dropped, as upstream does without an unknown token
  }
  return true;
}

void Bpe::symbols_of(std::string_view text, std::vector<int32_t>& out) const {
  bool unk_pending = false;  // a run of unknown characters not yet written: one token when fuse_unk
  std::string symbol;
  for (size_t i = 0; i < text.size();) {
    const size_t end = i + utf8_at(text, i).length;
    symbol.clear();
    if (i > 0) symbol += prefix_;
    symbol.append(text, i, end - i);
    if (end == text.size()) symbol += suffix_;
    i = end;
    if (const int32_t id = vocabulary_.id_of(symbol); id >= 0) {
      if (unk_pending) out.push_back(unk_);
      unk_pending = false;
      out.push_back(id);
      continue;
    }
    bool fallback = byte_fallback_;
    for (unsigned char b : symbol) fallback = fallback && fallback_[b] >= 0;
    if (fallback) {
      // An unknown character stays pending over these bytes: upstream's order, kept for equal ids.
      for (unsigned char b : symbol) out.push_back(fallback_[b]);
    } else if (unk_ >= 0) {
      if (unk_pending && !fuse_unk_) out.push_back(unk_);
      unk_pending = true;
    }
  }
  if (unk_pending) out.push_back(unk_);
}

void Bpe::tokenize(std::string_view piece, std::vector<int32_t>& out) const {
  if (cache_.find(piece, out)) return;
  std::vector<int32_t> symbols;
  std::string mapped;
  auto in_alphabet = [&]() -> std::string_view {
    if (!byte_pieces_) return piece;
    if (mapped.empty())
      for (unsigned char b : piece) mapped += ByteAlphabet::get().text[b];
    return mapped;
  };
  int32_t whole = ignore_merges_ ? vocabulary_.id_of(in_alphabet()) : -1;
  if (whole >= 0) {
    symbols.push_back(whole);
  } else {
    symbols.reserve(piece.size());
    if (!plain_ || !symbols_of_bytes(piece, symbols)) {
      symbols.clear();
      symbols_of(in_alphabet(), symbols);
    }
    if (symbols.size() <= 48)
      merge_short(merges_, symbols);
    else
      merge_long(merges_, symbols);
  }
  cache_.keep(piece, symbols.data(), symbols.size());
  out.insert(out.end(), symbols.begin(), symbols.end());
}

}  // namespace cohort::tokenizer
