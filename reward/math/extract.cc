#include "reward/math/extract.h"

#include <algorithm>
#include <cctype>

namespace cohort::math {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

constexpr size_t kLongest = 4096;  // above what answer.h reads
constexpr size_t kLongestSentence = 400;

bool blank(std::string_view text) {
  return text.find_first_not_of(" \t\r$*.") == std::string_view::npos;
}

// Closing brace of every opening one in a single pass; npos where there is none. \{ and \} are no braces.
std::vector<std::pair<size_t, size_t>> find_boxes(std::string_view text) {
  std::vector<std::pair<size_t, size_t>>
      boxes;  // [begin, end) of each balanced content, in order of their beginning
  struct Open {
    size_t box;  // index in `boxes`, or npos for an ordinary brace
  };
  std::vector<Open> open;
  constexpr size_t npos = std::string_view::npos;
  // braces before the first box close nothing that is looked for
  size_t first = text.find('\\');
  while (first != npos && !text.substr(first + 1).starts_with("boxed") &&
         !text.substr(first + 1).starts_with("fbox"))
    first = text.find('\\', first + 1);
  while (first != npos && first > 0 && text[first - 1] == '\\') --first;
  for (size_t i = first; i < text.size(); ++i) {
    if (text[i] == '\\') {
      for (std::string_view command : {"\\boxed", "\\fbox"}) {
        if (!text.substr(i).starts_with(command)) continue;
        size_t brace = i + command.size();
        while (brace < text.size() && text[brace] == ' ') ++brace;
        if (brace < text.size() && text[brace] == '{') {
          open.push_back({boxes.size()});
          boxes.emplace_back(brace + 1, npos);
          i = brace;
        }
      }
      if (text[i] == '\\') ++i;
    } else if (text[i] == '{') {
      open.push_back({npos});
    } else if (text[i] == '}' && !open.empty()) {
      if (open.back().box != npos) boxes[open.back().box].second = i;
      open.pop_back();
    }
  }
  std::erase_if(boxes, [](const auto& b) { return b.second == npos; });
  return boxes;
}

// Whether `text` begins with `word` (lower case) in any case.
bool same_letters(std::string_view text, std::string_view word) {
  if (text.size() < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i)
    if ((text[i] | 0x20) != word[i]) return false;
  return true;
}
// Every "answer" in any case, one after the other; two searches for one byte, as most texts have few of either.
class AnswerFinder {
 public:
  explicit AnswerFinder(std::string_view text)
      : text_(text), small_(text.find('w')), large_(text.find('W')) {}
  size_t next() {
    for (;;) {
      const size_t at = std::min(small_, large_);
      if (at == std::string_view::npos) return at;
      size_t& used = at == small_ ? small_ : large_;
      used = text_.find(text_[at], at + 1);
      if (at >= 3 && same_letters(text_.substr(at - 3), "answer")) return at - 3;
    }
  }

 private:
  const std::string_view text_;
  size_t small_, large_;
};

// GSM8K's calculator notes, as in "<<2+3=5>>5", are no part of an answer.
std::string without_calculator(std::string_view text) {
  std::string out(text);
  for (size_t at = out.find("<<"); at != std::string::npos; at = out.find("<<", at)) {
    const size_t end = out.find(">>", at);
    if (end == std::string::npos) break;
    const std::string_view note = std::string_view(out).substr(at + 2, end - at - 2);
    if (note.find('=') == note.npos || note.find_first_not_of("0123456789.,+-*/()=%$ ") != note.npos)
      at = end;
    else
      out.erase(at, end + 2 - at);
  }
  return out;
}

std::string sentence_at(std::string_view text, size_t begin) {
  size_t end = begin;
  for (; end < text.size() && text[end] != '\n' && end - begin < kLongestSentence; ++end) {
    const bool last =
        end + 1 == text.size() || text[end + 1] == ' ' || text[end + 1] == '\n' || text[end + 1] == '<';
    if ((text[end] == '.' || text[end] == ';') && last) break;
  }
  return without_calculator(text.substr(begin, end - begin));
}

// "The answer is therefore 3."
size_t after_filler(std::string_view text, size_t at) {
  for (std::string_view word : {"therefore", "thus", "hence", "then", "simply"}) {
    if (!same_letters(text.substr(at), word)) continue;
    const size_t end = at + word.size();
    if (end < text.size() && (text[end] == ' ' || text[end] == ',')) return text[end] == ',' ? end + 1 : end;
  }
  return at;
}

}  // namespace

const char* to_string(Source source) {
  switch (source) {
    case Source::boxed:
      return "boxed";
    case Source::answer_is:
      return "answer is";
    case Source::hashes:
      return "####";
    case Source::whole_text:
      return "whole text";
    case Source::last_number:
      return "last number";
  }
  return "";
}

std::vector<Stated> find_statements(std::string_view text) {
  std::vector<Stated> out;
  for (const auto& [begin, end] : find_boxes(text))
    if (out.size() <= kMaxStatements)
      out.push_back({Source::boxed, std::string(text.substr(begin, std::min(end - begin, kLongest)))});
  AnswerFinder answers(text);
  for (size_t at = answers.next(); at != std::string_view::npos && out.size() <= kMaxStatements;
       at = answers.next()) {
    size_t after = at + 6;
    auto skip = [&](std::string_view what) {
      while (after < text.size() && what.find(text[after]) != std::string_view::npos) ++after;
    };
    skip(" *");
    bool stated = false;
    for (std::string_view verb : {"is", ":", "="}) {
      const bool there =
          verb == "is" ? same_letters(text.substr(after), verb) : text.substr(after).starts_with(verb);
      if (!there) continue;
      const size_t next = after + verb.size();
      if (verb == "is" && next < text.size() && std::isalnum(static_cast<unsigned char>(text[next])))
        continue;
      after = next;
      stated = true;
      break;
    }
    if (!stated) continue;
    skip(" *:");
    after = after_filler(text, after);
    skip(" ");
    std::string clause = sentence_at(text, after);
    if (clause.find("\\boxed") == std::string::npos && !blank(clause))
      out.push_back({Source::answer_is, clause});
  }
  for (size_t at = text.find("####"); at != std::string_view::npos && out.size() <= kMaxStatements;
       at = text.find("####", at + 4)) {
    const size_t begin = at + 4;
    const size_t end = std::min({text.find('\n', begin), text.size(), begin + kLongest});
    const std::string line(text.substr(begin, end - begin));
    if (!blank(line) && line.find("\\boxed") == std::string::npos) out.push_back({Source::hashes, line});
  }
  return out;
}

std::string last_number(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  if (end == 0) return "";
  size_t begin = end;
  auto part_of_number = [&](size_t i) {
    const char c = text[i];
    if (is_digit(c)) return true;
    const bool digit_before = i > 0 && is_digit(text[i - 1]),
               digit_after = i + 1 < text.size() && is_digit(text[i + 1]);
    if (c == '.') return digit_after && (digit_before || i == 0 || text[i - 1] == ' ' || text[i - 1] == '-');
    if (c == ',' || c == '/') return digit_before && digit_after;
    if (c == 'e' || c == 'E')
      return digit_before && (digit_after || (i + 2 < text.size() && is_digit(text[i + 2]) &&
                                              (text[i + 1] == '-' || text[i + 1] == '+')));
    if (c == '-' || c == '+')
      return i > 1 && (text[i - 1] == 'e' || text[i - 1] == 'E') && is_digit(text[i - 2]) && digit_after;
    return false;
  };
  while (begin > 0 && part_of_number(begin - 1) && end - begin < 4000) --begin;
  std::string number(text.substr(begin, end - begin));
  // "1, 2,3" is a list: only thousands groups keep their commas
  const size_t comma = number.rfind(',');
  if (comma != std::string::npos) {
    bool groups = number.find(',') >= 1 && number.find(',') <= 3;
    for (size_t i = number.find(','); i != std::string::npos; i = number.find(',', i + 1)) {
      size_t digits = 0;
      while (i + 1 + digits < number.size() && is_digit(number[i + 1 + digits])) ++digits;
      groups = groups && digits == 3;
    }
    if (!groups) {
      begin += comma + 1;
      number = number.substr(comma + 1);
    }
  }
  size_t sign = begin;
  if (sign > 0 && text[sign - 1] == '$') --sign;
  const bool minus = sign > 0 && text[sign - 1] == '-';
  const bool minus_sign = sign > 2 && text.substr(sign - 3, 3) == "−";
  if (minus || minus_sign) {
    const size_t before = sign - (minus ? 1 : 3);
    const bool binary =
        before > 0 && (std::isalnum(static_cast<unsigned char>(text[before - 1])) || text[before - 1] == ')');
    if (!binary) number = "-" + number;
  }
  const std::string_view rest = text.substr(end);
  if (rest.starts_with("%") || rest.starts_with("\\%")) number += "%";
  return number;
}

}  // namespace cohort::math
