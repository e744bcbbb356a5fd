#include "gyre/loop/clock.h"

namespace gyre {
namespace {

// Every loop reads it in each iteration: on a line of its own, so that no neighbour on the heap
// writes that.
class alignas(64) SteadyClock final : public MonotonicClock {
 public:
  SteadyTime now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const MonotonicClock& MonotonicClock::steady() {
  // Never destroyed: a loop may still run while the process exits.
  static const auto* clock = new SteadyClock;
  return *clock;
}

}  // namespace gyre
