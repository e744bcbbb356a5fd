#ifndef GYRE_THREADING_BUSY_METER_H_
#define GYRE_THREADING_BUSY_METER_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gyre/loop/loop_metrics.h"

namespace gyre {

// How busy loops are: the share of time that each spent outside of its poller, over the last
// moments. Pure: the counts of the loops in, shares out. One thread at a time.
class BusyMeter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit BusyMeter(size_t loops) : loops_(loops) {}

  // Short, to see what happens; long, so that a loop's single events do not show.
  static constexpr std::chrono::milliseconds kInterval{50};

  struct Reading {
    LoopMetrics metrics;
    uint64_t connections = 0;
  };
  // Takes the counts again, if kInterval has passed since it did last.
  void update(TimePoint now, absl::FunctionRef<Reading(size_t loop)> read);

  // From 0 to 1. `connections`: how many the loop has now. Each that came since the last update
  // counts as the average one did then: otherwise all of them would go to the loop that was idle
  // then.
  double busy(size_t loop, uint64_t connections) const;

 private:
  struct Loop {
    std::chrono::nanoseconds busy{0};
    std::chrono::nanoseconds idle{0};
    double share = 0;
    uint64_t connections = 0;
  };

  std::vector<Loop> loops_;
  TimePoint last_{};
  bool started_ = false;
};

}  // namespace gyre

#endif  // GYRE_THREADING_BUSY_METER_H_
