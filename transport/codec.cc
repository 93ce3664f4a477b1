#include "transport/codec.h"

#include <capnp/serialize-packed.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "transport/base/error.h"
#include "transport/wire.h"

namespace cohort {
namespace {

// Larger than any batch share; bounds what a flipped length can make us allocate.
constexpr size_t kMaxWords = size_t{1} << 27;  // 1 GiB

void check_counts(const char* what, GroupId group, uint32_t index, const std::vector<int32_t>& token_ids,
                  const std::vector<float>& logprobs, const std::vector<VersionRun>& versions) {
  if (logprobs.size() != token_ids.size())
    fail("message: {} {}/{} has {} tokens but {} log-probs", what, group, index, token_ids.size(),
         logprobs.size());
  uint64_t sum = 0;
  for (const VersionRun& run : versions) sum += run.count;
  if (sum != token_ids.size())
    fail("message: {} {}/{} has {} tokens but its version runs add up to {}", what, group, index,
         token_ids.size(), sum);
}

// kj describes over several lines and quotes the message's own bytes; the first line is enough for ours.
std::string first_line(const kj::Exception& e) {
  std::string line = e.getDescription().cStr();
  line.resize(std::min(line.find('\n'), line.size()));
  for (char& c : line)
    if (c < ' ' || c > '~') c = '?';
  return line;
}

// In the order of the variant.
constexpr std::array<const char*, std::variant_size_v<Message>> kNames = {
    "hello",         "welcome",       "refused",    "heartbeat",    "heartbeatAck", "ack",
    "goodbye",       "shutdown",      "helloAgain", "credit",       "lease",        "completion",
    "leaseReturned", "weightsHeld",   "gradeJob",   "graded",       "cancel",       "batchRequest",
    "batch",         "noMoreBatches", "trained",    "checkpointed", "published",    "weightsAvailable",
    "statusRequest", "status"};

}  // namespace

namespace wire_form {

std::string pack(capnp::MessageBuilder& message) {
  kj::VectorOutputStream out;
  capnp::writePackedMessage(out, message);
  auto bytes = out.getArray();
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

Unpacked::Unpacked(std::span<const std::byte> bytes) {
  kj::ArrayPtr<const capnp::byte> packed(reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size());
  // Unpacked whole before it is read: then nothing is lazy, and bytes missing or left over are seen at once.
  size_t count = capnp::computeUnpackedSizeInWords(packed);
  if (count == 0 || count > kMaxWords)
    fail("message: {} bytes unpack to {} words, must be from 1 to {}", bytes.size(), count, kMaxWords);
  words_ = kj::heapArray<capnp::word>(count);
  kj::ArrayInputStream stream(packed);
  capnp::_::PackedInputStream unpacking(stream);
  unpacking.read(words_.begin(), count * sizeof(capnp::word));
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 2 * count + 64;  // every object once; more is a pointer loop
  options.nestingLimit = 16;
  auto reader = kj::heap<capnp::FlatArrayMessageReader>(words_, options);
  if (reader->getEnd() != words_.end()) fail("message: bytes left over behind it");
  reader_ = kj::mv(reader);
}

}  // namespace wire_form

void check(const Message& message) {
  if (auto* m = std::get_if<Completion>(&message))
    check_counts("completion", m->group, m->index, m->token_ids, m->logprobs, m->versions);
  if (auto* m = std::get_if<Batch>(&message))
    for (const Sample& s : m->samples)
      check_counts("sample", s.group, s.index, s.token_ids, s.logprobs, s.versions);
}

std::string encode(const Envelope& envelope) {
  check(envelope.message);
  try {
    capnp::MallocMessageBuilder builder;
    auto root = builder.initRoot<wire::Envelope>();
    root.setSeq(envelope.seq);
    wire_form::write(root, envelope.message);
    return wire_form::pack(builder);
  } catch (const kj::Exception& e) {
    fail("message: {} cannot be sent: {}", name_of(envelope.message), first_line(e));
  }
}

Envelope decode(std::span<const std::byte> bytes) {
  try {
    wire_form::Unpacked unpacked(bytes);
    auto root = unpacked.root<wire::Envelope>();
    Envelope envelope{root.getSeq(), wire_form::read(root)};
    check(envelope.message);
    return envelope;
  } catch (const kj::Exception& e) {
    fail("message: {} bytes do not decode: {}", bytes.size(), first_line(e));
  }
}

const char* name_of(const Message& message) {
  return kNames.at(message.index());
}

bool is_reliable(const Message& message) {
  return std::holds_alternative<Completion>(message) || std::holds_alternative<LeaseReturned>(message) ||
         std::holds_alternative<Graded>(message) || std::holds_alternative<Trained>(message) ||
         std::holds_alternative<Checkpointed>(message);
}

}  // namespace cohort
