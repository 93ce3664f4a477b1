#include "learner/model/decoder.h"
#include "learner/model/ops.h"

namespace cohort {
namespace {

class PackedAttention : public Attention {
 public:
  explicit PackedAttention(std::vector<int64_t> cu_seqlens) : cu_seqlens_(std::move(cu_seqlens)) {}
  torch::Tensor attend(int64_t, const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    TORCH_CHECK(!cu_seqlens_.empty() && cu_seqlens_.back() == q.size(0),
                "cu_seqlens must end at the token count");
    return ops::packed_attention(q, k, v, cu_seqlens_);
  }

 private:
  std::vector<int64_t> cu_seqlens_;
};

}  // namespace

std::unique_ptr<Attention> make_packed_attention(const ModelConfig&, std::vector<int64_t> cu_seqlens) {
  return std::make_unique<PackedAttention>(std::move(cu_seqlens));
}

}  // namespace cohort
