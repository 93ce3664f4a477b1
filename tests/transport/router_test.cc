// Router over real sockets on the loopback interface.
#include <gtest/gtest.h>
#include <zmq.h>

#include <array>
#include <chrono>
#include <random>
#include <thread>

#include "tests/transport/link_fixture.h"
#include "transport/base/error.h"
#include "transport/codec.h"
#include "transport/endpoint.h"
#include "transport/socket.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;
using testing::completion;

TEST(Router, FreePortAndPortInUse) {
  Router router("tcp://127.0.0.1:0");
  EXPECT_TRUE(router.endpoint().starts_with("tcp://127.0.0.1:"));
  EXPECT_FALSE(router.endpoint().ends_with(":0"));
  try {
    Router second(router.endpoint());
    FAIL() << "bound twice";
  } catch (const Error& e) {
    EXPECT_TRUE(std::string(e.what()).starts_with("port in use: " + router.endpoint())) << e.what();
  }
}

TEST(Router, WildcardIsAnnouncedAsAnAddress) {
  Router router("tcp://0.0.0.0:*");
  EXPECT_EQ(router.endpoint().find("0.0.0.0"), std::string::npos) << router.endpoint();
  EXPECT_EQ(router.endpoint().find('*'), std::string::npos) << router.endpoint();
}

TEST(Router, BadEndpointsAreNamed) {
  for (const char* bad : {"", "tcp://", "127.0.0.1:5555", "tcp://127.0.0.1", "tcp://127.0.0.1:port",
                          "tcp://127.0.0.1:99999", "tcp://8.8.8.8:0", "ipc:///tmp/x"}) {
    try {
      Router router{std::string(bad)};
      FAIL() << bad;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(bad), std::string::npos) << e.what();
    }
  }
}

TEST(Router, UnknownPeerIsAnAnswerNotADrop) {
  Router router("tcp://127.0.0.1:0");
  EXPECT_FALSE(router.send("nobody", {0, HeartbeatAck{}}));
}

TEST(Router, WakeDescriptorEndsTheWait) {
  Router router("tcp://127.0.0.1:0");
  zmq::EventFd wake;
  std::jthread waker([&] {
    std::this_thread::sleep_for(50ms);
    wake.signal();
  });
  EXPECT_TRUE(router.receive(-1, wake.fd()).empty());
}

TEST(Router, MalformedBytesEndTheConversation) {
  Router router("tcp://127.0.0.1:0");
  zmq::Context context;
  std::mt19937 rng(1);
  auto raw = [&] {
    zmq::Socket socket(context, ZMQ_DEALER);
    socket.set_linger_ms(1000);
    socket.connect(router.endpoint());
    return socket;
  };
  auto noise = [&](zmq::Socket& socket) {
    std::string bytes(rng() % 64, ' ');
    for (char& c : bytes) c = static_cast<char>(rng());
    ASSERT_EQ(socket.send(bytes), zmq::Sent::yes);
  };
  std::vector<zmq::Socket> bad;
  for (int i = 0; i < 20; ++i) {
    bad.push_back(raw());
    if (i == 0) {
      std::array<std::string_view, 3> three = {"a", "b", "c"};
      ASSERT_EQ(bad[0].send(three), zmq::Sent::yes);
    } else {
      noise(bad.back());
    }
    noise(bad.back());
    // The number after the one that was lost: taking it would acknowledge the lost one.
    ASSERT_EQ(bad.back().send(encode({8, completion(5)})), zmq::Sent::yes);
  }
  zmq::Socket good = raw();
  ASSERT_EQ(good.send(encode({9, completion(5)})), zmq::Sent::yes);
  std::vector<Incoming> got;
  for (int i = 0; i < 500 && (got.empty() || router.malformed() < 20); ++i)
    for (Incoming& incoming : router.receive(10)) got.push_back(std::move(incoming));
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].envelope.seq, 9u);
  EXPECT_EQ(router.malformed(), 20u);
  for (zmq::Socket& socket : bad) {
    std::optional<std::vector<zmq::Frame>> told;
    for (int i = 0; i < 2000 && !told; ++i) {
      told = socket.receive();
      std::this_thread::sleep_for(1ms);
    }
    ASSERT_TRUE(told);
    EXPECT_TRUE(std::holds_alternative<HelloAgain>(decode(told->at(0).bytes()).message));
  }
}

TEST(Router, APeerThatDoesNotReadGetsAnAnswerNotAWait) {
  Router router("tcp://127.0.0.1:0");
  zmq::Context context;
  zmq::Socket socket(context, ZMQ_DEALER);
  socket.set(ZMQ_RCVHWM, 1);
  socket.connect(router.endpoint());
  ASSERT_EQ(socket.send(encode({0, Hello{}})), zmq::Sent::yes);
  std::vector<Incoming> got;
  while (got.empty()) got = router.receive(1000);
  Status status{std::string(4000, 'x')};
  int taken = 0;
  while (taken < 100000 && router.send(got[0].peer, {0, status})) ++taken;
  EXPECT_GE(taken, 4000);  // credit stays far below
  EXPECT_LT(taken, 100000);
}

}  // namespace
}  // namespace cohort
