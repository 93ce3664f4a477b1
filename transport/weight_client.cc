// The data flow: fetch() makes one connection after the other until it is done, its time is over or `stop`
// says so. On each it asks for a manifest, then keeps a window of chunk requests outstanding and asks for the
// next with each chunk that comes. It waits in one zmq_poll of at most 20 ms. Answers come in the order of
// the requests, so a chunk that a later one overtook is lost and asked for again at once; so is everything
// outstanding after five seconds of silence. After fifteen, or when the connection breaks, there is a new
// connection.
//
// With a BroadcastMember it asks for a broadcast first. Invited, it starts its end of it and looks at it and at the socket in
// turns, until all is received, it fails, the server says that the round was given up, the connection breaks, or its time is
// over; in all but the first case it leaves the communicator and asks again: for another broadcast, and after the second that
// failed for chunks.
#include <zmq.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/socket.h"
#include "transport/weights.h"
#include "transport/wire.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kWindow = 8;
constexpr milliseconds kTick{20}, kAskAgain{5000}, kSilence{15000}, kNoneYet{50};
constexpr milliseconds kFirstBackOff{50}, kLongestBackOff{1000};
constexpr uint64_t kMaxChunk = uint64_t{1} << 30;
constexpr int kMostBroadcasts = 2;  // of a fetch, that may fail
constexpr milliseconds kSpin{20};
constexpr milliseconds kGrace{1000};  // after the server gave a broadcast up

// What of one version is here.
struct Partial {
  WeightManifest manifest;
  uint64_t chunk_bytes = 0;
  std::shared_ptr<WeightSet> set;
  std::vector<bool> have;
  size_t missing = 0;
  size_t next = 0;  // chunks before it were asked for, on this connection

  bool same(const WeightManifest& m, uint64_t chunk) const {
    return set && m.version == manifest.version && m.checksum == manifest.checksum &&
           m.total_bytes == manifest.total_bytes && chunk == chunk_bytes;
  }
  void begin(WeightManifest m, uint64_t chunk) {
    manifest = std::move(m);
    chunk_bytes = chunk;
    missing = (manifest.total_bytes + chunk - 1) / chunk;
    have.assign(missing, false);
    set = std::make_shared<WeightSet>();
    set->data.resize(manifest.total_bytes);
  }
  uint64_t size_of(size_t index) const {
    return std::min<uint64_t>(chunk_bytes, manifest.total_bytes - index * chunk_bytes);
  }
};

struct Fetching {
  zmq::Context& context;
  const std::string& endpoint;
  Version at_least;
  Clock::time_point deadline;
  const std::function<bool()>& stop;
  const ShareTaker& taker;
  bool use_share = false;  // until one could not be taken
  uint64_t number = 0;     // of the connection: an answer to an earlier one is told by it
  Partial partial;
  std::map<size_t, uint64_t> asked;  // chunks outstanding, each with the number of its request; 0: lost
  uint64_t requests = 0;
  bool have_manifest = false;  // on this connection
  bool taken = false;          // by the taker: no chunks
  Clock::time_point ask_manifest_at, heard, asked_again;
  uint64_t bad_chunks = 0;
  BroadcastMember* member = nullptr;  // null: no broadcast, or not any more
  int failed_broadcasts = 0;
  struct Receiving {
    WeightManifest manifest;
    uint64_t round = 0, checksum = 0;
    Clock::time_point began, until;
  };
  std::optional<Receiving> receiving = {};

  bool over() const { return Clock::now() >= deadline || (stop && stop()); }
  bool complete() const { return have_manifest && partial.missing == 0; }

  template <class Fill>
  void request(zmq::Socket& socket, Fill fill) {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<wire::WeightRequest>();
    root.setFetch(number);
    fill(root);
    // A window is far below the high-water mark; what should not fit is asked for again by its time.
    socket.send(wire_form::pack(message));
  }

  void ask_manifest(zmq::Socket& socket) {
    ask_manifest_at = Clock::now() + kAskAgain;
    request(socket, [&](wire::WeightRequest::Builder r) {
      auto m = r.initManifest();
      m.setAtLeast(at_least);
      m.setResuming(partial.set != nullptr);
      m.setResume(partial.manifest.version);
      if (use_share) m.setDevice(taker.device);
      if (!member) return;
      auto in = m.getMember();
      in.setDevice(member->device);
      in.setName(member->name);
      in.setHolds(member->holds);
    });
  }

  void ask_chunk(zmq::Socket& socket, size_t index) {
    asked[index] = ++requests;
    request(socket, [&](wire::WeightRequest::Builder r) {
      auto c = r.initChunk();
      c.setVersion(partial.manifest.version);
      c.setIndex(static_cast<uint32_t>(index));
    });
  }

  // Tops the window up and repeats what is lost.
  void ask(zmq::Socket& socket) {
    auto now = Clock::now();
    if (receiving) return;
    if (!have_manifest) {
      if (now > ask_manifest_at) ask_manifest(socket);
      return;
    }
    bool silent = now - std::max(heard, asked_again) > kAskAgain;
    if (silent) asked_again = now;
    for (auto& [index, order] : asked)
      if (silent || order == 0) ask_chunk(socket, index);
    for (; asked.size() < kWindow && partial.next < partial.have.size(); ++partial.next)
      if (!partial.have[partial.next]) ask_chunk(socket, partial.next);
  }

  // Throws Error on a reply that cannot be.
  void take(std::vector<zmq::Frame>& frames, zmq::Socket& socket) {
    wire_form::Unpacked unpacked(frames[0].bytes());
    auto reply = unpacked.root<wire::WeightReply>();
    if (reply.getFetch() != number) return;
    heard = Clock::now();
    switch (reply.which()) {
      case wire::WeightReply::NONE:
        ask_manifest_at = heard + kNoneYet;
        return;
      case wire::WeightReply::MANIFEST:
        return take_manifest(reply.getManifest(), socket);
      case wire::WeightReply::CHUNK:
        if (frames.size() == 2) take_chunk(reply.getChunk(), frames[1].bytes());
        return;
      case wire::WeightReply::REFUSED:
        if (!member || receiving) return;
        log::info("weights from {}: no broadcast: {}", endpoint, reply.getRefused().cStr());
        member = nullptr;
        return ask_manifest_again();
      case wire::WeightReply::ENDED:
        if (receiving && reply.getEnded() == receiving->round)
          broadcast_failed("the learner gave it up", socket);
        return;
      case wire::WeightReply::GONE:
        if (!have_manifest || reply.getGone() != partial.manifest.version) return;
        partial = {};
        asked.clear();
        have_manifest = false;
        ask_manifest_at = {};
        return;
    }
    fail("unknown kind {}", static_cast<unsigned>(reply.which()));
  }

  void take_manifest(wire::WeightReply::Manifest::Reader in, zmq::Socket& socket) {
    if (have_manifest || receiving) return;  // the answer to one asked twice
    WeightManifest manifest = wire_form::read(in.getManifest());
    check(manifest);
    uint64_t chunk = in.getChunkBytes();
    if (chunk == 0 || chunk > kMaxChunk || manifest.total_bytes / chunk > UINT32_MAX)
      fail("{} bytes in chunks of {}", manifest.total_bytes, chunk);
    if (manifest.version < at_least) fail("version {} where {} was asked for", manifest.version, at_least);
    if (in.getShare().getHandle().size() > 0 && use_share)
      return take_share(std::move(manifest), in.getShare());
    if (in.getBroadcast().getId().size() > 0)
      return begin_receiving(std::move(manifest), in.getBroadcast(), socket);
    if (!partial.same(manifest, chunk)) partial.begin(std::move(manifest), chunk);
    partial.next = 0;
    have_manifest = true;
  }

  void take_share(WeightManifest manifest, wire::WeightReply::Manifest::Share::Reader in) {
    const auto handle = in.getHandle();
    DeviceShare share{taker.device, std::string(reinterpret_cast<const char*>(handle.begin()), handle.size()),
                      in.getOffset(), in.getChecksum()};
    use_share = taker.take(manifest, share);
    heard = Clock::now();  // it may have taken a while
    if (!use_share) return ask_manifest_again();
    have_taken(std::move(manifest), WeightTransport::cuda_ipc);
  }
  void have_taken(WeightManifest manifest, WeightTransport by) {
    partial = {};
    partial.manifest = std::move(manifest);
    partial.set = std::make_shared<WeightSet>();
    partial.set->came_by = by;
    have_manifest = taken = true;
  }

  void begin_receiving(WeightManifest manifest, wire::WeightReply::Manifest::Broadcast::Reader in,
                       zmq::Socket& socket) {
    const auto id = in.getId();
    const std::string name(reinterpret_cast<const char*>(id.begin()), id.size());
    if (!member || in.getSize() < 2 || in.getRank() < 1 || in.getRank() >= in.getSize()) {
      tell_received(socket, in.getRound(), false);
      return ask_manifest_again();
    }
    void* const to = member->open(manifest);
    if (!to) {
      tell_received(socket, in.getRound(), false);
      member = nullptr;
      return ask_manifest_again();
    }
    const auto now = Clock::now();
    const uint64_t bytes = manifest.total_bytes;
    receiving = Receiving{std::move(manifest), in.getRound(), in.getChecksum(), now,
                          now + milliseconds(in.getTimeoutMs()) + kGrace};
    member->holds = communicator_number(name);
    member->end->start(name, static_cast<int>(in.getRank()), static_cast<int>(in.getSize()), to, bytes);
  }
  void tell_received(zmq::Socket& socket, uint64_t round, bool ok) {
    request(socket, [&](wire::WeightRequest::Builder r) {
      auto m = r.initReceived();
      m.setRound(round);
      m.setOk(ok);
    });
  }
  void look_at_broadcast(zmq::Socket& socket) {
    heard = Clock::now();  // silence is what is to be expected
    const Broadcaster::State state = member->end->poll();
    if (state == Broadcaster::State::failed) return broadcast_failed(member->end->error(), socket);
    if (state == Broadcaster::State::busy) {
      if (heard >= receiving->until) broadcast_failed("it did not end", socket);
      return;
    }
    member->received_ms = std::chrono::duration<double, std::milli>(heard - receiving->began).count();
    Receiving received = std::move(*receiving);
    receiving.reset();
    tell_received(socket, received.round, true);
    if (member->close(received.manifest, received.checksum))
      return have_taken(std::move(received.manifest), WeightTransport::nccl);
    member = nullptr;
    ask_manifest_again();
  }
  void leave_broadcast() {
    receiving.reset();
    member->end->abort();
    member->holds = 0;
  }
  void broadcast_failed(const std::string& why, zmq::Socket& socket) {
    log::warn("weights {} from {}: the broadcast failed ({}); asking again", receiving->manifest.version,
              endpoint, why);
    tell_received(socket, receiving->round, false);
    leave_broadcast();
    if (++failed_broadcasts == kMostBroadcasts) {
      log::warn("weights from {}: {} broadcasts failed, so they come over ZeroMQ for {:g} s", endpoint,
                kMostBroadcasts, BroadcastMember::kRestAfterFailure);
      member->rest_until = now_s() + BroadcastMember::kRestAfterFailure;
      member = nullptr;
    }
    ask_manifest_again();
  }
  static double now_s() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }
  void ask_manifest_again() { ask_manifest_at = {}; }

  void take_chunk(wire::WeightReply::Chunk::Reader in, std::span<const std::byte> data) {
    size_t index = in.getIndex();
    // Twice here (asked again, and both came) or of another version: of no use.
    if (!have_manifest || in.getVersion() != partial.manifest.version || index >= partial.have.size() ||
        partial.have[index])
      return;
    if (data.size() != partial.size_of(index) || weight_checksum(data) != in.getChecksum()) {
      if (++bad_chunks <= 10 || bad_chunks % 1000 == 0)
        log::warn("weights {} from {}: chunk {} arrived damaged, asking again", partial.manifest.version,
                  endpoint, index);
      auto found = asked.find(index);
      if (found != asked.end()) found->second = 0;
      return;
    }
    if (!data.empty())
      memcpy(partial.set->data.data() + index * partial.chunk_bytes, data.data(), data.size());
    partial.have[index] = true;
    --partial.missing;
    auto found = asked.find(index);
    if (found == asked.end()) return;
    for (auto& [other, order] : asked)
      if (order < found->second) order = 0;  // its answer should have come before this one
    asked.erase(found);
  }

  // One connection: until all is here, it breaks, or the fetch is over.
  void connection() {
    zmq::Socket socket(context, ZMQ_DEALER);
    socket.set(ZMQ_RECONNECT_IVL, -1);
    zmq::Socket monitor = socket.monitor(context, ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED);
    socket.connect(endpoint);
    ++number;
    have_manifest = false;
    asked.clear();
    heard = Clock::now();
    ask_manifest(socket);
    bool broken = false;
    while (!complete() && !over() && !broken && Clock::now() - heard < kSilence) {
      std::array<zmq_pollitem_t, 2> items = {
          {{socket.get(), 0, ZMQ_POLLIN, 0}, {monitor.get(), 0, ZMQ_POLLIN, 0}}};
      zmq_poll(items.data(), items.size(), receiving ? 0 : kTick.count());
      while (monitor.receive()) broken = true;
      // At most a window before the clock and `stop` are looked at again.
      for (size_t i = 0; i < kWindow; ++i) {
        auto frames = socket.receive();
        if (!frames) break;
        take(*frames, socket);
        ask(socket);
      }
      if (receiving) {
        look_at_broadcast(socket);
        // Most end within milliseconds, of which a sleep would be a part.
        if (receiving && Clock::now() - receiving->began > kSpin)
          std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      ask(socket);
    }
    if (receiving) {  // the connection broke, or it is to stop
      tell_received(socket, receiving->round, false);
      leave_broadcast();
    }
    if (have_manifest || member) {  // neither a version nor a place in a broadcast is to be kept for it
      request(socket, [](wire::WeightRequest::Builder r) { r.setDone(); });
      socket.set_linger_ms(100);
    }
    socket.unmonitor();
  }
};

}  // namespace

struct WeightClient::Impl {
  zmq::Context context;
  uint64_t connections = 0;
};

WeightClient::WeightClient() : impl_(std::make_unique<Impl>()) {}
WeightClient::~WeightClient() = default;

std::shared_ptr<const WeightSet> WeightClient::fetch(const std::string& endpoint, Version at_least,
                                                     double seconds, const std::function<bool()>& stop,
                                                     const ShareTaker& taker, BroadcastMember* member) {
  zmq::Socket(impl_->context, ZMQ_DEALER).connect(endpoint);  // throws: is it an address at all?
  auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                     std::chrono::duration<double>(std::min(seconds, 1e9)));
  Fetching fetching{impl_->context, endpoint,         at_least,           deadline, stop,
                    taker,          bool(taker.take), impl_->connections, {},       {}};
  if (member && member->end && Fetching::now_s() >= member->rest_until) fetching.member = member;
  milliseconds back_off = kFirstBackOff;
  while (!fetching.over()) {
    size_t missing = fetching.partial.missing;
    try {
      fetching.connection();
    } catch (const Error& e) {
      log::warn("weights from {}: {}; trying again", endpoint, e.what());
    } catch (const kj::Exception&) {
      log::warn("weights from {}: an answer that cannot be read; trying again", endpoint);
    }
    if (fetching.receiving) fetching.leave_broadcast();  // one of these errors
    impl_->connections = fetching.number;
    Partial& partial = fetching.partial;
    if (fetching.complete()) {
      if (fetching.taken || weight_checksum(partial.set->data) == partial.manifest.checksum) {
        partial.set->manifest = std::move(partial.manifest);
        return std::move(partial.set);
      }
      log::warn("weights {} from {}: checksum differs, fetching all of it again", partial.manifest.version,
                endpoint);
      partial = {};
    }
    if (partial.missing < missing) back_off = kFirstBackOff;  // it got on
    for (auto until = Clock::now() + back_off; Clock::now() < until && !fetching.over();)
      std::this_thread::sleep_for(std::min(kTick, back_off));
    back_off = std::min(back_off * 2, kLongestBackOff);
  }
  return nullptr;
}

}  // namespace cohort
