// Weights by a broadcast over NCCL, between real processes. This program is both sides: the test is the learner on GPU 0, and
// starts itself with --worker as rollout workers, which fetch one version after the other into a CudaRunner and print a line
// about each. A worker told so stops itself (SIGSTOP) in the middle of a broadcast. Workers have a GPU of their own where there
// are enough. NCCL takes one rank of a host on a GPU: without, a worker says that it is a host of its own, shares the last GPU by
// time slices and receives over TCP.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <thread>

#include "learner/gpu/weight_share.h"
#include "rollout/model_runner.h"
#include "tests/rollout/cuda_runner/test_weights.h"
#include "transport/base/error.h"
#include "transport/base/measure.h"
#include "transport/nccl.h"
#include "transport/weights.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
#define NEEDS_GPU()                         \
  if (gpus() < 1) GTEST_SKIP() << "no GPU"; \
  cudaSetDevice(0)

int gpus() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

// ---- the worker's process

// Stops its process when it has started (joining, or about to receive) in round number `at`, counted from 1.
class Stopping : public Broadcaster {
 public:
  Stopping(std::unique_ptr<Broadcaster> inner, int at) : inner_(std::move(inner)), at_(at) {}
  std::string make_id() override { return inner_->make_id(); }
  void start(const std::string& id, int rank, int size, void* data, uint64_t bytes) override {
    inner_->start(id, rank, size, data, bytes);
    if (++starts_ == at_) raise(SIGSTOP);
  }
  State poll() override { return inner_->poll(); }
  std::string error() const override { return inner_->error(); }
  void abort() override { inner_->abort(); }

 private:
  std::unique_ptr<Broadcaster> inner_;
  int at_, starts_ = 0;
};

int worker(const std::string& endpoint, const std::string& name, int number, int stop_at) {
  const bool own_gpu = number < gpus();
  if (!own_gpu) setenv("NCCL_HOSTID", name.c_str(), 1);
  auto r = test_runner("cuda:" + std::to_string(own_gpu ? number : gpus() - 1));
  BroadcastMember member;
  member.end = std::make_shared<Stopping>(r->broadcaster(), stop_at);
  member.name = name, member.device = own_gpu ? r->share_device() : name;
  member.open = [&](const WeightManifest& m) { return r->open_stage(m); };
  member.close = [&](const WeightManifest& m, uint64_t sum) { return r->close_stage(m, sum); };
  WeightClient client;
  for (Version next = 1;;) {
    const auto set = client.fetch(endpoint, next, 60, {}, {}, &member);
    if (!set) return 3;
    if (set->came_by == WeightTransport::zmq) r->stage_weights(set);
    if (!r->swap_weights()) return 4;
    double sum = 0;
    for (float x : scores_of(*r)) sum += double(x);
    std::cout << "version " << set->manifest.version
              << (set->came_by == WeightTransport::nccl ? " nccl " : " zmq ") << sum << std::endl;
    next = set->manifest.version + 1;
  }
}

// ---- the learner's

struct Process {
  // The number-th worker: on that GPU, if there is one.
  Process(const std::string& endpoint, const std::string& name, int number = 1, int stop_at = 0) {
    int out[2];
    EXPECT_EQ(pipe(out), 0);
    const std::string self = std::filesystem::read_symlink("/proc/self/exe"), n = std::to_string(number),
                      at = std::to_string(stop_at);
    pid = fork();
    if (pid == 0) {
      dup2(out[1], 1);
      close(out[0]), close(out[1]);
      execl(self.c_str(), self.c_str(), "--worker", endpoint.c_str(), name.c_str(), n.c_str(), at.c_str(),
            nullptr);
      _exit(127);
    }
    close(out[1]);
    lines = fdopen(out[0], "r");
  }
  ~Process() {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    fclose(lines);
  }
  struct Line {
    Version version = 0;
    std::string by;
    double sum = 0;
  };
  // Waits for its next version; NCCL's own lines (NCCL_DEBUG) are passed over.
  Line next() {
    char text[1000] = "";
    Line line;
    std::string what;
    while (what != "version" && fgets(text, sizeof text, lines))
      std::istringstream(text) >> what >> line.version >> line.by >> line.sum;
    return what == "version" ? line : Line();
  }
  bool wait_until_stopped() const {
    for (int i = 0; i < 6000; ++i) {
      int status = 0;
      if (waitpid(pid, &status, WUNTRACED | WNOHANG) == pid) return WIFSTOPPED(status);
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
  pid_t pid;
  FILE* lines;
};

struct Learner {
  explicit Learner(double timeout_s)
      : server(
            "tcp://127.0.0.1:0", 1 << 20, 2,
            {std::shared_ptr<Broadcaster>(make_nccl_broadcaster(0, "the test")), {.timeout_s = timeout_s}}),
        own(test_runner("cuda:0")) {}
  void publish(Version version) {
    const auto whole = std::make_shared<WeightSet>(test_weights(version));
    auto set = std::make_shared<WeightSet>();
    set->manifest = whole->manifest;
    if (!share) share.emplace(whole->data.size());
    ASSERT_TRUE(share->publish(*set, [&](void* to) {
      cudaMemcpy(to, whole->data.data(), whole->data.size(), cudaMemcpyHostToDevice);
    }));
    server.publish(set);
    own->stage_weights(whole);
    ASSERT_TRUE(own->swap_weights());
    sum = 0;
    for (float x : scores_of(*own)) sum += double(x);
  }
  // What a worker printed about the newest version. (Two GPUs may have found different product kernels to be the fastest.)
  void expect(const Process::Line& line, Version version, const std::string& by) const {
    EXPECT_EQ(line.version, version);
    EXPECT_EQ(line.by, by) << "version " << version;
    EXPECT_NEAR(line.sum / 99, sum / 99, 0.02) << "version " << version;
  }
  std::optional<gpu::WeightShare> share;
  WeightServer server;
  std::unique_ptr<ModelRunner> own;
  double sum = 0;
};

TEST(NcclWeights, EveryVersionIsTheOneThatWasPublished) {
  NEEDS_GPU();
  Learner learner(60);
  Process worker(learner.server.endpoint(), "worker");
  for (Version version = 1; version <= 8; ++version) {
    learner.publish(version);
    learner.expect(worker.next(), version, "nccl");
  }
  // another process on that GPU, after the first has left without a word
  kill(worker.pid, SIGKILL);
  Process second(learner.server.endpoint(), "second");
  learner.expect(second.next(), 8, "nccl");
  learner.publish(9);
  learner.expect(second.next(), 9, "nccl");
}

TEST(NcclWeights, SeveralWorkersComeAndGo) {
  NEEDS_GPU();
  Learner learner(10);
  learner.publish(1);
  std::vector<std::unique_ptr<Process>> workers;
  const auto join = [&](const std::string& name, Version version) {
    workers.push_back(std::make_unique<Process>(learner.server.endpoint(), name, int(workers.size()) + 1));
    learner.expect(workers.back()->next(), version, "nccl");
  };
  for (const char* name : {"a", "b", "c"}) join(name, 1);
  for (Version version = 2; version <= 5; ++version) {
    learner.publish(version);
    for (auto& worker : workers) learner.expect(worker->next(), version, "nccl");
  }
  // Gone without a word: the others have the next version, by whichever way, and go on with those that are left.
  workers.erase(workers.begin() + 1);
  learner.publish(6);
  for (auto& worker : workers) EXPECT_EQ(worker->next().version, 6);
  learner.publish(7);
  for (auto& worker : workers) learner.expect(worker->next(), 7, "nccl");
  join("d", 7);
  learner.publish(8);
  for (auto& worker : workers) learner.expect(worker->next(), 8, "nccl");
}

// stop_at 1: while it joins; 3: when the communicator is there, with the learner's kernel waiting on its GPU.
TEST(NcclWeights, AWorkerThatStopsInTheMiddleIsLeftOutByTheDeadlineAndComesBack) {
  NEEDS_GPU();
  for (const int stop_at : {1, 3}) {
    SCOPED_TRACE(stop_at);
    constexpr double kTimeout = 4;
    Learner learner(kTimeout);
    Process worker(learner.server.endpoint(), "worker", 1, stop_at);
    Version version = 0;
    while (version + 1 < Version(stop_at)) {
      learner.publish(++version);
      learner.expect(worker.next(), version, "nccl");
    }
    const auto began = Clock::now();
    learner.publish(++version);
    ASSERT_TRUE(worker.wait_until_stopped());
    // whoever takes no part has the weights meanwhile, and the learner goes on publishing
    EXPECT_TRUE(WeightClient().fetch(learner.server.endpoint(), version, 20));
    learner.publish(++version);
    EXPECT_TRUE(WeightClient().fetch(learner.server.endpoint(), version, 20));
    // the broadcast has ended by its deadline: its buffer is free again, and the learner's GPU too
    std::this_thread::sleep_for(
        std::chrono::duration<double>(std::max(0.0, kTimeout + 1.5 - seconds_since(began))));
    for (int i = 0; i < 3; ++i) learner.publish(++version);
    const auto synchronized = Clock::now();
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_LT(seconds_since(synchronized), 1);
    // a second worker on its GPU takes part while the first is stopped
    {
      Process second(learner.server.endpoint(), "second");
      learner.expect(second.next(), version, "nccl");
    }
    kill(worker.pid, SIGCONT);
    Process::Line line = worker.next();
    EXPECT_EQ(line.version, version);
    learner.publish(++version);
    learner.expect(worker.next(), version, "nccl");
  }
}

TEST(NcclWeights, WorkersOnTheLearnersGpuAreToldWhyNot) {
  NEEDS_GPU();
  Learner learner(10);
  learner.publish(1);
  auto r = test_runner("cuda:0");
  BroadcastMember member;
  member.end = r->broadcaster();
  member.name = "near", member.device = r->share_device();
  member.open = [&](const WeightManifest& m) { return r->open_stage(m); };
  member.close = [&](const WeightManifest& m, uint64_t sum) { return r->close_stage(m, sum); };
  testing::internal::CaptureStderr();
  const auto set = WeightClient().fetch(learner.server.endpoint(), 1, 20, {}, {}, &member);
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(set);
  EXPECT_EQ(set->came_by, WeightTransport::zmq);
  EXPECT_THAT(log, testing::HasSubstr("NCCL takes one rank a GPU, and the learner has this one"));
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  setenv("NCCL_NET", "Socket", 1),
      setenv("NCCL_SOCKET_IFNAME", "lo", 1);  // of those that are hosts of their own
  if (argc == 6 && std::string(argv[1]) == "--worker")
    return cohort::run_main(
        "worker", [&] { return cohort::worker(argv[2], argv[3], std::atoi(argv[4]), std::atoi(argv[5])); });
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
