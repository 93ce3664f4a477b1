// Regular expressions as tokenizer.json means them (Oniguruma's Ruby syntax over Unicode), compiled by PCRE2
// with JIT.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace cohort::tokenizer {

class Regex {
 public:
  // Throws std::invalid_argument saying what in the pattern cannot be compiled or has no equal in PCRE2.
  explicit Regex(const std::string& pattern);

  // The first match at or after `from`; text must be valid UTF-8 and `from` a character's beginning. An empty
  // match counts. Any thread.
  bool find(std::string_view text, size_t from, size_t& begin, size_t& end) const;

  // The pattern as PCRE2 gets it (for tests and messages).
  const std::string& translated() const { return translated_; }
  static std::string escape(std::string_view literal);

 private:
  std::string translated_;
  std::shared_ptr<void> code_;
  bool jit_ = false;
};

}  // namespace cohort::tokenizer
