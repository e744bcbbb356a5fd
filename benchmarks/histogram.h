#ifndef GYRE_BENCHMARKS_HISTOGRAM_H_
#define GYRE_BENCHMARKS_HISTOGRAM_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gyre::benchmarks {

// Counts values in buckets whose width grows with the value: 64 to each power of two, so a value is
// off by less than 1.6 %. The HdrHistogram scheme; 30 KiB whatever is counted. One thread.
class Histogram {
 public:
  void add(uint64_t value) {
    ++buckets_[index_of(value)];
    ++count_;
    max_ = std::max(max_, value);
  }

  void merge(const Histogram& other) {
    for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
  }

  uint64_t count() const { return count_; }
  uint64_t max() const { return max_; }

  // The value that `share` (0 to 1) of all values do not exceed, as the upper end of its bucket.
  uint64_t percentile(double share) const {
    const auto wanted = static_cast<uint64_t>(share * static_cast<double>(count_));
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += buckets_[i];
      if (seen > wanted) return std::min(upper_end_of(i), max_);
    }
    return max_;
  }

 private:
  static constexpr int kBits = 6;  // 64 buckets to each power of two
  static constexpr uint64_t kLinear = uint64_t{1} << kBits;
  static constexpr size_t kBuckets = (64 - kBits + 1) << kBits;

  static size_t index_of(uint64_t value) {
    if (value < kLinear) return value;
    const int exponent = std::bit_width(value) - 1 - kBits;
    return (static_cast<size_t>(exponent + 1) << kBits) + ((value >> exponent) & (kLinear - 1));
  }
  static uint64_t upper_end_of(size_t index) {
    if (index < kLinear) return index;
    const int exponent = static_cast<int>(index >> kBits) - 1;
    const uint64_t lower = (kLinear + (index & (kLinear - 1))) << exponent;
    return lower + ((uint64_t{1} << exponent) - 1);
  }

  std::vector<uint64_t> buckets_ = std::vector<uint64_t>(kBuckets);
  uint64_t count_ = 0;
  uint64_t max_ = 0;
};

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_HISTOGRAM_H_
