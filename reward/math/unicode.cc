// Unicode digits and signs as ASCII and LaTeX.
#include <algorithm>
#include <array>

#include "reward/math/token.h"

namespace cohort::math {
namespace {

struct Sign {
  char32_t code;
  const char* latex;
};
// By code.
constexpr std::array kSigns = {
    Sign{0x00a0, "\\,"},
    Sign{0x00a3, "\\pounds "},
    Sign{0x00a5, "\\yen "},
    Sign{0x00ac, "\\neg "},
    Sign{0x00b0, "^\\circ "},
    Sign{0x00b1, "\\pm "},
    Sign{0x00b2, "^{2}"},
    Sign{0x00b3, "^{3}"},
    Sign{0x00b5, "\\mu "},
    Sign{0x00b7, "\\cdot "},
    Sign{0x00b9, "^{1}"},
    Sign{0x00bc, "\\frac{1}{4}"},
    Sign{0x00bd, "\\frac{1}{2}"},
    Sign{0x00be, "\\frac{3}{4}"},
    Sign{0x00d7, "\\times "},
    Sign{0x00f7, "\\div "},
    Sign{0x0393, "\\Gamma "},
    Sign{0x0394, "\\Delta "},
    Sign{0x0398, "\\Theta "},
    Sign{0x039b, "\\Lambda "},
    Sign{0x03a0, "\\Pi "},
    Sign{0x03a3, "\\Sigma "},
    Sign{0x03a9, "\\Omega "},
    Sign{0x03b1, "\\alpha "},
    Sign{0x03b2, "\\beta "},
    Sign{0x03b3, "\\gamma "},
    Sign{0x03b4, "\\delta "},
    Sign{0x03b5, "\\epsilon "},
    Sign{0x03b8, "\\theta "},
    Sign{0x03bb, "\\lambda "},
    Sign{0x03bc, "\\mu "},
    Sign{0x03c0, "\\pi "},
    Sign{0x03c1, "\\rho "},
    Sign{0x03c3, "\\sigma "},
    Sign{0x03c4, "\\tau "},
    Sign{0x03c6, "\\phi "},
    Sign{0x03c9, "\\omega "},
    Sign{0x2009, "\\,"},
    Sign{0x200a, "\\,"},
    Sign{0x200b, ""},
    Sign{0x2010, "-"},
    Sign{0x2011, "-"},
    Sign{0x2012, "-"},
    Sign{0x2013, "-"},
    Sign{0x2014, "-"},
    Sign{0x2018, "'"},
    Sign{0x2019, "'"},
    Sign{0x201c, "\""},
    Sign{0x201d, "\""},
    Sign{0x2026, "\\ldots "},
    Sign{0x202f, "\\,"},
    Sign{0x2032, "'"},
    Sign{0x2044, "/"},
    Sign{0x2061, ""},
    Sign{0x2062, ""},
    Sign{0x2063, ""},
    Sign{0x20ac, "\\euro "},
    Sign{0x2102, "\\mathbb{C}"},
    Sign{0x2103, "^\\circ C"},
    Sign{0x2115, "\\mathbb{N}"},
    Sign{0x211a, "\\mathbb{Q}"},
    Sign{0x211d, "\\mathbb{R}"},
    Sign{0x2124, "\\mathbb{Z}"},
    Sign{0x2150, "\\frac{1}{7}"},
    Sign{0x2151, "\\frac{1}{9}"},
    Sign{0x2152, "\\frac{1}{10}"},
    Sign{0x2153, "\\frac{1}{3}"},
    Sign{0x2154, "\\frac{2}{3}"},
    Sign{0x2155, "\\frac{1}{5}"},
    Sign{0x2156, "\\frac{2}{5}"},
    Sign{0x2157, "\\frac{3}{5}"},
    Sign{0x2158, "\\frac{4}{5}"},
    Sign{0x2159, "\\frac{1}{6}"},
    Sign{0x215a, "\\frac{5}{6}"},
    Sign{0x215b, "\\frac{1}{8}"},
    Sign{0x215c, "\\frac{3}{8}"},
    Sign{0x215d, "\\frac{5}{8}"},
    Sign{0x215e, "\\frac{7}{8}"},
    Sign{0x2205, "\\emptyset "},
    Sign{0x2208, "\\in "},
    Sign{0x220f, "\\prod "},
    Sign{0x2211, "\\sum "},
    Sign{0x2212, "-"},
    Sign{0x2213, "\\mp "},
    Sign{0x2215, "/"},
    Sign{0x2216, "\\setminus "},
    Sign{0x2217, "*"},
    Sign{0x2218, "^\\circ "},
    Sign{0x2219, "\\cdot "},
    Sign{0x221a, "\\radic "},
    Sign{0x221b, "\\radiccube "},
    Sign{0x221c, "\\radicfour "},
    Sign{0x221e, "\\infty "},
    Sign{0x2220, "\\angle "},
    Sign{0x2223, "\\mid "},
    Sign{0x2227, "\\land "},
    Sign{0x2228, "\\lor "},
    Sign{0x2229, "\\cap "},
    Sign{0x222a, "\\cup "},
    Sign{0x2236, ":"},
    Sign{0x223c, "\\sim "},
    Sign{0x2248, "\\approx "},
    Sign{0x2260, "\\ne "},
    Sign{0x2261, "\\equiv "},
    Sign{0x2264, "\\le "},
    Sign{0x2265, "\\ge "},
    Sign{0x22c5, "\\cdot "},
    Sign{0x2308, "\\lceil "},
    Sign{0x2309, "\\rceil "},
    Sign{0x230a, "\\lfloor "},
    Sign{0x230b, "\\rfloor "},
    Sign{0x27e8, "\\langle "},
    Sign{0x27e9, "\\rangle "},
    Sign{0x2a7d, "\\le "},
    Sign{0x2a7e, "\\ge "},
    Sign{0x3000, " "},
    Sign{0x3001, ","},
    Sign{0x3002, "."},
    Sign{0xfeff, ""},
};

// Zeros of the decimal digits (general category Nd), each followed by its nine.
constexpr std::array<char32_t, 58> kZeros = {
    0x0660,  0x06f0,  0x07c0,  0x0966,  0x09e6,  0x0a66,  0x0ae6,  0x0b66,  0x0be6,  0x0c66,
    0x0ce6,  0x0d66,  0x0de6,  0x0e50,  0x0ed0,  0x0f20,  0x1040,  0x1090,  0x17e0,  0x1810,
    0x1946,  0x19d0,  0x1a80,  0x1a90,  0x1b50,  0x1bb0,  0x1c40,  0x1c50,  0xa620,  0xa8d0,
    0xa900,  0xa9d0,  0xa9f0,  0xaa50,  0xabf0,  0xff10,  0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950,
    0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16b50, 0x1e140, 0x1e2f0, 0x1e950};

// One character from the front of `text`; what is no UTF-8 is one byte with a code nothing knows.
char32_t take(std::string_view text, size_t& length) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char b = byte(0);
  length = b >= 0xf0 && b < 0xf8 ? 4 : b >= 0xe0 ? 3 : b >= 0xc0 ? 2 : 1;
  if (b >= 0xf8 || length > text.size() || length == 1) {
    length = 1;
    return b < 0x80 ? b : 0xfffd;
  }
  char32_t code = b & (0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      length = 1;
      return 0xfffd;
    }
    code = code << 6 | (byte(i) & 0x3f);
  }
  return code;
}

// The character a superscript (or subscript) stands for, 0 for others.
char raised(char32_t code) {
  if (code == 0x00b9) return '1';
  if (code == 0x00b2) return '2';
  if (code == 0x00b3) return '3';
  if (code == 0x2070 || (code >= 0x2074 && code <= 0x2079)) return static_cast<char>('0' + (code - 0x2070));
  if (code == 0x207a) return '+';
  if (code == 0x207b) return '-';
  if (code == 0x207f) return 'n';
  if (code == 0x02e3) return 'x';
  return 0;
}
char lowered(char32_t code) {
  if (code >= 0x2080 && code <= 0x2089) return static_cast<char>('0' + (code - 0x2080));
  if (code == 0x2099) return 'n';
  return 0;
}

// The ASCII digit a digit of another script or style stands for, 0 for others.
char digit_of(char32_t code) {
  if (code >= 0x1d7ce && code <= 0x1d7ff)  // five styles of mathematical digits
    return static_cast<char>('0' + (code - 0x1d7ce) % 10);
  const auto* zero = std::upper_bound(kZeros.begin(), kZeros.end(), code);
  if (zero == kZeros.begin() || code - *(zero - 1) > 9) return 0;
  return static_cast<char>('0' + (code - *(zero - 1)));
}

}  // namespace

std::string fold_digits(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0, length = 1; at < text.size(); at += length) {
    length = 1;
    const char c = static_cast<unsigned char>(text[at]) < 0x80 ? 0 : digit_of(take(text.substr(at), length));
    if (c)
      out += c;
    else
      out.append(text.substr(at, length));
  }
  return out;
}

std::string fold_unicode(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t at = 0, length = 1; at < text.size(); at += length) {
    const char32_t code = take(text.substr(at), length);
    if (code < 0x80) {
      out += static_cast<char>(code);
      continue;
    }
    char (*const of)(char32_t) = raised(code) ? raised : lowered(code) ? lowered : nullptr;
    if (of) {  // a run of them in one pair of braces
      out += of == raised ? "^{" : "_{";
      for (char c; at < text.size() && (c = of(take(text.substr(at), length))) != 0; at += length) out += c;
      out += '}';
      length = 0;
      continue;
    }
    if (code >= 0xff01 && code <= 0xff5e) {
      out += static_cast<char>(code - 0xff01 + '!');
      continue;
    }
    if (const char digit = digit_of(code)) {
      out += digit;
      continue;
    }
    const auto* sign = std::lower_bound(kSigns.begin(), kSigns.end(), code,
                                        [](const Sign& s, char32_t c) { return s.code < c; });
    if (sign != kSigns.end() && sign->code == code)
      out += sign->latex;
    else
      out.append(text.substr(at, length));
  }
  return out;
}

}  // namespace cohort::math
