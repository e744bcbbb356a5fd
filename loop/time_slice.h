#ifndef GYRE_LOOP_TIME_SLICE_H_
#define GYRE_LOOP_TIME_SLICE_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "gyre/loop/clock.h"

namespace gyre::internal {

// Says when a batch has taken its time, without a look at the clock for each callback: the looks
// come as often as the callbacks so far have been slow.
class TimeSlice {
 public:
  using Duration = std::chrono::nanoseconds;

  // Begins at `start`, which is now.
  TimeSlice(const MonotonicClock& clock, Duration limit, SteadyTime start)
      : clock_(clock), limit_(limit), start_(start) {}

  // To be asked after each callback; after the last of a batch it need not be.
  bool over() {
    ++done_;
    if (--until_look_ > 0) return false;
    latest_ = clock_.now();
    const Duration elapsed = latest_ - start_;
    if (elapsed >= limit_) return true;
    const Duration average = std::max(elapsed / done_, Duration(1));
    until_look_ = std::clamp<int64_t>((limit_ - elapsed) / average / 4, 1, kMaxUnwatched);
    return false;
  }

  // When it looked at the clock last.
  SteadyTime latest() const { return latest_; }

 private:
  // What a run of fast callbacks may hide of slow ones behind it.
  static constexpr int64_t kMaxUnwatched = 64;

  const MonotonicClock& clock_;
  const Duration limit_;
  const SteadyTime start_;
  SteadyTime latest_ = start_;
  int64_t done_ = 0;
  int64_t until_look_ = 1;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_TIME_SLICE_H_
