// WeightServer and WeightClient over real sockets; a proxy between them damages, drops and delays what
// passes.
#include "transport/weights.h"

#include <gtest/gtest.h>
#include <zmq.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "transport/base/error.h"
#include "transport/base/measure.h"
#include "transport/socket.h"
#include "transport/wire.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

std::shared_ptr<WeightSet> weights(Version version, int64_t rows, uint64_t seed = 0) {
  auto set = std::make_shared<WeightSet>();
  set->manifest.version = version;
  set->manifest.tensors = {{"model.embed_tokens.weight", DType::f32, {rows, 64}},
                           {"model.norm.weight", DType::bf16, {33}},
                           {"scalar", DType::f16, {}}};
  lay_out(set->manifest);
  set->data.resize(set->manifest.total_bytes);
  std::mt19937_64 rng(version + 1000 * seed);
  for (std::byte& b : set->data) b = static_cast<std::byte>(rng());
  set->manifest.checksum = weight_checksum(set->data);
  return set;
}

// Stands between a client and a server; `to_client` may change an answer's frames (header, data), and returns
// whether it goes on.
class Proxy {
 public:
  using Filter = std::function<bool(std::vector<std::string>&)>;
  Proxy(const std::string& server, Filter to_client)
      : front_(context_, ZMQ_ROUTER), back_(context_, ZMQ_DEALER), to_client_(std::move(to_client)) {
    endpoint = front_.bind("tcp://127.0.0.1:0");
    back_.connect(server);
    thread_ = std::thread([this] { run(); });
  }
  ~Proxy() {
    stop_ = true;
    thread_.join();
  }
  std::string endpoint;

 private:
  void run() {
    std::string client;
    while (!stop_) {
      std::array<zmq_pollitem_t, 2> items = {
          {{front_.get(), 0, ZMQ_POLLIN, 0}, {back_.get(), 0, ZMQ_POLLIN, 0}}};
      zmq_poll(items.data(), 2, 5);
      while (auto frames = front_.receive()) {
        client = (*frames)[0].string();
        back_.send((*frames)[1].string());
      }
      while (auto frames = back_.receive()) {
        std::vector<std::string> parts;
        for (auto& f : *frames) parts.push_back(f.string());
        if (!to_client_(parts)) continue;
        std::vector<std::string_view> views = {client};
        views.insert(views.end(), parts.begin(), parts.end());
        front_.send(views);
      }
    }
  }
  zmq::Context context_;
  zmq::Socket front_, back_;
  Filter to_client_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// A client by hand, that can ask and then not read.
struct RawClient {
  zmq::Context context;
  zmq::Socket socket{context, ZMQ_DEALER};
  explicit RawClient(const std::string& endpoint) {
    socket.set(ZMQ_RCVHWM, 1);
    socket.connect(endpoint);
  }
  template <class Fill>
  void ask(Fill fill) {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<wire::WeightRequest>();
    root.setFetch(1);
    fill(root);
    socket.send(wire_form::pack(message));
  }
  void ask_manifest() {
    ask([](auto r) { r.initManifest(); });
  }
  void ask_chunk(Version version, uint32_t index) {
    ask([&](auto r) {
      auto c = r.initChunk();
      c.setVersion(version);
      c.setIndex(index);
    });
  }
  std::vector<zmq::Frame> wait() {
    for (int i = 0; i < 5000; ++i) {
      if (auto frames = socket.receive()) return std::move(*frames);
      std::this_thread::sleep_for(1ms);
    }
    return {};
  }
};

TEST(Manifest, LayOutAlignsAndCheckInsists) {
  WeightManifest m;
  m.tensors = {{"a", DType::bf16, {3, 5}}, {"b", DType::f32, {2}}, {"none", DType::f32, {0, 7}}};
  lay_out(m);
  EXPECT_EQ(m.tensors[0].bytes, 30u);
  EXPECT_EQ(m.tensors[1].offset, 64u);
  EXPECT_EQ(m.total_bytes, 128u);
  check(m);
  auto broken = [&](auto change) {
    WeightManifest copy = m;
    change(copy);
    EXPECT_THROW(check(copy), Error);
  };
  broken([](auto& x) { x.tensors[1].offset = 32; });
  broken([](auto& x) { x.tensors[1].bytes = 12; });
  broken([](auto& x) { x.tensors[1].offset = uint64_t{0} - 64; });
  broken([](auto& x) { x.total_bytes = 70; });
  broken([](auto& x) { x.tensors[0].shape = {-3, -5}; });
  broken([](auto& x) { x.tensors[0].shape = {int64_t{1} << 40, int64_t{1} << 40}; });
}

TEST(Weights, NewestVersionWhole) {
  WeightServer server("tcp://127.0.0.1:0", 10'000);
  server.publish(weights(1, 100));
  auto expected = weights(2, 1000);
  server.publish(expected);
  auto got = WeightClient().fetch(server.endpoint(), 2, 10);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->manifest.version, 2u);
  EXPECT_EQ(got->manifest.tensors[1].name, "model.norm.weight");
  EXPECT_EQ(got->manifest.tensors[1].offset, expected->manifest.tensors[1].offset);
  EXPECT_TRUE(got->data == expected->data);
}

TEST(Weights, EmptySetAndMissingChecksum) {
  WeightServer server("tcp://127.0.0.1:0");
  server.publish(std::make_shared<WeightSet>());
  ASSERT_TRUE(WeightClient().fetch(server.endpoint(), 0, 5));
  auto set = weights(3, 10);
  uint64_t checksum = std::exchange(set->manifest.checksum, 0);
  server.publish(set);
  auto got = WeightClient().fetch(server.endpoint(), 3, 5);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->manifest.checksum, checksum);
}

TEST(Weights, WaitsForAVersionNewEnough) {
  WeightServer server("tcp://127.0.0.1:0");
  server.publish(weights(1, 10));
  WeightClient client;
  EXPECT_FALSE(client.fetch(server.endpoint(), 2, 0.2));
  std::jthread later([&] {
    std::this_thread::sleep_for(100ms);
    server.publish(weights(5, 10));
  });
  auto got = client.fetch(server.endpoint(), 2, 10);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->manifest.version, 5u);
}

TEST(Weights, PublishRefusesWhatDoesNotFit) {
  WeightServer server("tcp://127.0.0.1:0");
  auto set = weights(1, 10);
  set->data.pop_back();
  EXPECT_THROW(server.publish(set), Error);
}

TEST(Weights, PortInUseAndBadEndpoint) {
  WeightServer server("tcp://127.0.0.1:0");
  EXPECT_THROW(WeightServer second(server.endpoint()), Error);
  EXPECT_THROW(WeightClient().fetch("nowhere", 0, 1), Error);
}

TEST(Weights, StopAndTimeEndAFetchThatNobodyAnswers) {
  WeightClient client;
  auto began = Clock::now();
  EXPECT_FALSE(client.fetch("tcp://127.0.0.1:9", 0, 0.2));
  std::atomic<bool> stop = false;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(100ms);
    stop = true;
  });
  EXPECT_FALSE(client.fetch("tcp://127.0.0.1:9", 0, 1e12, [&] { return stop.load(); }));
  EXPECT_LT(seconds_since(began), 2);
}

TEST(Weights, SeveralClientsAndOneThatStalls) {
  WeightServer server("tcp://127.0.0.1:0", 1 << 16);
  auto expected = weights(7, 40'000);  // 10 MB
  server.publish(expected);
  RawClient stalled(server.endpoint());
  stalled.ask_manifest();
  ASSERT_EQ(stalled.wait().size(), 1u);
  for (uint32_t i = 0; i < 150; ++i) stalled.ask_chunk(7, i);  // and reads none of them
  auto began = Clock::now();
  std::atomic<int> whole = 0;
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 4; ++i)
      clients.emplace_back([&] {
        WeightClient client;
        for (int round = 0; round < 3; ++round) {
          auto got = client.fetch(server.endpoint(), 7, 20);
          if (got && got->data == expected->data) ++whole;
        }
      });
  }
  EXPECT_EQ(whole, 12);
  EXPECT_LT(seconds_since(began), 50);
}

TEST(Weights, AFetchKeepsItsVersionButNotMoreThanKeep) {
  WeightServer server("tcp://127.0.0.1:0", 1 << 10, 2);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (Version v = 1; v <= 4; ++v) {
    server.publish(weights(v, 100));
    clients.push_back(std::make_unique<RawClient>(server.endpoint()));
    for (bool got = false; !got;) {  // publish() returns before the version is served
      clients.back()->ask_manifest();
      auto frames = clients.back()->wait();
      ASSERT_EQ(frames.size(), 1u);
      wire_form::Unpacked unpacked(frames[0].bytes());
      auto reply = unpacked.root<wire::WeightReply>();
      got = reply.isManifest() && reply.getManifest().getManifest().getVersion() == v;
    }
  }
  auto kind = [&](Version v) {
    clients[v - 1]->ask_chunk(v, 3);
    auto frames = clients[v - 1]->wait();
    wire_form::Unpacked unpacked(frames.at(0).bytes());
    auto reply = unpacked.root<wire::WeightReply>();
    if (frames.size() == 2) {
      auto expected = weights(v, 100);
      EXPECT_EQ(0, memcmp(frames[1].bytes().data(), expected->data.data() + 3 * 1024, 1024));
    }
    return reply.which();
  };
  EXPECT_EQ(kind(1), wire::WeightReply::GONE);
  EXPECT_EQ(kind(2), wire::WeightReply::CHUNK);
  EXPECT_EQ(kind(3), wire::WeightReply::CHUNK);
  EXPECT_EQ(kind(4), wire::WeightReply::CHUNK);
  EXPECT_EQ(server.older_versions_held(), 2u);
  clients[1]->ask([](auto r) { r.setDone(); });
  for (int i = 0; i < 1000 && server.older_versions_held() != 1; ++i) std::this_thread::sleep_for(2ms);
  EXPECT_EQ(server.older_versions_held(), 1u);
}

TEST(Weights, PublishingFasterThanFetching) {
  WeightServer server("tcp://127.0.0.1:0", 1 << 12, 1);
  server.publish(weights(1, 4000));
  std::atomic<bool> done = false;
  std::jthread publisher([&] {
    for (Version v = 2; !done; ++v) {
      server.publish(weights(v, 4000));
      std::this_thread::sleep_for(5ms);
    }
  });
  std::vector<std::jthread> clients;
  std::atomic<int> whole = 0;
  for (int i = 0; i < 2; ++i)
    clients.emplace_back([&] {
      WeightClient client;
      for (int round = 0; round < 5; ++round) {
        auto got = client.fetch(server.endpoint(), 1, 20);
        if (got && got->data == weights(got->manifest.version, 4000)->data) ++whole;
      }
    });
  clients.clear();
  done = true;
  EXPECT_EQ(whole, 10);
}

TEST(Weights, DamagedAndLostChunksAreAskedForAgain) {
  WeightServer server("tcp://127.0.0.1:0", 1 << 12);
  auto expected = weights(1, 2000);  // 125 chunks
  server.publish(expected);
  std::mt19937 rng(3);
  std::atomic<int> damaged = 0, lost = 0, noise = 0;
  Proxy proxy(server.endpoint(), [&](std::vector<std::string>& frames) {
    if (frames.size() < 2) return true;
    switch (rng() % 10) {
      case 0:
        return ++lost, false;
      case 1:
        frames[1][rng() % frames[1].size()] ^= static_cast<char>(1 << rng() % 8), ++damaged;
        break;
      case 2:
        frames[1].resize(frames[1].size() / 2), ++damaged;
        break;
      case 3:
        if (rng() % 8 == 0) frames[0][rng() % frames[0].size()] ^= static_cast<char>(1 << rng() % 8), ++noise;
        break;
    }
    return true;
  });
  auto began = Clock::now();
  auto got = WeightClient().fetch(proxy.endpoint, 1, 60);
  ASSERT_TRUE(got);
  EXPECT_TRUE(got->data == expected->data);
  EXPECT_GT(damaged, 5);
  EXPECT_GT(lost, 2);
  EXPECT_LT(seconds_since(began), 30);
}

TEST(Weights, AWrongChecksumOfTheWholeIsNeverHandedOut) {
  WeightServer server("tcp://127.0.0.1:0", 1 << 12);
  auto set = weights(1, 100);
  set->manifest.checksum ^= 1;
  server.publish(set);
  EXPECT_FALSE(WeightClient().fetch(server.endpoint(), 1, 0.5));
  server.publish(weights(2, 100));
  EXPECT_TRUE(WeightClient().fetch(server.endpoint(), 1, 10));
}

TEST(Weights, ServerRestartsInTheMiddle) {
  for (bool same_bytes : {true, false}) {
    auto server = std::make_unique<WeightServer>("tcp://127.0.0.1:0", 1 << 12);
    std::string endpoint = server->endpoint();
    server->publish(weights(3, 20'000));  // 5 MB, 1250 chunks
    std::atomic<bool> finished = false;
    std::shared_ptr<const WeightSet> got;
    std::jthread fetcher([&] {
      // Asked between windows of chunks: slows this fetch to about half a second.
      got = WeightClient().fetch(endpoint, 3, 30, [] {
        std::this_thread::sleep_for(3ms);
        return false;
      });
      finished = true;
    });
    std::this_thread::sleep_for(100ms);
    ASSERT_FALSE(finished);
    server.reset();
    std::this_thread::sleep_for(50ms);
    // A learner that resumed from a checkpoint may publish other bytes under the same version.
    auto after = weights(3, 20'000, same_bytes ? 0 : 1);
    server = std::make_unique<WeightServer>(endpoint, 1 << 12);
    server->publish(after);
    fetcher.join();
    ASSERT_TRUE(got);
    EXPECT_TRUE(got->data == after->data) << same_bytes;
  }
}

// Weights on a "GPU": a share, and bytes that are read when somebody wants chunks. Counts reads and whether it is still leased.
struct Shared {
  std::atomic<int> reads = 0;
  std::weak_ptr<const void> leased;
  std::shared_ptr<WeightSet> set(Version version, const std::string& device) {
    const auto whole = weights(version, 3000);
    auto out = std::make_shared<WeightSet>();
    out->manifest = whole->manifest;
    out->manifest.checksum = 0;
    out->share = DeviceShare{device, "a handle", 128, 77};
    out->read = [this, whole] { return ++reads, whole->data; };
    const auto lease = std::make_shared<int>();
    leased = lease, out->lease = lease;
    return out;
  }
};

TEST(WeightShare, AClientOnThatGpuTakesItAndNothingIsRead) {
  Shared shared;
  WeightServer server("tcp://127.0.0.1:0", 1 << 12);
  server.publish(shared.set(3, "host/GPU-1"));
  std::optional<DeviceShare> seen;
  const ShareTaker taker{"host/GPU-1", [&](const WeightManifest& manifest, const DeviceShare& share) {
                           EXPECT_EQ(manifest.version, 3u);
                           seen = share;
                           return true;
                         }};
  const auto got = WeightClient().fetch(server.endpoint(), 3, 10, {}, taker);
  ASSERT_TRUE(got && seen);
  EXPECT_TRUE(got->data.empty());
  EXPECT_EQ(got->manifest.tensors.size(), 3u);
  EXPECT_EQ(seen->handle, "a handle");
  EXPECT_EQ(seen->offset, 128u);
  EXPECT_EQ(seen->checksum, 77u);
  EXPECT_EQ(shared.reads, 0);
  EXPECT_EQ(server.shares_given(), 1u);
}

TEST(WeightShare, OthersGetTheBytes) {
  const auto whole = weights(3, 3000);
  for (const char* device :
       {"", "host/GPU-2", "host/GPU-1"}) {  // none, another, and one that cannot take it after all
    Shared shared;
    WeightServer server("tcp://127.0.0.1:0", 1 << 12);
    server.publish(shared.set(3, "host/GPU-1"));
    int asked = 0;
    const ShareTaker taker{device, [&](const WeightManifest&, const DeviceShare&) { return ++asked, false; }};
    for (int client = 0; client < 2; ++client) {
      const auto got = WeightClient().fetch(server.endpoint(), 3, 10, {}, *device ? taker : ShareTaker{});
      ASSERT_TRUE(got) << device;
      EXPECT_TRUE(got->data == whole->data) << device;
    }
    EXPECT_EQ(shared.reads, 1) << device;
    EXPECT_EQ(asked, device == std::string("host/GPU-1") ? 2 : 0);
  }
}

TEST(WeightShare, TheBufferIsHeldWhileAClientCopiesAndNotLonger) {
  Shared first, second;
  WeightServer server("tcp://127.0.0.1:0", 1 << 12);
  server.publish(first.set(1, "d"));
  const ShareTaker taker{"d", [&](const WeightManifest&, const DeviceShare&) {
                           server.publish(second.set(2, "d"));  // while this client is still copying
                           for (int i = 0; i < 20; ++i) std::this_thread::sleep_for(5ms);
                           EXPECT_FALSE(first.leased.expired());
                           return true;
                         }};
  const auto got = WeightClient().fetch(server.endpoint(), 1, 10, {}, taker);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->manifest.version, 1u);
  const auto began = Clock::now();
  while (!first.leased.expired() && seconds_since(began) < 10) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(first.leased.expired());
  EXPECT_FALSE(second.leased.expired());
}

TEST(Weights, NoiseDoesNotStopTheServer) {
  WeightServer server("tcp://127.0.0.1:0");
  server.publish(weights(1, 100));
  RawClient raw(server.endpoint());
  std::mt19937 rng(1);
  for (int i = 0; i < 500; ++i) {
    std::string noise(rng() % 40, ' ');
    for (char& c : noise) c = static_cast<char>(rng());
    raw.socket.send(noise);
  }
  raw.ask_chunk(1, 0);  // without a manifest before
  raw.ask_manifest();
  raw.ask_chunk(1, 4'000'000'000u);  // far behind the end
  EXPECT_TRUE(WeightClient().fetch(server.endpoint(), 1, 10));
}

}  // namespace
}  // namespace cohort
