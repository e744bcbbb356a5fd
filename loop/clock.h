#ifndef GYRE_LOOP_CLOCK_H_
#define GYRE_LOOP_CLOCK_H_

#include <chrono>
#include <cmath>
#include <ratio>
#include <type_traits>

#include "gyre/loop/log.h"

namespace gyre {

using SteadyTime = std::chrono::steady_clock::time_point;

// The clock of a loop: monotonic, so that a wall clock that jumps disturbs no timer. Any thread.
class MonotonicClock {
 public:
  virtual ~MonotonicClock() = default;
  virtual SteadyTime now() const = 0;

  // std::chrono::steady_clock.
  static const MonotonicClock& steady();
};

namespace internal {

// `duration` in nanoseconds, rounded up so that no timer is early, and clamped to what 64 bits
// hold: std::chrono's own conversion overflows for hours::max(). Not a number is a programmer's
// error.
template <class Rep, class Period>
std::chrono::nanoseconds saturating_nanoseconds(std::chrono::duration<Rep, Period> duration) {
  using Nanos = std::chrono::nanoseconds;
  if constexpr (std::is_same_v<std::chrono::duration<Rep, Period>, Nanos>) {
    return duration;
  } else if constexpr (std::is_integral_v<Rep> && std::is_signed_v<Rep> &&
                       std::ratio_divide<Period, std::nano>::den == 1) {
    Nanos::rep nanos;
    if (__builtin_mul_overflow(duration.count(), std::ratio_divide<Period, std::nano>::num,
                               &nanos)) {
      return duration.count() < 0 ? Nanos::min() : Nanos::max();
    }
    return Nanos(nanos);
  } else {
    // long double holds 64 bits exactly on x86; elsewhere the error is far below a nanosecond for
    // every delay that a person would set.
    const auto count = static_cast<long double>(duration.count());
    GYRE_CHECK(!std::isnan(count), "the delay of a timeout is not a number");
    const long double nanos = count * 1e9L * Period::num / Period::den;
    if (nanos >= 9.2233720368547758e18L) return Nanos::max();
    if (nanos <= -9.2233720368547758e18L) return Nanos::min();
    return Nanos(static_cast<Nanos::rep>(std::ceil(nanos)));
  }
}

// `start + delay`, or the end of the clock's range on the side where it would overflow.
inline SteadyTime saturating_add(SteadyTime start, std::chrono::nanoseconds delay) {
  std::chrono::nanoseconds::rep sum;
  if (__builtin_add_overflow(start.time_since_epoch().count(), delay.count(), &sum)) {
    return delay.count() < 0 ? SteadyTime::min() : SteadyTime::max();
  }
  return SteadyTime(std::chrono::nanoseconds(sum));
}

// How long until `deadline`, clamped like the above.
inline std::chrono::nanoseconds saturating_sub(SteadyTime deadline, SteadyTime now) {
  std::chrono::nanoseconds::rep difference;
  if (__builtin_sub_overflow(deadline.time_since_epoch().count(), now.time_since_epoch().count(),
                             &difference)) {
    return deadline < now ? std::chrono::nanoseconds::min() : std::chrono::nanoseconds::max();
  }
  return std::chrono::nanoseconds(difference);
}

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_LOOP_CLOCK_H_
