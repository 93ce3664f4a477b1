// Attention of packed sequences for training, forward and backward: kernels/packed_attention.h beside LibTorch's flash kernels
// and, where all sequences are as long, cuDNN's. Times by CUDA events, in turns; TFLOP/s of the causal half: 4 and 10 · heads ·
// head_dim · Σ length² / 2.
#include <ATen/ATen.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <functional>
#include <random>

#include "kernels/packed_attention.h"
#include "learner/gpu/runtime.h"

namespace {

using torch::Tensor;

double milliseconds(const std::function<void()>& call, int times) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  cudaEventRecord(begin);
  for (int i = 0; i < times; ++i) call();
  cudaEventRecord(end);
  cudaEventSynchronize(end);
  float ms = 0;
  cudaEventElapsedTime(&ms, begin, end);
  cudaEventDestroy(begin), cudaEventDestroy(end);
  return double(ms) / times;
}

struct Way {
  std::string name;
  std::function<void()> forward, backward;
  std::vector<double> f, b;
};

double difference(const Tensor& a, const Tensor& b) {
  return ((a.to(torch::kFloat) - b.to(torch::kFloat)).norm() / b.to(torch::kFloat).norm()).item<double>();
}

void compare(const char* model, int64_t heads, int64_t kv, int64_t dim, const char* what,
             const std::vector<int64_t>& lengths) {
  std::vector<int64_t> cu = {0};
  double squares = 0;
  int64_t longest = 0;
  for (int64_t n : lengths) {
    cu.push_back(cu.back() + n), squares += double(n) * double(n);
    longest = std::max(longest, n);
  }
  const int64_t rows = cu.back();
  const auto bf = torch::TensorOptions(torch::kCUDA).dtype(torch::kBFloat16);
  const Tensor qkv = torch::randn({rows, heads + 2 * kv, dim}, bf),
               d_out = torch::randn({rows, heads, dim}, bf);
  const Tensor q = qkv.narrow(1, 0, heads), k = qkv.narrow(1, heads, kv), v = qkv.narrow(1, heads + kv, kv);
  std::vector<Way> ways;

  const auto tiles = cohort::cuda::packed_tiles(cu);
  const Tensor on_gpu = torch::from_blob(const_cast<cohort::cuda::PackedTile*>(tiles.data()),
                                         {int64_t(tiles.size() * 4)}, torch::kInt32)
                            .to(torch::kCUDA);
  const auto pointer = [](const Tensor& t) { return static_cast<__nv_bfloat16*>(t.data_ptr()); };
  cohort::cuda::PackedAttentionGradParams g;
  auto& p = g.forward;
  p.tiles = reinterpret_cast<const cohort::cuda::PackedTile*>(on_gpu.data_ptr<int32_t>());
  p.count = int(tiles.size() / 2), p.rows = int(rows), p.heads = int(heads), p.kv_heads = int(kv);
  p.head_dim = int(dim), p.scale = 1 / std::sqrt(float(dim)), p.qkv = pointer(qkv);
  const Tensor out = torch::empty_like(d_out), dq = torch::empty_like(d_out),
               sums = torch::empty({heads * p.count * cohort::cuda::kPackedTile}, bf.dtype(torch::kFloat)),
               scratch =
                   torch::empty({cohort::cuda::packed_attention_grad_scratch(p)}, bf.dtype(torch::kFloat));
  const Tensor dk = torch::empty({rows, kv, dim}, bf), dv = torch::empty({rows, kv, dim}, bf);
  p.out = pointer(out), p.log_sums = sums.data_ptr<float>();
  g.d_out = pointer(d_out), g.dq = pointer(dq), g.dk = pointer(dk), g.dv = pointer(dv);
  g.scratch = scratch.data_ptr<float>();
  ways.push_back(
      {"ours", [&] { packed_attention(p, nullptr); }, [&] { packed_attention_grad(g, nullptr); }, {}, {}});

  const Tensor cu_gpu = torch::tensor(cu, torch::kInt32).to(torch::kCUDA);
  std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> flash;
  std::tuple<Tensor, Tensor, Tensor> flash_grad;
  ways.push_back({"LibTorch flash",
                  [&] {
                    flash = at::_flash_attention_forward(q, k, v, cu_gpu, cu_gpu, longest, longest, 0.0, true,
                                                         false);
                  },
                  [&] {
                    flash_grad = at::_flash_attention_backward(
                        d_out, q, k, v, std::get<0>(flash), std::get<1>(flash), cu_gpu, cu_gpu, longest,
                        longest, 0.0, true, std::get<2>(flash), std::get<3>(flash));
                  },
                  {},
                  {}});
  const auto batched = [&](const Tensor& x) {  // [B, H, T, D], strided
    return x.view({int64_t(lengths.size()), longest, x.size(1), dim}).transpose(1, 2);
  };
  using Cudnn = decltype(at::_scaled_dot_product_cudnn_attention(q, q, q, {}, true));
  std::unique_ptr<Cudnn> cudnn;
  std::tuple<Tensor, Tensor, Tensor> cudnn_grad;
  if (std::all_of(lengths.begin(), lengths.end(), [&](int64_t n) { return n == longest; }))
    ways.push_back({"cuDNN",
                    [&] {
                      cudnn = std::make_unique<Cudnn>(at::_scaled_dot_product_cudnn_attention(
                          batched(q), batched(k), batched(v), {}, true, 0.0, true, false));
                    },
                    [&] {
                      const auto& [o, lse, cq, ck, mq, mk, seed, offset, debug] = *cudnn;
                      cudnn_grad = at::_scaled_dot_product_cudnn_attention_backward(
                          batched(d_out), batched(q), batched(k), batched(v), o, lse, seed, offset, Tensor(),
                          cq, ck, mq.expect_int(), mk.expect_int(), 0.0, true);
                    },
                    {},
                    {}});
  for (auto way = ways.begin(); way != ways.end();) {
    try {
      for (int i = 0; i < 2; ++i) way->forward(), way->backward();
      cudaDeviceSynchronize();
      ++way;
    } catch (const std::exception& e) {
      fmt::print("{}: {}\n", way->name, std::string(e.what()).substr(0, 200));
      way = ways.erase(way);
    }
  }
  for (int round = 0; round < 5; ++round)
    for (Way& w : ways)
      w.f.push_back(milliseconds(w.forward, 10)), w.b.push_back(milliseconds(w.backward, 10));
  fmt::print("{} {} ({} tokens), error beside flash: out {:.1e} dq {:.1e} dk {:.1e} dv {:.1e}\n", model, what,
             rows, difference(out, std::get<0>(flash)), difference(dq, std::get<0>(flash_grad)),
             difference(dk, std::get<1>(flash_grad)), difference(dv, std::get<2>(flash_grad)));
  const double flop = 2 * double(heads * dim) * squares;
  for (Way& w : ways) {
    std::sort(w.f.begin(), w.f.end()), std::sort(w.b.begin(), w.b.end());
    fmt::print(
        "  {:15} forward {:7.3f} ms ({:.3f} to {:.3f}) {:4.0f} TFLOP/s, backward {:7.3f} ms ({:.3f} to "
        "{:.3f}) {:4.0f} TFLOP/s\n",
        w.name, w.f[2], w.f[0], w.f[4], flop / w.f[2] / 1e9, w.b[2], w.b[0], w.b[4],
        2.5 * flop / w.b[2] / 1e9);
  }
}

}  // namespace

int main() {
  cohort::gpu::open_device("cuda", "the benchmark's device");
  const torch::NoGradGuard no_grad;
  std::mt19937 random(3);
  std::vector<int64_t> mixed;
  for (int64_t left = 16384; left > 0; left -= mixed.back())
    mixed.push_back(std::min<int64_t>(left, 120 + int64_t(random() % 300)));
  const std::vector<std::pair<const char*, std::vector<int64_t>>> batches = {
      {"4 x 4096", std::vector<int64_t>(4, 4096)},
      {"16 x 1024", std::vector<int64_t>(16, 1024)},
      {"1 x 16384", {16384}},
      {"120 to 420 each", mixed}};
  for (const auto& [what, lengths] : batches) {
    compare("0.5B (14 heads, 2 kv, 64)", 14, 2, 64, what, lengths);
    compare("1.5B (12 heads, 2 kv, 128)", 12, 2, 128, what, lengths);
  }
  return 0;
}
