// The expression parser behind read_expression() of tree.h: recursive descent over tokens, its depth limited.
#pragma once

#include "reward/math/budget.h"
#include "reward/math/tree.h"

namespace cohort::math {

class Parser {
 public:
  Parser(Tokens& tokens, size_t begin, size_t end, bool tight, Tree& tree)
      : t_(tokens), at_(begin), end_(end), tight_(tight), tree_(tree) {}

  size_t run();

 private:
  static constexpr int kMaxDepth = 80;
  const Token* peek(size_t n = 0) const { return at_ + n < end_ ? &t_.list[at_ + n] : nullptr; }
  bool is(Tok kind, size_t n = 0) const { return at_ + n < end_ && t_.list[at_ + n].kind == kind; }
  bool eat(Tok kind) {
    if (!is(kind)) return false;
    ++at_;
    return true;
  }
  void need(Tok kind, const char* what) {
    if (!eat(kind)) throw Beyond(what);
  }
  int32_t binary(Op op, int32_t a, int32_t b) { return tree_.put(Node{.op = op, .a = a, .b = b}); }
  int32_t unary(Op op, int32_t a) { return tree_.put(Node{.op = op, .a = a}); }
  static void enter(int depth) {
    if (depth > kMaxDepth) throw Beyond("nested too deeply");
  }

  // Each reads what its name says and returns its node.
  int32_t sum(int depth);
  int32_t product(int depth);
  int32_t signed_factor(int depth);
  int32_t factor(int depth);  // a primary with its postfixes
  int32_t postfix(int32_t value, int depth);
  int32_t exponent(int depth);
  int32_t argument(int depth);  // {…}, or as LaTeX has it one digit or letter
  int32_t first_letter();       // of "xy" where LaTeX takes one letter
  int32_t number(int depth);    // 2\frac{1}{2}, 2 1/2: a mixed number
  int32_t number_node();
  bool plain_whole(size_t n) const;
  bool starts_factor() const;
  // 9 (red apples), 4 (m): a unit, no factor.
  bool words_in_brackets() const;

  // primary.cc
  int32_t primary(int depth);
  int32_t name(std::string_view text);
  int32_t group(Tok close, int depth);
  int32_t function(int depth);
  // What a function name without brackets is applied to: the factors up to the next operator or function.
  int32_t function_argument(int depth);
  int32_t series(int depth);

  Tokens& t_;
  size_t at_;
  const size_t end_;
  const bool tight_;
  Tree& tree_;
  int bars_ = 0;
  std::vector<std::string> indices_;  // of the sums around: no free variables
};

}  // namespace cohort::math
