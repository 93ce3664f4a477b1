#include "actors/prompts.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>

#include "transport/base/error.h"
#include "transport/base/nesting.h"

namespace cohort {

PromptFile::PromptFile(const std::string& path) : path_(path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("{}: cannot be read: {}", path, std::strerror(errno));
  text_.assign(std::istreambuf_iterator<char>(in), {});
  const XXH128_hash_t h = XXH3_128bits(text_.data(), text_.size());
  hash_ = fmt::format("{:016x}{:016x}", h.high64, h.low64);

  std::unordered_map<std::string, uint64_t> lines_of_ids;
  uint64_t line = 0;
  for (size_t begin = 0; begin < text_.size();) {
    size_t end = text_.find('\n', begin);
    if (end == std::string::npos) end = text_.size();
    ++line;
    std::string_view record(text_.data() + begin, end - begin);
    if (!record.empty() && record.back() == '\r') record.remove_suffix(1);
    if (record.find_first_not_of(" \t") != std::string_view::npos) {
      if (nested_too_deeply(record)) fail("{}:{}: nests deeper than {} levels", path, line, kDeepestJson);
      nlohmann::json json;
      try {
        json = nlohmann::json::parse(record);
      } catch (const nlohmann::json::parse_error& e) {
        fail("{}:{}: is not JSON (byte {} of the line); each line must be one JSON object", path, line,
             e.byte);
      }
      if (!json.is_object()) fail("{}:{}: is not a JSON object", path, line);
      const bool prompt = json.contains("prompt") && json["prompt"].is_string();
      const bool messages =
          json.contains("messages") && json["messages"].is_array() && !json["messages"].empty();
      if (!prompt && !messages)
        fail("{}:{}: has neither \"prompt\" (text) nor \"messages\" (a list)", path, line);
      std::string id = std::to_string(line);
      if (json.contains("id")) {
        const auto& value = json["id"];
        if (!value.is_string() && !value.is_number())
          fail("{}:{}: \"id\" must be a string or a number", path, line);
        id = value.is_string() ? value.get<std::string>() : value.dump();
      }
      auto [it, fresh] = lines_of_ids.emplace(id, line);
      if (!fresh) fail("{}:{}: id \"{}\" is also on line {}; ids must differ", path, line, id, it->second);
      entries_.push_back({line, begin, record.size(), std::move(id)});
    }
    begin = end + 1;
  }
  if (entries_.empty()) fail("{}: has no prompts", path);
}

Prompt PromptFile::at(size_t index) const {
  const Entry& e = entries_.at(index);
  return {e.line, std::string_view(text_).substr(e.begin, e.length), e.id};
}

Prompt PromptFile::by_line(uint64_t line) const {
  auto it = std::lower_bound(entries_.begin(), entries_.end(), line,
                             [](const Entry& e, uint64_t l) { return e.line < l; });
  if (it == entries_.end() || it->line != line)
    fail("{}:{}: the ledger has a prompt of this line and the file has none", path_, line);
  return at(static_cast<size_t>(it - entries_.begin()));
}

namespace {
// splitmix64: the same numbers on every machine and library, unlike std::shuffle.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
}  // namespace

PromptOrder::PromptOrder(size_t size, uint64_t seed, bool shuffle)
    : size_(size), seed_(seed), shuffle_(shuffle) {}

size_t PromptOrder::index_of(uint64_t draw) {
  const uint64_t epoch = draw / size_;
  if (!shuffle_) return draw % size_;
  if (epoch != cached_epoch_) {
    order_.resize(size_);
    std::iota(order_.begin(), order_.end(), 0u);
    uint64_t state = seed_;
    state = next_random(state) ^ epoch;
    next_random(state);
    for (size_t i = size_; i > 1; --i) {
      // multiply-shift keeps the bias below 2^-32 for any file that fits in memory
      const auto j = static_cast<size_t>((static_cast<unsigned __int128>(next_random(state)) * i) >> 64);
      std::swap(order_[i - 1], order_[j]);
    }
    cached_epoch_ = epoch;
  }
  return order_[draw % size_];
}

}  // namespace cohort
