#include "rollout/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/core.h>
#include <pcre2.h>

#include <cctype>
#include <stdexcept>

namespace cohort::tokenizer {
namespace {

// What \s and \w stand for in Oniguruma; PCRE2's own (with UCP) differ in U+180E and in combining marks.
constexpr std::string_view kSpace =
    R"(\x09-\x0d \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kHex = "0-9a-fA-F";

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument(what);
}

// Rewrites what the two dialects spell alike but mean differently; everything else passes unchanged.
class Translator {
 public:
  explicit Translator(const std::string& in) : in_(in) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\')
        escape();
      else if (in_class_)
        class_character(c);
      else if (c == '[')
        open_class();
      else if (c == '(' && in_.compare(at_, 2, "(?") == 0)
        group();
      else if (c == '{')
        interval();
      else
        out_ += c, ++at_;
    }
    return std::move(out_);
  }

 private:
  void set(std::string_view members, bool negated, char name) {
    if (in_class_ && negated) {
      if (name != 'S') refuse(fmt::format("\\{} inside a character class is not supported", name));
      out_ += R"(\P{White_Space})";
    } else if (in_class_) {
      out_ += members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
    at_ += 2;
  }

  void escape() {
    if (at_ + 1 >= in_.size()) refuse("the pattern ends in a backslash");
    const char c = in_[at_ + 1];
    switch (c) {
      case 's':
        return set(kSpace, false, c);
      case 'S':
        return set(kSpace, true, c);
      case 'w':
        return set(kWord, false, c);
      case 'W':
        return set(kWord, true, c);
      case 'h':
        return set(kHex, false, c);
      case 'H':
        return set(kHex, true, c);
      case 'u':  // \uHHHH
        if (at_ + 6 > in_.size()) refuse("\\u needs four hexadecimal digits");
        out_ += fmt::format("\\x{{{}}}", in_.substr(at_ + 2, 4));
        at_ += 6;
        return;
      case 'C':
      case 'M':
      case 'K':
      case 'g':
      case 'G':
      case 'Q':
      case 'E':
        refuse(fmt::format("\\{} is not supported", c));
      default:
        out_ += '\\', out_ += c, at_ += 2;
    }
  }

  void open_class() {
    in_class_ = true;
    out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == '^') out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == ']') out_ += "\\]", ++at_;  // a bracket that comes first is a literal
  }

  void class_character(char c) {
    if (c == '[') {
      size_t close = in_.compare(at_, 2, "[:") == 0 ? in_.find(":]", at_ + 2) : std::string::npos;
      if (close == std::string::npos) refuse("a character class inside a character class is not supported");
      out_.append(in_, at_, close + 2 - at_);
      at_ = close + 2;
      return;
    }
    if (c == '&' && in_.compare(at_, 2, "&&") == 0) refuse("&& in a character class is not supported");
    if (c == ']') in_class_ = false;
    out_ += c, ++at_;
  }

  // (?m) lets the dot match a line feed in Ruby's syntax; PCRE2 calls that s.
  void group() {
    out_ += "(?", at_ += 2;
    size_t end = at_;
    while (end < in_.size() && (in_[end] == 'i' || in_[end] == 'm' || in_[end] == 'x' || in_[end] == '-'))
      ++end;
    if (end >= in_.size() || (in_[end] != ':' && in_[end] != ')')) return;
    for (; at_ < end; ++at_) out_ += in_[at_] == 'm' ? 's' : in_[at_];
  }

  void interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) ++end;
    if (end >= in_.size() || in_[end] != '}' || end == at_ + 1) {
      out_ += in_[at_++];  // a literal brace
      return;
    }
    if (end + 1 < in_.size() && in_[end + 1] == '+')
      refuse(
          "{n,m}+ means a repeated interval in one dialect and a possessive one in another; write "
          "(?:…{n,m})+");
    out_ += in_[at_ + 1] == ',' ? "{0" : "{";
    out_.append(in_, at_ + 1, end - at_);
    at_ = end + 1;
  }

  const std::string& in_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

// Only the whole match is asked for, so one pair is room enough for every pattern; one block a thread.
pcre2_match_data* match_data() {
  struct Owner {
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    ~Owner() { pcre2_match_data_free(data); }
  };
  thread_local Owner owner;
  return owner.data;
}

}  // namespace

Regex::Regex(const std::string& pattern) : translated_(Translator(pattern).run()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  // MULTILINE: ^ and $ always match at lines in Ruby's syntax.
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated_.data()), translated_.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, nullptr);
  if (code == nullptr) refuse(fmt::format("{} at byte {}", message_of(error), offset));
  code_ = std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  jit_ = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
}

bool Regex::find(std::string_view text, size_t from, size_t& begin, size_t& end) const {
  auto* code = static_cast<pcre2_code*>(code_.get());
  auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data() == nullptr ? "" : text.data());
  pcre2_match_data* data = match_data();
  int rc = jit_ ? pcre2_jit_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, data, nullptr)
                : PCRE2_ERROR_JIT_STACKLIMIT;
  // The interpreter keeps its state on the heap and takes what the JIT's small stack could not.
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
    rc = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, nullptr);
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  if (rc < 0) throw std::runtime_error(fmt::format("matching /{}/: {}", translated_, message_of(rc)));
  const PCRE2_SIZE* pair = pcre2_get_ovector_pointer(data);
  begin = pair[0];
  end = pair[1];
  return true;
}

std::string Regex::escape(std::string_view literal) {
  std::string out;
  for (char c : literal) {
    if (static_cast<unsigned char>(c) < 0x80 && std::ispunct(static_cast<unsigned char>(c))) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace cohort::tokenizer
