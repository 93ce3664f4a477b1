// What begins with a backslash.
#include <algorithm>

#include "reward/math/commands.h"
#include "reward/math/lexer.h"

namespace cohort::math {

void Lexer::command(int nesting) {
  const size_t begin = ++at_;
  while (is_alpha(peek())) ++at_;
  const std::string_view name = text_.substr(begin, at_ - begin);
  if (name.empty()) return sign();
  if (name == "not" && peek() == '=') {
    ++at_;
    emit(Tok::not_equal);
    return;
  }
  const bool bold_set =
      name == "mathbf" && (starts("{R}") || starts("{N}") || starts("{Z}") || starts("{Q}"));
  if (name == "mathbb" || name == "Bbb" || bold_set) {
    while (peek() == ' ') ++at_;
    const std::string_view rest = text_.substr(at_);
    const bool braces = rest.size() > 2 && rest[0] == '{' && rest[2] == '}';
    const char set = braces ? rest[1] : is_alpha(peek()) ? peek() : '\0';
    const Tok kind = set == 'R'   ? Tok::reals
                     : set == 'N' ? Tok::naturals
                     : set == 'Z' ? Tok::integers
                     : set == 'Q' ? Tok::rationals
                                  : Tok::other;
    if (set) at_ += braces ? 3 : 1;
    emit(kind);
    return;
  }
  if (name == "begin" || name == "end") return environment(name == "begin");
  const auto it = commands().find(name);
  if (it == commands().end()) {
    emit(Tok::other, name);
    return;
  }
  switch (it->second.role) {
    case Role::space:
      if (name == "left" || name == "right") {
        if (peek() == '.') ++at_;
      } else {
        // 3 \quad 5 are two answers
        const size_t next = text_.find_first_not_of(' ', at_);
        const bool number = next != std::string_view::npos && (is_digit(text_[next]) || text_[next] == '-');
        if (number && name.ends_with("quad") && !out_.list.empty() && out_.list.back().kind == Tok::number)
          emit(Tok::comma);
        space_ = true;
      }
      break;
    case Role::style:
      break;
    case Role::argument: {
      if (peek() == '*') ++at_;
      const size_t end = peek() == '{' ? text_.find('}', at_) : std::string_view::npos;
      if (end != std::string_view::npos) at_ = end + 1;
      space_ = true;
      break;
    }
    case Role::text:
      group_of_text(name, nesting);
      break;
    case Role::greek:
      letter(it->second.meaning.text);
      break;
    case Role::token: {
      const Tok kind = it->second.meaning.kind;
      if (kind == Tok::open_set || kind == Tok::open_angle || kind == Tok::open_floor ||
          kind == Tok::open_ceil)
        open(kind);
      else if (kind == Tok::close_set || kind == Tok::close_angle || kind == Tok::close_floor ||
               kind == Tok::close_ceil)
        close(kind);
      else
        emit(kind, it->second.meaning.text);
      break;
    }
  }
}

void Lexer::sign() {
  const char c = peek();
  if (c != '\0') ++at_;
  switch (c) {
    case '{':
      open(Tok::open_set);
      break;
    case '}':
      close(Tok::close_set);
      break;
    case '%':
      emit(Tok::percent);
      break;
    case '$':
      emit(Tok::currency, "dollar");
      break;
    case '|':
      emit(Tok::bar);
      break;
    case '\\':
      emit(Tok::new_row);
      if (peek() == '[' && (is_digit(peek(1)) || peek(1) == '-' || peek(1) == '.')) {  // \\[4pt]
        const size_t end = text_.substr(0, std::min(text_.size(), at_ + 12)).find(']', at_);
        if (end != std::string_view::npos && is_alpha(text_[end - 1])) at_ = end + 1;
      }
      break;
    case '!':
    case '(':
    case ')':
    case '[':
    case ']':
      break;
    case ',':
    case ';':
    case ':':
    case ' ':
    case '>':
      space_ = true;
      break;
    case '#':  // \#100
      if (!out_.list.empty() || !is_digit(peek())) emit(Tok::other, "#");
      break;
    case '_':
    case '&':
      emit(Tok::other, text_.substr(at_ - 1, 1));
      break;
    default:
      emit(Tok::other);
      break;
  }
}

void Lexer::environment(bool begins) {
  std::string_view name;
  if (peek() == '{') {
    const size_t close = text_.find('}', at_);
    if (close != std::string_view::npos) {
      name = text_.substr(at_ + 1, close - at_ - 1);
      at_ = close + 1;
    }
  }
  if (begins && name == "array" && peek() == '{') {
    const size_t close = text_.find('}', at_);
    if (close != std::string_view::npos) at_ = close + 1;
  }
  if (begins) {
    emit(Tok::begin, name);
    ++depth;
  } else {
    if (depth > 0) --depth;
    emit(Tok::end, name);
  }
}

void Lexer::group_of_text(std::string_view name, int nesting) {
  while (peek() == ' ') ++at_;
  if (peek() != '{' || nesting > 3) return;
  size_t end = at_ + 1;
  for (int braces = 1; end < text_.size(); ++end) {
    if (text_[end] == '{') ++braces;
    if (text_[end] == '}' && --braces == 0) break;
  }
  if (end >= text_.size()) return;  // not closed: the brace is read as one
  const std::string_view inner = text_.substr(at_ + 1, end - at_ - 1);
  at_ = end + 1;
  const bool mathematics = name == "mathrm" && (inner == "e" || inner == "i");
  if (inner == "C" && peek() == '_' && combinations('C', at_)) return;
  if (inner.size() <= 8) {
    const auto known = commands().find(inner);
    if (known != commands().end() && known->second.meaning.kind == Tok::function) {
      emit(Tok::function, known->second.meaning.text);
      return;
    }
  }
  Lexer part(inner, out_);
  part.depth = depth;
  part.space_ = space_;
  part.run(!mathematics, nesting + 1);
  space_ = part.space_ || (!inner.empty() && inner.back() == ' ');
}

}  // namespace cohort::math
