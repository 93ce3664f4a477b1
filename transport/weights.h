// Moving a policy's weights from learner rank 0 to the rollout workers. A fetch is always asked for over ZeroMQ. What
// answers it are chunks over the same socket (CPU, late joiners, recovery), or, when client and server share a GPU, a handle of
// the buffer there, which the client maps and copies (cuda_ipc), or, when both have GPUs, an invitation to a broadcast
// (nccl; transport/weight_group.h). No CUDA here: handles are bytes, and a Broadcaster is an interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "transport/base/enum_names.h"
#include "transport/messages.h"
#include "transport/weight_group.h"

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
  uint64_t checksum = 0;  // xxh3-64 of the flat buffer; 0 at publish(): the server computes it
};

// A version's flat buffer in the memory of a GPU, for another process on it.
struct DeviceShare {
  std::string device;  // "BOOT-ID/GPU-UUID": a handle means something on that host and GPU only
  std::string handle;  // cudaIpcMemHandle_t
  uint64_t offset = 0;
  uint64_t checksum = 0;  // kernels/checksum.h
  void* data = nullptr;   // the flat buffer, in the learner's own process; is not sent
};

// How weights reach a worker: auto is the fastest that is possible.
enum class WeightTransport : uint8_t { automatic, zmq, cuda_ipc, nccl };
inline EnumNames<WeightTransport> enum_names(WeightTransport) {
  return {{WeightTransport::automatic, "auto"},
          {WeightTransport::zmq, "zmq"},
          {WeightTransport::cuda_ipc, "cuda_ipc"},
          {WeightTransport::nccl, "nccl"}};
}

struct WeightSet {
  WeightManifest manifest;
  std::vector<std::byte> data;
  // Weights that lie on a GPU: `data` is empty, and `read` brings it (any thread) once somebody wants chunks. The buffer is
  // not written again while this set, and so `lease`, exists.
  std::optional<DeviceShare> share;
  std::function<std::vector<std::byte>()> read;
  std::shared_ptr<const void> lease;
  WeightTransport came_by = WeightTransport::zmq;  // of what a client fetched
};

// How a client takes weights from its GPU. `take` copies what the share names and compares the checksum; false, and chunks
// are asked for instead. It runs in fetch() and may block; the server holds the buffer meanwhile (30 s).
struct ShareTaker {
  std::string device;
  std::function<bool(const WeightManifest& manifest, const DeviceShare& share)> take;
};

// A client's part in broadcasts. It outlives a fetch: the communicator of one is kept for the next. Used by the thread that
// fetches. A broadcast that fails twice in a fetch is not tried again for kRestAfterFailure; chunks come instead.
struct BroadcastMember {
  static constexpr double kRestAfterFailure = 30;  // s
  std::shared_ptr<Broadcaster> end;
  std::string name;    // for the log
  std::string device;  // as DeviceShare's
  // Where the bytes are to be written, undisturbed until `close`; null when such weights cannot be taken this way.
  std::function<void*(const WeightManifest&)> open;
  // All are there: compares the checksum (kernels/checksum.h) and takes them. False: chunks are asked for instead.
  std::function<bool(const WeightManifest&, uint64_t checksum)> close;
  uint64_t holds = 0;  // communicator_number
  double rest_until = 0;
  double received_ms = 0;  // the last broadcast, from the invitation to its last byte
};

// The server's part in broadcasts.
struct BroadcastRoot {
  std::shared_ptr<Broadcaster> end;  // null: there are none
  WeightGroup::Options options;
};

// Fills in bytes and offset of every tensor (from its dtype and shape, in their order) and total_bytes.
void lay_out(WeightManifest& manifest);
// Throws Error unless every tensor lies inside total_bytes, aligned, with the size that its dtype and shape
// say.
void check(const WeightManifest& manifest);
uint64_t weight_checksum(std::span<const std::byte> data);

// Serves the newest published version to any number of clients from its own thread ("weight_server"), in
// chunks. A client asks for chunks one by one and has a window of them outstanding (its credit), so that each
// goes at its own pace and a slow one delays nobody and costs the server at most its window in memory. A
// fetch that began on an older version keeps that version until it ends, is silent for 30 s, or more than
// `keep` older versions would be held; then it is told so and begins anew with the newest.
class WeightServer {
 public:
  // Throws Error naming the endpoint when it is in use.
  explicit WeightServer(const std::string& bind_endpoint, size_t chunk_bytes = 1 << 20, size_t keep = 2,
                        BroadcastRoot root = {});
  ~WeightServer();
  // As others can connect to it: the bound port with this host's address.
  const std::string& endpoint() const;
  // Any thread; returns at once. Throws Error when the manifest does not fit the data. Data that is still to be read from a
  // GPU is read when the first client asks for chunks.
  void publish(std::shared_ptr<const WeightSet> weights);
  // How many older versions are held for fetches that began on them.
  size_t older_versions_held() const;
  // Fetches that were answered with a share.
  uint64_t shares_given() const;
  // Broadcasts that ended well.
  uint64_t broadcasts() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Fetches from a server. Blocking; used by one thread at a time (the rollout's "weights" thread).
class WeightClient {
 public:
  WeightClient();
  ~WeightClient();
  // The newest version the server has, at least `at_least`, whole and with its checksum verified; nothing
  // after `seconds` or when `stop` becomes true. A chunk that got lost is asked for again; a checksum that
  // fails: fetched again. What `taker` or `member` took is not in the set: its `data` is empty.
  std::shared_ptr<const WeightSet> fetch(const std::string& endpoint, Version at_least, double seconds,
                                         const std::function<bool()>& stop = {}, const ShareTaker& taker = {},
                                         BroadcastMember* member = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
