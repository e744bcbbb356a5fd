#ifndef GYRE_LOOP_ITERATION_CLOCK_H_
#define GYRE_LOOP_ITERATION_CLOCK_H_

#include "gyre/loop/clock.h"

namespace gyre::internal {

// A loop's own view of its clock: a look stays good until something that is not the loop's has run,
// which may have taken any time. What the loop does between two such calls is too short to measure,
// and a look costs more than all of it. Loop thread only.
class IterationClock {
 public:
  explicit IterationClock(const MonotonicClock& clock) : clock_(clock) {}

  // Now, to within what the loop itself does.
  SteadyTime now() { return stale_ ? look() : latest_; }

  // Now.
  SteadyTime look() {
    stale_ = false;
    return latest_ = clock_.now();
  }

  // Something else is about to run.
  void expire() { stale_ = true; }

 private:
  const MonotonicClock& clock_;
  SteadyTime latest_;
  bool stale_ = true;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_ITERATION_CLOCK_H_
