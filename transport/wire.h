// The field-by-field halves of the codec: C++ structs to and from the classes that capnp generates.
// Private to transport/. Everything here may throw kj::Exception; codec.cc turns that into Error.
#pragma once

#include <capnp/message.h>

#include <span>
#include <string>

#include "transport/messages.h"
#include "transport/schema.capnp.h"
#include "transport/weights.h"

namespace cohort::wire_form {

void write(wire::Envelope::Builder out, const Message& message);
// Throws Error for a union member or enumerant that this build does not know.
Message read(wire::Envelope::Reader in);

void write(wire::WeightManifest::Builder out, const WeightManifest& manifest);
WeightManifest read(wire::WeightManifest::Reader in);

// Packed bytes of a whole message, and back. `T` is a generated struct; `body` gets its reader.
std::string pack(capnp::MessageBuilder& message);

// Unpacks within sane limits and owns the words.
class Unpacked {
 public:
  explicit Unpacked(std::span<const std::byte> bytes);  // throws Error, also on bytes left over
  template <class T>
  typename T::Reader root() {
    return reader_->getRoot<T>();
  }

 private:
  kj::Array<capnp::word> words_;
  kj::Own<capnp::MessageReader> reader_;
};

}  // namespace cohort::wire_form
