#ifndef GYRE_NET_RATE_LIMIT_H_
#define GYRE_NET_RATE_LIMIT_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace gyre::internal {

// So many events a second, and so many at once after a pause: a token bucket, kept as the one time
// at which it would be full again (the "generic cell rate algorithm", ITU-T I.371). Pure. One
// thread at a time.
class RateLimit {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::nanoseconds;

  // `per_second` > 0; a `burst` below 1 is 1.
  RateLimit(double per_second, double burst)
      : interval_(std::max<int64_t>(saturated(1e9 / per_second), 1)),
        depth_(saturated(static_cast<double>(interval_.count()) * std::max(burst, 1.0))) {}

  // Zero: an event may happen now. Else: how long until one may.
  Duration wait(TimePoint now) const {
    const Duration time = now.time_since_epoch();
    return std::max(std::max(full_at_, time) + interval_ - time - depth_, Duration(0));
  }
  void take(TimePoint now) {
    full_at_ = std::max<Duration>(full_at_, now.time_since_epoch()) + interval_;
  }

 private:
  // 31 years, so that sums of them are no overflow.
  static int64_t saturated(double nanos) { return static_cast<int64_t>(std::min(nanos, 1e18)); }

  const Duration interval_;
  const Duration depth_;
  Duration full_at_ = Duration(INT64_MIN / 2);
};

}  // namespace gyre::internal

#endif  // GYRE_NET_RATE_LIMIT_H_
