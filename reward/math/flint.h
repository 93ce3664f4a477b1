// FLINT and Arb, wherever the distribution keeps them: Debian 12 has FLINT 2.9 with Arb beside it, FLINT 3
// (Ubuntu 24.04) holds Arb itself. reward/CMakeLists.txt sets COHORT_FLINT3.
#pragma once

#include <gmpxx.h>  // first: FLINT declares its conversions from GMP's types only after GMP

#ifdef COHORT_FLINT3
#include <flint/acb.h>
#include <flint/arb.h>
#include <flint/fmpq.h>
#include <flint/fmpz.h>
#else
#include <acb.h>
#include <arb.h>
#include <flint/fmpq.h>
#include <flint/fmpz.h>
#endif

namespace cohort::math {

// A complex ball: certainly contains the number it stands for.
class Ball {
 public:
  Ball() { acb_init(z_); }
  ~Ball() { acb_clear(z_); }
  Ball(const Ball& other) {
    acb_init(z_);
    acb_set(z_, other.z_);
  }
  Ball(Ball&& other) noexcept {
    acb_init(z_);
    acb_swap(z_, other.z_);
  }
  Ball& operator=(Ball other) noexcept {
    acb_swap(z_, other.z_);
    return *this;
  }
  acb_ptr get() { return z_; }
  acb_srcptr get() const { return z_; }
  arb_ptr real() { return acb_realref(z_); }
  arb_srcptr real() const { return acb_realref(z_); }
  arb_srcptr imag() const { return acb_imagref(z_); }

 private:
  acb_t z_;
};

// A rational number handed to FLINT.
class FlintRational {
 public:
  explicit FlintRational(const mpq_class& q) {
    fmpq_init(q_);
    fmpq_set_mpq(q_, q.get_mpq_t());
  }
  ~FlintRational() { fmpq_clear(q_); }
  FlintRational(const FlintRational&) = delete;
  FlintRational& operator=(const FlintRational&) = delete;
  const fmpq* get() const { return q_; }

 private:
  fmpq_t q_;
};

}  // namespace cohort::math
