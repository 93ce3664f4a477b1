#include "transport/base/options.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

enum class Mode { token_mean, seq_mean };
inline EnumNames<Mode> enum_names(Mode) {
  return {{Mode::token_mean, "token-mean"}, {Mode::seq_mean, "seq-mean"}};
}

struct Inner {
  using is_options = void;
  bool enable = false;
  double factor = 1;
  template <class V>
  void visit(V& v) {
    v("enable", enable, "on or off");
    v("factor", factor, "how much", between(0, 2));
  }
};

struct Outer {
  using is_options = void;
  std::string name = "x";
  int32_t steps = 3;
  uint32_t count = 4;
  double rate = 0.1;
  Mode mode = Mode::token_mean;
  std::vector<std::string> stop;
  std::vector<int32_t> ids;
  Inner inner;
  std::vector<Inner> many;
  std::vector<TomlTable> raw;
  template <class V>
  void visit(V& v) {
    v("name", name, "its name");
    v("steps", steps, "how many", at_least(1));
    v("count", count, "");
    v("rate", rate, "per step", more_than(0));
    v("mode", mode, "how");
    v("stop", stop, "strings");
    v("ids", ids, "numbers");
    v("inner", inner, "a table");
    v("many", many, "tables");
    v("raw", raw, "tables of their own");
  }
};

std::string error_of(const std::string& text) {
  try {
    Outer o;
    read_options(TomlTable::parse(text, "run.toml"), o);
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), Error::kBadUsage);
    return e.what();
  }
  return "";
}

TEST(Options, ReadsEveryType) {
  Outer o;
  read_options(
      TomlTable::parse("name='a'\nsteps=7\ncount=9\nrate=2\nmode='seq-mean'\nstop=['x','y']\nids=[1,2]\n"
                       "[inner]\nenable=true\nfactor=1.5\n[[many]]\nfactor=0.5\n[[many]]\n[[raw]]\nz=1\n",
                       "run.toml"),
      o);
  EXPECT_EQ(o.name, "a");
  EXPECT_EQ(o.steps, 7);
  EXPECT_EQ(o.count, 9u);
  EXPECT_EQ(o.rate, 2.0);
  EXPECT_EQ(o.mode, Mode::seq_mean);
  EXPECT_EQ(o.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(o.ids, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(o.inner.enable);
  ASSERT_EQ(o.many.size(), 2u);
  EXPECT_EQ(o.many[0].factor, 0.5);
  ASSERT_EQ(o.raw.size(), 1u);
  EXPECT_EQ(o.raw[0].get_int("z"), 1);
}

TEST(Options, ErrorsNameFileLineAndKey) {
  EXPECT_EQ(error_of("\nstep = 3\n"), "run.toml:2: step: no such key; did you mean 'steps'?");
  EXPECT_EQ(error_of("[inner]\nfactor = 3\n"), "run.toml:2: inner.factor = 3 must be from 0 to 2");
  EXPECT_EQ(error_of("steps = 'a'\n"), "run.toml:1: steps must be a whole number, not a string");
  EXPECT_EQ(error_of("mode = 'sum'\n"), "run.toml:1: mode = \"sum\" must be one of token-mean, seq-mean");
  EXPECT_EQ(error_of("count = -1\n"), "run.toml:1: count = -1 does not fit");
  EXPECT_EQ(error_of("steps = 5000000000\n"), "run.toml:1: steps = 5000000000 does not fit");
  EXPECT_EQ(error_of("ids = [1.5]\n"), "run.toml:1: ids: 1.5 is not a whole number");
  EXPECT_NE(error_of("a = = 2\n").find("run.toml:1: "), std::string::npos);
  EXPECT_NE(error_of("qqqqqqqqqqqq = 2\n").find("known here: name, steps"), std::string::npos);
  EXPECT_THROW(TomlTable::read("/nonexistent/run.toml"), Error);
}

TEST(Options, WrittenTextReadsBackToTheSameValues) {
  Outer o;
  o.name = "quote \" backslash \\ newline \n tab \t";
  o.rate = 4e-4;
  o.stop = {"</answer>", "\n\n"};
  o.ids = {-1, 0, 7};
  o.mode = Mode::seq_mean;
  o.inner.factor = 0.1;
  o.many.resize(2);
  o.many[1].enable = true;
  o.raw = {TomlTable::parse("kind='math'\n[limits]\nwall_s=1.5\n", "r")};
  const std::string text = write_options(o);
  Outer back;
  read_options(TomlTable::parse(text, "resolved.toml"), back);
  EXPECT_EQ(write_options(back), text);
  EXPECT_EQ(back.name, o.name);
  EXPECT_EQ(back.stop, o.stop);
  EXPECT_EQ(back.rate, o.rate);
  ASSERT_EQ(back.many.size(), 2u);
  EXPECT_TRUE(back.many[1].enable);
  ASSERT_EQ(back.raw.size(), 1u);
  EXPECT_EQ(back.raw[0].get_table("limits")->get_double("wall_s"), 1.5);
}

TEST(Options, SetOverridesAndCreates) {
  TomlTable t = TomlTable::parse("name='a'\n", "run.toml");
  t.set("inner.factor=0.25");
  t.set("name=bare-word");
  t.set("stop=['a']");
  Outer o;
  read_options(t, o);
  EXPECT_EQ(o.inner.factor, 0.25);
  EXPECT_EQ(o.name, "bare-word");
  EXPECT_EQ(o.stop.size(), 1u);
  EXPECT_THROW(t.set("novalue"), Error);
  EXPECT_THROW(t.set("name.x=1"), Error);
}

TEST(NearestName, OnlySlips) {
  EXPECT_EQ(nearest_name("temprature", {"top_p", "temperature"}), "temperature");
  EXPECT_EQ(nearest_name("zzz", {"top_p", "temperature"}), "");
}

TEST(Options, EnumsHaveTheirNames) {
  EXPECT_STREQ(name_of(Mode::seq_mean), "seq-mean");
  EXPECT_EQ(value_named<Mode>("token-mean"), Mode::token_mean);
  EXPECT_EQ(value_named<Mode>("token_mean"), std::nullopt);
}

}  // namespace
}  // namespace cohort
