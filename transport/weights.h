// Moving a policy's weights from learner rank 0 to the rollout workers. One interface; this file has the
// ZeroMQ form (CPU, late joiners, recovery); nccl and cuda_ipc come with the GPU path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "transport/messages.h"

namespace cohort {

enum class DType : uint8_t { f32, bf16, f16 };
size_t dtype_bytes(DType dtype);

struct TensorSpec {
  std::string name;  // as in the Hugging Face checkpoint
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  uint64_t offset = 0, bytes = 0;  // in the flat buffer, 64-byte aligned
};

struct WeightManifest {
  Version version = 0;
  std::vector<TensorSpec> tensors;
  uint64_t total_bytes = 0;
  uint64_t checksum = 0;  // xxh3-64 of the flat buffer
};

struct WeightSet {
  WeightManifest manifest;
  std::vector<std::byte> data;
};

// Serves the newest published version to any number of clients from its own thread, in chunks, each client at
// its own pace with a window of chunks in flight (credit), so that one slow client delays nobody. A fetch
// that began on an older version keeps that version until it ends (at most `keep` old versions are held).
class WeightServer {
 public:
  explicit WeightServer(const std::string& bind_endpoint, size_t chunk_bytes = 1 << 20);
  ~WeightServer();
  const std::string& endpoint() const;
  void publish(std::shared_ptr<const WeightSet> weights);  // returns at once

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Fetches from a server. Blocking; used by a thread of its own (the rollout's "weights" thread).
class WeightClient {
 public:
  WeightClient();
  ~WeightClient();
  // The newest version the server has, at least `at_least`, whole and with its checksum verified; nothing
  // after `seconds` or when `stop` becomes true. A chunk that got lost is asked for again; a checksum that
  // fails: fetched again.
  std::shared_ptr<const WeightSet> fetch(const std::string& endpoint, Version at_least, double seconds,
                                         const std::function<bool()>& stop = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
