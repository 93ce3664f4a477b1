// Message <-> bytes (Cap'n Proto, packed; the schema is transport/schema.capnp). Thread-safe, no state.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "transport/messages.h"

namespace cohort {

// Throws Error on a message that decode would refuse (see check).
std::string encode(const Envelope& envelope);
// Throws Error on anything that is not a whole, well-formed message (truncated, flipped bits that break the
// structure, a union member this build does not know, token and log-prob counts that differ). Memory used is
// bounded by the size of `bytes` times what packing can save, and by 1 GiB.
Envelope decode(std::span<const std::byte> bytes);

// What both of the above insist on: as many log-probs as tokens, and version runs that add up to them.
void check(const Message& message);

// The message's name as in the schema, for logs: "completion".
const char* name_of(const Message& message);

// Worker-to-coordinator messages that a Link numbers, keeps until their Ack and sends again after a
// reconnect.
bool is_reliable(const Message& message);

}  // namespace cohort
