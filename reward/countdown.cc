#include "reward/countdown.h"

#include <gmpxx.h>

#include <algorithm>

#include "reward/record.h"

namespace cohort {
namespace {

// Why an answer cannot be accepted whatever the target: unreadable, a foreign number, division by zero …
struct Rejected {
  std::string reason;
};

// Recursive descent over the answer. Depth is bounded by the options, work by the answer's length, and the
// size of the rationals by the sum of the digits, so nothing a candidate writes costs more than microseconds.
class ExpressionParser {
 public:
  ExpressionParser(std::string_view text, int max_depth) : text_(text), max_depth_(max_depth) {}

  mpq_class parse() {
    mpq_class value = sum(0);
    skip_blank();
    if (at_ < text_.size()) reject_here();
    return value;
  }
  const std::vector<int64_t>& numbers() const { return numbers_; }

 private:
  mpq_class sum(int depth) {
    mpq_class value = product(depth);
    for (;;) {
      const char op = peek();
      if (op == '+') {
        take();
        value += product(depth);
      } else if (op == '-') {
        take();
        value -= product(depth);
      } else {
        return value;
      }
    }
  }
  mpq_class product(int depth) {
    mpq_class value = factor(depth);
    for (;;) {
      const char op = peek();
      if (op == '*') {
        take();
        value *= factor(depth);
      } else if (op == '/') {
        take();
        const mpq_class divisor = factor(depth);
        if (divisor == 0) throw Rejected{"division by zero"};
        value /= divisor;
      } else {
        return value;
      }
    }
  }
  mpq_class factor(int depth) {
    if (depth > max_depth_) throw Rejected{fmt::format("nested deeper than {}", max_depth_)};
    const char c = peek();
    if (c == '+') return take(), factor(depth + 1);
    if (c == '-') return take(), mpq_class(-factor(depth + 1));
    if (c == '(') {
      take();
      mpq_class value = sum(depth + 1);
      if (peek() != ')') reject_here();
      take();
      return value;
    }
    return number();
  }
  mpq_class number() {
    skip_blank();
    const size_t begin = at_;
    int64_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      if (at_ - begin >= 18) throw Rejected{"a number is too long"};
      value = value * 10 + (text_[at_++] - '0');
    }
    if (at_ == begin) reject_here();
    if (at_ - begin > 1 && text_[begin] == '0') throw Rejected{"a number has a leading zero"};
    numbers_.push_back(value);
    return mpq_class(mpz_class(std::to_string(value)));
  }

  // The next token's first character with × ÷ − read as * / -; 0 at the end, '?' for anything else outside
  // ASCII.
  char peek() {
    skip_blank();
    width_ = 1;
    if (at_ >= text_.size()) return 0;
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with("×")) return width_ = 2, '*';
    if (rest.starts_with("÷")) return width_ = 2, '/';
    if (rest.starts_with("−")) return width_ = 3, '-';
    return text_[at_] == 0 ? '?' : text_[at_];
  }
  void take() { at_ += width_; }
  void skip_blank() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  [[noreturn]] void reject_here() {
    skip_blank();
    if (at_ >= text_.size()) throw Rejected{"the expression ends too early"};
    throw Rejected{fmt::format("cannot be read at character {}", at_ + 1)};
  }

  std::string_view text_;
  const int max_depth_;
  size_t at_ = 0;
  int width_ = 1;
  std::vector<int64_t> numbers_;
};

std::string without_blank(std::string_view text) {
  std::string out;
  for (char c : text)
    if (std::string_view(" \t\r\n").find(c) == std::string_view::npos) out.push_back(c);
  return out;
}

// Every <answer>…</answer>, each from the nearest opening tag before its closing one.
std::vector<std::string_view> find_answers(std::string_view text) {
  constexpr std::string_view open = "<answer>", close = "</answer>";
  std::vector<std::string_view> answers;
  size_t from = 0;
  for (size_t end; (end = text.find(close, from)) != std::string_view::npos; from = end + close.size()) {
    const std::string_view before = text.substr(from, end - from);
    const size_t begin = before.rfind(open);
    if (begin != std::string_view::npos) answers.push_back(trim(before.substr(begin + open.size())));
  }
  return answers;
}

// "" when the numbers used are allowed, else why not.
std::string check_numbers(std::vector<int64_t> used, std::vector<int64_t> given, bool use_all) {
  std::sort(used.begin(), used.end());
  std::sort(given.begin(), given.end());
  if (std::includes(given.begin(), given.end(), used.begin(), used.end())) {
    if (!use_all || used.size() == given.size()) return "";
    std::vector<int64_t> missing;
    std::set_difference(given.begin(), given.end(), used.begin(), used.end(), std::back_inserter(missing));
    return fmt::format("{} is not used", missing.front());
  }
  std::vector<int64_t> extra;
  std::set_difference(used.begin(), used.end(), given.begin(), given.end(), std::back_inserter(extra));
  const bool known = std::binary_search(given.begin(), given.end(), extra.front());
  return fmt::format("{} is {}", extra.front(), known ? "used too often" : "not one of the numbers");
}

class CountdownGrader : public RecordGrader {
 public:
  explicit CountdownGrader(const CountdownOptions& options)
      : RecordGrader("countdown", 1, write_options(options)), options_(options) {}

 protected:
  Verdict decide(const nlohmann::json& record, const GradeInput& input,
                 const std::atomic<bool>&) const override {
    CountdownProblem problem;
    const nlohmann::json& numbers = required(record, record.contains("nums") ? "nums" : "numbers");
    if (!numbers.is_array())
      throw InfraError("the record's field \"numbers\" must be an array of whole numbers");
    for (const nlohmann::json& n : numbers) problem.numbers.push_back(whole(n, "numbers"));
    problem.target = whole(required(record, "target"), "target");
    return grade_countdown(problem, input.completion, options_);
  }

 private:
  static int64_t whole(const nlohmann::json& value, const char* key) {
    if (value.is_number_integer()) return value.get<int64_t>();
    if (value.is_number_float()) {
      const double x = value.get<double>();
      if (x == static_cast<double>(static_cast<int64_t>(x)) && std::abs(x) < 1e15)
        return static_cast<int64_t>(x);
    }
    throw InfraError(fmt::format("the record's field \"{}\" must hold whole numbers", key));
  }
  const CountdownOptions options_;
};

}  // namespace

Verdict grade_countdown(const CountdownProblem& problem, std::string_view response,
                        const CountdownOptions& options) {
  const std::vector<std::string_view> answers = find_answers(after_thinking(response));
  if (answers.empty()) return make_verdict(VerdictKind::no_answer, 0, "no <answer>…</answer>");
  const std::string_view answer = answers.back();
  nlohmann::json evidence = {{"answer", std::string(answer.substr(0, 200))}};
  auto failed = [&](const std::string& reason, double score = 0) {
    return make_verdict(VerdictKind::failed, score, reason, evidence);
  };
  if (answer.empty()) return make_verdict(VerdictKind::no_answer, 0, "the answer is empty", evidence);
  const size_t too_long = static_cast<size_t>(options.max_chars);
  for (const std::string_view other : answers) {
    if (other.size() > too_long)
      return failed(fmt::format("an answer is longer than {} characters", too_long));
    if (without_blank(other) != without_blank(answer)) return failed("several different answers");
  }
  try {
    ExpressionParser parser(answer, options.max_depth);
    const mpq_class value = parser.parse();
    evidence["value"] = value.get_str().substr(0, 100);
    if (std::string wrong = check_numbers(parser.numbers(), problem.numbers, options.use_all); !wrong.empty())
      return failed(wrong);
    if (value != mpq_class(mpz_class(std::to_string(problem.target))))
      return failed(fmt::format("makes {}, not {}", value.get_str().substr(0, 40), problem.target),
                    options.format_score);
    return make_verdict(VerdictKind::passed, 1, "makes the target", evidence);
  } catch (const Rejected& r) {
    return failed(r.reason);
  }
}

std::unique_ptr<Grader> make_countdown_grader(const TomlTable& table) {
  return std::make_unique<CountdownGrader>(read_grader_options<CountdownOptions>(table));
}

}  // namespace cohort
