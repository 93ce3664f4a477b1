#include "rollout/tokenizer/pre_tokenizer.h"

#include "rollout/tokenizer/pattern.h"
#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort::tokenizer {
namespace {

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Behavior read_behavior(const JsonView& view) {
  const std::string& name = view.string();
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  view.fail(
      fmt::format("behavior '{}' is not supported (known: Removed, Isolated, MergedWithPrevious, "
                  "MergedWithNext, Contiguous)",
                  name));
}

// Takes the slices of one text in order (match: a delimiter) and appends the pieces that `behavior` makes of
// them.
class Cutter {
 public:
  Cutter(const Piece& piece, Behavior behavior, std::vector<Piece>& out)
      : piece_(piece), behavior_(behavior), out_(out) {}

  void slice(size_t begin, size_t end, bool match) {
    switch (behavior_) {
      case Behavior::removed:
        if (!match) emit(begin, end);
        break;
      case Behavior::isolated:
        emit(begin, end);
        break;
      case Behavior::contiguous:
        if (match == previous_match_ && any_)
          extend(end);
        else
          emit(begin, end);
        break;
      case Behavior::merged_with_previous:
        if (match && !previous_match_ && any_)
          extend(end);
        else
          emit(begin, end);
        break;
      case Behavior::merged_with_next:
        // Each delimiter opens a piece, and the slice behind it joins that piece unless it is a delimiter
        // too.
        if (!match && previous_match_)
          extend(end);
        else
          emit(begin, end);
        break;
    }
    previous_match_ = match;
    any_ = true;
  }

 private:
  void emit(size_t begin, size_t end) {
    out_.push_back({piece_.text.substr(begin, end - begin), -1, piece_.first && begin == 0});
  }
  void extend(size_t end) {
    Piece& last = out_.back();
    last.text = {last.text.data(), static_cast<size_t>(piece_.text.data() + end - last.text.data())};
  }

  const Piece piece_;
  const Behavior behavior_;
  std::vector<Piece>& out_;
  bool previous_match_ = false, any_ = false;
};

// Slices by a test on single characters.
template <class IsDelimiter>
void cut_characters(const Piece& piece, Behavior behavior, std::vector<Piece>& out,
                    IsDelimiter&& is_delimiter) {
  Cutter cutter(piece, behavior, out);
  const std::string_view text = piece.text;
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    const size_t end = i + c.length;
    if (is_delimiter(c.code)) {
      if (done < i) cutter.slice(done, i, false);
      cutter.slice(i, end, true);
      done = end;
    }
    i = end;
  }
  if (done < text.size()) cutter.slice(done, text.size(), false);
}

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(const Piece& piece, std::vector<Piece>& out, TextStore&) const override {
    Cutter cutter(piece, behavior_, out);
    pattern_.slices(piece.text, [&](size_t begin, size_t end, bool match) {
      cutter.slice(begin, end, match != invert_);
    });
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

template <bool (*kTest)(char32_t)>
class Characters final : public PreTokenizer {
 public:
  explicit Characters(Behavior behavior) : behavior_(behavior) {}
  void split(const Piece& piece, std::vector<Piece>& out, TextStore&) const override {
    cut_characters(piece, behavior_, out, kTest);
  }

 private:
  Behavior behavior_;
};

class CharDelimiterSplit final : public PreTokenizer {
 public:
  explicit CharDelimiterSplit(char32_t delimiter) : delimiter_(delimiter) {}
  void split(const Piece& piece, std::vector<Piece>& out, TextStore&) const override {
    cut_characters(piece, Behavior::removed, out, [&](char32_t c) { return c == delimiter_; });
  }

 private:
  char32_t delimiter_;
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(const JsonView& view, bool keep_bytes)
      : prefix_space_(view.flag("add_prefix_space", true)),
        use_regex_(view.flag("use_regex", true)),
        keep_bytes_(keep_bytes) {}

  void split(const Piece& piece, std::vector<Piece>& out, TextStore& store) const override {
    Piece whole = piece;
    if (prefix_space_ && !whole.text.starts_with(' '))
      whole.text = store.emplace_back(" " + std::string(whole.text));
    const size_t from = out.size();
    if (use_regex_) {
      static const Pattern gpt2(
          R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
      Cutter cutter(whole, Behavior::isolated, out);
      gpt2.slices(whole.text, [&](size_t begin, size_t end, bool match) { cutter.slice(begin, end, match); });
    } else {
      out.push_back(whole);
    }
    if (keep_bytes_) return;
    for (size_t i = from; i < out.size(); ++i) {
      std::string mapped;
      for (unsigned char b : out[i].text) mapped += ByteAlphabet::get().text[b];
      out[i].text = store.emplace_back(std::move(mapped));
    }
  }

 private:
  bool prefix_space_, use_regex_, keep_bytes_;
};

class Metaspace final : public PreTokenizer {
 public:
  explicit Metaspace(const JsonView& view)
      : mark_(view.string_or("replacement", "\xE2\x96\x81")), split_(view.flag("split", true)) {
    std::string scheme =
        view.string_or("prepend_scheme", view.flag("add_prefix_space", true) ? "always" : "never");
    if (scheme != "first" && scheme != "never" && scheme != "always")
      view.at("prepend_scheme").fail(fmt::format("'{}' is none of first, never, always", scheme));
    always_ = scheme == "always";
    first_ = scheme == "first";
    const Utf8Char mark = utf8_at(mark_ + " ", 0);
    if (static_cast<size_t>(mark.length) != mark_.size())
      view.at("replacement").fail("expected one character");
    code_ = mark.code;
  }

  void split(const Piece& piece, std::vector<Piece>& out, TextStore& store) const override {
    std::string text;
    for (char c : piece.text) {
      if (c == ' ')
        text += mark_;
      else
        text += c;
    }
    if ((always_ || (first_ && piece.first)) && !text.starts_with(mark_)) text.insert(0, mark_);
    Piece whole{store.emplace_back(std::move(text)), -1, piece.first};
    if (split_)
      cut_characters(whole, Behavior::merged_with_next, out, [&](char32_t c) { return c == code_; });
    else
      out.push_back(whole);
  }

 private:
  std::string mark_;
  char32_t code_ = 0;
  bool split_, always_ = false, first_ = false;
};

void add(const JsonView& view, PreTokenizers& out, bool last, int depth) {
  if (view.is_null()) return;
  auto& chain = out.chain;
  const std::string& type = view.type();
  auto regex = [&](const char* pattern, Behavior behavior, bool invert) {
    chain.push_back(std::make_unique<Split>(Pattern(std::string(pattern)), behavior, invert));
  };
  if (type == "Sequence") {
    if (depth > 8) view.fail("pre-tokenizers are nested too deep");
    auto all = view.elements("pretokenizers");
    for (size_t i = 0; i < all.size(); ++i) add(all[i], out, last && i + 1 == all.size(), depth + 1);
  } else if (type == "ByteLevel") {
    chain.push_back(std::make_unique<ByteLevel>(view, last));
    out.byte_pieces = last;
  } else if (type == "Split") {
    chain.push_back(std::make_unique<Split>(Pattern(view.at("pattern")), read_behavior(view.at("behavior")),
                                            view.flag("invert", false)));
  } else if (type == "Digits") {
    chain.push_back(std::make_unique<Characters<is_numeric>>(
        view.flag("individual_digits", false) ? Behavior::isolated : Behavior::contiguous));
  } else if (type == "Punctuation") {
    chain.push_back(std::make_unique<Characters<is_punctuation>>(
        view.has("behavior") ? read_behavior(view.at("behavior")) : Behavior::isolated));
  } else if (type == "WhitespaceSplit") {
    chain.push_back(std::make_unique<Characters<is_white_space>>(Behavior::removed));
  } else if (type == "Whitespace") {
    regex(R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)", Behavior::removed, true);
  } else if (type == "BertPreTokenizer") {
    chain.push_back(std::make_unique<Characters<is_white_space>>(Behavior::removed));
    chain.push_back(std::make_unique<Characters<is_punctuation>>(Behavior::isolated));
  } else if (type == "CharDelimiterSplit") {
    const std::string& delimiter = view.string("delimiter");
    if (delimiter.empty()) view.at("delimiter").fail("expected one character");
    chain.push_back(std::make_unique<CharDelimiterSplit>(utf8_at(delimiter, 0).code));
  } else if (type == "Metaspace") {
    chain.push_back(std::make_unique<Metaspace>(view));
  } else {
    view.fail(fmt::format(
        "pre-tokenizer '{}' is not supported (known: Sequence, ByteLevel, Split, Digits, Punctuation, "
        "Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, Metaspace)",
        type));
  }
}

}  // namespace

PreTokenizers read_pre_tokenizers(const JsonView& view) {
  PreTokenizers out;
  add(view, out, true, 0);
  return out;
}

}  // namespace cohort::tokenizer
