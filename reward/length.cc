#include "reward/length.h"

#include <algorithm>

#include "reward/record.h"

namespace cohort {
namespace {

class LengthGrader : public RecordGrader {
 public:
  explicit LengthGrader(const LengthOptions& options)
      : RecordGrader("length", 1, write_options(options)), options_(options) {}

 protected:
  Verdict decide(const nlohmann::json&, const GradeInput& input, const std::atomic<bool>&) const override {
    return grade_length(input.completion_tokens, options_);
  }
  bool reads_all_input() const override { return true; }

 private:
  const LengthOptions options_;
};

}  // namespace

Verdict grade_length(uint32_t tokens, const LengthOptions& options) {
  const double over = static_cast<double>(tokens) - (options.max_tokens - options.buffer);
  double share = over <= 0 ? 0 : options.buffer == 0 ? 1 : std::min(1.0, over / options.buffer);
  const nlohmann::json evidence = {{"tokens", tokens}};
  if (share == 0) return make_verdict(VerdictKind::passed, 0, "short enough", evidence);
  return make_verdict(VerdictKind::failed, -options.penalty * share,
                      fmt::format("{} tokens are too many", tokens), evidence);
}

std::unique_ptr<Grader> make_length_grader(const TomlTable& table) {
  const auto options = read_grader_options<LengthOptions>(table);
  if (options.max_tokens < 1) fail_usage("{} is missing", table.where("max_tokens"));
  if (options.buffer > options.max_tokens) fail_usage("{} must be at most max_tokens", table.where("buffer"));
  return std::make_unique<LengthGrader>(options);
}

}  // namespace cohort
