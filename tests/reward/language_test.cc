#include "reward/language.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/reward/text_fuzz.h"

namespace cohort {
namespace {

using K = VerdictKind;
const std::string kEnglish =
    "First we add the two numbers, then we divide the sum by three and check that the result is a whole "
    "number.";
const std::string kChinese =
    "首先我们把两个数字相加，然后把总和除以三，最后检查结果是不是一个整数，这样就能得到正确的答案。";
const std::string kFrench =
    "D'abord nous additionnons les deux nombres, ensuite nous divisons la somme par trois et nous vérifions "
    "le résultat.";
const std::string kGerman =
    "Zuerst addieren wir die beiden Zahlen, danach teilen wir die Summe durch drei und überprüfen das "
    "Ergebnis.";

Verdict grade(const std::string& completion, const std::string& options, const std::string& record = "{}") {
  auto g = make_language_grader(TomlTable::parse(options, "t.toml"));
  GradeInput input;
  input.record_json = record;
  input.completion = completion;
  return g->grade(input, false);
}
double share(const std::string& text, const std::string& language) {
  return language_share(without_formulae(text), language).share();
}

TEST(Language, OneLanguage) {
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"en", kEnglish}, {"zh", kChinese}, {"fr", kFrench}, {"de", kGerman}};
  for (const auto& [code, text] : texts)
    for (const auto& [target, other] : texts)
      EXPECT_EQ(share(text, target), code == target ? 1 : 0) << code << " for " << target;
}

TEST(Language, MixedTextsByWords) {
  auto words = [](const std::string& text) { return language_share(text, "en").words; };
  for (const std::string& other : {kChinese, kFrench, kGerman}) {
    const std::string mixed = kEnglish + " " + other;
    const double expected = static_cast<double>(words(kEnglish)) / words(mixed);
    EXPECT_NEAR(share(mixed, "en"), expected, 0.12) << mixed;
    EXPECT_NEAR(share(other + "\n" + kEnglish, "en"), expected, 0.12) << mixed;
  }
  const double all = words(kEnglish + kChinese + kFrench + kGerman);
  for (const auto& [code, text] : std::vector<std::pair<std::string, std::string>>{
           {"en", kEnglish}, {"zh", kChinese}, {"fr", kFrench}, {"de", kGerman}})
    EXPECT_NEAR(share(kEnglish + "\n" + kChinese + "\n" + kFrench + "\n" + kGerman, code), words(text) / all,
                0.12)
        << code;
  // single words inside a sentence of another script
  const LanguageShare s = language_share("我们需要 calculate 这个 function 的 result，然后得到答案。", "zh");
  EXPECT_EQ(s.words - s.target, 3);
  EXPECT_EQ(language_share("我们需要计算", "zh").share(), 1);
}

// 41 texts in 15 languages and mixtures of them, with code and formulae between, in languages of several scripts, and short
// ones. Their words were assigned to languages by hand: runs of letters, but single ASCII letters, which are taken for
// variables; Chinese, Japanese and Korean by two letters.
TEST(Language, SharesAreThoseCountedByHand) {
  std::ifstream in(COHORT_SOURCE_DIR "/tests/reward/language_texts.jsonl");
  size_t texts = 0, exact = 0;
  for (std::string line; std::getline(in, line); ++texts) {
    const nlohmann::json row = nlohmann::json::parse(line);
    const std::string text = row["text"], language = row["language"];
    const LanguageShare got = language_share(without_formulae(text), language);
    const int words = row["words"], target = row["target_words"];
    EXPECT_NEAR(got.words, words, 1) << text;
    EXPECT_NEAR(got.share(), static_cast<double>(target) / words, 0.05) << language << ": " << text;
    exact += got.words == words && got.target == target;
  }
  EXPECT_EQ(texts, 41u);
  EXPECT_GE(exact, 39u);
}

TEST(Language, CodeAndFormulaeAreLeftOut) {
  EXPECT_EQ(share(kChinese + "\n```python\nfor item in values: print(item)  # a comment in English\n```\n" +
                      kChinese,
                  "zh"),
            1);
  EXPECT_EQ(share(kChinese +
                      " 用 `sorted values` 和 $\\frac{a}{b} = \\text{ratio of things}$ 以及 \\(\\sin "
                      "alpha\\) 还有 \\[x + y\\]。" +
                      "参见 https://example.org/some/page/about/things 和 foo_bar(baz) x = y + 12kg",
                  "zh"),
            1);
  EXPECT_EQ(share(kChinese + "\\begin{align} first &= second \\end{align}", "zh"), 1);
  EXPECT_EQ(share(kChinese + "~~~\nnever closed and goes on in English for a while", "zh"), 1);
  // prices are no formulae
  EXPECT_EQ(without_formulae("it costs $5 and then $6 more"), "it costs   and then   more");
  EXPECT_EQ(without_formulae("well-known words, don't (see above)"), "well-known words, don't (see above)");
  EXPECT_GT(language_share(without_formulae("l'été à la plage"), "fr").words, 3);
  const Verdict v = grade("<think>```c\nint main;\n``` $x^2$ 1 + 2 = 3</think>", "language = \"en\"");
  EXPECT_EQ(v.kind, K::passed);
  EXPECT_EQ(v.score, 1);
}

TEST(Language, TheReasoningCountsAndNothingElse) {
  EXPECT_EQ(grade("<think>" + kEnglish + "</think>" + kChinese, "language = \"en\"").score, 1);
  EXPECT_EQ(grade("<think>" + kChinese + "</think>" + kEnglish, "language = \"en\"").score, 0);
  EXPECT_EQ(grade(kEnglish + "</think>" + kChinese, "language = \"en\"\nthink_in_prompt = true").score, 1);
  EXPECT_EQ(grade("<think>" + kEnglish, "language = \"en\"").score, 1);  // cut off
  for (const char* none : {"<think></think>42", "<think> \n </think>42", "42", ""}) {
    const Verdict v = grade(none, "language = \"en\"");
    EXPECT_EQ(v.kind, K::no_answer) << none;
    EXPECT_EQ(v.score, 0) << none;
  }
  const Verdict mixed = grade("<think>" + kEnglish + kChinese + "</think>", "language = \"en\"");
  EXPECT_EQ(mixed.kind, K::failed);
  EXPECT_GT(mixed.score, 0.2);
  EXPECT_LT(mixed.score, 0.8);
  const auto evidence = nlohmann::json::parse(mixed.evidence);
  EXPECT_DOUBLE_EQ(mixed.score, evidence["target_words"].get<double>() / evidence["words"].get<double>());
}

TEST(Language, ShortTextsAreNotCondemned) {
  EXPECT_EQ(grade("<think>Let me think.</think>", "language = \"en\"").kind, K::passed);
  EXPECT_EQ(grade("<think>Also wir rechnen</think>", "language = \"de\"").kind, K::passed);
  const Verdict v = grade("<think>ok donc hm</think>", "language = \"fr\"");
  EXPECT_TRUE(v.kind == K::unknown || v.kind == K::passed) << v.reason;
  EXPECT_EQ(grade("<think>qwxz blorf snarg</think>", "language = \"en\"\nmin_words = 8").kind == K::failed,
            false);
  EXPECT_EQ(grade("<think>我们</think>", "language = \"en\"\nmin_words = 1").kind, K::failed);
}

TEST(Language, TargetFromRecordOrOption) {
  const std::string text = "<think>" + kFrench + "</think>";
  const std::string field = "language_field = \"lang\"";
  EXPECT_EQ(grade(text, field, R"({"lang": "fr"})").score, 1);
  EXPECT_EQ(grade(text, field, R"({"lang": "de"})").score, 0);
  EXPECT_EQ(grade(text, field + "\nlanguage = \"fr\"").score, 1);
  EXPECT_EQ(grade(text, field + "\nlanguage = \"fr\"", R"({"lang": "de"})").score, 0);
  EXPECT_EQ(grade(text, field).kind, K::infra_error);
  EXPECT_EQ(grade(text, field, R"({"lang": "elvish"})").kind, K::infra_error);
  EXPECT_THROW(grade(text, ""), Error);
  EXPECT_THROW(grade(text, "language = \"englich\""), Error);
  EXPECT_EQ(share(kChinese, "zh-Hant"), 1);
}

// A share of the words that are there, the same every time; what is taken out never comes back in pieces.
TEST(LanguageFuzz, AShareOfTheWords) {
  TextFuzz make(
      {kEnglish, kChinese, kFrench, kGerman, "Let $x^2$ be `f(x)`, then ```py\nprint(1)\n``` and \\(a+b\\).",
       "日本語と한국어 и русский", "\\begin{align}x&=1\\end{align} see https://a.b/c?d=e"},
      {"$",
       "$$",
       "`",
       "```",
       "~~~",
       "\\(",
       "\\)",
       "\\[",
       "\\]",
       "\\begin{align}",
       "\\end{align}",
       "\xff",
       "\xe4",
       "中",
       "'",
       "é",
       "a",
       "1",
       " ",
       "\n",
       "<think>",
       "</think>",
       "\xf0\x9f\x98\x80",
       "\u0301",
       "ab",
       "://"});
  for (size_t rounds = 0; make.more(rounds, 600); ++rounds) {
    const std::string text = make.text();
    const LanguageShare s = language_share(without_formulae(text), rounds % 2 ? "en" : "zh");
    EXPECT_TRUE(s.words >= s.target && s.target >= 0) << text;
    EXPECT_EQ(s.target, language_share(without_formulae(text), rounds % 2 ? "en" : "zh").target) << text;
    const Verdict v = grade("<think>" + text, "language = \"en\"");
    EXPECT_TRUE(v.score >= 0 && v.score <= 1) << text;
  }
}

TEST(Language, AnyBytesAnyThread) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      std::string bytes = "<think>";
      uint32_t x = 12345u + static_cast<uint32_t>(t);
      for (int i = 0; i < 20000; ++i) bytes += static_cast<char>((x = x * 1664525u + 1013904223u) >> 24);
      for (int i = 0; i < 20; ++i) {
        EXPECT_NE(grade(bytes + std::to_string(i), "language = \"en\"").kind, K::infra_error);
        EXPECT_EQ(share(kGerman, "de"), 1);
        EXPECT_EQ(share(kChinese, "zh"), 1);
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(grade("<think>" + std::string(1 << 20, '$') + std::string(1 << 18, '`') + "</think>",
                  "language = \"en\"")
                .score,
            1);
}

}  // namespace
}  // namespace cohort
