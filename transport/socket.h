// The little of ZeroMQ that transport/ uses, with owners. Private to transport/.
// No call in here waits, except closing a Context: at most as long as its sockets linger.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::zmq {

class Context {
 public:
  Context();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  void* get() const { return context_; }

 private:
  void* context_;
};

// One received frame; owns ZeroMQ's memory, so that a large frame is read without a copy.
class Frame {
 public:
  Frame();
  ~Frame();
  Frame(Frame&& other) noexcept;
  Frame& operator=(Frame&& other) noexcept;
  std::span<const std::byte> bytes() const;
  std::string string() const;
  void* raw() { return storage_; }

 private:
  alignas(8) mutable unsigned char storage_[64];  // a zmq_msg_t
};

enum class Sent { yes, full, gone };  // full: high-water mark, try later; gone: no such peer (ROUTER only)

// Used by one thread at a time.
class Socket {
 public:
  Socket() = default;
  Socket(Context& context, int type);
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;

  void set(int option, int value);
  void set_linger_ms(int ms);
  // Binds and returns the endpoint others can connect to: the bound port, and in place of a wildcard address
  // the one this host reaches others from. Throws Error naming the endpoint ("port in use: …").
  std::string bind(const std::string& endpoint);
  void connect(const std::string& endpoint);  // throws Error for an address that is none; never waits
  // Events of the connection arrive as messages of two frames on the returned socket.
  Socket monitor(Context& context, int events);
  void unmonitor();

  Sent send(std::span<const std::string_view> frames);
  Sent send(std::string_view frame) { return send(std::span(&frame, 1)); }
  // The frames of one message; nothing when there is none.
  std::optional<std::vector<Frame>> receive();
  void* get() const { return socket_; }

 private:
  void* socket_ = nullptr;
};

// A counter in the kernel, to wake a thread that polls.
class EventFd {
 public:
  EventFd();
  ~EventFd();
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  void signal();
  void clear();
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Names the calling thread and keeps signals away from it: they are the main thread's.
void begin_thread(const char* name);

}  // namespace cohort::zmq
