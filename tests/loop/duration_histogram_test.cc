#include "gyre/loop/duration_histogram.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace gyre::testing {
namespace {

using internal::DurationRecorder;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(DurationHistogram, EveryDurationLiesInItsBucketWhichIsAQuarterWideAtMost) {
  for (uint64_t value = 0; value < DurationHistogram::kLongest; value += 1 + value / 7) {
    const size_t bucket = DurationHistogram::bucket_of(value);
    const uint64_t low = DurationHistogram::lowest(bucket);
    const uint64_t high = DurationHistogram::lowest(bucket + 1);
    ASSERT_LE(low, value);
    ASSERT_LT(value, high);
    ASSERT_LE(high - low, std::max<uint64_t>(1, value / 4)) << value;
  }
}

TEST(DurationHistogram, BucketsFollowEachOtherWithoutAGap) {
  for (size_t i = 1; i < DurationHistogram::kBuckets; ++i) {
    const uint64_t low = DurationHistogram::lowest(i);
    ASSERT_EQ(DurationHistogram::bucket_of(low), i);
    ASSERT_EQ(DurationHistogram::bucket_of(low - 1), i - 1);
  }
}

TEST(DurationHistogram, CountSumMeanAndMaxAreExact) {
  DurationRecorder recorder;
  for (int i = 1; i <= 100; ++i) recorder.record(milliseconds(i));
  const DurationHistogram histogram = recorder.snapshot();
  EXPECT_EQ(histogram.count(), 100u);
  EXPECT_EQ(histogram.sum, milliseconds(5050));
  EXPECT_EQ(histogram.mean(), nanoseconds(50'500'000));
  EXPECT_EQ(histogram.max, milliseconds(100));
}

TEST(DurationHistogram, QuantilesAreOffByAnEighthAtMost) {
  DurationRecorder recorder;
  for (int i = 1; i <= 10000; ++i) recorder.record(nanoseconds(i * 1000));
  const DurationHistogram histogram = recorder.snapshot();
  for (const double q : {0.01, 0.1, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = q * 1e7;
    const auto found = static_cast<double>(histogram.quantile(q).count());
    EXPECT_NEAR(found, exact, exact / 8) << q;
  }
  EXPECT_EQ(histogram.quantile(1), histogram.max);
  EXPECT_GE(histogram.quantile(0), nanoseconds(875));
}

TEST(DurationHistogram, WithoutADurationEverythingIsZero) {
  const DurationHistogram histogram = DurationRecorder().snapshot();
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.quantile(0.5), nanoseconds(0));
  EXPECT_EQ(histogram.quantile(1), nanoseconds(0));
  EXPECT_EQ(histogram.mean(), nanoseconds(0));
}

TEST(DurationHistogram, NegativeOnesAreZeroAndEndlessOnesAreTheLongest) {
  DurationRecorder recorder;
  recorder.record(nanoseconds(-5));
  recorder.record(nanoseconds::max());
  recorder.record(hours(2));
  const DurationHistogram histogram = recorder.snapshot();
  EXPECT_EQ(histogram.buckets.front(), 1u);
  EXPECT_EQ(histogram.buckets.back(), 2u);
  EXPECT_EQ(histogram.max, nanoseconds(DurationHistogram::kLongest));
  EXPECT_EQ(histogram.sum, 2 * nanoseconds(DurationHistogram::kLongest));
}

TEST(DurationHistogram, CountBelowIsExactAtPowersOfTwo) {
  DurationRecorder recorder;
  for (const int value : {0, 1, 1023, 1024, 1025, 4096}) recorder.record(nanoseconds(value));
  const DurationHistogram histogram = recorder.snapshot();
  EXPECT_EQ(histogram.count_below(nanoseconds(1)), 1u);
  EXPECT_EQ(histogram.count_below(nanoseconds(1024)), 3u);
  EXPECT_EQ(histogram.count_below(nanoseconds(2048)), 5u);
  EXPECT_EQ(histogram.count_below(hours(1)), 6u);
}

TEST(DurationHistogram, QuestionsWithoutASenseHaveAnAnswer) {
  DurationRecorder recorder;
  recorder.record(milliseconds(1));
  recorder.record(milliseconds(2));
  const DurationHistogram histogram = recorder.snapshot();
  EXPECT_EQ(histogram.count_below(nanoseconds(-1)), 0u);
  EXPECT_EQ(histogram.quantile(std::nan("")), milliseconds(2));
  EXPECT_EQ(histogram.quantile(7), milliseconds(2));
  EXPECT_NEAR(static_cast<double>(histogram.quantile(-7).count()), 1e6, 1e6 / 8);
}

TEST(DurationHistogram, LoopsAddUpAndTwoCopiesGiveWhatCameBetween) {
  DurationRecorder one, other;
  one.record(milliseconds(1));
  other.record(milliseconds(3));
  DurationHistogram both = one.snapshot();
  both.merge(other.snapshot());
  EXPECT_EQ(both.count(), 2u);
  EXPECT_EQ(both.sum, milliseconds(4));
  EXPECT_EQ(both.max, milliseconds(3));

  const DurationHistogram earlier = one.snapshot();
  one.record(milliseconds(2));
  const DurationHistogram later = one.snapshot().since(earlier);
  EXPECT_EQ(later.count(), 1u);
  EXPECT_EQ(later.sum, milliseconds(2));
}

}  // namespace
}  // namespace gyre::testing
