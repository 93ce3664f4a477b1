#include "reward/math/math_grader.h"

#include "reward/math/answer.h"
#include "reward/math/compare.h"
#include "reward/math/extract.h"
#include "reward/record.h"

namespace cohort {
namespace {

using math::Answer, math::Equality, math::Source, math::Stated;

std::string_view inside_answer_tags(std::string_view text) {
  constexpr std::string_view open = "<answer>", close = "</answer>";
  if (text.find(close) == std::string_view::npos) return text;  // cheaper than looking from the end
  const size_t end = text.rfind(close);
  if (end == std::string_view::npos) return text;
  const size_t begin = text.substr(0, end).rfind(open);
  if (begin == std::string_view::npos) return text;
  return text.substr(begin + open.size(), end - begin - open.size());
}

// The gold field may be the bare answer or a worked solution (GSM8K's "… #### 18", MATH's "… \boxed{…}").
std::string gold_answer(std::string_view gold) {
  if (gold.find('#') == std::string_view::npos && gold.find("box") == std::string_view::npos)
    return std::string(gold);
  const std::vector<Stated> stated = math::find_statements(gold);
  const Stated* best = nullptr;
  for (const Stated& s : stated)
    if (s.source != Source::answer_is && (!best || s.source <= best->source)) best = &s;
  return best ? best->text : std::string(gold);
}

std::optional<Answer> read(const Stated& stated) {
  return stated.source == Source::answer_is ? math::read_leading_answer(stated.text)
                                            : math::read_answer(stated.text);
}

std::optional<Stated> find_final(std::string_view text, const std::vector<Stated>& stated,
                                 const MathOptions& options) {
  const Stated* best = nullptr;
  for (const Stated& s : stated)
    if (!best || s.source <= best->source) best = &s;  // of the strongest kind the last
  if (best) return *best;
  const std::string_view whole = trim(text);
  if (whole.empty()) return {};
  if (whole.size() <= 200) {
    const std::optional<Answer> answer = math::read_answer(whole);
    if ((answer && answer->kind != Answer::Kind::text) ||
        whole.find_first_of(" \n") == std::string_view::npos)
      return Stated{Source::whole_text, std::string(whole)};
  }
  if (options.last_number) {
    const std::string number =
        math::is_ascii(text) ? math::last_number(text) : math::last_number(math::fold_digits(text));
    if (!number.empty()) return Stated{Source::last_number, number};
  }
  return {};
}

class MathGrader : public RecordGrader {
 public:
  explicit MathGrader(const MathOptions& options)
      : RecordGrader("math", 4, write_options(options)), options_(options) {}

 protected:
  Verdict decide(const nlohmann::json& record, const GradeInput& input,
                 const std::atomic<bool>&) const override {
    return grade_math(required_text(record, options_.gold_field), input.completion, options_);
  }

 private:
  const MathOptions options_;
};

}  // namespace

Verdict grade_math(std::string_view gold_text, std::string_view response, const MathOptions& options) {
  const std::string gold = gold_answer(trim(gold_text));
  nlohmann::json evidence = {{"gold", gold.substr(0, 200)}};
  if (response.size() > static_cast<size_t>(options.max_chars))
    return make_verdict(VerdictKind::unknown, 0, "the completion is too long to read", evidence);
  if (trim(gold).empty())
    return make_verdict(VerdictKind::infra_error, 0, "the gold answer is empty", evidence);

  const bool thought = response.find("</think>") != std::string_view::npos;
  const std::string_view text = inside_answer_tags(thought ? after_thinking(response) : response);
  const std::vector<Stated> stated = math::find_statements(text);
  if (stated.size() > math::kMaxStatements)
    return make_verdict(VerdictKind::failed, 0,
                        fmt::format("states more than {} answers", math::kMaxStatements), evidence);
  const std::optional<Stated> final = find_final(text, stated, options);
  if (!final) return make_verdict(VerdictKind::no_answer, 0, "no answer was found", evidence);
  const std::optional<Answer> right = math::read_answer(gold), given = read(*final);
  if (!given && final->text.size() <= math::kMaxText &&
      trim(final->text).find_first_not_of("$.{} ") == std::string_view::npos)
    return make_verdict(VerdictKind::no_answer, 0, "no answer was found", evidence);
  evidence["answer"] = final->text.substr(0, 200);
  evidence["source"] = math::to_string(final->source);

  const math::CompareOptions how{options.decimal_digits, options.ordered_lists};
  math::Budget budget(options.max_steps);  // of the whole check
  Equality equality = Equality::unknown;
  if (right && given) equality = math::compare(*right, *given, how, budget);
  if (equality == Equality::equal && stated.size() > 1) {
    for (const Stated& other : stated) {
      if (other.text == final->text) continue;
      if (!budget.try_spend(static_cast<int64_t>(other.text.size())))
        return make_verdict(VerdictKind::unknown, 0, "too many statements to compare with each other",
                            evidence);
      // beside a text only statements of its own kind say anything
      const std::optional<Answer> value = math::read_answer(other.text);
      const bool text = given->kind == Answer::Kind::text || given->kind == Answer::Kind::choice;
      if (!value || (value->kind == Answer::Kind::text && !text) || (text && other.source != final->source))
        continue;
      if (math::compare(*given, *value, how, budget) != Equality::different) continue;
      evidence["also"] = other.text.substr(0, 200);
      return make_verdict(VerdictKind::failed, 0, "states several different answers", evidence);
    }
    if (budget.spent())
      return make_verdict(VerdictKind::unknown, 0, "too many statements to compare with each other",
                          evidence);
  }
  switch (equality) {
    case Equality::equal:
      return make_verdict(VerdictKind::passed, 1, "equals the gold answer", evidence);
    case Equality::different:
      return make_verdict(VerdictKind::failed, 0, "differs from the gold answer", evidence);
    case Equality::unknown:
      break;
  }
  auto unread = [](const std::optional<Answer>& a) { return !a || a->kind == Answer::Kind::text; };
  const char* reason = unread(right)    ? "the gold answer is not one this checker reads"
                       : unread(given)  ? "the answer is not one this checker reads"
                       : budget.spent() ? "the step budget is spent"
                                        : "cannot be decided";
  return make_verdict(VerdictKind::unknown, 0, reason, evidence);
}

std::unique_ptr<Grader> make_math_grader(const TomlTable& table) {
  return std::make_unique<MathGrader>(read_grader_options<MathOptions>(table));
}

}  // namespace cohort
