#include "reward/judge/prompt.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <regex>

#include "reward/record.h"
#include "transport/base/options.h"

namespace cohort::judge {

// Generated at build time from reward/judge/prompts/: a worker on any host has them.
extern const std::map<std::string, std::string> kShippedTemplates;

namespace {

constexpr std::array<const char*, 6> kPlaceholders = {"question", "reference", "response",
                                                      "first",    "second",    "answer_format"};

enum class Sees { summary, whole };
inline EnumNames<Sees> enum_names(Sees) {
  return {{Sees::summary, "summary"}, {Sees::whole, "whole"}};
}

struct Head {
  using is_options = void;
  Sees sees = Sees::summary;
  bool pairwise = false;
  std::vector<std::string> verdicts;
  std::vector<double> scores;
  std::vector<int> scale;
  template <class V>
  void visit(V& v) {
    v("sees", sees, "");
    v("pairwise", pairwise, "");
    v("verdicts", verdicts, "");
    v("scores", scores, "");
    v("scale", scale, "");
  }
};

std::string section(const std::string& body, const std::string& name) {
  const std::string head = "# " + name + "\n";
  size_t at = body.starts_with(head) ? 0 : body.find("\n" + head);
  if (at == std::string::npos) return "";
  at = body.find('\n', at == 0 ? 0 : at + 1) + 1;
  const size_t end = body.find("\n# ", at);
  return std::string(trim(body.substr(at, end == std::string::npos ? end : end - at)));
}

// Placeholders in the order they stand, as [begin, end) with their names; unknown names are left as text.
struct Place {
  size_t begin, end;
  std::string name;
};
std::vector<Place> places(const std::string& text) {
  std::vector<Place> out;
  for (size_t at = text.find("{{"); at != std::string::npos; at = text.find("{{", at + 2)) {
    const size_t close = text.find("}}", at);
    if (close == std::string::npos) break;
    const std::string name(trim(text.substr(at + 2, close - at - 2)));
    out.push_back({at, close + 2, name});
  }
  return out;
}

std::string answer_format(const Template& form, const std::string& nonce) {
  std::string verdict;
  if (form.verdicts.empty())
    verdict = fmt::format("a whole number from {} to {}", form.low, form.high);
  else
    for (const std::string& v : form.verdicts) verdict += (verdict.empty() ? "\"" : " or \"") + v + "\"";
  return fmt::format(
      "Answer with one JSON object and nothing else, its keys in this order: \"reason\" (one short "
      "sentence), "
      "\"verdict\" ({}), \"nonce\" (the text \"{}\").",
      verdict, nonce);
}

// Characters that nobody sees and a model may read: zero-width, direction, variation and tag characters.
bool invisible(uint32_t c) {
  return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0) || c == 0xad ||
         (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
         c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

std::string visible(std::string_view text) {
  const std::string valid = valid_utf8(text);
  std::string out;
  for (size_t i = 0; i < valid.size();) {
    const auto lead = static_cast<unsigned char>(valid[i]);
    const size_t n = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? lead : lead & (0x7fu >> n);
    for (size_t k = 1; k < n; ++k) c = c << 6 | (static_cast<unsigned char>(valid[i + k]) & 0x3f);
    if (!invisible(c)) out.append(valid, i, n);
    i += n;
  }
  return out;
}

}  // namespace

bool Template::uses(std::string_view placeholder) const {
  for (const std::string* text : {&system, &user})
    for (const Place& p : places(*text))
      if (p.name == placeholder) return true;
  return false;
}

Template parse_template(const std::string& text, const std::string& where) {
  const size_t end = text.find("\n+++\n", 3);
  if (!text.starts_with("+++\n") || end == std::string::npos)
    fail_usage("{}: a template begins with TOML between two lines of +++", where);
  Head head;
  read_options(TomlTable::parse("\n" + text.substr(4, end - 3), where), head);
  Template form;
  form.text = text;
  form.sees_whole = head.sees == Sees::whole;
  form.pairwise = head.pairwise;
  form.verdicts = head.verdicts;
  form.scores = head.scores;
  if (form.pairwise) {
    if (!form.verdicts.empty() || !head.scale.empty())
      fail_usage("{}: a pairwise template has no verdicts, scores or scale of its own", where);
    form.verdicts = {"first", "second", "tie"};
    form.scores = {1, 0, 0.5};
  } else if (head.scale.size() == 2 && head.scale[0] < head.scale[1] && form.verdicts.empty()) {
    form.low = head.scale[0], form.high = head.scale[1];
  } else if (form.verdicts.size() < 2 || form.verdicts.size() != form.scores.size() || !head.scale.empty()) {
    fail_usage("{}: needs two or more verdicts with a score each, or scale = [low, high]", where);
  }
  const std::string body = text.substr(end + 5);
  form.system = section(body, "system");
  form.user = section(body, "user");
  if (form.user.empty()) fail_usage("{}: has no \"# user\" with text under it", where);
  for (const std::string* t : {&form.system, &form.user})
    for (const Place& p : places(*t))
      if (std::find(kPlaceholders.begin(), kPlaceholders.end(), p.name) == kPlaceholders.end()) {
        const std::string near = nearest_name(p.name, {kPlaceholders.begin(), kPlaceholders.end()});
        fail_usage("{}: {{{{{}}}}} is no placeholder{}", where, p.name,
                   near.empty() ? "" : "; did you mean {{" + near + "}}?");
      }
  if (form.pairwise ? !form.uses("first") || !form.uses("second") : !form.uses("response"))
    fail_usage(
        "{}: the judge would not see {}", where,
        form.pairwise ? "both responses: use {{first}} and {{second}}" : "the response: use {{response}}");
  if (!form.uses("answer_format")) fail_usage("{}: {{{{answer_format}}}} is missing", where);
  return form;
}

std::vector<std::string> shipped_templates() {
  std::vector<std::string> names;
  for (const auto& [name, text] : kShippedTemplates) names.push_back(name);
  return names;
}

std::string shipped_template(const std::string& name) {
  const auto it = kShippedTemplates.find(name);
  return it == kShippedTemplates.end() ? "" : it->second;
}

std::string guard(std::string_view text) {
  // `<` before a word of ours (also closing, spaced or in capitals), `<|` and `<｜` of chat templates, and their words
  static const std::regex angle(
      "<(?=\\s*/"
      "?\\s*(question|reference|response|first|second|nonce|instructions?|system|user|assistant|s|bos|eos|"
      "start_of_turn|end_of_turn|think)\\b|\\s*\\||\\s*\xef\xbd\x9c|<\\s*/?\\s*sys)",
      std::regex::icase | std::regex::optimize);
  static const std::regex square("\\[(?=\\s*/?\\s*(inst|system|available_tools|tool_results)\\b)",
                                 std::regex::icase | std::regex::optimize);
  const std::string seen = visible(text);
  std::string out;
  // the pattern looks ahead a few characters only, so std::regex may be run from each bracket without recursion
  for (size_t i = 0; i < seen.size(); ++i) {
    const char c = seen[i];
    if (c != '<' && c != '[') {
      out += c;
      continue;
    }
    const size_t end = std::min(seen.size(), i + 64);
    const std::regex& pattern = c == '<' ? angle : square;
    const bool ours = std::regex_search(seen.begin() + static_cast<std::ptrdiff_t>(i),
                                        seen.begin() + static_cast<std::ptrdiff_t>(end), pattern,
                                        std::regex_constants::match_continuous);
    out += ours ? (c == '<' ? "&lt;" : "&#91;") : std::string(1, c);
  }
  return out;
}

std::string fresh_nonce() {
  uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) throw InfraError("judge: no random bits");
  return fmt::format("{:016x}", bits);
}

Messages fill(const Template& form, const std::map<std::string, std::string>& values,
              const std::string& nonce) {
  auto filled = [&](const std::string& text) {
    std::string out;
    size_t from = 0;
    for (const Place& p : places(text)) {
      out.append(text, from, p.begin - from);
      from = p.end;
      if (p.name == "answer_format")
        out += answer_format(form, nonce);
      else
        out += fmt::format("<{0} nonce=\"{1}\">\n{2}\n</{0} nonce=\"{1}\">", p.name, nonce,
                           guard(values.at(p.name)));
    }
    return out + text.substr(from);
  };
  return {filled(form.system), filled(form.user)};
}

nlohmann::ordered_json answer_schema(const Template& form, const std::string& nonce) {
  nlohmann::ordered_json verdict;
  if (form.verdicts.empty())
    verdict = {{"type", "integer"}, {"minimum", form.low}, {"maximum", form.high}};
  else
    verdict = {{"type", "string"}, {"enum", form.verdicts}};
  return {{"type", "object"},
          {"properties",
           {{"reason", {{"type", "string"}}},
            {"verdict", verdict},
            {"nonce", {{"type", "string"}, {"enum", {nonce}}}}}},
          {"required", {"reason", "verdict", "nonce"}},
          {"additionalProperties", false}};
}

}  // namespace cohort::judge
