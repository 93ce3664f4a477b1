#include "learner/collectives.h"
#include "transport/base/measure.h"

#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace cohort {
namespace {

constexpr int64_t kNothing = INT64_MAX;
constexpr size_t kFew = 1024;               // elements that everybody simply sends to everybody
constexpr size_t kBlock = size_t{8} << 20;  // elements reduced at once: bounds the second buffer

// What Open MPI's plugins leave behind cannot be suppressed by name once they are unloaded: under AddressSanitizer what it
// allocates as it starts does not count, and this process's own leaks are looked for before it ends.
void ignore_leaks([[maybe_unused]] bool on) {
#ifdef __SANITIZE_ADDRESS__
  on ? __lsan_disable() : __lsan_enable();
#endif
}
void find_leaks() {
#ifdef __SANITIZE_ADDRESS__
  __lsan_do_leak_check();
#endif
}

void sleep_us(long us) {
  const timespec t{us / 1000000, us % 1000000 * 1000};
  nanosleep(&t, nullptr);
}

template <class T>
MPI_Datatype type_of();
template <>
MPI_Datatype type_of<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype type_of<double>() {
  return MPI_DOUBLE;
}

}  // namespace

Collectives::Collectives(MPI_Comm communicator) : comm_(communicator) {
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
}

// brisk: everybody is here, the transfer takes microseconds to milliseconds: come back at once. Otherwise
// sleep, longer the longer it lasts, up to a millisecond. No sched_yield: among busy processes it costs whole
// time slices, where one that wakes from a sleep is run soon.
void Collectives::wait(MPI_Request& request, bool brisk) {
  const auto began = std::chrono::steady_clock::now();
  int done = 0;
  for (int tries = 0;; ++tries) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) break;
    if (tries >= 20) sleep_us(brisk ? 20 : std::min(1000, 20 + 5 * tries));
  }
  waited_s_ += seconds_since(began);
}

void Collectives::barrier() {
  if (size_ == 1) return;
  MPI_Request request;
  MPI_Ibarrier(comm_, &request);
  wait(request, false);
}

// Reduce-scatter and all-gather by hand: each rank gets everybody's piece of its slice, adds them in rank
// order and hands the result to all. The bytes moved are those of a ring, and only one rank ever rounds an
// element.
// A few numbers go to everybody at once, and each rank adds them in the same order.
template <class T>
void Collectives::sum_in_rank_order(std::span<T> values, bool all_here) {
  if (size_ == 1 || values.empty()) return;
  const size_t ranks = static_cast<size_t>(size_);
  std::vector<T> pieces, out;
  const auto add = [&pieces, ranks](size_t stride, size_t i) {
    double sum = 0;
    for (size_t r = 0; r < ranks; ++r) sum += static_cast<double>(pieces[r * stride + i]);
    return static_cast<T>(sum);
  };
  MPI_Request request;
  if (values.size() <= kFew) {
    const int n = static_cast<int>(values.size());
    pieces.resize(values.size() * ranks);
    MPI_Iallgather(values.data(), n, type_of<T>(), pieces.data(), n, type_of<T>(), comm_, &request);
    wait(request, all_here);
    for (size_t i = 0; i < values.size(); ++i) values[i] = add(values.size(), i);
    return;
  }
  if (!all_here) barrier();
  for (size_t at = 0; at < values.size(); at += kBlock) {
    std::span<T> block = values.subspan(at, std::min(kBlock, values.size() - at));
    const size_t slice = (block.size() + ranks - 1) / ranks;
    out.assign(slice * ranks, T{});
    pieces.resize(slice * ranks);
    std::copy(block.begin(), block.end(), out.begin());
    MPI_Ialltoall(out.data(), static_cast<int>(slice), type_of<T>(), pieces.data(), static_cast<int>(slice),
                  type_of<T>(), comm_, &request);
    wait(request, true);
    std::vector<T> mine(slice);
    for (size_t i = 0; i < slice; ++i) mine[i] = add(slice, i);
    MPI_Iallgather(mine.data(), static_cast<int>(slice), type_of<T>(), out.data(), static_cast<int>(slice),
                   type_of<T>(), comm_, &request);
    wait(request, true);
    std::copy_n(out.begin(), block.size(), block.begin());
  }
}

void Collectives::sum(std::span<float> values, bool all_here) {
  sum_in_rank_order(values, all_here);
}
void Collectives::sum(std::span<double> values, bool all_here) {
  sum_in_rank_order(values, all_here);
}

void Collectives::reduce_scatter(std::span<float> values) {
  if (size_ == 1 || values.empty()) return;
  barrier();
  const size_t ranks = static_cast<size_t>(size_), slice = values.size() / ranks;
  const auto own = values.subspan(static_cast<size_t>(rank_) * slice, slice);
  std::vector<float> out, pieces;
  const size_t block =
      std::max<size_t>(1, kBlock / ranks);  // of each slice: bounds the buffers, and MPI's int counts
  for (size_t at = 0; at < slice; at += block) {
    const size_t n = std::min(block, slice - at);
    out.resize(n * ranks), pieces.resize(n * ranks);
    for (size_t r = 0; r < ranks; ++r)
      std::copy_n(values.begin() + static_cast<ptrdiff_t>(r * slice + at), n,
                  out.begin() + static_cast<ptrdiff_t>(r * n));
    MPI_Request request;
    MPI_Ialltoall(out.data(), static_cast<int>(n), MPI_FLOAT, pieces.data(), static_cast<int>(n), MPI_FLOAT,
                  comm_, &request);
    wait(request, true);
    for (size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (size_t r = 0; r < ranks; ++r) sum += static_cast<double>(pieces[r * n + i]);
      own[at + i] = static_cast<float>(sum);
    }
  }
}

void Collectives::all_gather(std::span<std::byte> values) {
  if (size_ == 1 || values.empty()) return;
  barrier();
  MPI_Request request;
  MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(),
                 static_cast<int>(values.size() / static_cast<size_t>(size_)), MPI_BYTE, comm_, &request);
  wait(request, true);
}

void Collectives::gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  if (size_ == 1) {
    std::copy(mine.begin(), mine.end(), all.begin());
    return;
  }
  barrier();
  MPI_Request request;
  const int bytes = static_cast<int>(mine.size());
  MPI_Igather(mine.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, 0, comm_, &request);
  wait(request, true);
}

void Collectives::scatter(std::span<const std::byte> all, std::span<std::byte> mine) {
  if (size_ == 1) {
    std::copy(all.begin(), all.end(), mine.begin());
    return;
  }
  barrier();
  MPI_Request request;
  const int bytes = static_cast<int>(mine.size());
  MPI_Iscatter(all.data(), bytes, MPI_BYTE, mine.data(), bytes, MPI_BYTE, 0, comm_, &request);
  wait(request, true);
}

int64_t Collectives::min(int64_t value) {
  if (size_ == 1) return value;
  int64_t out = value;
  MPI_Request request;
  MPI_Iallreduce(&value, &out, 1, MPI_INT64_T, MPI_MIN, comm_, &request);
  wait(request, false);
  return out;
}

int64_t Collectives::max(int64_t value) {
  return -min(-value);
}

void Collectives::broadcast(std::span<std::byte> bytes, int root) {
  if (size_ == 1 || bytes.empty()) return;
  barrier();
  constexpr size_t kChunk = size_t{256} << 20;
  for (size_t at = 0; at < bytes.size(); at += kChunk) {
    MPI_Request request;
    MPI_Ibcast(bytes.data() + at, static_cast<int>(std::min(kChunk, bytes.size() - at)), MPI_BYTE, root,
               comm_, &request);
    wait(request, true);
  }
}

void Collectives::broadcast(std::string& text, int root) {
  if (size_ == 1) return;
  uint64_t bytes = text.size();
  broadcast(std::as_writable_bytes(std::span(&bytes, 1)), root);
  text.resize(bytes);
  broadcast(std::as_writable_bytes(std::span(text.data(), text.size())), root);
}

std::string Collectives::first_error(const std::string& mine) {
  const int64_t who = min(mine.empty() ? kNothing : rank_);
  if (who == kNothing) return "";
  std::string text = mine;
  broadcast(text, static_cast<int>(who));
  return text;
}

MpiSession::MpiSession() {
  if (!std::getenv("OMPI_COMM_WORLD_SIZE") && !std::getenv("PMI_SIZE") && !std::getenv("PMIX_RANK")) return;
  int provided = 0;
  ignore_leaks(true);
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  ignore_leaks(false);
  comm_ = MPI_COMM_WORLD;
  if (const char* learners = std::getenv("COHORT_LEARNER_RANKS")) {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split(MPI_COMM_WORLD, rank < std::atoi(learners) ? 0 : 1, rank, &comm_);
  }
  prctl(PR_SET_TIMERSLACK, 1000);  // this thread's short sleeps end when asked, not 50 us later
  started_ = true;
}

MpiSession::~MpiSession() {
  if (!started_) return;
  Collectives(MPI_COMM_WORLD).barrier();  // asleep; MPI_Finalize itself would spin
  find_leaks();
  MPI_Finalize();
}

Collectives MpiSession::world() const {
  return started_ ? Collectives(comm_) : Collectives();
}

void MpiSession::abort(int exit_code) {
  int started = 0;
  MPI_Initialized(&started);
  if (started) MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace cohort
