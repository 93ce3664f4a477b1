// What learner ranks do together, over MPI in a communicator of their own. Every sum is taken in rank order,
// so that all ranks hold identical bits afterwards and two runs of the same ranks are bit-equal.
//
// Waiting is passive: ranks share cores with rollout and reward workers, so a rank that waits for a slower
// one sleeps between tests of its request (MPI's own blocking calls spin). Each operation first waits for
// everybody to arrive, asleep; the transfer itself, with all of them there, is polled briskly.
//
// One thread per process calls these (MPI_THREAD_FUNNELED). They throw nothing of their own: a lost rank
// makes mpirun end the whole job, and the supervisor starts it again from the last checkpoint.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace cohort {

class Collectives {
 public:
  Collectives() = default;                      // one rank, without MPI
  explicit Collectives(MPI_Comm communicator);  // not owned; must outlive this

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_root() const { return rank_ == 0; }

  void barrier();
  // Sums added in double, in rank order, rounded once. all_here: another collective has just ended, so that
  // waiting for everybody to arrive can be left out.
  void sum(std::span<float> values, bool all_here = false);
  void sum(std::span<double> values, bool all_here = false);
  // values: one slice a rank, size() of them. Afterwards the own slice holds the sum over ranks, added like sum().
  void reduce_scatter(std::span<float> values);
  // The own slice of values to all ranks.
  void all_gather(std::span<std::byte> values);
  // One slice a rank, to and from rank 0's `all` (elsewhere it may be empty).
  void gather(std::span<const std::byte> mine, std::span<std::byte> all);
  void scatter(std::span<const std::byte> all, std::span<std::byte> mine);
  int64_t min(int64_t value);
  int64_t max(int64_t value);
  void broadcast(std::span<std::byte> bytes, int root = 0);
  void broadcast(std::string& text, int root = 0);
  // Every rank's error text ("" for none): the first rank's that has one, on all ranks. So that a failure on
  // one rank ends all of them in order instead of leaving the others waiting.
  std::string first_error(const std::string& mine);

  double waited_s() const { return waited_s_; }  // asleep or polling in here since start

 private:
  template <class T>
  void sum_in_rank_order(std::span<T> values, bool all_here);
  void wait(MPI_Request& request, bool brisk);

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
  double waited_s_ = 0;
};

// MPI_Init for the process when it was started by mpirun (or srun with PMI), and MPI_Finalize at its end;
// nothing otherwise. With COHORT_LEARNER_RANKS=L (`cohort run`, where one mpirun starts the supervisors as well)
// the first L ranks have a communicator of their own, and the others another; all of them take part in start
// and end.
class MpiSession {
 public:
  MpiSession();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  Collectives world() const;
  // Ends every rank at once: for a failure that the others cannot know of.
  [[noreturn]] static void abort(int exit_code);

 private:
  bool started_ = false;
  MPI_Comm comm_ = MPI_COMM_NULL;
};

}  // namespace cohort
