#include "reward/math/token.h"

#include <algorithm>
#include <cctype>

#include "reward/math/budget.h"
#include "reward/math/commands.h"

namespace cohort::math {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

namespace {

class Lexer {
 public:
  Lexer(std::string_view text, Tokens& out) : text_(text), out_(out) {}

  void run(bool in_text, int nesting) {
    in_text_ = in_text;
    while (at_ < text_.size()) step(nesting);
  }
  uint16_t depth = 0;

 private:
  char peek(size_t n = 0) const { return at_ + n < text_.size() ? text_[at_ + n] : '\0'; }
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  Token& emit(Tok kind, std::string_view text = {}) {
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
  void open(Tok kind) {
    emit(kind);
    if (depth < 60000) ++depth;
  }
  void close(Tok kind) {
    if (depth > 0) --depth;
    emit(kind);
  }

  void step(int nesting) {
    const char c = peek();
    if (is_digit(c) || (c == '.' && (is_digit(peek(1)) && !(at_ > 0 && is_digit(text_[at_ - 1])))))
      return number();
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

  void caret() {
    size_t n = 0;
    for (std::string_view mark : {"\\circ", "{\\circ}", "{\\circ }", "{ \\circ }", "\\degree", "{o}"})
      if (n == 0 && starts(mark)) n = mark.size();
    if (n > 0 && !is_alpha(peek(n))) {
      at_ += n;
      emit(Tok::degree);
    } else {
      emit(Tok::caret);
    }
  }

  // "_3", "_{12}", "_n" after a letter: part of the name, spelled one way.
  void letters() {
    const size_t begin = at_;
    while (is_alpha(peek())) ++at_;
    std::string_view run = text_.substr(begin, at_ - begin);
    if (based(begin)) return;
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
  void letter(std::string_view name) {
    if (peek() == '_' && at_ + 1 < text_.size()) {
      size_t begin = at_ + 1, end = begin;
      if (text_[begin] == '{') {
        end = ++begin;
        while (end < text_.size() && end - begin < 12 && (is_digit(text_[end]) || is_alpha(text_[end])))
          ++end;
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

  // A base after the digits that end at `at`: _2 _{16} _{\text{two}}. 0 for none; moves `at` behind it.
  unsigned base_at(size_t& at) const {
    if (at >= text_.size() || text_[at] != '_') return 0;
    size_t p = at + 1;
    const bool braces = p < text_.size() && text_[p] == '{';
    if (braces) ++p;
    std::string word;
    if (braces && text_.substr(p).starts_with("\\text{")) {
      const size_t close = text_.find('}', p);
      if (close == std::string_view::npos) return 0;
      word = text_.substr(p + 6, std::min<size_t>(close - p - 6, 10));
      p = close + 1;
    } else {
      while (p < text_.size() && word.size() < 10 && (is_digit(text_[p]) || (braces && is_alpha(text_[p]))))
        word += text_[p++];
    }
    if (braces && (p >= text_.size() || text_[p++] != '}')) return 0;
    unsigned base = base_word(word);
    if (base == 0 && !word.empty() && word.size() <= 2 && std::all_of(word.begin(), word.end(), is_digit))
      base = static_cast<unsigned>(std::stoul(word));
    if (base < 2 || base > 36) return 0;
    at = p;
    return base;
  }
  // 1A_{16}: digits and capitals in a base above ten.
  bool based(size_t begin) {
    size_t end = begin;
    bool fits = true;
    while (end < text_.size() && (is_digit(text_[end]) || is_alpha(text_[end])))
      fits = fits && !(text_[end] >= 'a'), ++end;
    if (!fits || end - begin < 2) return false;
    size_t after = end;
    const unsigned base = base_at(after);
    if (base <= 10) return false;
    Literal l;
    l.digits = text_.substr(begin, end - begin);
    l.point = l.digits.size();
    l.base = base;
    push(std::move(l), begin);
    at_ = after;
    return true;
  }

  void push(Literal l, size_t begin) {
    Token& t = emit(Tok::number, text_.substr(begin, 1));
    t.index = static_cast<uint32_t>(out_.literals.size());
    out_.literals.push_back(std::move(l));
  }

  bool three_digits(size_t n) const {
    return is_digit(peek(n)) && is_digit(peek(n + 1)) && is_digit(peek(n + 2)) && !is_digit(peek(n + 3));
  }

  void number() {
    const size_t begin = at_;
    if (based(begin)) return;
    Literal l;
    while (is_digit(peek())) l.digits += text_[at_++];
    if (!l.digits.empty() && l.digits.size() <= 3)
      for (bool more = true; more;) {
        more = false;
        for (std::string_view mark : {",\\!", "{,}", "\\,", ","})
          if (!more && starts(mark) && three_digits(mark.size())) {
            l.commas = l.commas || mark == ",";
            l.digits.append(text_.substr(at_ + mark.size(), 3));
            at_ += mark.size() + 3;
            more = true;
          }
      }
    l.point = l.digits.size();
    if (peek() == '.') {
      size_t p = at_ + 1;
      while (p < text_.size() && is_digit(text_[p])) l.digits += text_[p++];
      std::string_view rest = text_.substr(p);
      std::string_view mark = rest.starts_with("\\overline{") ? "\\overline{"
                              : rest.starts_with("\\bar{")    ? "\\bar{"
                              : rest.starts_with("\\dot{")    ? "\\dot{"
                              : rest.starts_with("(")         ? "("
                                                              : "";
      if (!mark.empty()) {
        size_t q = p + mark.size();
        while (q < text_.size() && is_digit(text_[q])) ++q;
        const char end = mark == "(" ? ')' : '}';
        const size_t n = q - p - mark.size();
        if (n > 0 && q < text_.size() && text_[q] == end) {
          l.digits.append(text_.substr(p + mark.size(), n));
          l.repeating = n;
          p = q + 1;
        }
      }
      l.has_point = l.digits.size() > l.point;
      if (l.has_point) at_ = p;
      if (l.has_point && peek() == '.' && (is_digit(peek(1)) || peek(1) == '.'))
        l.spelled = false;  // 1.2.3, 0.33...
    }
    if (l.repeating == 0 && (peek() == 'e' || peek() == 'E')) {
      const size_t n = peek(1) == '+' || peek(1) == '-' ? 2 : 1;
      if (is_digit(peek(n))) {
        const bool negative = peek(1) == '-';
        for (at_ += n; is_digit(peek()); ++at_)
          if ((l.exponent = l.exponent * 10 + (peek() - '0')) > 1000000) l.exponent = 1000000;
        if (negative) l.exponent = -l.exponent;
        l.scientific = true;
      }
    }
    if (!l.scientific && l.repeating == 0) {
      size_t after = at_;
      if (const unsigned base = base_at(after)) {
        l.base = base;
        at_ = after;
      }
    }
    if (l.digits.size() > kMaxDigits) l.spelled = false;
    push(std::move(l), begin);
  }

  void command(int nesting) {
    const size_t begin = ++at_;
    while (is_alpha(peek())) ++at_;
    const std::string_view name = text_.substr(begin, at_ - begin);
    if (name.empty()) return sign();
    if (name == "not" && peek() == '=') {
      ++at_;
      emit(Tok::not_equal);
      return;
    }
    if (name == "mathbb") {
      const std::string_view rest = text_.substr(at_);
      const char set = rest.size() > 2 && rest[0] == '{' && rest[2] == '}' ? rest[1] : '\0';
      const Tok kind = set == 'R'   ? Tok::reals
                       : set == 'N' ? Tok::naturals
                       : set == 'Z' ? Tok::integers
                       : set == 'Q' ? Tok::rationals
                                    : Tok::other;
      if (set) at_ += 3;
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
          space_ = true;
        }
        break;
      case Role::style:
        break;
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

  void sign() {
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
      case '_':
      case '&':
      case '#':
        emit(Tok::other, text_.substr(at_ - 1, 1));
        break;
      default:
        emit(Tok::other);
        break;
    }
  }

  void environment(bool begins) {
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

  void group_of_text(std::string_view name, int nesting) {
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
    if (name == "operatorname" || name == "mathrm") {
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

  const std::string_view text_;
  Tokens& out_;
  size_t at_ = 0;
  bool space_ = false;
  bool in_text_ = false;
};

}  // namespace

Tokens tokenize(std::string_view text) {
  Tokens out;
  Lexer(text, out).run(false, 0);
  return out;
}

}  // namespace cohort::math
