#include "transport/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "transport/base/error.h"

namespace cohort::zmq {
namespace {

[[noreturn]] void broken(const char* what) {
  throw std::runtime_error(fmt::format("{}: {}", what, zmq_strerror(zmq_errno())));
}

// The address from which this host reaches others. Connecting a datagram socket sends nothing, it only asks
// the routing table; the address is one reserved for documentation.
std::string own_address() {
  std::string found = "127.0.0.1";
  int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return found;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
  sockaddr_in from{};
  socklen_t size = sizeof from;
  char text[INET_ADDRSTRLEN];
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&from), &size) == 0 &&
      inet_ntop(AF_INET, &from.sin_addr, text, sizeof text))
    found = text;
  ::close(fd);
  return found;
}

// The port of "tcp://HOST:PORT"; `*` is 0, nothing for what is no such endpoint.
std::optional<int> port_of(const std::string& endpoint) {
  size_t colon = endpoint.rfind(':');
  if (!endpoint.starts_with("tcp://") || colon < strlen("tcp://") + 1) return std::nullopt;
  std::string text = endpoint.substr(colon + 1);
  if (text == "*") return 0;
  int port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port < 0 || port > 65535)
    return std::nullopt;
  return port;
}

}  // namespace

Context::Context() : context_(zmq_ctx_new()) {
  if (!context_) broken("zmq_ctx_new");
}
Context::~Context() {
  while (zmq_ctx_term(context_) != 0 && zmq_errno() == EINTR) {
  }
}

static_assert(sizeof(zmq_msg_t) <= 64);
Frame::Frame() {
  zmq_msg_init(reinterpret_cast<zmq_msg_t*>(storage_));
}
Frame::~Frame() {
  zmq_msg_close(reinterpret_cast<zmq_msg_t*>(storage_));
}
Frame::Frame(Frame&& other) noexcept : Frame() {
  *this = std::move(other);
}
Frame& Frame::operator=(Frame&& other) noexcept {
  zmq_msg_move(reinterpret_cast<zmq_msg_t*>(storage_), reinterpret_cast<zmq_msg_t*>(other.storage_));
  return *this;
}
std::span<const std::byte> Frame::bytes() const {
  auto* msg = reinterpret_cast<zmq_msg_t*>(storage_);
  return {static_cast<const std::byte*>(zmq_msg_data(msg)), zmq_msg_size(msg)};
}
std::string Frame::string() const {
  auto b = bytes();
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

Socket::Socket(Context& context, int type) : socket_(zmq_socket(context.get(), type)) {
  if (!socket_) broken("zmq_socket");
  set(ZMQ_LINGER, 0);
}
Socket::~Socket() {
  if (socket_) zmq_close(socket_);
}
Socket::Socket(Socket&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(socket_, other.socket_);
  return *this;
}

void Socket::set(int option, int value) {
  if (zmq_setsockopt(socket_, option, &value, sizeof value) != 0) broken("zmq_setsockopt");
}
void Socket::set_linger_ms(int ms) {
  set(ZMQ_LINGER, ms);
}

std::string Socket::bind(const std::string& endpoint) {
  if (!port_of(endpoint)) fail("endpoint '{}': must be tcp://ADDRESS:PORT (port 0 for a free one)", endpoint);
  if (endpoint.find('[') != std::string::npos) set(ZMQ_IPV6, 1);
  if (zmq_bind(socket_, endpoint.c_str()) != 0) {
    if (zmq_errno() == EADDRINUSE)
      fail("port in use: {}: another process listens there; end it or choose another port (0: a free one)",
           endpoint);
    if (zmq_errno() == ENODEV || zmq_errno() == EADDRNOTAVAIL)
      fail("endpoint '{}': this machine has no such address (0.0.0.0 is all of them)", endpoint);
    if (zmq_errno() == EINVAL)
      fail("endpoint '{}': must be tcp://ADDRESS:PORT (port 0 for a free one)", endpoint);
    fail("endpoint '{}': cannot listen there: {}", endpoint, zmq_strerror(zmq_errno()));
  }
  char bound[256];
  size_t size = sizeof bound;
  if (zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, bound, &size) != 0) broken("zmq_getsockopt");
  std::string result = bound;
  for (const char* any : {"tcp://0.0.0.0:", "tcp://[::]:"})
    if (result.starts_with(any)) return "tcp://" + own_address() + result.substr(strlen(any) - 1);
  return result;
}

void Socket::connect(const std::string& endpoint) {
  if (endpoint.find('[') != std::string::npos) set(ZMQ_IPV6, 1);
  if (port_of(endpoint).value_or(0) == 0 || zmq_connect(socket_, endpoint.c_str()) != 0)
    fail("endpoint '{}': must be tcp://HOST:PORT", endpoint);
}

Socket Socket::monitor(Context& context, int events) {
  static std::atomic<uint64_t> counter = 0;  // in-process names are per context, a number more does no harm
  std::string name = fmt::format("inproc://monitor-{}", counter++);
  if (zmq_socket_monitor(socket_, name.c_str(), events) != 0) broken("zmq_socket_monitor");
  Socket pair(context, ZMQ_PAIR);
  if (zmq_connect(pair.get(), name.c_str()) != 0) broken("zmq_connect to a monitor");
  return pair;
}
void Socket::unmonitor() {
  zmq_socket_monitor(socket_, nullptr, 0);
}

Sent Socket::send(std::span<const std::string_view> frames) {
  for (size_t i = 0; i < frames.size(); ++i) {
    int flags = ZMQ_DONTWAIT | (i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
    int rc;
    do rc = zmq_send(socket_, frames[i].data(), frames[i].size(), flags);
    while (rc < 0 && zmq_errno() == EINTR);
    if (rc < 0) {
      if (zmq_errno() == EAGAIN) return Sent::full;
      if (zmq_errno() == EHOSTUNREACH) return Sent::gone;
      broken("zmq_send");
    }
  }
  return Sent::yes;
}

std::optional<std::vector<Frame>> Socket::receive() {
  std::vector<Frame> frames;
  for (;;) {
    Frame frame;
    auto* msg = static_cast<zmq_msg_t*>(frame.raw());
    int rc;
    do rc = zmq_msg_recv(msg, socket_, ZMQ_DONTWAIT);
    while (rc < 0 && zmq_errno() == EINTR);
    if (rc < 0) {
      if (zmq_errno() == EAGAIN) return std::nullopt;  // only before the first frame: messages arrive whole
      broken("zmq_msg_recv");
    }
    bool more = zmq_msg_more(msg);
    frames.push_back(std::move(frame));
    if (!more) return frames;
  }
}

EventFd::EventFd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::runtime_error(fmt::format("eventfd: {}", strerror(errno)));
}
EventFd::~EventFd() {
  ::close(fd_);
}
void EventFd::signal() {
  uint64_t one = 1;
  // Fails only when the counter is full, and then the reader is awake anyway.
  [[maybe_unused]] ssize_t n = ::write(fd_, &one, sizeof one);
}
void EventFd::clear() {
  uint64_t count;
  [[maybe_unused]] ssize_t n = ::read(fd_, &count, sizeof count);
}

void begin_thread(const char* name) {
  pthread_setname_np(pthread_self(), name);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace cohort::zmq
