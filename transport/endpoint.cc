#include "transport/endpoint.h"

#include <zmq.h>

#include <array>
#include <deque>
#include <set>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/codec.h"
#include "transport/socket.h"

namespace cohort {
namespace {

// Messages to or from one peer in ZeroMQ's own queues. Credit keeps a worker's share far below it; a peer
// that reaches it has stopped reading.
constexpr int kHighWater = 4096;
// Largest frame taken from a peer: what decode() takes.
constexpr int64_t kMaxFrame = int64_t{1} << 30;
// Messages handed out at once, so that a flood from some peers cannot keep the caller from its other work.
constexpr size_t kAtOnce = 1024;
// Peers whose conversation was ended here and whose last messages may still be under way.
constexpr size_t kDistrusted = 4096;

}  // namespace

struct Router::Impl {
  zmq::Context context;
  zmq::Socket socket;
  std::string endpoint;
  uint64_t malformed = 0;
  std::set<PeerId> distrusted;
  std::deque<PeerId> in_order;  // the same, oldest first

  explicit Impl(const std::string& wanted) : socket(context, ZMQ_ROUTER) {
    socket.set(ZMQ_ROUTER_MANDATORY, 1);
    socket.set(ZMQ_SNDHWM, kHighWater);
    socket.set(ZMQ_RCVHWM, kHighWater);
    zmq_setsockopt(socket.get(), ZMQ_MAXMSGSIZE, &kMaxFrame, sizeof kMaxFrame);
    // A host that vanished without closing its connection is noticed by ZeroMQ's own pings, and its queue is
    // freed.
    socket.set(ZMQ_HEARTBEAT_IVL, 5000);
    socket.set(ZMQ_HEARTBEAT_TIMEOUT, 30000);
    // The last words (Shutdown, Refused, Ack) still go out when the coordinator ends.
    socket.set_linger_ms(500);
    endpoint = socket.bind(wanted);
  }

  // A message is missing now from what this peer sent, and an Ack of a later one would stand for it too. So
  // nothing more is taken from this conversation; the worker is told to begin another, in which it sends
  // again what has no Ack.
  void distrust(const PeerId& peer, const std::string& why) {
    ++malformed;
    if (malformed <= 10 || malformed % 1000 == 0)
      log::warn("{}: message {} that cannot be read, its sender has to begin anew: {}", endpoint, malformed,
                why);
    distrusted.insert(peer);
    in_order.push_back(peer);
    if (in_order.size() > kDistrusted) {
      distrusted.erase(in_order.front());
      in_order.pop_front();
    }
    std::string again = encode({0, HelloAgain{}});
    std::array<std::string_view, 2> frames = {peer, again};
    socket.send(frames);
  }
};

Router::Router(const std::string& endpoint) : impl_(std::make_unique<Impl>(endpoint)) {}
Router::~Router() = default;
const std::string& Router::endpoint() const {
  return impl_->endpoint;
}
uint64_t Router::malformed() const {
  return impl_->malformed;
}

bool Router::send(const PeerId& peer, const Envelope& envelope) {
  std::string bytes = encode(envelope);
  std::array<std::string_view, 2> frames = {peer, bytes};
  return impl_->socket.send(frames) == zmq::Sent::yes;
}

std::vector<Incoming> Router::receive(int timeout_ms, int wake_fd) {
  std::array<zmq_pollitem_t, 2> items = {
      {{impl_->socket.get(), 0, ZMQ_POLLIN, 0}, {nullptr, wake_fd, ZMQ_POLLIN, 0}}};
  // A signal ends the wait early: the caller looks at its flags and comes back.
  zmq_poll(items.data(), wake_fd >= 0 ? 2 : 1, timeout_ms);
  std::vector<Incoming> messages;
  while (messages.size() < kAtOnce) {
    auto frames = impl_->socket.receive();
    if (!frames) break;
    PeerId peer = frames->front().string();
    if (impl_->distrusted.contains(peer)) continue;
    try {
      if (frames->size() != 2) fail("{} frames in place of 2", frames->size());
      messages.push_back({peer, decode((*frames)[1].bytes())});
    } catch (const Error& e) {
      impl_->distrust(peer, e.what());
    }
  }
  return messages;
}

}  // namespace cohort
