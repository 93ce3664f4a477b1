// Messages with random contents, every type in turn: for round trips and for bytes to damage.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "transport/messages.h"

namespace cohort::testing {

class RandomMessages {
 public:
  explicit RandomMessages(uint64_t seed) : rng_(seed) {}

  static constexpr size_t kKinds = std::variant_size_v<Message>;
  Envelope next(size_t kind) {
    return {one_of(0, 1) ? u64() : 0, message(kind, std::make_index_sequence<kKinds>{})};
  }

  uint64_t u64() { return rng_() >> (rng_() % 64); }  // of every magnitude
  uint32_t u32() { return static_cast<uint32_t>(u64()); }
  int64_t one_of(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(rng_);
  }
  double real() {
    switch (one_of(0, 7)) {
      case 0:
        return 0;
      case 1:
        return -0.0;
      case 2:
        return std::numeric_limits<double>::infinity();
      case 3:
        return 5e-324;
      default:
        return std::normal_distribution<double>(0, 100)(rng_);
    }
  }
  std::string text() {  // any bytes, NUL and invalid UTF-8 as well
    std::string s(size(40), ' ');
    for (char& c : s) c = static_cast<char>(rng_());
    return s;
  }

 private:
  size_t size(size_t most) {
    return one_of(0, 3) ? static_cast<size_t>(one_of(0, static_cast<int64_t>(most))) : 0;
  }
  template <class T>
  std::vector<T> numbers(size_t n) {
    std::vector<T> v(n);
    for (T& x : v) x = static_cast<T>(u64());
    return v;
  }
  template <class T>
  std::vector<T> numbers() {
    return numbers<T>(size(30));
  }

  template <size_t... I>
  Message message(size_t kind, std::index_sequence<I...>) {
    Message out;
    ((kind == I ? void(out = make(std::variant_alternative_t<I, Message>{})) : void()), ...);
    return out;
  }

  template <class T>
  void tokens(T& m) {
    m.prompt_ids = numbers<int32_t>();
    m.token_ids = numbers<int32_t>();
    for (size_t i = 0; i < m.token_ids.size(); ++i)
      m.logprobs.push_back(static_cast<float>(-std::abs(real())));
    for (uint32_t left = static_cast<uint32_t>(m.token_ids.size()); left > 0;) {
      uint32_t n = static_cast<uint32_t>(one_of(1, left));
      m.versions.push_back({u32(), n});
      left -= n;
    }
  }

  Hello make(Hello m) {
    m = {static_cast<Role>(one_of(0, 3)),
         text(),
         text(),
         text(),
         u32(),
         u32(),
         u32(),
         u32(),
         u32(),
         {},
         numbers<uint64_t>()};
    for (size_t i = size(5); i > 0; --i) m.held.push_back({u64(), numbers<uint32_t>()});
    return m;
  }
  Welcome make(Welcome) { return {text(), u64(), text(), u32(), u32(), u32()}; }
  Refused make(Refused) { return {text()}; }
  Heartbeat make(Heartbeat) { return {u32(), u32(), u32(), u64(), real(), real(), real(), u64()}; }
  HeartbeatAck make(HeartbeatAck) { return {}; }
  Ack make(Ack) { return {u64()}; }
  Goodbye make(Goodbye) { return {text()}; }
  Shutdown make(Shutdown) { return {one_of(0, 1) == 1, text()}; }
  HelloAgain make(HelloAgain) { return {}; }
  Credit make(Credit) { return {u64()}; }
  Lease make(Lease) {
    Lease m{u64(), text(), numbers<uint32_t>(), {}, one_of(0, 1) == 1};
    m.sampling = {real(),
                  real(),
                  static_cast<int32_t>(u64()),
                  real(),
                  static_cast<int32_t>(u64()),
                  {},
                  numbers<int32_t>(),
                  one_of(0, 1) == 1,
                  u64()};
    for (size_t i = size(4); i > 0; --i) m.sampling.stop.push_back(text());
    return m;
  }
  Completion make(Completion m) {
    m.group = u64();
    m.index = u32();
    tokens(m);
    m.text = text();
    m.finish_reason = text();
    m.seconds = real();
    return m;
  }
  LeaseReturned make(LeaseReturned) { return {u64(), numbers<uint32_t>(), text()}; }
  WeightsHeld make(WeightsHeld) { return {u32()}; }
  GradeJob make(GradeJob) {
    return {u64(), u64(), u32(), text(), text(), text(), text(), u32(), static_cast<int64_t>(rng_())};
  }
  Graded make(Graded m) {
    m = {u64(), u64(), u32(), {}, real(), real()};
    for (size_t i = size(4); i > 0; --i)
      m.parts.push_back({text(),
                         real(),
                         {static_cast<VerdictKind>(one_of(0, 11)), real(), text(), text(), text(),
                          one_of(0, 1) == 1, u32(), u64()},
                         real()});
    return m;
  }
  Cancel make(Cancel) { return {u64(), u64()}; }
  BatchRequest make(BatchRequest) { return {u32()}; }
  Batch make(Batch m) {
    m.step = u32();
    for (size_t i = size(4); i > 0; --i) {
      m.groups.push_back({u64(), {}});
      for (size_t j = size(8); j > 0; --j) m.groups.back().rewards.push_back(real());
    }
    for (size_t i = size(6); i > 0; --i) {
      Sample s;
      s.group = u64();
      s.index = u32();
      tokens(s);
      s.reward = real();
      s.truncated = one_of(0, 1) == 1;
      m.samples.push_back(std::move(s));
    }
    m.total_tokens = u64();
    m.total_samples = u32();
    return m;
  }
  NoMoreBatches make(NoMoreBatches) { return {text()}; }
  Trained make(Trained m) {
    m.step = u32();
    for (size_t i = size(6); i > 0; --i) m.metrics.push_back({text(), real()});
    return m;
  }
  Checkpointed make(Checkpointed) { return {u32(), text()}; }
  Published make(Published) { return {u32(), text(), u64()}; }
  WeightsAvailable make(WeightsAvailable) { return {u32(), text(), u64()}; }
  StatusRequest make(StatusRequest) { return {}; }
  Status make(Status) { return {text()}; }

  std::mt19937_64 rng_;
};

}  // namespace cohort::testing
