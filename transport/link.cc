// The data flow: send() puts a reliable message at the end of `unacked` and any other into `latest`, and
// wakes the link's thread. That thread alone touches the socket: it writes what of `unacked` this
// conversation has not had yet, then `latest`; it reads Acks (which shorten `unacked` and wake send() and
// flush()) and puts the rest into `inbox`, which receive() empties. It waits in one zmq_poll with a deadline:
// for the socket, for its monitor (the connection broke) and for the wake descriptor. It ends by close(),
// Refused, or give_up_s.
#include "transport/link.h"

#include <zmq.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/codec.h"
#include "transport/socket.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstBackOff{50}, kLongestBackOff{2000};
constexpr milliseconds kWelcomeWithin{5000};  // a connection that brings no Welcome for this long is given up
constexpr int kLinger_ms = 200;
constexpr int kMonitored = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                           ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

Clock::duration seconds_of(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(s, 1e9)));
}

}  // namespace

struct Link::Impl {
  explicit Impl(LinkOptions o) : options(std::move(o)) {
    zmq::Socket(context, ZMQ_DEALER).connect(options.endpoint);  // is it an address at all?
    thread = std::thread([this] { run(); });
  }

  // ---- the link's thread
  // ---------------------------------------------------------------------------------------
  void run();
  void converse();
  void begin_conversation(zmq::Socket& socket);
  void read_all(zmq::Socket& socket);
  void take(Envelope envelope);
  bool broken(zmq::Socket& monitor);
  bool write_all(zmq::Socket& socket);
  int wait_ms(Clock::time_point now) const;
  void lose(std::string why) {
    if (lost.empty()) lost = std::move(why);
  }
  void end(std::string why);
  bool stopping() {
    std::lock_guard lock(mutex);
    return !why_ended.empty();
  }

  // ---- any thread, with `mutex` held
  // ------------------------------------------------------------------------------
  void keep_latest(Message message) {
    std::erase_if(latest, [&](const Message& m) { return m.index() == message.index(); });
    latest.push_back(std::move(message));
  }

  const LinkOptions options;
  zmq::Context context;
  zmq::EventFd wake;

  // The state of the conversation; the link's thread only.
  std::string lost;          // why this conversation is over; "" while it goes on
  bool welcomed = false;     // in this conversation
  bool answered = false;     // in this conversation, after the Welcome
  uint64_t written_seq = 0;  // last reliable message written in this conversation; 0: none yet
  Clock::time_point heard, next_heartbeat, alone_since;
  milliseconds heartbeat_every{1000}, silence{10000}, back_off = kFirstBackOff;
  bool socket_full = false;

  mutable std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::deque<std::shared_ptr<const Envelope>> unacked;  // consecutive sequence numbers
  uint64_t next_seq = 1;
  std::vector<Message> latest;  // at most one of each type
  struct Received {
    Message message;
    uint64_t conversation;
  };
  std::deque<Received> inbox;
  uint64_t conversation = 0;        // number of the newest one that was welcomed
  uint64_t conversation_taken = 0;  // whose Welcome the worker has seen
  bool is_connected = false;
  std::optional<Welcome> welcome;
  std::optional<Published> published;
  std::optional<BatchRequest> batch_request;
  std::string why_ended;

  std::thread thread;
};

void Link::Impl::run() {
  zmq::begin_thread("link");
  alone_since = Clock::now();
  while (!stopping()) {
    try {
      converse();
    } catch (const std::exception& e) {  // a callback threw, or an address that is none
      end(e.what());
    }
    bool was_connected;
    {
      std::lock_guard lock(mutex);
      was_connected = std::exchange(is_connected, false);
      latest.clear();  // it belonged to the conversation that is over
    }
    if (stopping()) break;
    if (was_connected) {
      alone_since = Clock::now();
      log::warn("lost the coordinator at {} ({}); trying again", options.endpoint, lost);
    }
    // A coordinator that welcomes and at once asks again must not be asked in a tight loop: only an answer
    // after the Welcome makes the next try a quick one.
    if (answered) back_off = kFirstBackOff;
    auto until = Clock::now() + back_off;
    back_off = std::min(back_off * 2, kLongestBackOff);
    while (!stopping() && Clock::now() < until) {
      zmq_pollitem_t item{nullptr, wake.fd(), ZMQ_POLLIN, 0};
      zmq_poll(&item, 1, std::chrono::ceil<milliseconds>(until - Clock::now()).count());
      wake.clear();
    }
    if (options.give_up_s > 0 && Clock::now() - alone_since > seconds_of(options.give_up_s))
      end(fmt::format("no answer from the coordinator at {} for {:g} s", options.endpoint,
                      options.give_up_s));
  }
}

// One conversation, from the connection to its end.
void Link::Impl::converse() {
  zmq::Socket socket(context, ZMQ_DEALER);
  socket.set(ZMQ_RECONNECT_IVL,
             -1);  // a broken connection ends the conversation: what was in it is sent again in the next
  zmq::Socket monitor = socket.monitor(context, kMonitored);
  socket.connect(options.endpoint);
  begin_conversation(socket);
  while (lost.empty()) {
    // POLLOUT only while something could not be written, or the poll would never wait.
    short events = static_cast<short>(ZMQ_POLLIN | (socket_full ? ZMQ_POLLOUT : 0));
    std::array<zmq_pollitem_t, 3> items = {{{socket.get(), 0, events, 0},
                                            {monitor.get(), 0, ZMQ_POLLIN, 0},
                                            {nullptr, wake.fd(), ZMQ_POLLIN, 0}}};
    zmq_poll(items.data(), items.size(), wait_ms(Clock::now()));
    wake.clear();
    bool over = broken(monitor);
    read_all(socket);  // after the monitor: what came before the connection broke still counts
    if (over) lose("the connection broke");
    auto now = Clock::now();
    if (lost.empty() && now - heard > (welcomed ? silence : kWelcomeWithin))
      lose(welcomed ? "it was silent" : "it did not answer Hello");
    if (welcomed && now >= next_heartbeat) {
      next_heartbeat = now + heartbeat_every;
      Heartbeat beat = options.heartbeat ? options.heartbeat() : Heartbeat{};
      std::lock_guard lock(mutex);
      keep_latest(std::move(beat));
    }
    if (welcomed && lost.empty()) socket_full = !write_all(socket);
    if (stopping()) {
      if (welcomed && lost.empty()) write_all(socket);  // what was sent before close(), as far as it fits
      lose("closed");
    }
  }
  if (welcomed) socket.set_linger_ms(kLinger_ms);
  socket.unmonitor();
}

void Link::Impl::begin_conversation(zmq::Socket& socket) {
  lost.clear();
  welcomed = answered = socket_full = false;
  written_seq = 0;
  heard = Clock::now();
  std::string run_id;
  {
    std::lock_guard lock(mutex);
    if (welcome) run_id = welcome->run_id;
    std::erase_if(inbox, [](const Received& r) {
      return !std::holds_alternative<Shutdown>(r.message) &&
             !std::holds_alternative<NoMoreBatches>(r.message) && !std::holds_alternative<Status>(r.message);
    });
  }
  Hello hello = options.hello();
  if (hello.run_id.empty()) hello.run_id = run_id;
  socket.send(encode({0, std::move(hello)}));  // the first message of a new socket always fits
}

int Link::Impl::wait_ms(Clock::time_point now) const {
  auto until = heard + (welcomed ? silence : kWelcomeWithin);
  if (welcomed) until = std::min(until, next_heartbeat);
  return static_cast<int>(
      std::clamp<int64_t>(std::chrono::ceil<milliseconds>(until - now).count(), 0, 60000));
}

bool Link::Impl::broken(zmq::Socket& monitor) {
  bool any = false;
  while (monitor.receive()) any = true;  // only events that end a connection are asked for
  return any;
}

void Link::Impl::read_all(zmq::Socket& socket) {
  while (lost.empty()) {
    auto frames = socket.receive();
    if (!frames) return;
    heard = Clock::now();
    try {
      if (frames->size() != 1) fail("message: {} frames in place of 1", frames->size());
      take(decode((*frames)[0].bytes()));
    } catch (const Error& e) {
      // What it was cannot be known, so everything is settled anew: Hello tells what is held, and what was in
      // it for us is given out again.
      log::warn("from the coordinator at {}: {}", options.endpoint, e.what());
      lose("it sent something that cannot be read");
    }
  }
}

void Link::Impl::take(Envelope envelope) {
  Message& message = envelope.message;
  if (auto* refused = std::get_if<Refused>(&message)) {
    end(fmt::format("the coordinator at {} refused: {}", options.endpoint, refused->reason));
    return;
  }
  if (std::holds_alternative<HelloAgain>(message)) return lose("it asked for a new Hello");
  if (auto* w = std::get_if<Welcome>(&message)) {
    if (welcomed) return;
    std::lock_guard lock(mutex);
    if (welcome && welcome->run_id != w->run_id) {
      why_ended = fmt::format("the coordinator at {} now belongs to run '{}', this worker to run '{}'",
                              options.endpoint, w->run_id, welcome->run_id);
      changed.notify_all();
      return;
    }
    welcomed = is_connected = true;
    heartbeat_every = milliseconds(std::clamp(w->heartbeat_ms, 1u, 3'600'000u));
    silence = std::max(milliseconds(w->timeout_ms), 2 * heartbeat_every);
    next_heartbeat = heard;
    welcome = *w;
    ++conversation;
    if (conversation == 1)
      conversation_taken = 1;  // wait_welcome() hands this one out
    else
      inbox.push_back({*w, conversation});
    if (published) keep_latest(*published);
    if (batch_request) keep_latest(*batch_request);
    changed.notify_all();
    return;
  }
  if (!welcomed) return;  // an answer without a Welcome says nothing
  answered = true;
  if (std::holds_alternative<HeartbeatAck>(message)) return;
  std::lock_guard lock(mutex);
  if (auto* ack = std::get_if<Ack>(&message)) {
    // Only what this conversation carried can be acknowledged in it.
    while (!unacked.empty() && unacked.front()->seq <= std::min(ack->seq, written_seq)) unacked.pop_front();
  } else if (inbox.size() >= options.max_inbox) {
    why_ended =
        fmt::format("protocol error: the coordinator at {} sent more than the {} messages that credit allows",
                    options.endpoint, options.max_inbox);
  } else {
    inbox.push_back({std::move(message), conversation});
  }
  changed.notify_all();
}

// False when the socket took not all of it: the coordinator does not read as fast as we write, and TCP holds
// us back.
bool Link::Impl::write_all(zmq::Socket& socket) {
  for (;;) {
    std::shared_ptr<const Envelope> next;
    {
      std::lock_guard lock(mutex);
      if (!unacked.empty()) {
        uint64_t wanted = std::max(written_seq + 1, unacked.front()->seq);
        uint64_t offset = wanted - unacked.front()->seq;
        if (offset < unacked.size()) next = unacked[offset];
      }
    }
    if (!next) break;
    if (socket.send(encode(*next)) != zmq::Sent::yes) return false;
    written_seq = next->seq;
  }
  std::vector<Message> others;
  {
    std::lock_guard lock(mutex);
    others.swap(latest);
  }
  for (size_t i = 0; i < others.size(); ++i) {
    if (socket.send(encode({0, others[i]})) == zmq::Sent::yes) continue;
    std::lock_guard lock(mutex);
    for (; i < others.size(); ++i)  // keep it, unless a newer one of its type came meanwhile
      if (std::ranges::none_of(latest, [&](const Message& m) { return m.index() == others[i].index(); }))
        latest.push_back(std::move(others[i]));
    return false;
  }
  return true;
}

void Link::Impl::end(std::string why) {
  std::lock_guard lock(mutex);
  if (why_ended.empty()) why_ended = std::move(why);
  changed.notify_all();
  wake.signal();
}

// ---- the worker's threads
// ------------------------------------------------------------------------------------------

Link::Link(LinkOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

Link::~Link() {
  close();
  impl_->thread.join();
}

Welcome Link::wait_welcome(double seconds) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, seconds_of(seconds),
                          [&] { return impl_->welcome.has_value() || !impl_->why_ended.empty(); });
  if (impl_->welcome) return *impl_->welcome;
  if (!impl_->why_ended.empty()) fail("{}", impl_->why_ended);
  fail("no answer from the coordinator at {} within {:g} s: is it running?", impl_->options.endpoint,
       seconds);
}

void Link::send(Message message) {
  check(message);
  std::unique_lock lock(impl_->mutex);
  if (is_reliable(message)) {
    impl_->changed.wait(lock, [&] {
      return impl_->unacked.size() < impl_->options.max_unacked || !impl_->why_ended.empty();
    });
    if (!impl_->why_ended.empty()) fail("{}", impl_->why_ended);
    impl_->unacked.push_back(std::make_shared<Envelope>(Envelope{impl_->next_seq++, std::move(message)}));
  } else {
    if (auto* p = std::get_if<Published>(&message)) impl_->published = *p;
    if (auto* b = std::get_if<BatchRequest>(&message)) impl_->batch_request = *b;
    if (!impl_->is_connected) return;
    if (std::holds_alternative<Credit>(message) && impl_->conversation_taken != impl_->conversation) return;
    impl_->keep_latest(std::move(message));
  }
  impl_->wake.signal();
}

std::optional<Message> Link::receive(milliseconds timeout) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, timeout, [&] { return !impl_->inbox.empty() || !impl_->why_ended.empty(); });
  if (impl_->inbox.empty()) return std::nullopt;
  Impl::Received received = std::move(impl_->inbox.front());
  impl_->inbox.pop_front();
  if (std::holds_alternative<Welcome>(received.message)) impl_->conversation_taken = received.conversation;
  if (auto* batch = std::get_if<Batch>(&received.message))
    if (impl_->batch_request && impl_->batch_request->step == batch->step) impl_->batch_request.reset();
  if (std::holds_alternative<NoMoreBatches>(received.message)) impl_->batch_request.reset();
  return std::move(received.message);
}

bool Link::flush(double seconds) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, seconds_of(seconds),
                          [&] { return impl_->unacked.empty() || !impl_->why_ended.empty(); });
  return impl_->unacked.empty();
}

void Link::close() {
  impl_->end("closed");
}

std::string Link::ended() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->why_ended;
}

bool Link::connected() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->is_connected;
}

uint64_t Link::conversations() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->conversation;
}

}  // namespace cohort
