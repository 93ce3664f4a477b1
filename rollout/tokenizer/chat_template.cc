#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "rollout/tokenizer/chat_skeleton.h"
#include "rollout/tokenizer/json_view.h"
#include "rollout/tokenizer/tokenizer.h"
#include "rollout/tokenizer/unicode.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using tokenizer::ChatFamily;
using tokenizer::JsonView;

// A rendered conversation as it grows, with the parts that the assistant wrote.
struct Rendering {
  std::string text;
  std::vector<std::pair<size_t, size_t>> assistant;

  void turn(std::string_view header, const std::string& role, std::string_view behind_role,
            std::string_view content, std::string_view end_of_turn, std::string_view behind) {
    text.append(header).append(role).append(behind_role);
    const size_t begin = text.size();
    text.append(content).append(end_of_turn);
    if (role == "assistant") assistant.emplace_back(begin, text.size());
    text.append(behind);
  }
  void chatml(const std::string& role, std::string_view content) {
    turn("<|im_start|>", role, "\n", content, "<|im_end|>", "\n");
  }
  void llama(const std::string& role, std::string_view content) {
    turn("<|start_header_id|>", role, "<|end_header_id|>\n\n", content, "<|eot_id|>", "");
  }
};

// Python's str.strip(): White_Space and the four ASCII separators.
std::string_view strip(std::string_view text) {
  size_t first = text.size(), last = 0;
  for (size_t i = 0; i < text.size();) {
    const auto c = tokenizer::utf8_at(text, i);
    if (!tokenizer::is_white_space(c.code) && !(c.code >= 0x1C && c.code <= 0x1F)) {
      first = std::min(first, i);
      last = i + c.length;
    }
    i += c.length;
  }
  return first < last ? text.substr(first, last - first) : std::string_view();
}

std::string_view strip_newlines(std::string_view text, bool left, bool right) {
  while (left && text.starts_with('\n')) text.remove_prefix(1);
  while (right && text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

constexpr std::string_view kResponseOpen = "<tool_response>", kResponseClose = "</tool_response>";

// Tool turns become the user's, and neighbouring ones share one turn.
void tool_turn(const std::vector<ChatMessage>& messages, size_t i, Rendering& out) {
  if (i == 0 || messages[i - 1].role != "tool") out.text += "<|im_start|>user";
  out.text.append("\n")
      .append(kResponseOpen)
      .append("\n")
      .append(messages[i].content)
      .append("\n")
      .append(kResponseClose);
  if (i + 1 == messages.size() || messages[i + 1].role != "tool") out.text += "<|im_end|>\n";
}

void render_chatml(const std::vector<ChatMessage>& messages, const std::string& default_system,
                   Rendering& out) {
  if (!default_system.empty() && messages[0].role != "system") out.chatml("system", default_system);
  for (const ChatMessage& m : messages) out.chatml(m.role, m.content);
}

void render_qwen(const std::vector<ChatMessage>& messages, const std::string& default_system,
                 Rendering& out) {
  if (!default_system.empty() && messages[0].role != "system") out.chatml("system", default_system);
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == "tool")
      tool_turn(messages, i, out);
    else
      out.chatml(messages[i].role, messages[i].content);
  }
}

// The thinking of turns behind the last user message is kept (the model is still at work on it), that of
// earlier turns is dropped.
void render_qwen3(const std::vector<ChatMessage>& messages, Rendering& out) {
  size_t last_query = messages.size() - 1;
  for (size_t i = messages.size(); i-- > 0;) {
    const std::string& content = messages[i].content;
    if (messages[i].role != "user" ||
        (content.starts_with(kResponseOpen) && content.ends_with(kResponseClose)))
      continue;
    last_query = i;
    break;
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role == "tool") {
      tool_turn(messages, i, out);
      continue;
    }
    if (role != "assistant") {
      out.chatml(role, messages[i].content);
      continue;
    }
    constexpr std::string_view open = "<think>", close = "</think>";
    std::string_view content = messages[i].content, thinking;
    if (const size_t first = content.find(close); first != std::string_view::npos) {
      thinking = strip_newlines(content.substr(0, first), false, true);
      if (const size_t begin = thinking.rfind(open); begin != std::string_view::npos)
        thinking.remove_prefix(begin + open.size());
      thinking = strip_newlines(thinking, true, false);
      content = strip_newlines(content.substr(content.rfind(close) + close.size()), true, false);
    }
    std::string whole(content);
    if (i > last_query && (i + 1 == messages.size() || !thinking.empty()))
      whole = fmt::format("<think>\n{}\n</think>\n\n{}", strip_newlines(thinking, true, true),
                          strip_newlines(content, true, false));
    out.chatml(role, whole);
  }
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  std::strftime(text, sizeof text, "%d %b %Y", &local);
  return text;
}

void render_llama(const std::vector<ChatMessage>& messages, const std::string& bos, ChatFamily family,
                  Rendering& out) {
  out.text += bos;
  size_t i = 0;
  if (family != ChatFamily::llama3) {
    const bool has_system = messages[0].role == "system";
    const std::string date = family == ChatFamily::llama3_1 ? "26 Jul 2024" : today();
    out.llama("system", fmt::format("Cutting Knowledge Date: December 2023\nToday Date: {}\n\n{}", date,
                                    has_system ? strip(messages[0].content) : ""));
    if (has_system) i = 1;
  }
  for (; i < messages.size(); ++i) out.llama(messages[i].role, strip(messages[i].content));
}

bool is_llama(ChatFamily family) {
  return family == ChatFamily::llama3 || family == ChatFamily::llama3_1 || family == ChatFamily::llama3_2;
}

}  // namespace

ChatTemplate ChatTemplate::read(const std::string& folder) {
  ChatTemplate out;
  out.folder_ = folder;
  std::string source;
  bool found = false;
  if (std::ifstream file(folder + "/chat_template.jinja", std::ios::binary); file) {
    source.assign(std::istreambuf_iterator<char>(file), {});
    found = true;
  }
  if (const std::string path = folder + "/tokenizer_config.json"; std::filesystem::exists(path)) {
    const JsonView config = JsonView::read(path);
    if (config.has("bos_token")) {  // "<s>" or {"content": "<s>", …}
      const JsonView bos = config.at("bos_token");
      out.bos_ = bos.json().is_object() ? bos.string("content") : bos.string();
    }
    if (!found && config.has("chat_template")) {
      const JsonView value = config.at("chat_template");
      if (value.json().is_array()) {  // several by name
        for (const JsonView& one : value.elements())
          if (one.string("name") == "default") source = one.string("template"), found = true;
      } else {
        source = value.string();
        found = true;
      }
    }
  }
  if (!found) return out;
  const tokenizer::ChatSkeleton skeleton = tokenizer::chat_skeleton(source);
  out.family_ = tokenizer::chat_family(skeleton);
  out.default_system_ = skeleton.default_system;
  out.fingerprint_ = tokenizer::fingerprint(skeleton);
  return out;
}

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                 bool enable_thinking) const {
  std::vector<std::pair<size_t, size_t>> ignored;
  std::string text = render(messages, ignored);
  if (!add_generation_prompt) return text;
  if (is_llama(family_)) return text + "<|start_header_id|>assistant<|end_header_id|>\n\n";
  text += "<|im_start|>assistant\n";
  if (family_ == ChatFamily::qwen3 && !enable_thinking) text += "<think>\n\n</think>\n\n";
  return text;
}

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                 std::vector<std::pair<size_t, size_t>>& assistant) const {
  if (family_ == ChatFamily::none)
    fail(
        "{}: has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json), so its "
        "data must "
        "come as \"prompt\", not as \"messages\"",
        folder_);
  if (family_ == ChatFamily::unknown)
    fail(
        "{}: its chat template is none of the known ones: ChatML (Qwen2, SmolLM2), Qwen2.5, Qwen3, Llama-3, "
        "Llama-3.1, Llama-3.2; give \"prompt\" instead of \"messages\" (template fingerprint {})",
        folder_, fingerprint_);
  if (messages.empty()) fail("{}: a conversation without messages cannot be rendered", folder_);
  if (is_llama(family_) && bos_.empty())
    fail("{}/tokenizer_config.json: bos_token is missing, and the chat template writes it", folder_);
  // The templates leave out what they have no words for, which would train on half a conversation.
  const bool tools =
      family_ == ChatFamily::qwen2_5 || family_ == ChatFamily::qwen3 || family_ == ChatFamily::qwen3_instruct;
  for (const ChatMessage& m : messages)
    if (m.role != "system" && m.role != "user" && m.role != "assistant" && !(tools && m.role == "tool"))
      fail("{}: its chat template has no role '{}' (known: system, user, assistant{})", folder_, m.role,
           tools ? ", tool" : "");

  Rendering out;
  switch (family_) {
    case ChatFamily::chatml:
      render_chatml(messages, default_system_, out);
      break;
    case ChatFamily::qwen2_5:
    case ChatFamily::qwen3_instruct:
      render_qwen(messages, default_system_, out);
      break;
    case ChatFamily::qwen3:
      render_qwen3(messages, out);
      break;
    default:
      render_llama(messages, bos_, family_, out);
  }
  assistant = std::move(out.assistant);
  return std::move(out.text);
}

}  // namespace cohort
