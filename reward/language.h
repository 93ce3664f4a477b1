// The share of a reasoning's words that are in the target language, after DeepSeek-R1 (arXiv 2501.12948, 2.3.2).
//
//   completion -> the text between <think> and </think> -> without code and formulae -> words
//     a word of a script that the target language is not written in counts against it;
//     the others have the language that CLD2 gives the span of text they stand in
//   score = words of the target language / words
//
// Words: runs of letters; a run of Chinese, Japanese or Korean letters counts as half as many words as it has letters, at
// least one. Languages that CLD2 itself calls too close to tell apart (Indonesian and Malay, Croatian and Serbian …)
// count as the target, and so do both Chinese scripts. A span that CLD2 cannot place is not the target's.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "reward/grader.h"

namespace cohort {

struct LanguageOptions {
  using is_options = void;
  std::string language;
  std::string language_field;
  bool think_in_prompt = false;
  double pass_share = 0.9;
  int min_words = 8;

  template <class V>
  void visit(V& v) {
    v("language", language, "target language as a code: en, zh, fr, de …");
    v("language_field", language_field,
      "record field with the target language; `language` where a record has none");
    v("think_in_prompt", think_in_prompt, "the prompt's chat template already opens <think>");
    v("pass_share", pass_share, "the verdict is `passed` from this share on; the score is the share itself",
      between(0, 1));
    v("min_words", min_words,
      "a text of fewer words that does not pass is `unknown`: too short to be sure of its language",
      at_least(0));
  }
};

// Text without code and formulae: fenced and inline code, LaTeX, URLs, tags, and what has digits or operators in it.
// Removed pieces leave a blank.
std::string without_formulae(std::string_view text);

struct LanguageShare {
  int words = 0, target = 0;
  std::string most;  // code of the language with the most words, "un" for none
  double share() const { return words == 0 ? 1 : static_cast<double>(target) / words; }
};
// `language` must be a code that CLD2 knows (known_language).
LanguageShare language_share(std::string_view text, const std::string& language);
bool known_language(const std::string& code);

std::unique_ptr<Grader> make_language_grader(const TomlTable& options);

}  // namespace cohort
