// Rendered conversations equal transformers' apply_chat_template; tests/golden/make_chat_golden.py made the
// values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/rollout/tokenizer/folders.h"
#include "transport/base/error.h"

namespace cohort::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json golden() {
  return Json::parse(read_file(std::string(COHORT_SOURCE_DIR) + "/tests/golden/chat_templates.json"));
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

ChatTemplate template_of(const std::string& source, const Json& bos, bool in_config) {
  Folder folder;
  Json config = {{"bos_token", bos}};
  if (in_config)
    config["chat_template"] = source;
  else
    folder.write("chat_template.jinja", source);
  folder.write("tokenizer_config.json", config.dump());
  return ChatTemplate::read(folder.path());
}

std::vector<ChatMessage> messages_of(const Json& conversation) {
  std::vector<ChatMessage> out;
  for (const Json& turn : conversation) out.push_back({turn[0], turn[1]});
  return out;
}

std::string with_golden_day(std::string text) {
  char today[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(today, sizeof today, "Today Date: %d %b %Y", std::localtime(&now));
  if (size_t at = text.find(today); at != std::string::npos)
    text.replace(at, std::string(today).size(), "Today Date: 01 Feb 2003");
  return text;
}

TEST(ChatTemplateTest, RendersAsTransformersDoes) {
  const Json file = golden();
  const Json& conversations = file["conversations"];
  size_t rendered = 0;
  for (const Json& known : file["known"]) {
    SCOPED_TRACE(known["name"].get<std::string>());
    const ChatTemplate chat = template_of(known["template"], known["bos"], rendered % 2 == 0);
    ASSERT_EQ(known["renders"].size(), conversations.size());
    for (size_t i = 0; i < conversations.size(); ++i) {
      SCOPED_TRACE(i);
      const auto messages = messages_of(conversations[i]);
      const Json& expected = known["renders"][i];
      if (expected.is_null()) {
        EXPECT_THAT(error_of([&] { chat.render(messages, true); }), HasSubstr("has no role 'tool'"));
        continue;
      }
      auto render = [&](bool prompt, bool thinking = true) {
        return with_golden_day(chat.render(messages, prompt, thinking));
      };
      const std::string plain = expected[0], prompt = expected[1], no_thinking = expected[2];
      ASSERT_EQ(render(false), plain);
      ASSERT_EQ(render(true), plain + prompt);
      ASSERT_EQ(render(true, false), plain + prompt + no_thinking);
      ++rendered;
    }
  }
  EXPECT_GT(rendered, 140u);
}

// The golden file has Llama's templates in words of its own; the originals render the same. They are under Llama's
// licence and not kept here: `make_chat_golden.py --originals $COHORT_TEST_MODELS` brings them.
TEST(ChatTemplateTest, KnowsLlamasOwnTemplates) {
  const char* models = std::getenv("COHORT_TEST_MODELS");
  const std::string originals = std::string(models ? models : "") + "/chat_templates/";
  if (!models || !std::filesystem::exists(originals)) GTEST_SKIP() << "no $COHORT_TEST_MODELS/chat_templates";
  const Json file = golden();
  int seen = 0;
  for (const Json& known : file["known"]) {
    std::string name = known["name"];
    if (!name.starts_with("llama")) continue;
    SCOPED_TRACE(name);
    std::replace(name.begin(), name.end(), '.', '_');
    const ChatTemplate original = template_of(read_file(originals + name + ".jinja"), known["bos"], false);
    const ChatTemplate own = template_of(known["template"], known["bos"], false);
    for (const Json& conversation : file["conversations"]) {
      const auto messages = messages_of(conversation);
      if (std::any_of(messages.begin(), messages.end(), [](const auto& m) { return m.role == "tool"; }))
        continue;
      EXPECT_EQ(original.render(messages, true), own.render(messages, true));
    }
    ++seen;
  }
  EXPECT_EQ(seen, 3);
}

TEST(ChatTemplateTest, TheAssistantsPartsAreItsContentsAndEnds) {
  const Json file = golden();
  for (const Json& known : file["known"]) {
    SCOPED_TRACE(known["name"].get<std::string>());
    const bool llama = known["name"].get<std::string>().starts_with("llama");
    const ChatTemplate chat = template_of(known["template"], known["bos"], true);
    std::vector<std::pair<size_t, size_t>> parts;
    const std::string text = chat.render({{"user", "1"},
                                          {"assistant", "one"},
                                          {"user", "assistant"},
                                          {"assistant", "<think>\nt\n</think>\n\ntwo"}},
                                         parts);
    ASSERT_EQ(parts.size(), 2u);
    const std::string end = llama ? "<|eot_id|>" : "<|im_end|>";
    auto part = [&](size_t i) { return text.substr(parts[i].first, parts[i].second - parts[i].first); };
    EXPECT_EQ(part(0), "one" + end);
    EXPECT_EQ(part(1), "<think>\nt\n</think>\n\ntwo" + end);
    EXPECT_TRUE(
        text.substr(0, parts[0].first).ends_with(llama ? "assistant<|end_header_id|>\n\n" : "assistant\n"));
  }
}

TEST(ChatTemplateTest, RefusesWhatItDoesNotKnow) {
  const Json file = golden();
  ASSERT_EQ(file["unknown"].size(), 8u);
  for (const auto& [name, source] : file["unknown"].items()) {
    SCOPED_TRACE(name);
    const ChatTemplate chat = template_of(source, "<s>", true);
    EXPECT_THAT(error_of([&] {
                  chat.render({{"user", "x"}}, true);
                }),
                AllOf(HasSubstr("cohort-tokenizer-"), HasSubstr("none of the known ones: ChatML"),
                      HasSubstr("Llama-3.1")));
  }
  Folder bare;
  EXPECT_THAT(error_of([&] {
                ChatTemplate::read(bare.path()).render({{"user", "x"}}, true);
              }),
              AllOf(HasSubstr(bare.path()), HasSubstr("has no chat template")));
  const ChatTemplate llama = template_of(file["known"][11]["template"], nullptr, true);
  EXPECT_THAT(error_of([&] { llama.render({{"user", "x"}}, true); }), HasSubstr("bos_token is missing"));
  const ChatTemplate chatml = template_of(file["known"][0]["template"], nullptr, true);
  EXPECT_THAT(error_of([&] { chatml.render({}, true); }), HasSubstr("without messages"));
  EXPECT_THAT(error_of([&] { chatml.render({{"judge", "x"}}, true); }), HasSubstr("no role 'judge'"));
  bare.write("tokenizer_config.json", "{\"chat_template\": 3}");
  EXPECT_THAT(error_of([&] { ChatTemplate::read(bare.path()); }),
              HasSubstr("tokenizer_config.json: chat_template: expected a string"));
}

TEST(ChatTemplateTest, TakesTheDefaultOfSeveral) {
  Folder folder;
  const Json loop = golden()["known"][0]["template"];
  folder.write("tokenizer_config.json",
               Json{{"chat_template",
                     {{{"name", "tool_use"}, {"template", "x"}}, {{"name", "default"}, {"template", loop}}}}}
                   .dump());
  EXPECT_EQ(ChatTemplate::read(folder.path()).render({{"user", "x"}}, true),
            "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace cohort::test
