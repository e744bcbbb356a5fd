#include "gyre/loop/clock.h"

namespace gyre {
namespace {

class SteadyClock final : public MonotonicClock {
 public:
  SteadyTime now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const MonotonicClock& MonotonicClock::steady() {
  static const SteadyClock clock;
  return clock;
}

}  // namespace gyre
