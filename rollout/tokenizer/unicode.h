// UTF-8 and the character classes of tokenizers: one decoding function on which validity, replacement and
// streaming all rest, the normal forms (utf8proc), and the GPT-2 table that writes each byte as a printable
// character.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace cohort::tokenizer {

inline constexpr char32_t kInvalid = 0xFFFFFFFF;     // these bytes can never begin a character
inline constexpr char32_t kIncomplete = 0xFFFFFFFE;  // the text ends inside a character that is right so far
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// The character at `text[at]` (at < size) and its length in bytes. For kInvalid and kIncomplete the length is
// the maximal subpart of Unicode's chapter 3.9, which is what Python's errors="replace" turns into one
// U+FFFD.
struct Utf8Char {
  char32_t code;
  int length;
};
Utf8Char utf8_at(std::string_view text, size_t at);

bool is_utf8(std::string_view text);
void append_utf8(std::string& out, char32_t code);
// Python's bytes.decode("utf-8", errors="replace"), as UTF-8 again.
std::string replace_invalid(std::string_view text);

bool is_white_space(char32_t code);           // Unicode's White_Space
bool is_numeric(char32_t code);               // categories Nd, Nl, No
bool is_punctuation(char32_t code);           // ASCII punctuation and categories P*
bool is_mark(char32_t code);                  // categories M*
std::string to_lower(std::string_view text);  // character by character, no context (no final sigma)

enum class NormalForm { nfc, nfd, nfkc, nfkd };
std::string normal_form(std::string_view text, NormalForm form);

// GPT-2's byte-level alphabet: printable bytes stand for themselves, the others for U+0100…U+0143.
struct ByteAlphabet {
  std::array<std::string, 256> text;  // byte → its character in UTF-8
  int byte_of(char32_t code) const { return code < bytes_.size() ? bytes_[code] : -1; }
  // The bytes that `token` writes; false (and `out` untouched) when one of its characters is none of the
  // alphabet.
  bool bytes_of(std::string_view token, std::string& out) const;
  static const ByteAlphabet& get();

 private:
  ByteAlphabet();
  std::array<int16_t, 0x144> bytes_;
};

}  // namespace cohort::tokenizer
