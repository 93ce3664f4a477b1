// Message <-> bytes (Cap'n Proto, packed). Thread-safe, no state.
#pragma once

#include <span>
#include <string>

#include "transport/messages.h"

namespace cohort {

std::string encode(const Envelope& envelope);
// Throws Error on anything that is not a whole, well-formed message (truncated, flipped bits that break the
// structure, a union member this build does not know, token and log-prob counts that differ).
Envelope decode(std::span<const std::byte> bytes);

}  // namespace cohort
