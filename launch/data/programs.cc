#include "launch/data/programs.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <cstdlib>
#include <set>

namespace cohort {
namespace {

uint64_t hash_of(const std::string& text, uint64_t seed) {
  return XXH64(text.data(), text.size(), seed);
}

bool has_loop(ProgramTask::Form form) {
  return form == ProgramTask::sum || form == ProgramTask::count || form == ProgramTask::sum_where;
}

const char* word_of(char sign) {
  return sign == '+' ? "plus" : sign == '-' ? "minus" : "times";
}

std::string words_of(const ProgramExpression& e) {
  return fmt::format("{} {} {}", e.left, word_of(e.sign), e.right);
}

int64_t value_of(const std::string& atom, int a, int b, int i) {
  return atom == "a" ? a : atom == "b" ? b : atom == "i" ? i : std::atoi(atom.c_str());
}

int64_t value_of(const ProgramExpression& e, int a, int b, int i = 0) {
  const int64_t x = value_of(e.left, a, b, i), y = value_of(e.right, a, b, i);
  return e.sign == '+' ? x + y : e.sign == '-' ? x - y : x * y;
}

ProgramExpression draw_expression(Draw& draw, bool in_loop) {
  ProgramExpression e;
  const std::vector<std::string> variables =
      in_loop ? std::vector<std::string>{"i", "a", "b"} : std::vector<std::string>{"a", "b"};
  const std::string variable = in_loop ? "i" : variables[draw.below(2)];
  const std::string other =
      draw.uniform() < 0.5 ? variables[draw.below(variables.size())] : std::to_string(1 + draw.below(9));
  const bool first = draw.uniform() < 0.7;
  e.left = first ? variable : other, e.right = first ? other : variable;
  e.sign = "+-*"[draw.below(3)];
  return e;
}

ProgramTask draw_task(Draw& draw) {
  ProgramTask t;
  t.form = static_cast<ProgramTask::Form>(draw.below(8));
  for (ProgramExpression& e : t.e) e = draw_expression(draw, has_loop(t.form));
  t.relation = "<>="[draw.below(3)];
  t.from = 1 + static_cast<int>(draw.below(3));
  t.upto = std::string(1, draw.uniform() < 0.5 ? 'a' : 'b');
  t.divisor = 2 + static_cast<int>(draw.below(4));
  return t;
}

// The teacher's pen: writes what is meant, or now and then something else of its kind.
class Pen {
 public:
  Pen(double slip, Draw& draw) : slip_(slip), draw_(draw) {}
  Pen& put(const std::string& words) {
    if (!text_.empty()) text_ += ' ';
    text_ += words;
    return *this;
  }
  // One of `kind`, meant to be `word`.
  Pen& choose(const std::string& word, const std::vector<std::string>& kind) {
    std::string written = word;
    if (draw_.uniform() < slip_) {
      ++slips_;
      while (written == word) written = kind[draw_.below(kind.size())];
    }
    return written.empty() ? *this : put(written);
  }
  Pen& atom(const std::string& word, bool in_loop) {
    if (word[0] >= '0' && word[0] <= '9') return choose(word, {"1", "2", "3", "4", "5", "6", "7", "8", "9"});
    return choose(word,
                  in_loop ? std::vector<std::string>{"a", "b", "i"} : std::vector<std::string>{"a", "b"});
  }
  Pen& expression(const ProgramExpression& e, bool in_loop = false) {
    return atom(e.left, in_loop).choose(std::string(1, e.sign), {"+", "-", "*"}).atom(e.right, in_loop);
  }
  Pen& end() { return choose(";", {""}); }  // forgetting it does not compile
  Pen& relation(const std::string& sign) { return choose(sign, {"<", ">", "==", "<=", ">="}); }
  Pen& number(int n) { return choose(std::to_string(n), {std::to_string(n - 1), std::to_string(n + 1)}); }
  ProgramDemonstration done() { return {text_, slips_}; }

 private:
  const double slip_;
  Draw& draw_;
  std::string text_;
  int slips_ = 0;
};

}  // namespace

const char* const kProgramDriver =
    "#include <stdio.h>\n"
    "int main(void) {\n"
    "  int a, b;\n"
    "  while (scanf(\"%d %d\", &a, &b) == 2) printf(\"%d\\n\", f(a, b));\n"
    "  return 0;\n"
    "}\n";

std::string ProgramTask::prompt() const {
  const std::string range = fmt::format("i from {} to {}", from, upto);
  const auto w = [this](int n) { return words_of(e[static_cast<size_t>(n)]); };
  switch (form) {
    case value:
      return fmt::format("value of {} :", w(0));
    case larger:
      return fmt::format("larger of {} and {} :", w(0), w(1));
    case smaller:
      return fmt::format("smaller of {} and {} :", w(0), w(1));
    case distance:
      return fmt::format("distance of {} and {} :", w(0), w(1));
    case choice:
      return fmt::format("if {} {} {} then {} else {} :", w(0),
                         relation == '<'   ? "below"
                         : relation == '>' ? "above"
                                           : "equals",
                         w(1), w(2), w(3));
    case sum:
      return fmt::format("sum of {} for {} :", w(0), range);
    case count:
      return fmt::format("count of {} with {} divisible by {} :", range, w(0), divisor);
    case sum_where:
      return fmt::format("sum of {} for {} with {} divisible by {} :", w(0), range, w(1), divisor);
  }
  return "";
}

int64_t ProgramTask::run(int a, int b) const {
  if (has_loop(form)) {
    int64_t total = 0;
    const int last = upto == "a" ? a : b;
    for (int i = from; i <= last; ++i) {
      if (form != sum && value_of(e[form == count ? 0 : 1], a, b, i) % divisor != 0) continue;
      total += form == count ? 1 : value_of(e[0], a, b, i);
    }
    return total;
  }
  const int64_t x = value_of(e[0], a, b), y = value_of(e[1], a, b);
  switch (form) {
    case value:
      return x;
    case larger:
      return std::max(x, y);
    case smaller:
      return std::min(x, y);
    case distance:
      return x > y ? x - y : y - x;
    default:
      break;
  }
  const bool holds = relation == '<' ? x < y : relation == '>' ? x > y : x == y;
  return value_of(e[holds ? 2 : 3], a, b);
}

bool program_held_out(const ProgramTask& task, int hold_out) {
  return hash_of(task.prompt(), 0) % static_cast<uint64_t>(hold_out) == 0;
}

std::vector<ProgramTask> program_tasks(const ProgramOptions& options, bool held_out, size_t n) {
  std::vector<ProgramTask> tasks;
  std::set<std::string> seen;
  Draw draw(hash_of(held_out ? "eval" : "train", options.seed));
  while (tasks.size() < n) {
    const ProgramTask task = draw_task(draw);
    // a plain value has a few hundred wordings: once they are used up the others go on
    if (program_held_out(task, options.hold_out) == held_out && seen.insert(task.prompt()).second)
      tasks.push_back(task);
  }
  return tasks;
}

ProgramDemonstration program_demonstration(const ProgramTask& t, double slip, Draw& draw) {
  Pen pen(slip, draw);
  pen.put("int f ( int a , int b ) {");
  switch (t.form) {
    case ProgramTask::value:
      pen.put("return").expression(t.e[0]).end();
      break;
    case ProgramTask::larger:
    case ProgramTask::smaller:
    case ProgramTask::distance: {
      pen.put("int x =").expression(t.e[0]).end().put("int y =").expression(t.e[1]).end();
      pen.put("if ( x").relation(t.form == ProgramTask::smaller ? "<" : ">").put("y ) return");
      if (t.form == ProgramTask::distance) {
        pen.put("x")
            .choose("-", {"+", "*"})
            .put("y")
            .end()
            .put("return y")
            .choose("-", {"+", "*"})
            .put("x")
            .end();
      } else {
        pen.put("x").end().put("return y").end();
      }
      break;
    }
    case ProgramTask::choice:
      pen.put("if (").expression(t.e[0]).relation(t.relation == '=' ? "==" : std::string(1, t.relation));
      pen.expression(t.e[1]).put(") return").expression(t.e[2]).end();
      pen.put("return").expression(t.e[3]).end();
      break;
    default: {
      pen.put("int s =").choose("0", {"1", "2"}).end().put("for ( int i =").number(t.from).put("; i");
      pen.choose("<=", {"<"}).choose(t.upto, {"a", "b"}).put("; i ++ )");
      if (t.form != ProgramTask::sum) {
        pen.put("if ( (").expression(t.e[t.form == ProgramTask::count ? 0 : 1], true);
        pen.put(") %").number(t.divisor).choose("==", {"!=", ">"}).put("0 )");
      }
      if (t.form == ProgramTask::count)
        pen.put("s").choose("++", {"--"}).end();
      else
        pen.put("s").choose("+=", {"=", "-="}).expression(t.e[0], true).end();
      pen.put("return s").end();
    }
  }
  return pen.put("}").done();
}

std::vector<ProgramTest> program_tests(const ProgramTask& task, const ProgramOptions& options) {
  std::vector<ProgramTest> tests;
  Draw draw(hash_of(task.prompt(), options.seed + 1));
  for (int t = 0; t < options.tests; ++t) {
    ProgramTest test;
    for (int c = 0; c < options.cases; ++c) {
      const int a = static_cast<int>(draw.below(25)) - 4, b = static_cast<int>(draw.below(25)) - 4;
      test.input += fmt::format("{} {}\n", a, b);
      test.output += fmt::format("{}\n", task.run(a, b));
    }
    tests.push_back(test);
  }
  return tests;
}

std::vector<std::string> program_words() {
  std::vector<std::string> words = {
      "value", "larger", "smaller", "distance", "sum",  "count", "of",   "and",       "if", "then", "else",
      "below", "above",  "equals",  "for",      "from", "to",    "with", "divisible", "by", ":",    "plus",
      "minus", "times",  "int",     "f",        "(",    ")",     "{",    "}",         ",",  ";",    "return",
      "=",     "+",      "-",       "*",        "%",    "<",     ">",    "==",        "<=", ">=",   "!=",
      "++",    "--",     "+=",      "-=",       "a",    "b",     "i",    "x",         "y",  "s"};
  for (int n = 0; n <= 9; ++n) words.push_back(std::to_string(n));
  return words;
}

}  // namespace cohort
