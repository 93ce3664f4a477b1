#include "reward/math/commands.h"

namespace cohort::math {

const std::unordered_map<std::string_view, Command>& commands() {
  static const std::unordered_map<std::string_view, Command> table = [] {
    std::unordered_map<std::string_view, Command> t;
    auto all = [&](Role role, std::initializer_list<const char*> names) {
      for (const char* n : names) t[n] = {role, {Tok::letter, n}};
    };
    all(Role::space,
        {"displaystyle", "textstyle", "left",       "right",      "big",       "Big",      "bigg",
         "Bigg",         "bigl",      "bigr",       "Bigl",       "Bigr",      "quad",     "qquad",
         "limits",       "nolimits",  "hspace",     "rm",         "bf",        "it",       "large",
         "Large",        "small",     "middle",     "thinspace",  "null",      "tt",       "sf",
         "huge",         "Huge",      "LARGE",      "normalsize", "newline",   "nonumber", "centering",
         "enspace",      "medspace",  "thickspace", "nobreak",    "allowbreak"});
    all(Role::argument,
        {"color", "textcolor", "hspace", "vspace", "phantom", "hphantom", "vphantom", "label", "tag"});
    all(Role::style,
        {"mathbf", "textbf",     "boldsymbol", "bm",        "boxed",   "fbox",      "mathit",       "textit",
         "emph",   "ensuremath", "mathsf",     "underline", "hbox",    "mathcal",   "displaylines", "mathtt",
         "bold",   "pmb",        "smash",      "mathop",    "mathord", "underbrace"});
    all(Role::text, {"text", "mathrm", "mbox", "textrm", "operatorname", "textnormal", "texttt", "textsf"});
    all(Role::greek,
        {"alpha",    "beta", "gamma",  "delta",  "epsilon", "varepsilon", "zeta",  "eta",   "theta",
         "vartheta", "iota", "kappa",  "lambda", "mu",      "nu",         "xi",    "rho",   "sigma",
         "tau",      "phi",  "varphi", "chi",    "psi",     "omega",      "Gamma", "Delta", "Theta",
         "Lambda",   "Xi",   "Pi",     "Sigma",  "Phi",     "Psi",        "Omega", "ell"});
    auto token = [&](Tok kind, std::initializer_list<const char*> names, const char* text = nullptr) {
      for (const char* n : names) t[n] = {Role::token, {kind, text ? text : n}};
    };
    token(Tok::function, {"sin",    "cos",    "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "arcsin",
                          "arccos", "arctan", "log", "ln",  "lg",  "exp", "gcd",  "lcm",  "max",  "min"});
    token(Tok::function, {"radic"}, "sqrt");
    token(Tok::function, {"radiccube"}, "cbrt");
    token(Tok::function, {"radicfour"}, "root4");
    token(Tok::frac, {"frac", "dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"});
    token(Tok::root, {"sqrt"});
    token(Tok::binomial, {"binom", "dbinom", "tbinom"});
    token(Tok::choose, {"choose"});
    token(Tok::over, {"over"});
    token(Tok::modulo, {"pmod", "bmod", "mod"});
    token(Tok::dots, {"ldots", "dots", "cdots", "dotsc", "dotsb", "dotso"});
    token(Tok::new_row, {"cr"});
    token(Tok::reals, {"R", "reals", "Reals"});
    token(Tok::integers, {"Z"});
    t["imath"] = {Role::greek, {Tok::letter, "i"}};
    token(Tok::sum, {"sum"});
    token(Tok::product, {"prod"});
    token(Tok::overline, {"overline", "bar", "dot"});
    token(Tok::times, {"times", "cdot", "ast"});
    token(Tok::slash, {"div"});
    token(Tok::plus_minus, {"pm"});
    token(Tok::minus_plus, {"mp"});
    token(Tok::degree, {"degree", "degrees", "circ"});
    token(Tok::infinity, {"infty"});
    token(Tok::pi, {"pi"});
    token(Tok::emptyset, {"emptyset", "varnothing"});
    token(Tok::cup, {"cup", "bigcup"});
    token(Tok::cap, {"cap"});
    token(Tok::without, {"setminus", "backslash"});
    token(Tok::element, {"in"});
    token(Tok::equal, {"equiv"});
    token(Tok::not_equal, {"ne", "neq"});
    token(Tok::less, {"lt", "textless"});
    token(Tok::greater, {"gt", "textgreater"});
    token(Tok::less_equal, {"le", "leq", "leqslant"});
    token(Tok::greater_equal, {"ge", "geq", "geqslant"});
    token(Tok::approx, {"approx", "sim", "simeq"});
    token(Tok::bar, {"vert", "lvert", "rvert", "mid"});
    token(Tok::open_set, {"lbrace"});
    token(Tok::close_set, {"rbrace"});
    token(Tok::open_angle, {"langle"});
    token(Tok::close_angle, {"rangle"});
    token(Tok::open_floor, {"lfloor"});
    token(Tok::close_floor, {"rfloor"});
    token(Tok::open_ceil, {"lceil"});
    token(Tok::close_ceil, {"rceil"});
    token(Tok::colon, {"colon"});
    token(Tok::in_words, {"lor", "land", "vee", "wedge"}, "or");
    token(Tok::word, {"AA"});
    token(Tok::currency, {"pounds"}, "pound");
    token(Tok::currency, {"euro"});
    token(Tok::currency, {"yen"});
    return t;
  }();
  return table;
}

const std::unordered_map<std::string_view, Meaning>& plain_words() {
  static const std::unordered_map<std::string_view, Meaning> table = {
      {"sin", {Tok::function, "sin"}},
      {"cos", {Tok::function, "cos"}},
      {"tan", {Tok::function, "tan"}},
      {"cot", {Tok::function, "cot"}},
      {"sec", {Tok::function, "sec"}},
      {"csc", {Tok::function, "csc"}},
      {"arcsin", {Tok::function, "arcsin"}},
      {"arccos", {Tok::function, "arccos"}},
      {"arctan", {Tok::function, "arctan"}},
      {"log", {Tok::function, "log"}},
      {"ln", {Tok::function, "ln"}},
      {"exp", {Tok::function, "exp"}},
      {"sqrt", {Tok::function, "sqrt"}},
      {"cbrt", {Tok::function, "cbrt"}},
      {"abs", {Tok::function, "abs"}},
      {"gcd", {Tok::function, "gcd"}},
      {"lcm", {Tok::function, "lcm"}},
      {"max", {Tok::function, "max"}},
      {"pi", {Tok::pi, "pi"}},
      {"infinity", {Tok::infinity, ""}},
      {"inf", {Tok::infinity, ""}},
      {"oo", {Tok::infinity, ""}},
      {"or", {Tok::in_words, "or"}},
      {"and", {Tok::in_words, "and"}},
      {"choose", {Tok::choose, ""}},
      {"union", {Tok::cup, ""}},
      {"mod", {Tok::modulo, ""}},
  };
  return table;
}

unsigned base_word(std::string_view word) {
  static const std::unordered_map<std::string_view, unsigned> words = {
      {"two", 2},   {"three", 3}, {"four", 4}, {"five", 5},    {"six", 6},     {"seven", 7},
      {"eight", 8}, {"nine", 9},  {"ten", 10}, {"eleven", 11}, {"twelve", 12}, {"sixteen", 16}};
  const auto it = words.find(word);
  return it == words.end() ? 0 : it->second;
}

}  // namespace cohort::math
