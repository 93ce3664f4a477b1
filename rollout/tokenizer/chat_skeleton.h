// Recognising a chat template. Jinja sources of one family differ in layout, in quotes, in what they say
// about tools and in the default system prompt; a skeleton is the source without these. Equal skeletons
// render conversations of plain text alike, so a template is either known exactly or refused; none is guessed
// at.
#pragma once

#include <string>
#include <string_view>

namespace cohort::tokenizer {

struct ChatSkeleton {
  std::string text;            // one statement a line
  std::string default_system;  // the literal that stood at SYSTEM, "" for none
};
ChatSkeleton chat_skeleton(std::string_view jinja);

enum class ChatFamily : int {
  none,     // the folder has no template
  unknown,  // it has one that is none of these
  chatml,   // ChatML: Qwen1.5/Qwen2, SmolLM2 and many fine-tunes, with or without a default system prompt
  qwen2_5,  // ChatML, default system prompt, tool turns folded into the user's
  qwen3,    // ChatML, <think> blocks of earlier turns dropped, enable_thinking
  qwen3_instruct,  // Qwen3-*-2507: no thinking, no default system prompt
  llama3,
  llama3_1,  // and 3.3: knowledge date and a fixed "today" in a system turn that is always there
  llama3_2,  // the same with the day of rendering
};
ChatFamily chat_family(const ChatSkeleton& skeleton);
// What the table of known skeletons is keyed by, and what the error for an unknown one prints.
std::string fingerprint(const ChatSkeleton& skeleton);

}  // namespace cohort::tokenizer
