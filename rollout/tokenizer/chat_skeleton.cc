#include "rollout/tokenizer/chat_skeleton.h"

#include <fmt/core.h>

#include <cctype>
#include <cstdint>
#include <map>
#include <vector>

namespace cohort::tokenizer {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

struct Tag {
  char kind = 0;  // '{' output, '%' statement, '#' comment
  bool trim_before = false, trim_behind = false;
  std::string_view body;
  size_t end = 0;  // behind it in the source
};

// The tag that begins at `at`; end = npos when it is not closed.
Tag read_tag(std::string_view source, size_t at) {
  Tag tag;
  tag.kind = source[at + 1];
  const char close = tag.kind == '{' ? '}' : tag.kind;
  size_t begin = at + 2, i = begin;
  char quote = 0;
  for (; i + 1 < source.size(); ++i) {
    const char c = source[i];
    if (quote != 0) {
      if (c == '\\')
        ++i;
      else if (c == quote)
        quote = 0;
    } else if (tag.kind != '#' && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == close && source[i + 1] == '}') {
      break;
    }
  }
  if (i + 1 >= source.size()) {
    tag.end = std::string_view::npos;
    return tag;
  }
  size_t end = i;
  if (begin < end && (source[begin] == '-' || source[begin] == '+')) tag.trim_before = source[begin++] == '-';
  if (begin < end && source[end - 1] == '-') tag.trim_behind = true, --end;
  tag.body = source.substr(begin, end - begin);
  tag.end = i + 2;
  return tag;
}

// An expression in one spelling: single quotes, no needless spaces, x['key'] as x.key.
std::string one_spelling(std::string_view body) {
  std::string out;
  bool gap = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (is_space(c)) {
      gap = true;
      continue;
    }
    if (c == '\'' || c == '"') {
      std::string literal;
      for (++i; i < body.size() && body[i] != c; ++i) {
        if (body[i] == '\\' && i + 1 < body.size()) {
          literal += body[i] == '\\' && body[i + 1] == c ? "" : "\\";
          literal += body[++i];
        } else if (body[i] == '\n') {
          literal += "\\n";
        } else {
          literal += body[i];
        }
      }
      if (out.ends_with('[') && i + 1 < body.size() && body[i + 1] == ']' && out.size() > 1 &&
          (is_word(out[out.size() - 2]) || out[out.size() - 2] == ']')) {
        out.back() = '.';
        out += literal;
        ++i;
      } else {
        out += "'" + literal + "'";
      }
    } else {
      if (gap && !out.empty() && is_word(out.back()) && is_word(c)) out += ' ';
      out += c;
    }
    gap = false;
  }
  return out;
}

// What jinja leaves of the text between two tags with trim_blocks and lstrip_blocks, as transformers sets
// them.
std::string_view text_between(std::string_view text, const Tag* before, const Tag* behind) {
  if (before != nullptr && before->trim_behind) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  } else if (before != nullptr && before->kind != '{' && text.starts_with('\n')) {
    text.remove_prefix(1);
  }
  if (behind == nullptr) {
    if (text.ends_with('\n')) text.remove_suffix(1);
  } else if (behind->trim_before) {
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  } else if (behind->kind != '{') {
    size_t line = text.find_last_not_of(" \t");
    if (line == std::string_view::npos ? before == nullptr || text.empty() : text[line] == '\n')
      text = text.substr(0, line + 1);
  }
  return text;
}

}  // namespace

ChatSkeleton chat_skeleton(std::string_view source) {
  std::vector<std::string> lines;
  std::vector<bool> blocks;  // open ifs and fors: dropped?
  Tag last;
  const Tag* before = nullptr;
  auto add_text = [&](std::string_view text) {
    if (!text.empty()) lines.push_back("text " + one_spelling("'" + std::string(text) + "'"));
  };
  size_t at = 0;
  while (true) {
    size_t open = at;
    while (true) {
      open = source.find('{', open);
      if (open == std::string_view::npos || open + 1 >= source.size()) break;
      const char kind = source[open + 1];
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++open;
    }
    if (open == std::string_view::npos || open + 1 >= source.size()) break;
    const Tag tag = read_tag(source, open);
    if (tag.end == std::string_view::npos) return {"unclosed tag", ""};
    add_text(text_between(source.substr(at, open - at), before, &tag));
    if (tag.kind != '#') {
      const std::string line = one_spelling(tag.body);
      // What concerns tools never runs here; the else and the end of a block go with its beginning.
      bool dropped = line.find("tool") != std::string::npos;
      if (tag.kind == '%') {
        if (line.starts_with("if") || line.starts_with("for ")) {
          blocks.push_back(dropped);
        } else if ((line == "else" || line == "endif" || line == "endfor") && !blocks.empty()) {
          dropped = blocks.back();
          if (line != "else") blocks.pop_back();
        }
      }
      if (!dropped) lines.push_back((tag.kind == '{' ? "= " : "") + line);
    }
    last = tag;
    before = &last;
    at = tag.end;
  }
  add_text(text_between(source.substr(at), before, nullptr));

  ChatSkeleton out;
  const std::string open = "= '<|im_start|>system\\n", close = "<|im_end|>\\n'";
  for (std::string& line : lines) {
    if (!line.starts_with(open) || !line.ends_with(close) || line.size() <= open.size() + close.size())
      continue;
    const std::string literal = line.substr(open.size(), line.size() - open.size() - close.size());
    if (literal.find('\'') != std::string::npos || literal.find("<|") != std::string::npos) continue;
    out.default_system = literal;
    line = open + "SYSTEM" + close;
  }
  // Old templates give the switch a value first; it always has one here.
  if (lines.size() > 2 && lines[0] == "if not add_generation_prompt is defined" &&
      lines[1] == "set add_generation_prompt=false" && lines[2] == "endif")
    lines.erase(lines.begin(), lines.begin() + 3);
  for (const std::string& line : lines) {
    if (!out.default_system.empty() && line == "= '" + out.default_system + "'")
      continue;  // said again for tools
    out.text += line + "\n";
  }
  // the literal as text
  std::string text;
  for (size_t i = 0; i < out.default_system.size(); ++i) {
    const std::string& s = out.default_system;
    if (s[i] == '\\' && i + 1 < s.size()) {
      ++i;
      text += s[i] == 'n' ? '\n' : s[i] == 't' ? '\t' : s[i];
    } else {
      text += s[i];
    }
  }
  out.default_system = text;
  return out;
}

std::string fingerprint(const ChatSkeleton& skeleton) {
  uint64_t h = 0xCBF29CE484222325;  // FNV-1a
  for (unsigned char c : skeleton.text) h = (h ^ c) * 0x100000001B3;
  return fmt::format("{:016x}", h);
}

ChatFamily chat_family(const ChatSkeleton& skeleton) {
  static const std::map<std::string, ChatFamily> known = {
      {"aee51e98f7b1a4c4", ChatFamily::chatml},  // no default system prompt
      {"be97a316e13ac757", ChatFamily::chatml},  // with one: Qwen2, SmolLM2
      {"2f5c1b7524d3834f", ChatFamily::qwen2_5},
      {"312f7fa4148638d8", ChatFamily::qwen3},  // as first released
      {"bdca21f8248f3705", ChatFamily::qwen3},  // since reasoning_content
      {"b3d9be90925cebd5", ChatFamily::qwen3_instruct},
      {"fd38a29c71b09886", ChatFamily::llama3},
      {"923ccc2eec8dcf55", ChatFamily::llama3_1},
      {"2969bdcd5e27966e", ChatFamily::llama3_2},
      // the three in the words of tests/golden/make_chat_golden.py, without tools
      {"4dfad06cdf483d28", ChatFamily::llama3},
      {"88aea4a7e0ac9461", ChatFamily::llama3_1},
      {"97f9fe3ddf978b10", ChatFamily::llama3_2},
  };
  auto found = known.find(fingerprint(skeleton));
  return found == known.end() ? ChatFamily::unknown : found->second;
}

}  // namespace cohort::tokenizer
