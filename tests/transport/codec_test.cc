#include "transport/codec.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/transport/random_message.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using testing::RandomMessages;

std::span<const std::byte> bytes_of(const std::string& s) {
  return std::as_bytes(std::span(s));
}

// Decoding damaged bytes either throws Error or gives a message that is itself whole: it encodes and decodes
// again. Returns whether it decoded.
bool survives(const std::string& damaged) {
  try {
    Envelope envelope = decode(bytes_of(damaged));
    (void)decode(bytes_of(encode(envelope)));
    return true;
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return false;
  }
}

TEST(Codec, EveryMessageComesBackAsItWas) {
  RandomMessages random(1);
  for (size_t kind = 0; kind < RandomMessages::kKinds; ++kind)
    for (int i = 0; i < 200; ++i) {
      Envelope sent = random.next(kind);
      Envelope got = decode(bytes_of(encode(sent)));
      ASSERT_EQ(got.seq, sent.seq);
      ASSERT_TRUE(got.message == sent.message) << name_of(sent.message);
    }
}

TEST(Codec, DefaultsComeBackToo) {
  for (Message m : std::vector<Message>{Hello{}, Welcome{}, Shutdown{}, Lease{}, Graded{}, GradeJob{},
                                        Batch{}, Completion{}})
    EXPECT_TRUE(decode(bytes_of(encode({0, m}))).message == m) << name_of(m);
}

TEST(Codec, LargeBatch) {
  Batch batch;
  for (int i = 0; i < 512; ++i) {
    Sample s;
    s.token_ids.assign(8192, 151643 - i);
    s.logprobs.assign(8192, -0.125f * static_cast<float>(i));
    s.versions = {{3, 4000}, {4, 4192}};
    batch.samples.push_back(s);
  }
  Envelope got = decode(bytes_of(encode({7, batch})));
  EXPECT_TRUE(std::get<Batch>(got.message) == batch);
}

TEST(Codec, NamesFollowTheVariant) {
  EXPECT_STREQ(name_of(Hello{}), "hello");
  EXPECT_STREQ(name_of(Credit{}), "credit");
  EXPECT_STREQ(name_of(Completion{}), "completion");
  EXPECT_STREQ(name_of(Graded{}), "graded");
  EXPECT_STREQ(name_of(Checkpointed{}), "checkpointed");
  EXPECT_STREQ(name_of(Status{}), "status");
}

TEST(Codec, ReliableIsWhatTheProtocolSays) {
  RandomMessages random(2);
  std::set<std::string> reliable;
  for (size_t kind = 0; kind < RandomMessages::kKinds; ++kind) {
    Message m = random.next(kind).message;
    if (is_reliable(m)) reliable.insert(name_of(m));
  }
  EXPECT_EQ(reliable,
            (std::set<std::string>{"completion", "leaseReturned", "graded", "trained", "checkpointed"}));
}

TEST(Codec, CountsThatDifferAreRefusedOnBothSides) {
  Completion c;
  c.group = 12;
  c.index = 3;
  c.token_ids = {1, 2, 3};
  c.logprobs = {-1, -2};
  c.versions = {{0, 3}};
  try {
    encode({1, c});
    FAIL() << "log-probs and tokens differ";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "message: completion 12/3 has 3 tokens but 2 log-probs");
  }
  c.logprobs = {-1, -2, -3};
  c.versions = {{0, 2}};
  EXPECT_THROW(encode({1, c}), Error);
  c.versions = {{0, 0xffffffffu}, {1, 4}};  // adds up to 3 only in 32 bits
  EXPECT_THROW(encode({1, c}), Error);
  c.versions = {{0, 2}, {5, 1}};
  EXPECT_NO_THROW(encode({1, c}));
}

TEST(Codec, TruncationAtEveryByteIsSeen) {
  RandomMessages random(3);
  for (size_t kind = 0; kind < RandomMessages::kKinds; ++kind)
    for (int i = 0; i < 5; ++i) {
      std::string whole = encode(random.next(kind));
      for (size_t n = 0; n < whole.size(); ++n)
        ASSERT_FALSE(survives(whole.substr(0, n)))
            << "kind " << kind << ": " << n << " of " << whole.size() << " bytes";
    }
}

TEST(Codec, BytesBehindAMessageAreSeen) {
  RandomMessages random(4);
  for (size_t kind = 0; kind < RandomMessages::kKinds; ++kind) {
    std::string whole = encode(random.next(kind));
    EXPECT_FALSE(survives(whole + '\x01'));
    EXPECT_FALSE(survives(whole + whole));
  }
}

TEST(Codec, RandomFlipsNeverCrash) {
  RandomMessages random(5);
  int decoded = 0, refused = 0;
  for (int i = 0; i < 40000; ++i) {
    std::string s = encode(random.next(static_cast<size_t>(i) % RandomMessages::kKinds));
    for (int64_t flips = random.one_of(1, 4); flips > 0; --flips) {
      auto at = static_cast<size_t>(random.one_of(0, static_cast<int64_t>(s.size()) - 1));
      s[at] = static_cast<char>(s[at] ^ (1 << random.one_of(0, 7)));
    }
    (survives(s) ? decoded : refused)++;
  }
  EXPECT_GT(decoded, 1000);  // a flipped digit of a token is still a token
  EXPECT_GT(refused, 1000);
}

TEST(Codec, NoiseAndSplicesNeverCrash) {
  RandomMessages random(6);
  EXPECT_FALSE(survives(""));
  for (int i = 0; i < 20000; ++i) {
    std::string a = encode(random.next(static_cast<size_t>(random.one_of(0, RandomMessages::kKinds - 1))));
    std::string b = encode(random.next(static_cast<size_t>(random.one_of(0, RandomMessages::kKinds - 1))));
    std::string spliced = a.substr(0, static_cast<size_t>(random.one_of(0, static_cast<int64_t>(a.size())))) +
                          b.substr(static_cast<size_t>(random.one_of(0, static_cast<int64_t>(b.size()))));
    survives(spliced);
    survives(random.text());
  }
}

TEST(Codec, AFewBytesThatUnpackToMuchAreRefusedQuickly) {
  // Packing writes 256 words of zeros in two bytes.
  std::string bomb;
  for (int i = 0; i < 1 << 20; ++i) bomb += std::string("\x00\xff", 2);
  EXPECT_FALSE(survives(bomb));
}

TEST(Codec, UnknownKindIsNamed) {
  // The union's discriminant is the third 16-bit word of the root's data section: seq first, then it.
  std::string status = encode({0, StatusRequest{}});
  bool seen = false;
  for (size_t at = 0; at < status.size(); ++at)
    for (int value = 0; value < 256; ++value) {
      std::string s = status;
      s[at] = static_cast<char>(value);
      try {
        (void)decode(bytes_of(s));
      } catch (const Error& e) {
        seen |= std::string(e.what()).find("unknown kind") != std::string::npos;
      }
    }
  EXPECT_TRUE(seen);
}

TEST(Verdict, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(VerdictKind::cancelled); ++i) {
    auto kind = static_cast<VerdictKind>(i);
    EXPECT_EQ(verdict_kind_from(to_string(kind)), kind);
  }
  EXPECT_STREQ(to_string(VerdictKind::candidate_timeout), "candidate_timeout");
  EXPECT_STREQ(to_string(Role::learner), "learner");
  try {
    verdict_kind_from("pased");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "'pased' is not a verdict (did you mean 'passed'?)");
  }
}

}  // namespace
}  // namespace cohort
