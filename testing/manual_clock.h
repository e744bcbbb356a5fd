#ifndef GYRE_TESTING_MANUAL_CLOCK_H_
#define GYRE_TESTING_MANUAL_CLOCK_H_

#include <atomic>
#include <chrono>

#include "gyre/loop/clock.h"

namespace gyre::testing {

// A clock that stands still until the test turns it: for IOLoopOptions::clock. Any thread. A loop
// that sleeps does not notice; one on a SimulatedKernel turns its kernel's clock itself.
class ManualClock final : public MonotonicClock {
 public:
  explicit ManualClock(std::chrono::nanoseconds start = std::chrono::hours(1))
      : now_(start.count()) {}

  SteadyTime now() const override {
    return SteadyTime(std::chrono::nanoseconds(now_.load(std::memory_order_relaxed)));
  }
  void advance(std::chrono::nanoseconds by) {
    now_.fetch_add(by.count(), std::memory_order_relaxed);
  }

 private:
  std::atomic<int64_t> now_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTING_MANUAL_CLOCK_H_
