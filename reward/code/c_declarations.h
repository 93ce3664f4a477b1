// The words of a C text as declarations: what a file has outside of every bracket, and what its preprocessor's lines define.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort::code {

using Words = std::vector<std::string>;

template <class List>
bool among(const List& list, std::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}
bool is_name(const std::string& word);
// struct, union, enum
bool is_aggregate(const std::string& word);
// With a space between two.
std::string joined(const Words& words, size_t begin, size_t end);
std::string joined(const Words& words);
// The index behind the bracket that `open` opens, or the end.
size_t behind(const Words& words, size_t open);

struct CMacro {
  Words body;
  bool call = false;  // has parameters
  bool same = true;   // one definition only
};

// The words of a text outside of its preprocessor's lines, which are read on the way.
struct CText {
  Words words;
  std::vector<size_t> ends;  // of the words, in the text
  std::map<std::string, CMacro> macros;
  std::string headers;  // of the C library, and what they are told
  bool packs = false;   // has a pragma that lays structures out in another way
};
CText read_c_text(std::string_view text);

// One declaration of a file: its words without the body that a function has or the value of a variable.
struct CDeclaration {
  enum Kind { type, function, variable, other };
  Kind kind = other;
  Words words;
  std::vector<std::string> names;  // types, tags and constants it makes; of a variable or function its name
  bool complete = false;           // a structure with its members
  bool elsewhere = false;          // "extern"
  size_t last = 0;                 // its last word's number in the file
};
// A structure and variables of it are two.
std::vector<CDeclaration> c_declarations(const Words& words);

// Each variable of a declaration: its name, and it alone with specifiers, stars, name, lengths.
std::vector<std::pair<std::string, std::string>> c_variables(const CDeclaration& d);

}  // namespace cohort::code
