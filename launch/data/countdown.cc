#include "launch/data/countdown.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace cohort {
namespace {

constexpr char kSigns[] = {'+', '-', '*'};

int apply(char sign, int a, int b) {
  return sign == '+' ? a + b : sign == '-' ? a - b : a * b;
}

std::vector<Numbers> number_sets(const CountdownOptions& options, bool held_out) {
  std::vector<Numbers> sets;
  for (int a = 1; a <= options.max_number; ++a)
    for (int b = a + 1; b <= options.max_number; ++b)
      for (int c = b + 1; c <= options.max_number; ++c)
        if (countdown_held_out({a, b, c}, options.hold_out) == held_out) sets.push_back({a, b, c});
  return sets;
}

uint64_t hash_of(const std::string& text, uint64_t seed) {
  return XXH64(text.data(), text.size(), seed);
}

template <class T>
void shuffle(std::vector<T>& items, Draw& draw) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[draw.below(i)]);
}

}  // namespace

std::string CountdownTry::steps() const {
  return turned ? fmt::format("{} {} {} = {} {} - {} = {}", x, first, y, r, z, r, s)
                : fmt::format("{} {} {} = {} {} {} {} = {}", x, first, y, r, r, second, z, s);
}

std::string CountdownTry::expression() const {
  return turned ? fmt::format("{} - ( {} {} {} )", z, x, first, y)
                : fmt::format("( {} {} {} ) {} {}", x, first, y, second, z);
}

std::string CountdownProblem::id() const {
  return fmt::format("{}-{}-{}={}", numbers[0], numbers[1], numbers[2], target);
}

std::vector<CountdownTry> countdown_tries(const Numbers& numbers, int max_value) {
  std::vector<CountdownTry> tries;
  auto legal = [&](int value) { return value >= 1 && value <= max_value; };
  for (int left = 2; left >= 0; --left) {  // the number that the second step adds
    const int z = numbers[left], y = numbers[left == 0 ? 1 : 0], x = numbers[left == 2 ? 1 : 2];
    for (char first : kSigns) {
      const int r = apply(first, x, y);
      if (!legal(r)) continue;
      for (char second : kSigns) {
        const bool turned = second == '-' && r < z;
        const int s = turned ? z - r : apply(second, r, z);
        if (legal(s)) tries.push_back({x, y, r, z, s, first, second, turned});
      }
    }
  }
  return tries;
}

bool countdown_held_out(const Numbers& numbers, int hold_out) {
  return hash_of(fmt::format("{} {} {}", numbers[0], numbers[1], numbers[2]), 0) %
             static_cast<uint64_t>(hold_out) ==
         0;
}

std::vector<CountdownProblem> countdown_problems(const CountdownOptions& options, bool held_out) {
  std::vector<std::pair<double, CountdownProblem>> keyed;
  Draw draw(hash_of(held_out ? "eval" : "train", options.seed));
  for (const Numbers& numbers : number_sets(options, held_out)) {
    std::map<int, int> solutions;
    const auto tries = countdown_tries(numbers, options.max_value);
    for (const CountdownTry& t : tries) ++solutions[t.s];
    for (auto [target, count] : solutions) {
      // Efraimidis and Spirakis: the order of log(u) / weight is a weighted draw without replacement.
      const double weight = static_cast<double>(count) / static_cast<double>(tries.size());
      const double key = std::log(1 - draw.uniform()) / weight;
      keyed.push_back({key, {numbers, target, count, static_cast<int>(tries.size())}});
    }
  }
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<CountdownProblem> problems;
  for (auto& [key, problem] : keyed) problems.push_back(problem);
  return problems;
}

std::string countdown_prompt(const CountdownProblem& problem, const CountdownOptions& options) {
  Draw draw(hash_of(problem.id(), options.seed));
  std::vector<int> shown(problem.numbers.begin(), problem.numbers.end());
  shuffle(shown, draw);
  return fmt::format("{} {} {} = {}", shown[0], shown[1], shown[2], problem.target);
}

Demonstration countdown_demonstration(const CountdownProblem& problem, const CountdownOptions& options,
                                      Draw& draw) {
  std::vector<CountdownTry> left = countdown_tries(problem.numbers, options.max_value);
  std::vector<int> shown(problem.numbers.begin(), problem.numbers.end());
  shuffle(shown, draw);
  Demonstration out;
  out.prompt = fmt::format("{} {} {} = {}", shown[0], shown[1], shown[2], problem.target);
  std::string thought, answer;
  const bool patient = draw.uniform() < options.patient;
  const int max_tries = patient ? options.patient_tries : options.max_tries;
  const double give_up = patient ? 0 : options.give_up;
  while (!left.empty()) {
    size_t pick = draw.below(left.size());
    if (draw.uniform() < options.solving_try) {
      std::vector<size_t> solving;
      for (size_t i = 0; i < left.size(); ++i)
        if (left[i].s == problem.target) solving.push_back(i);
      pick = solving[draw.below(solving.size())];  // never empty: the teacher stops at the first that solves
    }
    const CountdownTry tried = left[pick];
    left.erase(left.begin() + static_cast<long>(pick));
    ++out.tries;
    out.right = tried.s == problem.target;
    const char* word = out.right                  ? "yes"
                       : !options.high_low        ? "no"
                       : tried.s > problem.target ? "high"
                                                  : "low";
    thought += tried.steps() + " " + word + " ";
    answer = tried.expression();
    if (out.right || out.tries >= max_tries || draw.uniform() < give_up) break;
  }
  out.completion = "<think> " + thought + "</think> <answer> " + answer + " </answer>";
  return out;
}

std::vector<std::string> countdown_words(const CountdownOptions& options) {
  std::vector<std::string> words = {"+",   "-",  "*",   "=",       "(",        ")",        "high",
                                    "low", "no", "yes", "<think>", "</think>", "<answer>", "</answer>"};
  for (int n = 0; n <= std::max(options.max_number, options.max_value); ++n)
    words.push_back(std::to_string(n));
  return words;
}

}  // namespace cohort
