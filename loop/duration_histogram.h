#ifndef GYRE_LOOP_DURATION_HISTOGRAM_H_
#define GYRE_LOOP_DURATION_HISTOGRAM_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "gyre/loop/counter.h"

namespace gyre {

// How often durations of each size have been seen. A copy: it belongs to who has it, and changes no
// more. 1.3 KiB, whatever it holds.
//
// The buckets are log-linear: every power of two (of nanoseconds) in four equal parts. So a
// duration is known to a quarter of itself, from nanoseconds to an hour:
//
//     0 1 2 3 | 4 5 6 7 | 8 10 12 14 | 16 20 24 28 | ...      lowest of each bucket, in ns
struct DurationHistogram {
  // Longer ones count as this long, which is 73 minutes.
  static constexpr uint64_t kLongest = (uint64_t{1} << 42) - 1;

  // Where a duration of at most kLongest is counted.
  static constexpr size_t bucket_of(uint64_t nanoseconds) {
    if (nanoseconds < 4) return nanoseconds;
    const int shift = std::bit_width(nanoseconds) - 3;
    return static_cast<size_t>(shift) * 4 + (nanoseconds >> shift);
  }
  static constexpr size_t kBuckets = 164;  // bucket_of(kLongest) + 1
  // The lowest duration of a bucket; that of kBuckets ends the last one.
  static constexpr uint64_t lowest(size_t bucket) {
    return bucket < 8 ? bucket : (4 + bucket % 4) << (bucket / 4 - 1);
  }

  std::array<uint64_t, kBuckets> buckets{};
  std::chrono::nanoseconds sum{0};  // exact; it may be ahead of the buckets by what just happened
  std::chrono::nanoseconds max{0};  // exact

  uint64_t count() const;
  // Zero without any.
  std::chrono::nanoseconds mean() const;
  // The duration that the share q of them does not exceed, 0.5 for the median, 1 for max: the
  // middle of its bucket, so an eighth too high or too low at most. Zero without any.
  std::chrono::nanoseconds quantile(double q) const;
  // How many lie below the limit, by the buckets that end there or before: exact if it is a power
  // of two (in nanoseconds) or past kLongest, else too few by those in the limit's own bucket.
  uint64_t count_below(std::chrono::nanoseconds limit) const;

  // Those of several loops together.
  void merge(const DurationHistogram& other);
  // What has come since an earlier copy of the same; max is still that of all.
  DurationHistogram since(const DurationHistogram& earlier) const;
};

namespace internal {

// The counts behind it: written by one thread, read by any. No lock, no allocation, no atomic
// read-modify-write; about ten instructions.
class DurationRecorder {
 public:
  // One thread. A negative duration counts as zero.
  void record(std::chrono::nanoseconds duration) {
    const auto value = static_cast<uint64_t>(
        std::clamp<int64_t>(duration.count(), 0, DurationHistogram::kLongest));
    buckets_[DurationHistogram::bucket_of(value)].add(1);
    sum_.add(value);
    max_.raise_to(value);
  }

  // Any thread.
  DurationHistogram snapshot() const;

 private:
  Counter sum_, max_;
  std::array<Counter, DurationHistogram::kBuckets> buckets_;
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_LOOP_DURATION_HISTOGRAM_H_
