// The {"String": …} or {"Regex": …} patterns of Split and Replace.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "rollout/tokenizer/json_view.h"
#include "rollout/tokenizer/regex.h"

namespace cohort::tokenizer {

class Pattern {
 public:
  explicit Pattern(const JsonView& view);
  explicit Pattern(const std::string& regex) : regex_(regex) {}

  // Calls emit(begin, end, is_match) for slices that cover the text in order; none for an empty text.
  template <class Emit>
  void slices(std::string_view text, Emit&& emit) const {
    size_t done = 0, from = 0, begin = 0, end = 0;
    while (from <= text.size() && find(text, from, begin, end)) {
      if (begin == end) {  // an empty match separates nothing: go on behind the next character
        from = end + 1;
        while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) ++from;
        continue;
      }
      if (done < begin) emit(done, begin, false);
      emit(begin, end, true);
      done = from = end;
    }
    if (done < text.size()) emit(done, text.size(), false);
  }

  std::string replace_all(std::string_view text, std::string_view content) const;

 private:
  bool find(std::string_view text, size_t from, size_t& begin, size_t& end) const;

  std::string literal_;
  std::optional<Regex> regex_;
};

}  // namespace cohort::tokenizer
