// Finding the answers a text states.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cohort::math {

enum class Source { boxed, answer_is, hashes, whole_text, last_number };
const char* to_string(Source source);

// A text that states more answers than this is not read: nobody needs so many, and the work stays bounded.
inline constexpr size_t kMaxStatements = 200;

struct Stated {
  Source source;
  std::string text;
};

// Every explicit statement, strongest kind first and each kind in text order: balanced \boxed{…} (or \fbox),
// "the answer is …" / "Answer: …" to the end of its sentence, "#### …" to the end of its line. Linear in the
// text.
std::vector<Stated> find_statements(std::string_view text);
// The last number written in the text (1,234  -3.5  2/3  50%  1.5e3), "" without one.
std::string last_number(std::string_view text);

}  // namespace cohort::math
