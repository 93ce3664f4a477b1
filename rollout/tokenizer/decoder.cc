#include "rollout/tokenizer/decoder.h"

#include "rollout/tokenizer/pattern.h"
#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort::tokenizer {
namespace {

std::unique_ptr<Decoder> read_one(const JsonView& view, int depth);

class Sequence final : public Decoder {
 public:
  Sequence(const JsonView& view, int depth) {
    if (depth > 8) view.fail("decoders are nested too deep");
    for (const JsonView& v : view.elements("decoders")) all_.push_back(read_one(v, depth + 1));
  }
  void apply(std::vector<std::string>& tokens) const override {
    for (const auto& d : all_) d->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> all_;
};

class ByteLevel final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens)
      if (!ByteAlphabet::get().bytes_of(token, bytes)) bytes += token;
    tokens.assign(1, replace_invalid(bytes));
  }
};

class Fuse final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

class Metaspace final : public Decoder {
 public:
  explicit Metaspace(const JsonView& view)
      : mark_(view.string_or("replacement", "\xE2\x96\x81")),
        strip_first_(view.string_or("prepend_scheme",
                                    view.flag("add_prefix_space", true) ? "always" : "never") != "never") {}
  void apply(std::vector<std::string>& tokens) const override {
    if (mark_.empty()) return;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const std::string_view space = i == 0 && strip_first_ ? "" : " ";
      std::string out;
      for (size_t at = 0; at < tokens[i].size();) {
        if (tokens[i].compare(at, mark_.size(), mark_) == 0) {
          out += space;
          at += mark_.size();
        } else {
          out += tokens[i][at++];
        }
      }
      tokens[i] = std::move(out);
    }
  }

 private:
  std::string mark_;
  bool strip_first_;
};

class Replace final : public Decoder {
 public:
  explicit Replace(const JsonView& view) : pattern_(view.at("pattern")), content_(view.string("content")) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) token = pattern_.replace_all(token, content_);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip final : public Decoder {
 public:
  explicit Strip(const JsonView& view)
      : content_(view.string("content")),
        start_(view.integer("start", 0, 1 << 20)),
        stop_(view.integer("stop", 0, 1 << 20)) {
    if (content_.empty()) view.at("content").fail("expected one character");
  }
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      for (int64_t i = 0; i < start_ && token.starts_with(content_); ++i) token.erase(0, content_.size());
      for (int64_t i = 0; i < stop_ && token.ends_with(content_); ++i)
        token.resize(token.size() - content_.size());
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

// "<0xE2>" is one byte; a run of them is text when it is UTF-8, else one U+FFFD a byte.
class ByteFallback final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string run;
    auto flush = [&] {
      if (run.empty()) return;
      if (is_utf8(run))
        out.push_back(run);
      else
        out.insert(out.end(), run.size(), std::string(kReplacement));
      run.clear();
    };
    for (std::string& token : tokens) {
      const int byte = byte_of(token);
      if (byte >= 0) {
        run += static_cast<char>(byte);
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }

 private:
  static int byte_of(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    int value = 0;
    for (char c : token.substr(3, 2)) {
      if (c >= '0' && c <= '9')
        value = value * 16 + (c - '0');
      else if (c >= 'A' && c <= 'F')
        value = value * 16 + (c - 'A' + 10);
      else if (c >= 'a' && c <= 'f')
        value = value * 16 + (c - 'a' + 10);
      else
        return -1;
    }
    return value;
  }
};

// CLIP-style: the end-of-word suffix becomes a space, but not behind the last token.
class EndOfWord final : public Decoder {
 public:
  explicit EndOfWord(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(std::vector<std::string>& tokens) const override {
    if (suffix_.empty()) return;
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      size_t at = 0;
      for (size_t hit; (hit = tokens[i].find(suffix_, at)) != std::string::npos; at = hit + suffix_.size()) {
        out.append(tokens[i], at, hit - at);
        if (i + 1 < tokens.size()) out += ' ';
      }
      tokens[i] = out.append(tokens[i], at);
    }
  }

 private:
  std::string suffix_;
};

std::unique_ptr<Decoder> read_one(const JsonView& view, int depth) {
  const std::string& type = view.type();
  if (type == "Sequence") return std::make_unique<Sequence>(view, depth);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Metaspace") return std::make_unique<Metaspace>(view);
  if (type == "Replace") return std::make_unique<Replace>(view);
  if (type == "Strip") return std::make_unique<Strip>(view);
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "BPEDecoder") return std::make_unique<EndOfWord>(view.string_or("suffix", "</w>"));
  view.fail(fmt::format(
      "decoder '{}' is not supported (known: Sequence, ByteLevel, Fuse, Metaspace, Replace, Strip, "
      "ByteFallback, BPEDecoder)",
      type));
}

}  // namespace

Decoders read_decoder(const JsonView& view) {
  if (view.is_null()) return {};
  Decoders out;
  out.chain = read_one(view, 0);
  out.byte_level = view.type() == "ByteLevel";
  if (view.type() == "Sequence" && view.elements("decoders").size() == 1)
    out.byte_level = view.elements("decoders")[0].type() == "ByteLevel";
  return out;
}

}  // namespace cohort::tokenizer
