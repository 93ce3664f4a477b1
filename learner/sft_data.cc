#include "learner/sft_data.h"

#include <xxhash.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "transport/base/error.h"

namespace cohort {
namespace {

using nlohmann::json;

class Reader {
 public:
  Reader(const SftDataOptions& options, const Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer) {}

  SftSample sample(const std::string& line) {
    const json j = json::parse(line, nullptr, false);
    if (j.is_discarded()) fail("is not JSON");
    if (!j.is_object()) fail("is not a JSON object");
    SftSample out = j.contains("messages") ? from_messages(j.at("messages")) : from_pair(j);
    for (int32_t id : out.tokens)
      if (id >= options_.vocab_size)
        fail(
            "gives the token {}, but the model's vocab_size is {}: tokenizer.json and config.json do not "
            "belong together",
            id, options_.vocab_size);
    return out;
  }

 private:
  const std::string& text(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end())
      fail("has no \"{}\": a line is {{\"prompt\", \"completion\"}} or {{\"messages\"}}", key);
    if (!found->is_string()) fail("has a \"{}\" that is not a string", key);
    return found->get_ref<const std::string&>();
  }

  void append(SftSample& out, const std::vector<int32_t>& ids, bool learnt) {
    out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
    out.learnt.insert(out.learnt.end(), ids.size(), learnt);
  }

  // Prompt and completion are encoded apart, as they are when the model is asked to go on from the prompt.
  SftSample from_pair(const json& j) {
    SftSample out;
    append(out, tokenizer_.encode(text(j, "prompt"), true), false);
    append(out, tokenizer_.encode(text(j, "completion"), false), true);
    const int32_t eos = options_.eos_token_id;
    if (options_.append_eos && eos >= 0 &&
        (out.tokens.empty() || out.tokens.back() != eos || !out.learnt.back()))
      append(out, {eos}, true);
    return out;
  }

  SftSample from_messages(const json& list) {
    if (!list.is_array() || list.empty()) fail("has \"messages\" that are not a list of messages");
    std::vector<ChatMessage> messages;
    for (const json& m : list) {
      if (!m.is_object()) fail("has a message that is not an object");
      messages.push_back({text(m, "role"), text(m, "content")});
    }
    if (!chat_) chat_ = ChatTemplate::read(options_.model_folder);
    std::vector<std::pair<size_t, size_t>> assistant;
    const std::string rendered = chat_->render(messages, assistant);
    if (assistant.empty()) fail("has no message of the assistant: there is nothing to learn");
    SftSample out;
    size_t at = 0;
    for (const auto& [begin, end] : assistant) {
      append(out, tokenizer_.encode(std::string_view(rendered).substr(at, begin - at)), false);
      append(out, tokenizer_.encode(std::string_view(rendered).substr(begin, end - begin)), true);
      at = end;
    }
    append(out, tokenizer_.encode(std::string_view(rendered).substr(at)), false);
    return out;
  }

  const SftDataOptions& options_;
  const Tokenizer& tokenizer_;
  std::optional<ChatTemplate> chat_;
};

// A fixed generator (splitmix64), so that the order is the same with every standard library.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

int64_t SftSample::targets() const {
  return learnt.empty() ? 0 : std::count(learnt.begin() + 1, learnt.end(), uint8_t{1});
}

SftData read_sft_data(const SftDataOptions& options, const Tokenizer& tokenizer) {
  std::ifstream file(options.path, std::ios::binary);
  if (!file) fail("{}: cannot be opened", options.path);
  SftData out;
  Reader reader(options, tokenizer);
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    out.hash = XXH3_64bits_withSeed(line.data(), line.size(), out.hash);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    SftSample sample;
    try {
      sample = reader.sample(line);
    } catch (const Error& e) {
      fail("{}:{}: {}", options.path, number, e.what());
    }
    if (options.max_length > 0 && static_cast<int64_t>(sample.tokens.size()) > options.max_length) {
      sample.tokens.resize(static_cast<size_t>(options.max_length));
      sample.learnt.resize(static_cast<size_t>(options.max_length));
      ++out.cut;
    }
    if (sample.targets() == 0)
      ++out.dropped;
    else
      out.samples.push_back(std::move(sample));
  }
  if (out.samples.empty()) fail("{}: holds nothing to learn from", options.path);
  return out;
}

size_t SampleOrder::at(uint64_t position) {
  const uint64_t epoch = position / samples_;
  if (epoch != epoch_) {
    order_.resize(samples_);
    std::iota(order_.begin(), order_.end(), 0u);
    uint64_t state = seed_ * 0x2545f4914f6cdd1d + epoch;
    for (size_t i = samples_; i > 1; --i) std::swap(order_[i - 1], order_[next_random(state) % i]);
    epoch_ = epoch;
  }
  return order_[position % samples_];
}

}  // namespace cohort
