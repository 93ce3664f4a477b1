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
#include <random>
#include <thread>

#include "learner/gpu/weight_share.h"
#include "rollout/model_runner.h"
#include "tests/kernels/gpu.h"
#include "transport/weights.h"

namespace cohort {
namespace {

ModelConfig shape() {
  ModelConfig c;
  c.model_type = "llama";
  c.vocab_size = 4096, c.hidden_size = 512, c.intermediate_size = 1024, c.num_layers = 8;
  c.num_heads = 8, c.num_kv_heads = 2, c.head_dim = 64, c.max_position_embeddings = 2048;
  return c;
}

// Random bf16 of about 0.1, other ones for every version: log-probs of two versions are far apart.
WeightSet weights(Version version) {
  WeightSet set;
  set.manifest.version = version;
  set.manifest.tensors = shape().tensors(DType::bf16);
  const TensorSpec& last = set.manifest.tensors.back();
  set.manifest.total_bytes = (last.offset + last.bytes + 63) / 64 * 64;
  set.data.resize(set.manifest.total_bytes);
  std::mt19937_64 rng(version);
  for (const TensorSpec& t : set.manifest.tensors)
    for (uint64_t i = 0; i < t.bytes / 2; ++i) {
      const uint64_t r = rng();
      reinterpret_cast<uint16_t*>(set.data.data() + t.offset)[i] =
          uint16_t((r >> 63) << 15 | (121 + (r >> 20) % 4) << 7 | ((r >> 40) & 127));
    }
  return set;
}

int learner(const char* endpoint_file) {
  WeightServer server("tcp://127.0.0.1:0");
  std::ofstream(std::string(endpoint_file) + ".new") << server.endpoint();
  std::rename((std::string(endpoint_file) + ".new").c_str(), endpoint_file);
  cudaSetDevice(0);
  std::optional<gpu::WeightShare> share;
  Version version = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const WeightSet whole = weights(++version);
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

std::unique_ptr<ModelRunner> runner() {
  RunnerOptions o;
  o.max_slots = 4, o.max_context = 256, o.device = "cuda", o.dtype = "bfloat16";
  return make_cuda_runner(shape(), nullptr, o);
}

std::vector<float> scores_of(ModelRunner& r) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 100; ++i) tokens.push_back(i * 37 % 4096);
  return r.score(tokens);
}

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
  auto shared = runner(), fetched = runner();
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
    fetched->stage_weights(std::make_shared<WeightSet>(weights(version)));
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
  const auto whole = weights(1);
  for (const char* fault : {"checksum", "handle", "short handle"}) {
    auto r = runner();
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
