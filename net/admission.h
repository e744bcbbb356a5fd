#ifndef GYRE_NET_ADMISSION_H_
#define GYRE_NET_ADMISSION_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "gyre/loop/mutex.h"
#include "gyre/net/place_signal.h"
#include "gyre/net/rate_limit.h"
#include "gyre/net/source_counts.h"

namespace gyre {

// What happens to a connection that finds a limit reached.
enum class AtLimit {
  kReject,  // it is closed at once, and counted
  kWait,    // it waits, and all behind it in the kernel's queue, until there is a place
};

// Limits of a server's open connections. A count of 0 is no limit.
struct ConnectionLimits {
  // Connections that are open at the same time, over all loops.
  uint64_t total = 0;
  AtLimit at_total = AtLimit::kWait;
  // On one loop. Where one thread deals the connections out, a loop that is full is passed over,
  // and the limit is reached when all are.
  uint64_t per_loop = 0;
  AtLimit at_loop = AtLimit::kWait;
  // From one IPv4 address, or one /64 of IPv6. With kWait one client stops everybody behind it, so
  // that is for clients that are trusted.
  uint64_t per_source = 0;
  AtLimit at_source = AtLimit::kReject;
  // Sources that are counted, at some 100 bytes each. Those that come when so many have a
  // connection open are let in and not counted: a flood out of a hundred thousand addresses shuts
  // nobody out, and is what `total` is for.
  size_t max_sources = 65536;
  // Connections that are accepted in a second, on average; 0: any number.
  double accepts_per_second = 0;
  // How many of them at once, after a pause.
  double accept_burst = 64;
  AtLimit at_rate = AtLimit::kWait;
};

// Which limit it was.
enum class LimitKind { kTotal, kLoop, kSource, kRate };

namespace internal {

class Admission;

// InvalidArgument names a limit that makes no sense: negative, or no number.
absl::Status check(const ConnectionLimits& limits);

// A connection's place under the limits, given back when it is destroyed. Move-only; a default one
// is no place.
class Place {
 public:
  Place() = default;
  Place(Place&& other) noexcept
      : admission_(std::move(other.admission_)), source_(std::exchange(other.source_, 0)) {}
  Place& operator=(Place&& other) noexcept {
    if (this != &other) {
      release();
      admission_ = std::move(other.admission_);
      source_ = std::exchange(other.source_, 0);
    }
    return *this;
  }
  ~Place() { release(); }
  explicit operator bool() const { return admission_ != nullptr; }

 private:
  friend class Admission;
  Place(std::shared_ptr<Admission> admission, uint64_t source)
      : admission_(std::move(admission)), source_(source) {}
  void release();

  std::shared_ptr<Admission> admission_;
  uint64_t source_ = 0;  // 0: its source does not count it
};

// Whether a connection may come in.
struct Verdict {
  enum Kind { kAdmit, kReject, kWait } kind = kAdmit;
  LimitKind limit = LimitKind::kTotal;
  // Of kWait: ask again then; unset: when a connection has ended.
  std::optional<std::chrono::nanoseconds> retry_in = std::nullopt;
};

// Counts a server's connections against its limits. Any thread.
class Admission : public std::enable_shared_from_this<Admission> {
 public:
  // `loops` that the limit of one is multiplied by; 0: the loops watch their own.
  Admission(const ConnectionLimits& limits, size_t loops);

  // Nothing is limited, so that nothing has to be counted.
  static bool unlimited(const ConnectionLimits& limits) {
    return limits.total == 0 && limits.per_loop == 0 && limits.per_source == 0 &&
           limits.accepts_per_second <= 0;
  }

  // Fills `place` if the verdict is kAdmit. `last_call`: the socket is about to close, so that a
  // connection that would have to wait is rejected, and the rate does not matter any more.
  Verdict enter(uint64_t source, std::chrono::steady_clock::time_point now, bool last_call,
                Place& place);
  // What to answer where a loop's own count is at the limit.
  Verdict loop_is_full(bool last_call) const {
    return at(limits_.at_loop, LimitKind::kLoop, last_call);
  }

  PlaceSignal& places() { return places_; }
  const ConnectionLimits& limits() const { return limits_; }

 private:
  friend class Place;
  static Verdict at(AtLimit policy, LimitKind limit, bool last_call);
  void leave(uint64_t source);

  const ConnectionLimits limits_;
  const uint64_t all_loops_;  // what the loops hold together; 0: no limit
  PlaceSignal places_;
  // One lock for all: a connection comes in under every limit or under none, and no place that is
  // taken back makes another thread believe that it is full.
  Mutex mutex_;
  uint64_t open_ ABSL_GUARDED_BY(mutex_) = 0;
  SourceCounts sources_ ABSL_GUARDED_BY(mutex_);
  std::optional<RateLimit> rate_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_NET_ADMISSION_H_
