// Weight updates over NCCL between two GPUs, beside a bare ncclBroadcast of the same bytes, and what they cost decoding.
//   usage: weight_bench [--model 0.5b|1.5b] [--batch N] [--updates N] [--steps N] [--transport nccl|zmq]
//
// Two processes, as in a run: the learner's (GPU 0) publishes versions; this one (GPU 1) decodes all the time and fetches them
// as a rollout worker does. Printed, each as median (lowest to highest) over the updates:
//   bare       one ncclBroadcast of all bytes in a blocking communicator; by events on the receiver, one after the other without
//              a pause, so without what starting one costs. While the receiver is idle, and while it decodes
//   received   from the invitation until the receiver has noticed the last byte (wall clock), in the same two states
//   update     from the announcement until the version is received, its checksum compared and it is ready for the swap
//   lost       `steps` decode steps with an update and its swap in them, less the mean of as many before and after without one
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <thread>

#include "kernels/cuda_check.h"
#include "learner/gpu/weight_share.h"
#include "rollout/engine.h"
#include "tests/bench/qwen_shapes.h"
#include "transport/base/error.h"
#include "transport/nccl.h"
#include "transport/weights.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point t) {
  return std::chrono::duration<double, std::milli>(Clock::now() - t).count();
}

struct Spread {
  double median = 0, lowest = 0, highest = 0;
  explicit Spread(std::vector<double> v) {
    if (v.empty()) return;
    std::sort(v.begin(), v.end());
    median = v[v.size() / 2], lowest = v.front(), highest = v.back();
  }
  std::string text() const { return fmt::format("{:.2f} ({:.2f} to {:.2f})", median, lowest, highest); }
};

// ---- a bare broadcast

constexpr int kBare = 20, kWarmUps = 3;

// Both ends call it; the milliseconds of each. In a process that has NCCL loaded by now.
std::vector<double> bare_broadcasts(const std::string& id, int rank, size_t bytes) {
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD);
  if (!library) fail("NCCL is not loaded");
  const auto init = reinterpret_cast<decltype(&ncclCommInitRank)>(dlsym(library, "ncclCommInitRank"));
  const auto broadcast = reinterpret_cast<decltype(&ncclBroadcast)>(dlsym(library, "ncclBroadcast"));
  const auto destroy = reinterpret_cast<decltype(&ncclCommDestroy)>(dlsym(library, "ncclCommDestroy"));
  ncclUniqueId raw;
  std::memcpy(raw.internal, id.data(), sizeof raw.internal);
  void* data = nullptr;
  CUDA_CHECK(cudaMalloc(&data, bytes));
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  ncclComm_t communicator;
  if (init(&communicator, 2, raw, rank) != ncclSuccess) fail("a bare communicator");
  std::vector<cudaEvent_t> events(kBare + kWarmUps + 1);
  for (cudaEvent_t& e : events) CUDA_CHECK(cudaEventCreate(&e));
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    CUDA_CHECK(cudaEventRecord(events[i], stream));
    if (broadcast(data, data, bytes, ncclUint8, 0, communicator, stream) != ncclSuccess)
      fail("a bare broadcast");
  }
  CUDA_CHECK(cudaEventRecord(events.back(), stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
  std::vector<double> ms;
  for (size_t i = kWarmUps; i + 1 < events.size(); ++i) {
    float took = 0;
    CUDA_CHECK(cudaEventElapsedTime(&took, events[i], events[i + 1]));
    ms.push_back(double(took));
  }
  destroy(communicator);
  cudaStreamDestroy(stream);
  cudaFree(data);
  return ms;
}

std::string hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}
std::string unhex(const std::string& text) {
  std::string out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) out += char(std::stoi(text.substr(i, 2), nullptr, 16));
  return out;
}

// ---- the learner: "bare ID" and "publish" come in as lines, the endpoint goes out

int learner(const std::string& model, bool broadcasts) {
  CUDA_CHECK(cudaSetDevice(0));
  std::shared_ptr<Broadcaster> end = make_nccl_broadcaster(0, "--transport");
  BroadcastRoot root;
  if (broadcasts) root.end = end;
  WeightServer server("tcp://127.0.0.1:0", 1 << 20, 2, root);
  const auto weights = random_bf16_weights(qwen_shape(model));
  const size_t bytes = weights->data.size();
  std::byte* on_gpu = nullptr;
  CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&on_gpu), bytes));
  CUDA_CHECK(cudaMemcpy(on_gpu, weights->data.data(), bytes, cudaMemcpyHostToDevice));
  gpu::WeightShare share(bytes);
  std::cout << server.endpoint() << std::endl;
  Version version = 1;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.starts_with("bare ")) {
      bare_broadcasts(unhex(line.substr(5)), 0, bytes);
      std::cout << "done" << std::endl;
      continue;
    }
    auto set = std::make_shared<WeightSet>();
    set->manifest = weights->manifest;
    set->manifest.version = ++version;
    set->manifest.checksum = 0;
    // each version is another one: a row of the embedding moves
    if (!share.publish(*set, [&](void* to) {
          cudaMemcpy(to, on_gpu, bytes, cudaMemcpyDeviceToDevice);
          cudaMemcpy(to, on_gpu + 1024 * size_t(version), 1024, cudaMemcpyDeviceToDevice);
        }))
      fail("no buffer free");
    server.publish(set);
    std::cout << version << std::endl;
  }
  return 0;
}

class Learner {
 public:
  Learner(const std::string& model, const std::string& transport) {
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0) fail("no pipe");
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0), dup2(out[1], 1);
      for (int fd : {in[0], in[1], out[0], out[1]}) close(fd);
      execl(self.c_str(), self.c_str(), "--learner", "--model", model.c_str(), "--transport",
            transport.c_str(), nullptr);
      _exit(127);
    }
    close(in[0]), close(out[1]);
    to_ = fdopen(in[1], "w"), from_ = fdopen(out[0], "r");
    endpoint = answer();
  }
  ~Learner() {
    fclose(to_), fclose(from_);
    waitpid(pid_, nullptr, 0);
  }
  void say(const std::string& line) {
    fputs((line + "\n").c_str(), to_);
    fflush(to_);
  }
  std::string answer() {
    char line[1000] = "";
    if (!fgets(line, sizeof line, from_)) fail("the learner's process ended");
    return std::string(line, strcspn(line, "\n"));
  }
  std::string endpoint;

 private:
  pid_t pid_;
  FILE *to_, *from_;
};

// ---- the rollout worker: the main thread decodes, another one fetches, as in rollout/weight_fetcher.h

struct Update {
  double total_ms = 0, received_ms = 0;
  bool broadcast = false;
};

class Fetcher {
 public:
  Fetcher(ModelRunner& runner, Engine& engine, const std::string& endpoint, const std::string& transport)
      : runner_(runner), engine_(engine), endpoint_(endpoint) {
    if (transport == "nccl") member_.end = runner.broadcaster();
    member_.name = "weight_bench", member_.device = runner.share_device();
    member_.open = [this](const WeightManifest& m) { return runner_.open_stage(m); };
    member_.close = [this](const WeightManifest& m, uint64_t sum) { return runner_.close_stage(m, sum); };
    thread_ = std::thread([this] { run(); });
  }
  ~Fetcher() {
    wanted_ = kEnd;
    wanted_.notify_one();
    thread_.join();
  }
  void announce(Version version) {
    wanted_ = version;
    wanted_.notify_one();
  }
  std::atomic<Version> staged = 1;
  std::vector<Update> updates;  // once `staged` says so

 private:
  static constexpr Version kEnd = ~Version{0};
  void run() {
    WeightClient client;
    for (Version have = 1;;) {
      wanted_.wait(have);
      const Version want = wanted_;
      if (want == kEnd) return;
      const auto began = Clock::now();
      const auto set = client.fetch(endpoint_, want, 60, {}, {}, &member_);
      if (!set) fail("version {} did not come", want);
      if (set->came_by == WeightTransport::zmq) runner_.stage_weights(set);
      updates.push_back({ms_since(began), member_.received_ms, set->came_by == WeightTransport::nccl});
      engine_.weights_staged();
      have = want;
      staged = want;
    }
  }
  ModelRunner& runner_;
  Engine& engine_;
  std::string endpoint_;
  BroadcastMember member_;
  std::atomic<Version> wanted_ = 1;
  std::thread thread_;
};

struct Flags {
  std::string model = "0.5b", transport = "nccl";
  int batch = 64, updates = 11, steps = 40;
  bool learner = false;
};

void bench(const Flags& f) {
  CUDA_CHECK(cudaSetDevice(1));
  Learner learner(f.model, f.transport);
  const ModelConfig config = qwen_shape(f.model);
  const auto weights = random_bf16_weights(config);
  const auto bytes = double(weights->data.size());
  const int length =
      (3 * f.steps + 120) * (f.updates + 3) + 2000;  // the joining update and the bare broadcasts take long
  RunnerOptions options;
  options.device = "cuda:1", options.dtype = "bfloat16", options.max_slots = f.batch,
  options.max_context = length + 16;
  const auto runner = make_cuda_runner(config, weights, options);
  const auto end = make_nccl_broadcaster(1, "--transport");

  const auto bare_run = [&] {
    const std::string id = end->make_id();
    learner.say("bare " + hex(id));
    const auto ms = bare_broadcasts(id, 1, weights->data.size());
    learner.answer();
    return Spread(ms);
  };
  const Spread bare = bare_run();

  Engine engine(*runner, nullptr, {});
  for (int i = 0; i < f.batch; ++i) {
    EngineRequest r;
    r.group = GroupId(i + 1), r.indices = {0}, r.prompt_ids = {i + 1, 2, 3, 4};
    r.sampling.max_tokens = length, r.sampling.ignore_eos = true, r.sampling.seed = 1;
    engine.add(std::move(r));
  }
  Fetcher fetcher(*runner, engine, learner.endpoint, f.transport);
  const auto decode = [&](int steps) {
    const auto began = Clock::now();
    for (int i = 0; i < steps; ++i) engine.step();
    return ms_since(began);
  };
  std::vector<double> lost, step_ms;
  const auto steps_with_update = [&] {
    learner.say("publish");
    const auto version = Version(std::stoul(learner.answer()));
    decode(5);  // what the engine had queued while this thread waited
    const double before = decode(f.steps);
    const auto began = Clock::now();
    fetcher.announce(version);
    int steps = 0;
    for (; steps < f.steps || fetcher.staged != version; ++steps) engine.step();
    for (int i = 0; i < 5; ++i, ++steps) engine.step();  // the swap
    const double with = ms_since(began);
    if (runner->version() != version) fail("version {} was not swapped in", version);
    const double after = decode(f.steps), quiet = (before + after) / 2 / f.steps;
    lost.push_back(with - quiet * steps), step_ms.push_back(quiet);
  };
  decode(f.steps);      // captures graphs
  steps_with_update();  // builds the communicator
  const double first_ms = fetcher.updates.back().total_ms, first_lost = lost.back();
  steps_with_update();  // loads NCCL's kernels
  lost.clear(), step_ms.clear();
  for (int i = 0; i < f.updates; ++i) steps_with_update();
  std::vector<double> received, total, idle_received, idle_total;
  size_t by_broadcast = 0;
  for (size_t i = 2; i < fetcher.updates.size(); ++i) {
    const Update& u = fetcher.updates[i];
    by_broadcast += u.broadcast;
    received.push_back(u.received_ms), total.push_back(u.total_ms);
  }
  // bare ones while decoding
  std::atomic<bool> over = false;
  std::optional<Spread> busy_bare;
  std::thread other([&] {
    cudaSetDevice(1);
    busy_bare = bare_run();
    over = true;
  });
  while (!over) engine.step();
  other.join();
  // updates while not decoding
  for (int i = 0; i < f.updates; ++i) {
    cudaDeviceSynchronize();
    learner.say("publish");
    const auto version = Version(std::stoul(learner.answer()));
    fetcher.announce(version);
    while (fetcher.staged != version) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    decode(5);
    idle_received.push_back(fetcher.updates.back().received_ms),
        idle_total.push_back(fetcher.updates.back().total_ms);
  }
  if (engine.idle()) fail("the sequences ended too early for these figures: use fewer --steps");
  const auto gbs = [&](double ms) { return bytes / ms / 1e6; };
  const Spread r(received), t(total), l(lost);
  fmt::print("{} {:.3f} GB, batch {}, {} updates ({} by broadcast, checksums right), decode step {} ms\n",
             f.model, bytes / 1e9, f.batch, f.updates, by_broadcast, Spread(step_ms).text());
  const auto line = [&](const char* what, const Spread& x, const Spread& of) {
    fmt::print("  {:<28}{} ms, {:.0f} GB/s: {:.3f} of the bare one's bandwidth\n", what, x.text(),
               gbs(x.median), of.median / x.median);
  };
  fmt::print("  {:<28}{} ms, {:.0f} GB/s\n", "bare, idle", bare.text(), gbs(bare.median));
  fmt::print("  {:<28}{} ms, {:.0f} GB/s\n", "bare, decoding", busy_bare->text(), gbs(busy_bare->median));
  if (by_broadcast > 0)
    line("received, idle", Spread(idle_received), bare), line("received, decoding", r, *busy_bare);
  line("update, idle", Spread(idle_total), bare), line("update, decoding", t, *busy_bare);
  fmt::print("  decoding lost               {} ms an update\n", l.text());
  fmt::print("  the first update            {:.0f} ms (joining), decoding lost {:.1f} ms\n", first_ms,
             first_lost);
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  CLI::App app("Weight updates over NCCL", "weight_bench");
  cohort::Flags f;
  app.add_option("--model", f.model);
  app.add_option("--batch", f.batch);
  app.add_option("--updates", f.updates);
  app.add_option("--steps", f.steps, "decode steps a period");
  app.add_option("--transport", f.transport);
  app.add_flag("--learner", f.learner);
  CLI11_PARSE(app, argc, argv);
  return cohort::run_main("weight_bench", [&] {
    if (f.learner) return cohort::learner(f.model, f.transport == "nccl");
    cohort::bench(f);
    return 0;
  });
}
