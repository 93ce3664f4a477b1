// Texts made from seeds by small changes, for tests that must hold for any bytes. COHORT_FUZZ_SECONDS=N goes on for so
// long instead of for a fixed number of rounds, COHORT_FUZZ_SEED chooses other texts.
#pragma once

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace cohort {

class TextFuzz {
 public:
  TextFuzz(std::vector<std::string> seeds, std::vector<std::string> pieces)
      : seeds_(std::move(seeds)), pieces_(std::move(pieces)) {
    const char* seed = std::getenv("COHORT_FUZZ_SEED");
    rng_.seed(seed ? std::strtoull(seed, nullptr, 10) : 1);
    if (const char* seconds = std::getenv("COHORT_FUZZ_SECONDS"))
      end_ = std::chrono::steady_clock::now() + std::chrono::seconds(std::atol(seconds)), timed_ = true;
  }
  // Whether to go on after `rounds`.
  bool more(size_t rounds, size_t usual) const {
    return timed_ ? std::chrono::steady_clock::now() < end_ : rounds < usual;
  }
  size_t below(size_t n) { return rng_() % n; }

  std::string text() {
    std::string out = pick(seeds_);
    for (size_t n = below(5); n > 0; --n) {
      const size_t at = below(out.size() + 1);
      switch (below(7)) {
        case 0:
          out.insert(at, pick(pieces_));
          break;
        case 1:
          out.erase(at, 1 + below(4));
          break;
        case 2:
          if (at < out.size()) out[at] = static_cast<char>(rng_());
          break;
        case 3:
          out.insert(at, out.substr(below(out.size() + 1), below(20)));
          break;
        case 4: {
          const std::string& other = pick(seeds_);
          out.insert(at, other.substr(0, below(other.size() + 1)));
          break;
        }
        case 5: {  // many of the same
          const std::string& piece = pick(pieces_);
          std::string many;
          for (size_t k = below(3000); k > 0; --k) many += piece;
          out.insert(at, many);
          break;
        }
        default:
          out.resize(at);
      }
    }
    return out;
  }

 private:
  const std::string& pick(const std::vector<std::string>& from) { return from[below(from.size())]; }
  std::mt19937_64 rng_;
  std::vector<std::string> seeds_, pieces_;
  std::chrono::steady_clock::time_point end_;
  bool timed_ = false;
};

}  // namespace cohort
