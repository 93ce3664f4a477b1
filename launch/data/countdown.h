// Countdown with three numbers, after TinyZero: problems, their split by number set, and the weak teacher
// whose demonstrations make the cold start. Everything is a function of the options and the seed; no I/O.
//
// A try is x o y = r, then r o z = s, with o in + - *: x >= y, a minus that would go below zero is turned
// round (z - r), and every value lies in 1..max_value. A problem is a number set and the value of one of its
// tries, so every problem can be solved. The split is by number set: no held-out set is ever seen in
// training, with any target.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace cohort {

struct CountdownOptions {
  int max_number = 14;  // three distinct numbers from 1 to this
  int max_value = 40;   // every intermediate and final value lies in 1..max_value
  int hold_out = 4;     // one number set in so many is held out, by the hash of its sorted numbers
  uint64_t seed = 1;    // of the order of problems and of the demonstrations; the split does not depend on it
  double solving_try = 0.1;  // how often the teacher's next try is one that solves
  double give_up = 0.35;     // how often the teacher gives up after a try that failed
  int max_tries = 8;         // the teacher gives up after so many
  // The share of demonstrations in which the teacher does not give up before `patient_tries`. They show what
  // late tries look like: reinforcement learning can make searches longer, but a model that never saw those
  // positions gets half of its sums wrong there.
  double patient = 0;
  int patient_tries = 14;
  bool high_low = true;  // a failed try ends with "high" or "low" (where it missed), else with "no"
};

using Numbers = std::array<int, 3>;  // sorted

struct CountdownTry {
  int x, y, r, z, s;
  char first, second;
  bool turned;  // the second step is z - r

  std::string steps() const;       // "6 * 3 = 18 18 - 1 = 17"
  std::string expression() const;  // "( 6 * 3 ) - 1"
};

struct CountdownProblem {
  Numbers numbers;
  int target = 0;
  int solutions = 0;  // how many tries make the target
  int tries = 0;      // how many tries the set has

  std::string id() const;  // "1-3-6=9"
};

// All legal tries of a set, in a fixed order.
std::vector<CountdownTry> countdown_tries(const Numbers& numbers, int max_value);

bool countdown_held_out(const Numbers& numbers, int hold_out);

// Draws that are the same on every machine (the standard library's distributions are not).
class Draw {
 public:
  explicit Draw(uint64_t seed) : engine_(seed) {}
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  size_t below(size_t n) { return static_cast<size_t>(uniform() * static_cast<double>(n)); }

 private:
  std::mt19937_64 engine_;
};

// Every problem of one side of the split, each once, in an order drawn with the weight of its tries: the
// first n are what drawing a set and then one of its tries at random gives, without repetition.
std::vector<CountdownProblem> countdown_problems(const CountdownOptions& options, bool held_out);

// "3 1 6 = 9", the numbers in an order of its own drawn from the problem's id.
std::string countdown_prompt(const CountdownProblem& problem, const CountdownOptions& options);

struct Demonstration {
  std::string prompt, completion;
  int tries = 0;
  bool right = false;
};
// The teacher at one problem: random tries without repetition, a word after each, the last try as its answer.
Demonstration countdown_demonstration(const CountdownProblem& problem, const CountdownOptions& options,
                                      Draw& draw);

// Every word that a prompt or a completion may hold: the tokenizer's vocabulary.
std::vector<std::string> countdown_words(const CountdownOptions& options);

}  // namespace cohort
