#ifndef GYRE_LOOP_SPIN_POLICY_H_
#define GYRE_LOOP_SPIN_POLICY_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace gyre::internal {

// Whether a loop looks for work by itself for a while before it lets the kernel put it to sleep. To
// wake a sleeping thread takes the kernel tens of microseconds if its CPU sleeps too; to look costs
// a CPU that nobody else may want. It pays only where waits are short and the CPU is free, and both
// are learnt from what happened:
//
//   found something      go on like this
//   found nothing        skip the next waits: 1, then 8, then 64, ... up to kMostSkipped
//   took far longer than it should have
//                        another thread was given this CPU meanwhile: the same
//   waits are long       skip, until they are short again
//
// Where the thread that has the work waits for this very CPU, every spin finds nothing: six in a
// row, then one in 16,384 waits. One that finds nothing proves little: between two bursts of a busy
// client it comes to that too. No fd, no thread, no clock: pure data.
class SpinPolicy {
 public:
  using Duration = std::chrono::nanoseconds;

  static constexpr uint32_t kMostSkipped = 16384;

  // `limit`: of one spin. Zero or less: never spins.
  explicit SpinPolicy(Duration limit)
      : limit_(std::clamp<Duration>(limit, Duration::zero(), kMostLimit)) {}

  Duration limit() const { return limit_; }

  // To be asked before each wait that may be long.
  bool worth_it() {
    if (limit_ <= Duration::zero() || average_ > kWorthwhile * limit_) return false;
    if (skip_ == 0) return true;
    --skip_;
    return false;
  }

  // The spin has ended after `took`.
  void spun(Duration took, bool found) {
    if (found && took <= 2 * limit_) {
      penalty_ = 0;
    } else {
      skip_ = penalty_ = std::clamp(penalty_ * 8, uint32_t{1}, kMostSkipped);
    }
  }

  // The wait has ended.
  void waited(Duration waited) {
    // One long wait is not to be remembered for long.
    average_ += (std::min(waited, kLongest * limit_) - average_) / 8;
  }

 private:
  // The sums below do not overflow with it. Nobody spins for longer.
  static constexpr std::chrono::hours kMostLimit{1};
  // In limits: the average wait up to which a spin pays, and as what a longer one counts.
  static constexpr int kWorthwhile = 4;
  static constexpr int kLongest = 16;

  const Duration limit_;
  Duration average_{0};  // of the waits, the last ones weigh most
  uint32_t penalty_ = 0;
  uint32_t skip_ = 0;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_SPIN_POLICY_H_
