#include "reward/format.h"

#include <array>

#include "reward/record.h"

namespace cohort {
namespace {

size_t count(std::string_view text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

class FormatGrader : public RecordGrader {
 public:
  explicit FormatGrader(const FormatOptions& options)
      : RecordGrader("format", 1, write_options(options)), options_(options) {}

 protected:
  Verdict decide(const nlohmann::json&, const GradeInput& input, const std::atomic<bool>&) const override {
    return grade_format(input.completion, options_);
  }

 private:
  const FormatOptions options_;
};

}  // namespace

Verdict grade_format(std::string_view response, const FormatOptions& options) {
  const std::array<std::string, 4> tags = {"<" + options.think_tag + ">", "</" + options.think_tag + ">",
                                           "<" + options.answer_tag + ">", "</" + options.answer_tag + ">"};
  const size_t first = options.think_in_prompt ? 1 : 0;
  nlohmann::json evidence = nlohmann::json::object();
  size_t right = 0;
  std::string reason;
  for (size_t i = first; i < tags.size(); ++i) {
    const size_t n = count(response, tags[i]);
    evidence[tags[i]] = n;
    if (n == 1)
      ++right;
    else if (reason.empty())
      reason = n == 0 ? "no " + tags[i] : fmt::format("{} occurs {} times", tags[i], n);
  }
  if (options.think_in_prompt && reason.empty() && count(response, tags[0]) > 0)
    reason = "opens " + tags[0] + " again";
  if (reason.empty()) {
    std::array<size_t, 4> at{};
    for (size_t i = first; i < tags.size(); ++i) at[i] = response.find(tags[i]);
    auto between_tags = [&](size_t i) {  // what stands between tag i and tag i + 1
      const size_t begin = at[i] + tags[i].size();
      return at[i + 1] < begin ? std::string_view() : trim(response.substr(begin, at[i + 1] - begin));
    };
    const bool ordered = (first == 1 || at[0] < at[1]) && at[1] < at[2] && at[2] < at[3];
    const std::string_view thought =
        first == 1 ? trim(response.substr(0, at[1])) : (ordered ? between_tags(0) : std::string_view());
    if (!ordered)
      reason = "the tags are out of order";
    else if (first == 0 && !trim(response.substr(0, at[0])).empty())
      reason = "text before " + tags[0];
    else if (!between_tags(1).empty())
      reason = "text between " + tags[1] + " and " + tags[2];
    else if (!trim(response.substr(at[3] + tags[3].size())).empty())
      reason = "text after " + tags[3];
    else if (options.require_content && (thought.empty() || between_tags(2).empty()))
      reason = "a part is empty";
  }
  if (reason.empty()) return make_verdict(VerdictKind::passed, 1, "well formed", evidence);
  const double share = static_cast<double>(right) / static_cast<double>(tags.size() - first);
  return make_verdict(VerdictKind::failed, options.partial_score * share, reason, evidence);
}

std::unique_ptr<Grader> make_format_grader(const TomlTable& table) {
  const auto options = read_grader_options<FormatOptions>(table);
  if (options.think_tag.empty() || options.answer_tag.empty() || options.think_tag == options.answer_tag)
    fail_usage("format reward: think_tag and answer_tag must be two different names");
  return std::make_unique<FormatGrader>(options);
}

}  // namespace cohort
