#include "gyre/threading/busy_meter.h"

#include <algorithm>

namespace gyre {
namespace {

// Old shares fade: what a loop did in the last interval counts for half.
constexpr double kNewest = 0.5;

// What a connection costs of a loop that has shown no work yet.
constexpr double kLeastCost = 0.001;

}  // namespace

void BusyMeter::update(TimePoint now, absl::FunctionRef<Reading(size_t loop)> read) {
  if (started_ && now - last_ < kInterval) return;
  const std::chrono::nanoseconds elapsed = now - last_;
  for (size_t i = 0; i < loops_.size(); ++i) {
    Loop& loop = loops_[i];
    const Reading reading = read(i);
    std::chrono::nanoseconds busy = reading.metrics.busy - loop.busy;
    const std::chrono::nanoseconds idle = reading.metrics.idle - loop.idle;
    loop.busy = reading.metrics.busy;
    loop.idle = reading.metrics.idle;
    loop.connections = reading.connections;
    if (!started_) continue;
    // The counts are brought up to date between the steps of a loop: one that is stuck in a
    // callback adds nothing to them, and neither does one that sleeps.
    if (!reading.metrics.polling) {
      busy += std::max(elapsed - busy - idle, std::chrono::nanoseconds(0));
    }
    const double share = std::clamp(
        static_cast<double>(busy.count()) / static_cast<double>(elapsed.count()), 0.0, 1.0);
    loop.share += kNewest * (share - loop.share);
  }
  last_ = now;
  started_ = true;
}

double BusyMeter::busy(size_t index, uint64_t connections) const {
  const Loop& loop = loops_[index];
  if (connections <= loop.connections) return loop.share;
  const double cost =
      loop.connections == 0
          ? kLeastCost
          : std::max(loop.share / static_cast<double>(loop.connections), kLeastCost);
  return std::min(loop.share + cost * static_cast<double>(connections - loop.connections), 1.0);
}

}  // namespace gyre
