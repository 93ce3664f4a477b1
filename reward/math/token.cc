#include "reward/math/token.h"

#include "reward/math/budget.h"
#include "reward/math/commands.h"
#include "reward/math/lexer.h"

namespace cohort::math {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void Lexer::run(bool in_text, int nesting) {
  in_text_ = in_text;
  while (at_ < text_.size()) step(nesting);
}

Token& Lexer::emit(Tok kind, std::string_view text) {
  if (out_.list.size() >= kMaxTokens) throw Beyond("an answer is too long");
  Token t;
  t.kind = kind;
  t.space_before = space_;
  t.from_text = in_text_;
  t.depth = depth;
  t.text = text;
  space_ = false;
  out_.list.push_back(t);
  return out_.list.back();
}

void Lexer::open(Tok kind) {
  emit(kind);
  if (depth < 60000) ++depth;
}

void Lexer::close(Tok kind) {
  if (depth > 0) --depth;
  emit(kind);
}

void Lexer::step(int nesting) {
  const char c = peek();
  const bool point = c == '.' && !(at_ > 0 && is_digit(text_[at_ - 1]));
  if (is_digit(c) || (point && (is_digit(peek(1)) || starts(".\\overline")))) return number();
  if (is_alpha(c)) return letters();
  if (c == '\\') return command(nesting);
  ++at_;
  switch (c) {
    case ' ':
    case '\t':
    case '\n':
    case '\r':
    case '~':
      space_ = true;
      break;
    case '$':
    case '"':
    case '`':
      break;
    case '+':
      emit(Tok::plus);
      break;
    case '-':
      emit(peek() == '>' ? (++at_, Tok::other) : Tok::minus);
      break;
    case '*':
      if (peek() != '*') {
        emit(Tok::times);
        break;
      }
      ++at_;  // Markdown's bold, or a power between two operands
      if (!out_.list.empty() && !space_ && (is_digit(peek()) || is_alpha(peek()) || peek() == '(') &&
          (out_.list.back().kind == Tok::number || out_.list.back().kind == Tok::letter ||
           out_.list.back().kind == Tok::close_paren))
        emit(Tok::caret);
      break;
    case '/':
      emit(Tok::slash);
      break;
    case '^':
      caret();
      break;
    case '_':
      if (combinations(0, at_ - 1)) break;
      emit(Tok::underscore);
      break;
    case '!':
      if (peek() == '=') {
        ++at_;
        emit(Tok::not_equal);
      } else {
        emit(Tok::bang);
      }
      break;
    case '%':
      emit(Tok::percent);
      break;
    case '\'':
      emit(Tok::prime);
      break;
    case '(':
      if (based_in_brackets()) break;
      open(Tok::open_paren);
      break;
    case ')':
      close(Tok::close_paren);
      break;
    case '[':
      open(Tok::open_bracket);
      break;
    case ']':
      close(Tok::close_bracket);
      break;
    case '{':
      if (starts("}_") || starts("}^")) {  // {}_{10}C_3
        ++at_;
        break;
      }
      if (starts(",}")) {
        at_ += 2;
        emit(Tok::comma);
        break;
      }
      open(Tok::open_brace);
      break;
    case '}':
      close(Tok::close_brace);
      break;
    case '|':
      emit(Tok::bar);
      break;
    case ',':
      emit(Tok::comma);
      break;
    case ';':
      emit(Tok::semicolon);
      break;
    case ':':
      emit(Tok::colon);
      break;
    case '.':
      if (starts("..") && !out_.list.empty() && out_.list.back().kind == Tok::comma) {  // 1, 2, ...
        at_ += 2;
        emit(Tok::dots);
        break;
      }
      emit(Tok::dot);
      break;
    case '&':
      emit(Tok::ampersand);
      break;
    case '=':
      if (peek() == '=') ++at_;
      emit(Tok::equal);
      break;
    case '<':
      if (peek() == '=') {
        ++at_;
        emit(Tok::less_equal);
      } else {
        emit(Tok::less);
      }
      break;
    case '>':
      if (peek() == '=') {
        ++at_;
        emit(Tok::greater_equal);
      } else {
        emit(Tok::greater);
      }
      break;
    default:
      emit(Tok::other, text_.substr(at_ - 1, 1));
      break;
  }
}

void Lexer::caret() {
  size_t n = 0;
  for (std::string_view mark : {"\\circ", "{\\circ}", "{\\circ }", "{ \\circ }", "\\degree", "{o}"})
    if (n == 0 && starts(mark)) n = mark.size();
  if (n == 0 && starts("o") && !out_.list.empty() && out_.list.back().kind == Tok::number) n = 1;  // 60^o
  const bool first = out_.list.empty() || out_.list.back().kind == Tok::plus ||
                     out_.list.back().kind == Tok::minus || out_.list.back().kind == Tok::equal;
  if (first && combinations(0, at_ - 1)) return;  // ^{10}C_3
  if (n > 0 && !is_alpha(peek(n))) {
    at_ += n;
    emit(Tok::degree);
  } else {
    emit(Tok::caret);
  }
}

void Lexer::letters() {
  const size_t begin = at_;
  while (is_alpha(peek())) ++at_;
  std::string_view run = text_.substr(begin, at_ - begin);
  if (based(begin)) return;
  if ((run == "x" || run == "X") && times_ten()) {
    emit(Tok::times);
    return;
  }
  if (run == "U" && unites()) {
    emit(Tok::cup);
    return;
  }
  if (run.size() == 1 && !in_text_) return letter(run);
  if (run.size() == 1) {
    emit(Tok::word, run);
    return;
  }
  std::string lower;
  if (run.size() <= 8) {
    for (char c : run) lower += static_cast<char>(c | 0x20);
    const auto it = plain_words().find(lower);
    if (it != plain_words().end() && !(in_text_ && it->second.kind == Tok::function)) {
      emit(it->second.kind, it->second.text);
      return;
    }
  }
  emit(Tok::word, run);
}

// (1, 2) U (3, 4), behind the U.
bool Lexer::unites() const {
  if (out_.list.empty()) return false;
  const Tok before = out_.list.back().kind;
  const size_t next = text_.find_first_not_of(' ', at_);
  if (next == std::string_view::npos) return false;
  const std::string_view rest = text_.substr(next);
  return (before == Tok::close_paren || before == Tok::close_bracket || before == Tok::close_set) &&
         (rest[0] == '(' || rest[0] == '[' || rest.starts_with("\\{") || rest.starts_with("\\left"));
}

void Lexer::letter(std::string_view name) {
  if (name.size() == 1 && peek() == '_' && combinations(name[0], at_)) return;
  if (peek() == '_' && at_ + 1 < text_.size()) {
    size_t begin = at_ + 1, end = begin;
    if (text_[begin] == '{') {
      end = ++begin;
      while (end < text_.size() && end - begin < 12 && (is_digit(text_[end]) || is_alpha(text_[end]))) ++end;
      if (end < text_.size() && text_[end] == '}' && end > begin) {
        out_.names.push_back(std::make_shared<std::string>(std::string(name) + "_" +
                                                           std::string(text_.substr(begin, end - begin))));
        at_ = end + 1;
        emit(Tok::letter, *out_.names.back());
        return;
      }
    } else if (is_digit(text_[begin]) || is_alpha(text_[begin])) {
      out_.names.push_back(std::make_shared<std::string>(std::string(name) + "_" + text_[begin]));
      at_ = begin + 1;
      emit(Tok::letter, *out_.names.back());
      return;
    }
  }
  emit(Tok::letter, name);
}

Tokens tokenize(std::string_view text) {
  Tokens out;
  Lexer(text, out).run(false, 0);
  return out;
}

}  // namespace cohort::math
