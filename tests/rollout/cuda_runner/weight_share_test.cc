// Weights from a learner's process to a CudaRunner on the same GPU: the buffer is mapped, copied and compared. This program is
// both: started with --learner ENDPOINT_FILE it publishes a version for every line on its standard input, until it ends.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "learner/gpu/weight_share.h"
#include "rollout/model_runner.h"
#include "tests/kernels/gpu.h"
#include "tests/rollout/cuda_runner/test_weights.h"
#include "transport/weights.h"

namespace cohort {
namespace {

int learner(const char* endpoint_file) {
  WeightServer server("tcp://127.0.0.1:0");
  std::ofstream(std::string(endpoint_file) + ".new") << server.endpoint();
  std::rename((std::string(endpoint_file) + ".new").c_str(), endpoint_file);
  cudaSetDevice(0);
  std::optional<gpu::WeightShare> share;
  Version version = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const WeightSet whole = test_weights(++version);
    auto set = std::make_shared<WeightSet>();
    set->manifest = whole.manifest;
    if (!share) share.emplace(whole.data.size());
    if (!share->publish(*set, [&](void* to) {
          cudaMemcpy(to, whole.data.data(), whole.data.size(), cudaMemcpyHostToDevice);
        }))
      return 3;
    server.publish(set);
  }
  return 0;
}

class Learner {
 public:
  Learner() : file_(testing::TempDir() + "weight_share_" + std::to_string(getpid())) {
    std::remove(file_.c_str());
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    pipe_ = popen(("'" + self + "' --learner '" + file_ + "'").c_str(), "w");
    for (int i = 0; i < 2000 && endpoint.empty(); ++i) {
      std::getline(std::ifstream(file_), endpoint);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  ~Learner() {
    EXPECT_EQ(pclose(pipe_), 0);
    std::remove(file_.c_str());
  }
  void publish() {
    std::fputs("next\n", pipe_);
    std::fflush(pipe_);
  }
  std::string endpoint;

 private:
  std::string file_;
  FILE* pipe_;
};

// Two runners may have found different product kernels to be the fastest, so their bits may differ.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return 1e9;
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(double(a[i]) - double(b[i]));
  return sum / double(a.size());
}

TEST(WeightShare, EveryVersionIsTheOneThatWasPublished) {
  NEEDS_GPU();
  Learner learner;
  ASSERT_FALSE(learner.endpoint.empty());
  auto shared = test_runner(), fetched = test_runner();
  ASSERT_FALSE(shared->share_device().empty());
  const ShareTaker taker{shared->share_device(), [&](const WeightManifest& m, const DeviceShare& s) {
                           return shared->stage_share(m, s);
                         }};
  WeightClient client;
  std::vector<float> before;
  for (Version version = 1; version <= 8; ++version) {  // more than there are buffers
    learner.publish();
    const auto set = client.fetch(learner.endpoint, version, 60, {}, taker);
    ASSERT_TRUE(set);
    EXPECT_TRUE(set->data.empty()) << "it came as chunks";
    ASSERT_TRUE(shared->swap_weights());
    EXPECT_EQ(shared->version(), version);
    fetched->stage_weights(std::make_shared<WeightSet>(test_weights(version)));
    ASSERT_TRUE(fetched->swap_weights());
    const auto scores = scores_of(*shared);
    EXPECT_LT(distance(scores, scores_of(*fetched)), 0.02) << version;
    EXPECT_GT(distance(scores, before), 0.05) << version;
    before = scores;
  }
}

TEST(WeightShare, WhatCannotBeTakenComesAsChunks) {
  NEEDS_GPU();
  Learner learner;
  ASSERT_FALSE(learner.endpoint.empty());
  learner.publish();
  const auto whole = test_weights(1);
  for (const char* fault : {"checksum", "handle", "short handle"}) {
    auto r = test_runner();
    int asked = 0;
    const ShareTaker taker{r->share_device(), [&](const WeightManifest& m, DeviceShare s) {
                             ++asked;
                             if (fault[0] == 'c') s.checksum ^= 1;
                             if (fault[0] == 'h') s.handle.assign(s.handle.size(), '\0');
                             if (fault[0] == 's') s.handle.resize(10);
                             return r->stage_share(m, s);
                           }};
    const auto set = WeightClient().fetch(learner.endpoint, 1, 60, {}, taker);
    ASSERT_TRUE(set) << fault;
    EXPECT_EQ(asked, 1) << fault;
    EXPECT_TRUE(set->data == whole.data) << fault;
    EXPECT_FALSE(r->swap_weights()) << fault;  // nothing of the refused copy was staged
    r->stage_weights(set);
    EXPECT_TRUE(r->swap_weights()) << fault;
    EXPECT_EQ(scores_of(*r).size(), 99u);
  }
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--learner") return cohort::learner(argv[2]);
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
