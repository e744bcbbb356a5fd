#include "gyre/threading/prometheus.h"

#include <chrono>
#include <limits>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/promtool.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

std::string text_of(const PrometheusText::Value& value) { return value.text(); }

TEST(PrometheusText, SamplesOfOneNameStandTogetherUnderOneHeader) {
  PrometheusText page;
  page.counter("a_total", "First.", {{"loop", "x"}}, 1);
  page.gauge("b", "Second.", {}, 0.5);
  page.counter("a_total", "Ignored.", {{"loop", "y"}, {"limit", "rate"}}, 2);
  EXPECT_EQ(page.to_string(),
            "# HELP a_total First.\n# TYPE a_total counter\n"
            "a_total{loop=\"x\"} 1\na_total{loop=\"y\",limit=\"rate\"} 2\n"
            "# HELP b Second.\n# TYPE b gauge\nb 0.5\n");
}

TEST(PrometheusText, TimesAreExactSeconds) {
  EXPECT_EQ(text_of(nanoseconds(0)), "0.0");
  EXPECT_EQ(text_of(nanoseconds(1)), "0.000000001");
  EXPECT_EQ(text_of(milliseconds(1500)), "1.5");
  EXPECT_EQ(text_of(milliseconds(-1500)), "-1.5");
  EXPECT_EQ(text_of(seconds(123456789) + nanoseconds(987654321)), "123456789.987654321");
}

TEST(PrometheusText, NumbersAreSpelledAsTheFormatWants) {
  EXPECT_EQ(text_of(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(text_of(-3), "-3");
  EXPECT_EQ(text_of(0.1), "0.1");
  EXPECT_EQ(text_of(std::numeric_limits<double>::infinity()), "+Inf");
  EXPECT_EQ(text_of(-std::numeric_limits<double>::infinity()), "-Inf");
  EXPECT_EQ(text_of(std::numeric_limits<double>::quiet_NaN()), "NaN");
}

TEST(PrometheusText, LabelsAndHelpTextsAreEscaped) {
  PrometheusText page;
  page.gauge("a", "With \\ and \"\nand a line.", {{"loop", "a\\b\"c\nd"}}, 1);
  EXPECT_EQ(page.to_string(),
            "# HELP a With \\\\ and \"\\nand a line.\n# TYPE a gauge\na{loop=\"a\\\\b\\\"c\\nd\"} "
            "1\n");
}

TEST(PrometheusText, BucketsOfAHistogramAddUp) {
  internal::DurationRecorder recorder;
  recorder.record(nanoseconds(1));
  recorder.record(nanoseconds(5000));
  recorder.record(seconds(100));
  PrometheusText page;
  page.histogram("a_seconds", "A.", {{"loop", "x"}}, recorder.snapshot());
  const std::string text = page.to_string();
  EXPECT_THAT(text, HasSubstr("a_seconds_bucket{loop=\"x\",le=\"0.000004096\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("a_seconds_bucket{loop=\"x\",le=\"0.000008192\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("a_seconds_bucket{loop=\"x\",le=\"4.294967296\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("a_seconds_bucket{loop=\"x\",le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("a_seconds_sum{loop=\"x\"} 100.000005001\n"));
  EXPECT_THAT(text, HasSubstr("a_seconds_count{loop=\"x\"} 3\n"));
}

class PoolPage : public ::testing::Test {
 protected:
  // A pool that has done something, and whose name needs an escape.
  PoolPage() {
    LoopPoolOptions options;
    options.threads = 2;
    options.name = "a \"pool\" \\ of\n2";
    pool_ = LoopPool::create(std::move(options)).value();
    Event done;
    for (size_t i = 0; i < 2; ++i) {
      IOLoop& loop = pool_->loop(i);
      // Counted once its batch is over, hence the callback.
      loop.add_callback([&] {
        loop.call_later(milliseconds(1), [&] { loop.add_callback([&] { done.set(); }); });
      });
    }
    EXPECT_TRUE(done.wait(2));
    page_.add(*pool_);
  }

  std::unique_ptr<LoopPool> pool_;
  PrometheusText page_;
};

TEST_F(PoolPage, HasEveryLoopUnderItsName) {
  const std::string text = page_.to_string();
  for (const char* loop : {"a \\\"pool\\\" \\\\ of\\n2-0", "a \\\"pool\\\" \\\\ of\\n2-1"}) {
    EXPECT_THAT(text, HasSubstr(std::string("gyre_loop_timeouts_total{loop=\"") + loop + "\"} 1\n"))
        << loop;
    EXPECT_THAT(text, HasSubstr(std::string("gyre_loop_timer_lateness_seconds_count{loop=\"") +
                                loop + "\"} 1\n"))
        << loop;
  }
}

TEST_F(PoolPage, PassesPromtoolsCheck) {
  if (!have_promtool()) GTEST_SKIP() << "needs promtool, of Debian's package prometheus";
  EXPECT_EQ(promtool_complaints(page_.to_string()), "");
}

TEST(Promtool, ComplainsOfAPageThatIsWrong) {
  if (!have_promtool()) GTEST_SKIP() << "needs promtool, of Debian's package prometheus";
  PrometheusText page;
  page.counter("a", "A counter without its suffix.", {}, 1);
  EXPECT_THAT(promtool_complaints(page.to_string()), HasSubstr("_total"));
}

}  // namespace
}  // namespace gyre::testing
