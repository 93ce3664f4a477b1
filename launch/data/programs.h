// Small programs to write in C: the task says in words what f(a, b) shall give, a weak teacher writes it down with slips.
// Everything is a function of the options and the seed; no I/O.
//
// A task is one of eight forms over expressions x o y (o in + - *; x, y among a, b, constants 1 to 9, and i inside a
// loop): a value, the larger or smaller of two, their distance, a choice, a sum over a range, a count, and a sum
// with a condition. What f gives on an input is worked out here, not by compiling anything.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "launch/data/countdown.h"  // Draw

namespace cohort {

struct ProgramOptions {
  int hold_out = 5;    // one task in so many is held out, by the hash of its words
  double slip = 0.09;  // how often the teacher gets one lexeme of the meaning wrong
  int tests = 3;       // of each task: runs of the program
  int cases = 6;       // pairs (a, b) of each test
  uint64_t seed = 1;   // of the tasks and the demonstrations; the split does not depend on it
};

struct ProgramExpression {
  std::string left, right;  // a, b, i or a number
  char sign = '+';
};

struct ProgramTask {
  enum Form { value, larger, smaller, distance, choice, sum, count, sum_where };
  Form form = value;
  std::array<ProgramExpression, 4> e;  // as many as the form has
  char relation = '<';                 // choice: < > =
  int from = 1;                        // loops: the range is from..upto
  std::string upto = "a";
  int divisor = 2;  // count, sum_where

  std::string prompt() const;       // "larger of a plus 3 and b times 2"; also its identity
  int64_t run(int a, int b) const;  // what f gives
};

struct ProgramDemonstration {
  std::string completion;  // "int f ( int a , int b ) { … }", one lexeme a word
  int slips = 0;
};

// `n` tasks of one side of the split, no two alike.
std::vector<ProgramTask> program_tasks(const ProgramOptions& options, bool held_out, size_t n);
bool program_held_out(const ProgramTask& task, int hold_out);

// What the teacher writes; with slip = 0 it is right.
ProgramDemonstration program_demonstration(const ProgramTask& task, double slip, Draw& draw);

// Standard input and output of each test, for a program that prints f of every pair it reads.
struct ProgramTest {
  std::string input, output;
};
std::vector<ProgramTest> program_tests(const ProgramTask& task, const ProgramOptions& options);
extern const char* const kProgramDriver;

// Every word that a prompt or a completion may hold: the tokenizer's vocabulary.
std::vector<std::string> program_words();

}  // namespace cohort
