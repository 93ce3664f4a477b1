#include "reward/language.h"

#include <cstdio>  // before CLD2's header, which needs it

#include <cld2/internal/getonescriptspan.h>
#include <cld2/internal/lang_script.h>
#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

#include <map>

#include "reward/record.h"

namespace cohort {
namespace {

constexpr size_t kLongestInline = 500;
constexpr size_t kShortestSentence = 24;  // bytes; CLD2 is sure of no shorter one

bool ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

size_t letter_bytes(char lead) {
  const auto c = static_cast<unsigned char>(lead);
  return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

// `text` with each piece from `open` to `close` replaced by a blank. A piece that never closes goes to the end when
// `to_end`, else stays.
std::string without(const std::string& text, std::string_view open, std::string_view close, bool to_end) {
  std::string out;
  size_t from = 0;
  for (size_t at; (at = text.find(open, from)) != std::string::npos;) {
    const size_t end = text.find(close, at + open.size());
    if (end == std::string::npos && !to_end) break;
    out.append(text, from, at - from).append(" ");
    from = end == std::string::npos ? text.size() : end + close.size();
  }
  return out.append(text, from);
}

// `c` … `c` inside one line: inline code, and $formulae$ as Pandoc reads them (no blank inside the dollars, no digit
// behind), so that prices stay text.
std::string without_inline(const std::string& text, char c) {
  std::string out;
  size_t line = 0;  // where the line of i ends
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == c && i + 1 < text.size()) {
      if (line < i) line = std::min(text.find('\n', i), text.size());
      const size_t limit = std::min(line, i + kLongestInline);
      size_t end = text.find(c, i + 1);
      if (c == '$' && std::isspace(static_cast<unsigned char>(text[i + 1]))) end = std::string::npos;
      while (c == '$' && end < limit &&
             (text[end - 1] == ' ' ||
              (end + 1 < text.size() && std::isdigit(static_cast<unsigned char>(text[end + 1])))))
        end = text.find(c, end + 1);
      if (end < limit && end > i + 1) {
        out += ' ';
        i = end;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

// A run of ASCII without blanks that no prose has: digits, operators, calls, links, tags, or a single letter.
bool formula(std::string_view run) {
  if (run.find("://") != std::string_view::npos || run.starts_with("www.") ||
      run.find('@') != std::string_view::npos)
    return true;
  size_t letters = 0;
  for (size_t i = 0; i < run.size(); ++i) {
    const char c = run[i];
    letters += ascii_letter(c);
    if (std::isdigit(static_cast<unsigned char>(c)) ||
        std::string_view("_=\\^{}+*/<>|~").find(c) != std::string_view::npos)
      return true;
    if (c == '(' && i > 0 && ascii_letter(run[i - 1])) return true;
  }
  return letters == 1;
}

CLD2::Language language_of(const std::string& code) {
  return CLD2::GetLanguageFromName(code.c_str());
}

bool same(CLD2::Language a, CLD2::Language b) {
  auto chinese = [](CLD2::Language l) { return l == CLD2::CHINESE || l == CLD2::CHINESE_T; };
  if (a == b || (chinese(a) && chinese(b))) return true;
  return CLD2::LanguageCloseSet(a) != 0 && CLD2::LanguageCloseSet(a) == CLD2::LanguageCloseSet(b);
}

struct Word {
  size_t begin, end;
  int script;
  int count;
};

std::vector<Word> words_of(const std::string& text) {
  std::vector<Word> words;
  for (size_t i = 0; i < text.size();) {
    const int script = CLD2::GetUTF8LetterScriptNum(text.c_str() + i);
    const size_t bytes = letter_bytes(text[i]);
    if (script == CLD2::ULScript_Common) {
      i += bytes;
      continue;
    }
    Word w{i, i + bytes, script, 1};
    int letters = 1;
    for (size_t j = w.end; j < text.size(); j += letter_bytes(text[j])) {
      const int next = CLD2::GetUTF8LetterScriptNum(text.c_str() + j);
      // an apostrophe inside a word is the word's
      const bool inside = text[j] == '\'' && j + 1 < text.size() && ascii_letter(text[j + 1]);
      if (next != script && next != CLD2::ULScript_Inherited && !inside) break;
      w.end = j + letter_bytes(text[j]);
      letters += next == script;
    }
    if (w.script == CLD2::ULScript_Hani) w.count = std::max(1, letters / 2);
    words.push_back(w);
    i = w.end;
  }
  return words;
}

// Kana are read in Japanese only, Hangul in Korean only; a sentence of Han letters alone is Chinese.
enum class Letters : uint8_t { none, han, kana, hangul };
Letters letters_of(std::string_view sentence) {
  Letters out = Letters::none;
  for (size_t i = 0; i + 2 < sentence.size(); i += letter_bytes(sentence[i])) {
    if (letter_bytes(sentence[i]) != 3) continue;
    const auto at = [&](size_t k) { return static_cast<unsigned char>(sentence[i + k]) & 0x3fu; };
    const uint32_t c = (static_cast<unsigned char>(sentence[i]) & 0x0fu) << 12 | at(1) << 6 | at(2);
    if (c >= 0x3041 && c <= 0x30fe) return Letters::kana;
    if (c >= 0xac00 && c <= 0xd7a3) return Letters::hangul;
    if (c >= 0x3400 && c <= 0x9fff) out = Letters::han;
  }
  return out;
}

// Where the sentence that begins at `begin` ends: behind . ! ? and their wide forms, or at the end of the line.
size_t sentence_end(const std::string& text, size_t begin) {
  for (size_t i = begin; i < text.size(); ++i) {
    const std::string_view rest = std::string_view(text).substr(i);
    if (text[i] == '\n') return i + 1;
    const bool stop = text[i] == '.' || text[i] == '!' || text[i] == '?';
    if (stop && (i + 1 == text.size() || text[i + 1] == ' ' || text[i + 1] == '\n')) return i + 1;
    for (std::string_view wide : {"。", "！", "？", "।"})
      if (rest.starts_with(wide)) return i + wide.size();
  }
  return text.size();
}

struct Detected {
  CLD2::Language language = CLD2::UNKNOWN_LANGUAGE;
  bool reliable = false;
  CLD2::ResultChunkVector chunks;
  // Of the span at `byte`; `next` is where the search goes on for a later byte.
  CLD2::Language at(size_t byte, size_t& next) const {
    while (next < chunks.size() && static_cast<size_t>(chunks[next].offset) + chunks[next].bytes <= byte)
      ++next;
    return next < chunks.size() && static_cast<size_t>(chunks[next].offset) <= byte
               ? static_cast<CLD2::Language>(chunks[next].lang1)
               : CLD2::UNKNOWN_LANGUAGE;
  }
};
Detected detect(std::string_view text, CLD2::Language target) {
  CLD2::CLDHints hints{nullptr, nullptr, CLD2::UNKNOWN_ENCODING, target};
  CLD2::Language three[3];
  int percent[3], text_bytes = 0, valid_bytes = 0;
  double scores[3];
  Detected out;
  CLD2::ExtDetectLanguageSummaryCheckUTF8(text.data(), static_cast<int>(text.size()), /*is_plain_text=*/true,
                                          &hints, CLD2::kCLDFlagBestEffort, three, percent, scores,
                                          &out.chunks, &text_bytes, &out.reliable, &valid_bytes);
  out.language = three[0];
  return out;
}

// What stands between the tags; all of it up to </think> where the prompt opened the reasoning.
std::optional<std::string_view> reasoning_of(std::string_view completion, bool think_in_prompt) {
  const size_t open = completion.find("<think>");
  size_t begin = 0;
  if (open != std::string_view::npos)
    begin = open + 7;
  else if (!think_in_prompt)
    return std::nullopt;
  const size_t close = completion.rfind("</think>");
  const size_t end = close == std::string_view::npos || close < begin ? completion.size() : close;
  return trim(completion.substr(begin, end - begin));
}

class LanguageGrader : public RecordGrader {
 public:
  explicit LanguageGrader(const LanguageOptions& options)
      : RecordGrader("language_consistency", 2, write_options(options)), options_(options) {}

 protected:
  Verdict decide(const nlohmann::json& record, const GradeInput& input,
                 const std::atomic<bool>&) const override {
    std::string language = options_.language;
    if (!options_.language_field.empty() && (language.empty() || record.contains(options_.language_field)))
      language = required_text(record, options_.language_field);
    if (!known_language(language))
      throw InfraError(fmt::format("the record's field \"{}\" = \"{}\" is no language code",
                                   options_.language_field, language));
    const auto reasoning = reasoning_of(input.completion, options_.think_in_prompt);
    if (!reasoning || reasoning->empty())
      return make_verdict(VerdictKind::no_answer, 0,
                          reasoning ? "the reasoning is empty" : "there is no <think>");
    const LanguageShare found = language_share(without_formulae(*reasoning), language);
    const nlohmann::json evidence = {
        {"language", language}, {"words", found.words}, {"target_words", found.target}, {"most", found.most}};
    if (found.words == 0) return make_verdict(VerdictKind::passed, 1, "only code and formulae", evidence);
    const std::string reason = fmt::format("{} of {} words are in {}", found.target, found.words, language);
    if (found.share() >= options_.pass_share)
      return make_verdict(VerdictKind::passed, found.share(), reason, evidence);
    return make_verdict(found.words < options_.min_words ? VerdictKind::unknown : VerdictKind::failed,
                        found.share(), reason, evidence);
  }

 private:
  const LanguageOptions options_;
};

}  // namespace

bool known_language(const std::string& code) {
  return !code.empty() && language_of(code) != CLD2::UNKNOWN_LANGUAGE;
}

std::string without_formulae(std::string_view original) {
  std::string text = valid_utf8(original);
  text = without(text, "```", "```", true);
  text = without(text, "~~~", "~~~", true);
  text = without(text, "$$", "$$", false);
  text = without(text, "\\[", "\\]", false);
  text = without(text, "\\(", "\\)", false);
  text = without_inline(text, '`');
  text = without_inline(text, '$');
  for (const char* name : {"align", "align*", "aligned", "equation", "equation*", "gather", "cases", "matrix",
                           "pmatrix", "bmatrix", "array"})
    text = without(text, fmt::format("\\begin{{{}}}", name), fmt::format("\\end{{{}}}", name), false);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] <= ' ' || text[i] > '~') {  // also every byte of a longer letter
      out += text[i++];
      continue;
    }
    size_t end = i;
    while (end < text.size() && text[end] > ' ' && text[end] <= '~') ++end;
    const std::string_view run(text.data() + i, end - i);
    // "l'été": the letter belongs to the word that goes on behind it
    const bool goes_on = end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80;
    const bool came = i > 0 && static_cast<unsigned char>(text[i - 1]) >= 0x80;
    const bool alone = !goes_on && !came;
    if (formula(run) && (alone || run.find_first_of("0123456789_=\\^{}+*/<>|~@") != std::string_view::npos))
      out += ' ';
    else
      out += run;
    i = end;
  }
  return out;
}

LanguageShare language_share(std::string_view original, const std::string& language) {
  const CLD2::Language target = language_of(language);
  const std::string text = valid_utf8(original);
  LanguageShare out;
  std::map<int, int> by_language;

  // the words that may be the target's, in a text of their own: spans of another script would be taken into theirs
  std::string own;
  std::vector<Word> own_words;
  size_t from = 0;
  for (const Word& w : words_of(text)) {
    out.words += w.count;
    bool may = false;
    for (int n = 0; n < 4; ++n) may = may || CLD2::LanguageRecognizedScript(target, n) == w.script;
    if (may) {
      own.append(text, from, w.begin - from);
      own_words.push_back({own.size(), own.size() + (w.end - w.begin), w.script, w.count});
      own.append(text, w.begin, w.end - w.begin);
    } else {
      own.append(text, from, w.begin - from).append(" ");
      by_language[CLD2::DefaultLanguage(static_cast<CLD2::ULScript>(w.script))] += w.count;
    }
    from = w.end;
  }
  own.append(text, from);

  // CLD2's spans are longer than a sentence: what it is sure of a whole sentence goes before them
  const Detected whole = detect(own, target);
  const bool cjk = target == CLD2::CHINESE || target == CLD2::CHINESE_T || target == CLD2::JAPANESE ||
                   target == CLD2::KOREAN;
  size_t end = 0, chunk = 0;
  Detected sentence;
  Letters letters = Letters::none;
  for (const Word& w : own_words) {
    if (w.begin >= end) {
      size_t begin = end;
      while (end <= w.begin) begin = end, end = sentence_end(own, end);
      const std::string_view text_of = std::string_view(own).substr(begin, end - begin);
      sentence = text_of.size() < kShortestSentence ? Detected{} : detect(text_of, target);
      letters = letters_of(text_of);
    }
    CLD2::Language l = sentence.reliable ? sentence.language : whole.at(w.begin, chunk);
    if (l == CLD2::UNKNOWN_LANGUAGE && whole.reliable) l = whole.language;  // short texts
    if (cjk && letters == Letters::kana) l = CLD2::JAPANESE;
    if (cjk && letters == Letters::hangul) l = CLD2::KOREAN;
    if (letters == Letters::han && l == CLD2::JAPANESE && target != CLD2::JAPANESE) l = CLD2::CHINESE;
    by_language[l] += w.count;
    if (same(l, target)) out.target += w.count;
  }
  int most = 0;
  out.most = "un";
  for (const auto& [l, n] : by_language)
    if (n > most) most = n, out.most = CLD2::LanguageCode(static_cast<CLD2::Language>(l));
  return out;
}

std::unique_ptr<Grader> make_language_grader(const TomlTable& table) {
  const auto options = read_grader_options<LanguageOptions>(table);
  if (options.language.empty() && options.language_field.empty())
    fail_usage("{} is missing: the target language, or language_field", table.where("language"));
  if (!options.language.empty() && !known_language(options.language))
    fail_usage("{} = \"{}\" is no language code (en, zh, fr …)", table.where("language"), options.language);
  return std::make_unique<LanguageGrader>(options);
}

}  // namespace cohort
