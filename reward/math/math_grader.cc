#include "reward/math/math_grader.h"

#include <algorithm>

#include "reward/math/answer.h"
#include "reward/math/compare.h"
#include "reward/math/extract.h"
#include "reward/record.h"

namespace cohort {
namespace {

using math::Answer, math::Equality, math::Source, math::Stated;

// What comes after the last </think>, and in it what stands inside the last <answer>…</answer>. One pass: most texts
// have no tag, and few a "<".
std::string_view final_part(std::string_view text) {
  constexpr std::string_view thought = "</think>", open = "<answer>", close = "</answer>";
  constexpr size_t npos = std::string_view::npos;
  size_t begin = 0, opened = npos, from = npos, to = npos;
  for (size_t at = text.find('<'); at != npos; at = text.find('<', at + 1)) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with(thought)) {
      begin = at + thought.size();
      opened = from = to = npos;
    } else if (rest.starts_with(open)) {
      opened = at + open.size();
    } else if (rest.starts_with(close)) {
      from = opened, to = at;
    }
  }
  return from == npos ? text.substr(begin) : text.substr(from, to - from);
}

// The verdict's evidence as nlohmann::json writes it, without making a tree of it: that takes longer than the check
// of a short answer.
struct Evidence {
  std::string_view gold, answer, source, also;

  static void quote(std::string& out, std::string_view text) {
    text = text.substr(0, 200);
    if (std::any_of(text.begin(), text.end(), [](char c) { return c < 0x20 || c > 0x7e; })) {
      out += dump_line(std::string(text));
      return;
    }
    out += '"';
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  std::string text() const {
    std::string out;
    out.reserve(64 + gold.size() + answer.size());
    for (const auto& [key, value] : {std::pair<const char*, std::string_view>{"also", also},
                                     {"answer", answer},
                                     {"gold", gold},
                                     {"source", source}}) {
      if (!value.data()) continue;
      out += out.empty() ? "{\"" : ",\"";
      out += key;
      out += "\":";
      quote(out, value);
    }
    return out + "}";
  }
};

Verdict verdict_of(VerdictKind kind, std::string reason, const Evidence& evidence) {
  Verdict verdict;
  verdict.kind = kind;
  verdict.score = kind == VerdictKind::passed ? 1 : 0;
  verdict.reason = std::move(reason);
  verdict.evidence = evidence.text();
  return verdict;
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
      : RecordGrader("math", 5, write_options(options)), options_(options) {}

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
  Evidence evidence;
  evidence.gold = gold;
  if (response.size() > static_cast<size_t>(options.max_chars))
    return verdict_of(VerdictKind::unknown, "the completion is too long to read", evidence);
  if (trim(gold).empty()) return verdict_of(VerdictKind::infra_error, "the gold answer is empty", evidence);

  const std::string_view text = final_part(response);
  const std::vector<Stated> stated = math::find_statements(text);
  if (stated.size() > math::kMaxStatements)
    return verdict_of(VerdictKind::failed, fmt::format("states more than {} answers", math::kMaxStatements),
                      evidence);
  const std::optional<Stated> final = find_final(text, stated, options);
  if (!final) return verdict_of(VerdictKind::no_answer, "no answer was found", evidence);
  const std::optional<Answer> right = math::read_answer(gold), given = read(*final);
  if (!given && final->text.size() <= math::kMaxText &&
      trim(final->text).find_first_not_of("$.{} ") == std::string_view::npos)
    return verdict_of(VerdictKind::no_answer, "no answer was found", evidence);
  evidence.answer = final->text;
  evidence.source = math::to_string(final->source);

  const math::CompareOptions how{options.decimal_digits, options.ordered_lists};
  math::Budget budget(options.max_steps);  // of the whole check
  Equality equality = Equality::unknown;
  if (right && given) equality = math::compare(*right, *given, how, budget);
  if (equality == Equality::equal && stated.size() > 1) {
    for (const Stated& other : stated) {
      if (other.text == final->text) continue;
      if (!budget.try_spend(static_cast<int64_t>(other.text.size())))
        return verdict_of(VerdictKind::unknown, "too many statements to compare with each other", evidence);
      // beside a text only statements of its own kind say anything
      const std::optional<Answer> value = math::read_answer(other.text);
      const bool text = given->kind == Answer::Kind::text || given->kind == Answer::Kind::choice;
      if (!value || (value->kind == Answer::Kind::text && !text) || (text && other.source != final->source))
        continue;
      if (math::compare(*given, *value, how, budget) != Equality::different) continue;
      evidence.also = other.text;
      return verdict_of(VerdictKind::failed, "states several different answers", evidence);
    }
    if (budget.spent())
      return verdict_of(VerdictKind::unknown, "too many statements to compare with each other", evidence);
  }
  switch (equality) {
    case Equality::equal:
      return verdict_of(VerdictKind::passed, "equals the gold answer", evidence);
    case Equality::different:
      return verdict_of(VerdictKind::failed, "differs from the gold answer", evidence);
    case Equality::unknown:
      break;
  }
  auto unread = [](const std::optional<Answer>& a) { return !a || a->kind == Answer::Kind::text; };
  const char* reason = unread(right)    ? "the gold answer is not one this checker reads"
                       : unread(given)  ? "the answer is not one this checker reads"
                       : budget.spent() ? "the step budget is spent"
                                        : "cannot be decided";
  return verdict_of(VerdictKind::unknown, reason, evidence);
}

std::unique_ptr<Grader> make_math_grader(const TomlTable& table) {
  return std::make_unique<MathGrader>(read_grader_options<MathOptions>(table));
}

}  // namespace cohort
