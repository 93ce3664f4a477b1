// How deep JSON from outside may nest: writing and copying it takes stack for each level, so that one line of brackets
// would end the process.
#pragma once

#include <string_view>

namespace cohort {

inline constexpr int kDeepestJson = 200;

// Whether the brackets of `json` nest deeper than that. Any bytes; what is no JSON gets some answer.
inline bool nested_too_deeply(std::string_view json) {
  int depth = 0;
  bool text = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (text) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        text = false;
    } else if (c == '"') {
      text = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepestJson) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace cohort
