#include "rollout/tokenizer/pattern.h"

#include <fmt/core.h>

#include <stdexcept>

namespace cohort::tokenizer {

Pattern::Pattern(const JsonView& view) {
  if (view.has("String")) {
    literal_ = view.string("String");
    return;
  }
  if (!view.has("Regex")) view.fail("expected {\"String\": …} or {\"Regex\": …}");
  const std::string& pattern = view.string("Regex");
  try {
    regex_.emplace(pattern);
  } catch (const std::invalid_argument& e) {
    view.fail(fmt::format("regular expression '{}': {}", pattern, e.what()));
  }
}

bool Pattern::find(std::string_view text, size_t from, size_t& begin, size_t& end) const {
  if (regex_) return regex_->find(text, from, begin, end);
  if (literal_.empty()) return false;
  begin = text.find(literal_, from);
  if (begin == std::string_view::npos) return false;
  end = begin + literal_.size();
  return true;
}

std::string Pattern::replace_all(std::string_view text, std::string_view content) const {
  std::string out;
  out.reserve(text.size());
  slices(text, [&](size_t begin, size_t end, bool match) {
    out += match ? content : text.substr(begin, end - begin);
  });
  return out;
}

}  // namespace cohort::tokenizer
