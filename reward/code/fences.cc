#include <algorithm>

#include "reward/code.h"
#include "reward/record.h"

namespace cohort {

std::string_view last_fenced_block(std::string_view response) {
  const std::string_view text = after_thinking(response);
  std::string_view last, unclosed;
  bool inside = false, any = false;
  size_t begin = 0;
  std::string fence;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    line.remove_prefix(indent);
    const char mark = line.empty() ? '\0' : line[0];
    size_t n = 0;
    while ((mark == '`' || mark == '~') && n < line.size() && line[n] == mark) ++n;
    if (!inside && n >= 3) {
      inside = true;
      fence.assign(n, mark);
      begin = std::min(end + 1, text.size());
    } else if (inside && n >= fence.size() && mark == fence[0] && trim(line.substr(n)).empty()) {
      inside = false;
      any = true;
      last = text.substr(begin, at - begin);
    }
    at = end + 1;
  }
  if (inside) unclosed = text.substr(begin);
  return any ? last : unclosed;
}

}  // namespace cohort
