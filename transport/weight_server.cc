// The data flow: publish() leaves the new version in `next` and wakes the thread, which makes it `newest`.
// The thread answers requests in the order they come (ZeroMQ takes one from each client in turn) and never
// waits for a client: what a client's queue has no room for is dropped, and the client asks again. It ends by
// stop. With a BroadcastRoot the thread drives the group's rounds as well: it looks every millisecond while somebody waits
// for one, and without a pause while one is on, which is a few milliseconds or, when a member hangs, its deadline.
#include <zmq.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/socket.h"
#include "transport/weights.h"
#include "transport/wire.h"

namespace cohort {
namespace {
using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kForgetAfter{30};
constexpr std::chrono::milliseconds kSpin{20};
constexpr int kHighWater = 64;  // chunks queued for one client; a client's window is smaller
}  // namespace

struct WeightServer::Impl {
  // A published version. Its bytes, if they have to be read from a GPU first, and its checksum are there once they are needed.
  struct Edition {
    std::shared_ptr<const WeightSet> set;
    std::vector<std::byte> own;
    uint64_t checksum = 0;
    Version version() const { return set->manifest.version; }
    std::span<const std::byte> bytes() const { return own.empty() ? set->data : own; }
    void materialize() {
      if (checksum) return;
      if (set->data.empty() && set->read) own = set->read();
      if (bytes().size() != set->manifest.total_bytes)
        fail("version {} has {} bytes, its manifest says {}", version(), bytes().size(),
             set->manifest.total_bytes);
      checksum = set->manifest.checksum ? set->manifest.checksum : weight_checksum(bytes());
    }
  };
  struct Fetch {
    std::shared_ptr<Edition> edition;
    Clock::time_point seen;
  };

  zmq::Context context;
  zmq::Socket socket;
  zmq::EventFd wake;
  const size_t chunk_bytes, keep;
  std::string endpoint;
  std::atomic<bool> stop = false;
  std::atomic<size_t> older_held = 0;
  std::atomic<uint64_t> shares = 0, broadcasts = 0;
  std::mutex mutex;
  std::shared_ptr<const WeightSet> next;  // guarded by mutex
  // The thread's own.
  std::shared_ptr<Edition> newest;
  std::map<std::string, Fetch> fetches;  // by ZeroMQ routing id
  std::optional<WeightGroup> group;
  std::map<std::string, uint64_t> members;  // who asked for a broadcast, and the number of its fetch
  Clock::time_point round_began;
  std::shared_ptr<Edition> on_air;  // what the running broadcast reads
  std::thread thread;

  Impl(const std::string& bind_endpoint, size_t chunk, size_t keep_, BroadcastRoot root)
      : socket(context, ZMQ_ROUTER), chunk_bytes(chunk), keep(keep_) {
    if (root.end) group.emplace(std::move(root.end), root.options);
    socket.set(ZMQ_ROUTER_MANDATORY, 1);
    socket.set(ZMQ_SNDHWM, kHighWater);
    socket.set(ZMQ_HEARTBEAT_IVL, 5000);
    socket.set(ZMQ_HEARTBEAT_TIMEOUT, 30000);
    endpoint = socket.bind(bind_endpoint);
    thread = std::thread([this] { run(); });
  }

  void run() {
    zmq::begin_thread("weight_server");
    while (!stop) {
      std::array<zmq_pollitem_t, 2> items = {
          {{socket.get(), 0, ZMQ_POLLIN, 0}, {nullptr, wake.fd(), ZMQ_POLLIN, 0}}};
      zmq_poll(items.data(), items.size(), !group || !group->active() ? 1000 : group->sending() ? 0 : 1);
      wake.clear();
      take_published();
      // Bounded, so that requests without end do not keep a new version or the end waiting.
      for (int i = 0; i < 256; ++i) {
        auto frames = socket.receive();
        if (!frames) break;
        try {
          if (frames->size() != 2) fail("{} frames in place of 2", frames->size());
          answer((*frames)[0].string(), (*frames)[1].bytes());
        } catch (const Error& e) {
          log::warn("weights at {}: a request that cannot be read was left out: {}", endpoint, e.what());
        } catch (const kj::Exception& e) {
          log::warn("weights at {}: a request that cannot be read was left out", endpoint);
        }
      }
      if (group && group->active()) broadcast();
      forget();
    }
  }

  void take_published() {
    std::shared_ptr<const WeightSet> set;
    {
      std::lock_guard lock(mutex);
      set.swap(next);
    }
    if (!set) return;
    newest = std::make_shared<Edition>();
    newest->set = std::move(set);
    if (!newest->set->share) newest->materialize();
  }

  static double now_s() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

  // One look at the group, and word to whom it concerns.
  void broadcast() {
    std::optional<WeightGroup::Source> source;
    if (newest && newest->set->share && newest->set->share->data)
      source = {newest->set->share->device, newest->set->share->data, newest->set->manifest.total_bytes,
                newest->version()};
    const bool sending = group->sending();
    const WeightGroup::Told told = group->tick(now_s(), source);
    broadcasts = group->completed();
    if (!told.invites.empty()) on_air = newest;
    for (const auto& invite : told.invites)
      if (!tell(invite.peer, [&](wire::WeightReply::Builder reply) { fill(reply.initManifest(), invite); }))
        group->finished(invite.peer, invite.round, false);
    for (const auto& refusal : told.refused)
      tell(refusal.peer, [&](wire::WeightReply::Builder reply) { reply.setRefused(refusal.reason); });
    for (const std::string& peer : told.ended)
      tell(peer, [&](wire::WeightReply::Builder reply) { reply.setEnded(told.ended_round); });
    if (group->sending()) {
      if (!sending) round_began = Clock::now();
      // Most end within milliseconds, of which a sleep would be a part.
      if (Clock::now() - round_began > kSpin) std::this_thread::sleep_for(std::chrono::microseconds(100));
      return;
    }
    on_air.reset();
  }
  template <class Fill>
  bool tell(const std::string& peer, Fill fill) {
    const auto member = members.find(peer);
    if (member == members.end()) return false;
    capnp::MallocMessageBuilder message;
    auto reply = message.initRoot<wire::WeightReply>();
    reply.setFetch(member->second);
    fill(reply);
    const std::string header = wire_form::pack(message);
    const std::array<std::string_view, 2> frames = {peer, header};
    return socket.send(frames) == zmq::Sent::yes;
  }
  void fill(wire::WeightReply::Manifest::Builder out, const WeightGroup::Invite& invite) {
    wire_form::write(out.initManifest(), newest->set->manifest);
    out.setChunkBytes(chunk_bytes);
    auto to = out.getBroadcast();
    to.setId(capnp::Data::Reader(reinterpret_cast<const capnp::byte*>(invite.id.data()), invite.id.size()));
    to.setRank(static_cast<uint32_t>(invite.rank));
    to.setSize(static_cast<uint32_t>(invite.size));
    to.setRound(invite.round);
    to.setChecksum(newest->set->share->checksum);
    to.setTimeoutMs(static_cast<uint32_t>(1e3 * group->timeout_s()));
  }

  // Ends the fetches of clients that left or stopped, and of the oldest versions beyond `keep`.
  void forget() {
    auto now = Clock::now();
    std::erase_if(fetches, [&](const auto& f) { return now - f.second.seen > kForgetAfter; });
    std::map<const Edition*, Clock::time_point> older;  // and when one of their clients last asked
    for (auto& [peer, fetch] : fetches)
      if (fetch.edition != newest)
        older[fetch.edition.get()] = std::max(older[fetch.edition.get()], fetch.seen);
    while (older.size() > keep) {
      auto victim = std::ranges::min_element(older, {}, [](const auto& o) { return o.second; });
      std::erase_if(fetches, [&](const auto& f) { return f.second.edition.get() == victim->first; });
      older.erase(victim);
    }
    older_held = older.size();
  }

  void answer(const std::string& peer, std::span<const std::byte> bytes) {
    wire_form::Unpacked unpacked(bytes);
    auto request = unpacked.root<wire::WeightRequest>();
    capnp::MallocMessageBuilder message;
    auto reply = message.initRoot<wire::WeightReply>();
    reply.setFetch(request.getFetch());
    std::string_view data;
    switch (request.which()) {
      case wire::WeightRequest::MANIFEST:
        if (join(peer, request)) return;  // answered when there is a round
        manifest(peer, request.getManifest(), reply);
        break;
      case wire::WeightRequest::CHUNK:
        data = chunk(peer, request.getChunk(), reply);
        break;
      case wire::WeightRequest::DONE:
        fetches.erase(peer);
        if (members.erase(peer)) group->forget(peer);
        return;
      case wire::WeightRequest::RECEIVED:
        if (group) group->finished(peer, request.getReceived().getRound(), request.getReceived().getOk());
        return;
      default:
        fail("unknown kind {}", static_cast<unsigned>(request.which()));
    }
    std::string header = wire_form::pack(message);
    std::array<std::string_view, 3> frames = {peer, header, data};
    // Full or gone: this client has stopped reading or left; it asks again if it lives.
    socket.send(std::span(frames).first(data.data() ? 3 : 2));
  }

  static bool has_share(const Edition& edition, wire::WeightRequest::Manifest::Reader in) {
    const auto& share = edition.set->share;
    return share && in.hasDevice() && share->device == in.getDevice().cStr();
  }

  // Does the client wait for a broadcast from now on?
  bool join(const std::string& peer, wire::WeightRequest::Reader request) {
    const auto in = request.getManifest();
    const auto member = in.getMember();
    if (!group || !member.hasDevice() || !newest || newest->version() < in.getAtLeast() ||
        !newest->set->share || has_share(*newest, in))
      return false;
    members[peer] = request.getFetch();
    group->ask({peer, member.getName().cStr(), member.getDevice().cStr(), member.getHolds()}, now_s());
    return true;
  }

  void manifest(const std::string& peer, wire::WeightRequest::Manifest::Reader in,
                wire::WeightReply::Builder reply) {
    std::shared_ptr<Edition> edition = newest;
    if (in.getResuming())
      for (auto& [other, fetch] : fetches)
        if (fetch.edition->version() == in.getResume()) edition = fetch.edition;
    if (!edition || edition->version() < in.getAtLeast()) {
      reply.setNone();
      return;
    }
    const std::optional<DeviceShare>& share = edition->set->share;
    const bool shared = has_share(*edition, in);
    if (!shared) edition->materialize();
    fetches[peer] = {edition, Clock::now()};
    auto out = reply.initManifest();
    wire_form::write(out.initManifest(), edition->set->manifest);
    out.getManifest().setChecksum(edition->checksum);
    out.setChunkBytes(chunk_bytes);
    if (!shared) return;
    ++shares;
    out.getShare().setHandle(capnp::Data::Reader(reinterpret_cast<const capnp::byte*>(share->handle.data()),
                                                 share->handle.size()));
    out.getShare().setOffset(share->offset);
    out.getShare().setChecksum(share->checksum);
  }

  // The frame of data that follows the reply; none (a null view) with `gone`.
  std::string_view chunk(const std::string& peer, wire::WeightRequest::Chunk::Reader in,
                         wire::WeightReply::Builder reply) {
    auto found = fetches.find(peer);
    if (found == fetches.end() || found->second.edition->version() != in.getVersion()) {
      reply.setGone(in.getVersion());
      return {};
    }
    found->second.seen = Clock::now();
    found->second.edition->materialize();
    std::span<const std::byte> all = found->second.edition->bytes();
    uint64_t begin = uint64_t{in.getIndex()} * chunk_bytes;
    if (begin >= all.size()) fail("chunk {} of {} bytes is not there", in.getIndex(), all.size());
    auto part = all.subspan(begin, std::min<uint64_t>(chunk_bytes, all.size() - begin));
    auto out = reply.initChunk();
    out.setVersion(in.getVersion());
    out.setIndex(in.getIndex());
    out.setChecksum(weight_checksum(part));
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
};

WeightServer::WeightServer(const std::string& bind_endpoint, size_t chunk_bytes, size_t keep,
                           BroadcastRoot root)
    : impl_(std::make_unique<Impl>(bind_endpoint, std::max<size_t>(chunk_bytes, 1), keep, std::move(root))) {}

WeightServer::~WeightServer() {
  impl_->stop = true;
  impl_->wake.signal();
  impl_->thread.join();
}

const std::string& WeightServer::endpoint() const {
  return impl_->endpoint;
}
size_t WeightServer::older_versions_held() const {
  return impl_->older_held;
}

uint64_t WeightServer::shares_given() const {
  return impl_->shares;
}

uint64_t WeightServer::broadcasts() const {
  return impl_->broadcasts;
}

void WeightServer::publish(std::shared_ptr<const WeightSet> weights) {
  check(weights->manifest);
  const bool later = weights->data.empty() && weights->read;
  if (!later && weights->manifest.total_bytes != weights->data.size())
    fail("weights: version {} has {} bytes, its manifest says {}", weights->manifest.version,
         weights->data.size(), weights->manifest.total_bytes);
  std::lock_guard lock(impl_->mutex);
  impl_->next = std::move(weights);
  impl_->wake.signal();
}

}  // namespace cohort
