#include "rollout/tokenizer/normalizer.h"

#include <optional>
#include <stdexcept>

#include "rollout/tokenizer/pattern.h"
#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort::tokenizer {
namespace {

class Sequence final : public Normalizer {
 public:
  Sequence(const JsonView& view, int depth) {
    if (depth > 8) view.fail("normalizers are nested too deep");
    for (const JsonView& v : view.elements("normalizers"))
      if (auto n = read_normalizer(v, depth + 1)) all_.push_back(std::move(n));
  }
  void apply(std::string& text) const override {
    for (const auto& n : all_) n->apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> all_;
};

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(std::string& text) const override { text = normal_form(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(std::string& text) const override { text = to_lower(text); }
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string what) : what_(std::move(what)) {}
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, what_);
  }

 private:
  std::string what_;
};

class Replace final : public Normalizer {
 public:
  explicit Replace(const JsonView& view) : pattern_(view.at("pattern")), content_(view.string("content")) {}
  void apply(std::string& text) const override { text = pattern_.replace_all(text, content_); }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text) const override {
    size_t first = text.size(), last = 0;  // of what is no white space
    for (size_t i = 0; i < text.size();) {
      Utf8Char c = utf8_at(text, i);
      if (!is_white_space(c.code)) {
        first = std::min(first, i);
        last = i + c.length;
      }
      i += c.length;
    }
    if (first == text.size()) {
      if (left_ || right_) text.clear();
      return;
    }
    if (right_) text.resize(last);
    if (left_) text.erase(0, first);
  }

 private:
  bool left_, right_;
};

class StripAccents final : public Normalizer {
 public:
  void apply(std::string& text) const override {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      Utf8Char c = utf8_at(text, i);
      if (!is_mark(c.code)) out.append(text, i, c.length);
      i += c.length;
    }
    text = std::move(out);
  }
};

class ByteLevel final : public Normalizer {
 public:
  void apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size() * 2);
    for (unsigned char b : text) out += ByteAlphabet::get().text[b];
    text = std::move(out);
  }
};

}  // namespace

std::unique_ptr<Normalizer> read_normalizer(const JsonView& view, int depth) {
  if (view.is_null()) return nullptr;
  const std::string& type = view.type();
  if (type == "Sequence") return std::make_unique<Sequence>(view, depth);
  if (type == "NFC") return std::make_unique<Form>(NormalForm::nfc);
  if (type == "NFD") return std::make_unique<Form>(NormalForm::nfd);
  if (type == "NFKC") return std::make_unique<Form>(NormalForm::nfkc);
  if (type == "NFKD") return std::make_unique<Form>(NormalForm::nfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "Prepend") return std::make_unique<Prepend>(view.string("prepend"));
  if (type == "Replace") return std::make_unique<Replace>(view);
  if (type == "Strip")
    return std::make_unique<Strip>(view.flag("strip_left", true), view.flag("strip_right", true));
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  view.fail(fmt::format(
      "normalizer '{}' is not supported (known: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Prepend, "
      "Replace, Strip, StripAccents, ByteLevel)",
      type));
}

}  // namespace cohort::tokenizer
