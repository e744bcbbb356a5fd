#include "gyre/loop/duration_histogram.h"

#include <cmath>
#include <numeric>

namespace gyre {

static_assert(DurationHistogram::bucket_of(DurationHistogram::kLongest) + 1 ==
              DurationHistogram::kBuckets);

uint64_t DurationHistogram::count() const {
  return std::accumulate(buckets.begin(), buckets.end(), uint64_t{0});
}

std::chrono::nanoseconds DurationHistogram::mean() const {
  const uint64_t n = count();
  return n == 0 ? std::chrono::nanoseconds(0) : sum / static_cast<int64_t>(n);
}

std::chrono::nanoseconds DurationHistogram::quantile(double q) const {
  const uint64_t n = count();
  if (n == 0) return std::chrono::nanoseconds(0);
  if (!(q < 1)) return max;  // what is no number is too
  const auto rank = static_cast<uint64_t>(std::ceil(std::max(q, 0.0) * static_cast<double>(n)));
  size_t bucket = 0;
  for (uint64_t seen = buckets[0]; seen < std::max<uint64_t>(rank, 1); seen += buckets[bucket])
    ++bucket;
  const uint64_t low = lowest(bucket), high = lowest(bucket + 1) - 1;
  return std::min(max, std::chrono::nanoseconds(low + (high - low) / 2));
}

uint64_t DurationHistogram::count_below(std::chrono::nanoseconds limit) const {
  if (limit.count() <= 0) return 0;
  uint64_t below = 0;
  for (size_t i = 0; i < kBuckets && lowest(i + 1) <= static_cast<uint64_t>(limit.count()); ++i)
    below += buckets[i];
  return below;
}

void DurationHistogram::merge(const DurationHistogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets[i] += other.buckets[i];
  sum += other.sum;
  max = std::max(max, other.max);
}

DurationHistogram DurationHistogram::since(const DurationHistogram& earlier) const {
  DurationHistogram difference = *this;
  for (size_t i = 0; i < kBuckets; ++i) difference.buckets[i] -= earlier.buckets[i];
  difference.sum -= earlier.sum;
  return difference;
}

namespace internal {

DurationHistogram DurationRecorder::snapshot() const {
  DurationHistogram copy;
  for (size_t i = 0; i < copy.buckets.size(); ++i) copy.buckets[i] = buckets_[i].get();
  copy.sum = std::chrono::nanoseconds(sum_.get());
  copy.max = std::chrono::nanoseconds(max_.get());
  return copy;
}

}  // namespace internal
}  // namespace gyre
