// An expression as written: nodes in one vector, operands before what uses them, so that walking it needs no
// recursion.
#pragma once

#include <gmpxx.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reward/math/token.h"

namespace cohort::math {

enum class Op : uint8_t {
  number,  // a: constants
  imaginary,
  pi,
  euler,
  infinity,
  variable,  // a: names
  add,
  subtract,
  multiply,
  divide,
  power,  // a, b
  negate,
  factorial,
  degree,
  percent,
  absolute,
  floor,
  ceiling,  // a
  plus_minus,
  minus_plus,  // a, b
  root,        // a, degree b
  log_base,    // a, base b
  function,    // a; name in `fn`
  gcd,
  lcm,
  maximum,
  minimum,
  binomial,  // a, b
  sum,
  product,  // index a (names), from b, to c, the body is the nodes (d, this]: this - 1 is its value
};

enum class Fn : uint8_t {
  sin,
  cos,
  tan,
  cot,
  sec,
  csc,
  sinh,
  cosh,
  tanh,
  arcsin,
  arccos,
  arctan,
  log,
  ln,
  lg,
  exp
};

struct Node {
  Op op = Op::number;
  Fn fn = Fn::sin;
  int32_t a = -1, b = -1, c = -1, d = -1;
};

struct Tree {
  std::vector<Node> nodes;
  std::vector<mpq_class> constants;
  std::vector<std::string> names;
  bool bare_log = false;       // \log without a base
  bool loose_product = false;  // a/bc, whose b c may stand below as a whole
  bool goes_on = false;        // has 0.333…, its digits as if they ended
  bool signs = false;          // has ±
  bool letters = false;        // has a variable

  int32_t put(Node n) {
    nodes.push_back(n);
    return static_cast<int32_t>(nodes.size() - 1);
  }
  // All of `t` behind what is there; returns the node of its value.
  int32_t append(const Tree& t);
  int32_t put(const mpq_class& q) {
    constants.push_back(q);
    return put(Node{.op = Op::number, .a = static_cast<int32_t>(constants.size() - 1)});
  }
};

// The value of a literal. Throws Beyond for one that is too long or that no base reads so.
mpq_class literal_value(const Literal& literal);

// Reads the longest expression at the front of tokens[begin, end) into `tree`, its value the last node; returns
// where it ends. `tight`: in a/bc the product bc stands below. Throws Beyond where nothing can be read.
size_t read_expression(Tokens& tokens, size_t begin, size_t end, bool tight, Tree& tree);

// Whether a run of letters reads as a product of variables: xy, abc.
bool splits_into_letters(std::string_view word);

}  // namespace cohort::math
