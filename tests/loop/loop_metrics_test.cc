// What a loop counts, and how late it says that it is.

#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sim_poller.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

class SimulatedMetrics : public ::testing::Test {
 protected:
  void run() { EXPECT_TRUE(loop_->start().ok()); }

  LogCapture log_;
  SimKernel kernel_;
  std::unique_ptr<IOLoop> loop_ = make_simulated_loop(kernel_);
};

TEST_F(SimulatedMetrics, LagIsTheTimeOfEachIterationOutsideOfThePoller) {
  loop_->add_callback([&] { kernel_.clock.advance(milliseconds(30)); });
  loop_->call_later(milliseconds(100), [&] {
    kernel_.clock.advance(milliseconds(7));
    loop_->add_callback([&] { loop_->stop(); });
  });
  run();
  const LoopMetrics metrics = loop_->metrics();
  EXPECT_EQ(metrics.lag.count(), 2u) << "the last iteration came to no poll";
  EXPECT_EQ(metrics.lag.max, milliseconds(30));
  EXPECT_EQ(metrics.lag.sum, milliseconds(37));
  EXPECT_EQ(metrics.lag.sum, metrics.busy);
  EXPECT_DOUBLE_EQ(metrics.busy_share(), 37.0 / 107);
}

TEST_F(SimulatedMetrics, LatenessIsFromWhenATimeoutWasDueToWhenItRan) {
  loop_->call_later(milliseconds(10), [&] { kernel_.clock.advance(milliseconds(5)); });
  loop_->call_later(milliseconds(10), [] {});  // waits for the one before it
  loop_->call_later(milliseconds(40), [&] { loop_->stop(); });
  loop_->add_callback([&] { kernel_.clock.advance(milliseconds(25)); });
  run();
  const DurationHistogram lateness = loop_->metrics().timer_lateness;
  EXPECT_EQ(lateness.count(), 3u);
  EXPECT_EQ(lateness.max, milliseconds(20));
  EXPECT_EQ(lateness.sum, milliseconds(15 + 20 + 0));
}

TEST_F(SimulatedMetrics, ATimeoutThatWasDueBeforeTheClockBeganCountsAsTheLongest) {
  loop_->call_at(IOLoop::TimePoint::min(), [&] { loop_->stop(); });
  run();
  EXPECT_EQ(loop_->metrics().timer_lateness.max, nanoseconds(DurationHistogram::kLongest));
}

TEST_F(SimulatedMetrics, HandlersAndTimersAreThoseOfTheLastPoll) {
  ASSERT_TRUE(loop_
                  ->add_handler(
                      3, [](int, uint32_t) {}, IOLoop::READ)
                  .ok());
  loop_->call_later(hours(1), [] {});
  loop_->call_later(milliseconds(1), [&] { loop_->stop(); });
  run();
  EXPECT_EQ(loop_->metrics().handlers, 1u);
  EXPECT_EQ(loop_->metrics().timers, 2u);
}

TEST_F(SimulatedMetrics, TheBusyShareOfTheTimeBetweenTwoCopies) {
  loop_->add_callback([&] { kernel_.clock.advance(milliseconds(50)); });
  loop_->call_later(milliseconds(50), [&] { loop_->add_callback([&] { loop_->stop(); }); });
  run();
  const LoopMetrics before = loop_->metrics();
  EXPECT_DOUBLE_EQ(before.busy_share(), 1);
  loop_->add_callback([&] { kernel_.clock.advance(milliseconds(10)); });
  loop_->call_later(milliseconds(40), [&] { loop_->add_callback([&] { loop_->stop(); }); });
  run();
  EXPECT_DOUBLE_EQ(loop_->metrics().busy_share(before), 0.25);
}

// ---- Between threads

class Metrics : public LoopTest {
 protected:
  // Keeps the loop in a callback while `f` runs here.
  template <class F>
  void while_blocked(F f) {
    Event inside, go_on, done;
    loop_->add_callback([&] {
      inside.set();
      EXPECT_TRUE(go_on.wait());
    });
    ASSERT_TRUE(inside.wait());
    f();
    go_on.set();
    loop_->add_callback([&] { done.set(); });
    ASSERT_TRUE(done.wait());
  }
  // A thread's first post is always timed.
  template <class F>
  void post_timed(F f) {
    std::thread([&] { loop_->add_callback(std::move(f)); }).join();
  }
};
GYRE_FOR_EACH_BACKEND(Metrics);

TEST_P(Metrics, APostThatWaitsForABusyLoopIsTimedUntilItRuns) {
  LoopInThread thread(*loop_);
  nanoseconds least{0};
  while_blocked([&] {
    post_timed([] {});
    const auto posted = steady_clock::now();
    std::this_thread::sleep_for(milliseconds(20));
    least = steady_clock::now() - posted;
  });
  EXPECT_GE(loop_->metrics().post_latency.max, least);
}

TEST_P(Metrics, OnePostIn256IsTimed) {
  constexpr int kPosts = 256000;
  LoopInThread thread(*loop_);
  Event done;
  std::thread([&] {
    for (int i = 0; i < kPosts; ++i) loop_->add_callback([] {});
    loop_->add_callback([&] { done.set(); });
  }).join();
  ASSERT_TRUE(done.wait());
  const uint64_t timed = loop_->metrics().post_latency.count();
  EXPECT_GE(timed, 900u);
  EXPECT_LE(timed, 1100u);
}

TEST_P(Metrics, PostsToABusyLoopSaveTheirWakeUps) {
  LoopInThread thread(*loop_);
  while_blocked([&] {
    const LoopMetrics before = loop_->metrics();
    for (int i = 0; i < 10; ++i) loop_->add_callback([] {});
    EXPECT_EQ(loop_->metrics().wakeups, before.wakeups);
  });
  const LoopMetrics metrics = loop_->metrics();
  EXPECT_GE(metrics.posts_from_outside, 12u);
  EXPECT_GE(metrics.wakeups_saved, 10u);
  EXPECT_LE(metrics.wakeups_saved, metrics.posts_from_outside);
}

TEST_P(Metrics, ALoopThatIsStuckIsAwayAndOneThatWaitsIsNot) {
  use_time(TestTime::kReal);  // it passes while the loop is in one callback
  LoopInThread thread(*loop_);
  while_blocked([&] {
    std::this_thread::sleep_for(milliseconds(20));
    const LoopMetrics metrics = loop_->metrics();
    EXPECT_FALSE(metrics.polling);
    EXPECT_GE(metrics.away, milliseconds(20));
  });
  for (Patience patience; !loop_->metrics().polling && patience.left();) std::this_thread::yield();
  EXPECT_EQ(loop_->metrics().away, nanoseconds(0));
}

// ---- A timed post is a post like any other

TEST_P(Metrics, ATimedPostIsDestroyedOnceWhetherItRunsOrTheLoopClosesOrRefusesIt) {
  int ran = 0, destroyed = 0;
  post_timed([&, n = OnDestroy([&] { ++destroyed; })] { ++ran; });
  run_turns();
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(destroyed, 1);
  EXPECT_EQ(loop_->metrics().post_latency.count(), 1u);
  post_timed([&, n = OnDestroy([&] { ++destroyed; })] { ++ran; });
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(destroyed, 2);
  post_timed([&, n = OnDestroy([&] { ++destroyed; })] { ++ran; });
  EXPECT_EQ(destroyed, 3);
  EXPECT_EQ(ran, 1);
}

#if defined(__cpp_exceptions)
TEST_P(Metrics, ATimedPostThatThrowsIsContained) {
  log_.expect(LogLevel::kError, "on purpose");
  bool destroyed = false;
  post_timed(
      [n = OnDestroy([&] { destroyed = true; })] { throw std::runtime_error("on purpose"); });
  run_turns();
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(loop_->metrics().exceptions, 1u);
}
#endif

TEST_P(Metrics, TimedPostsUnderALimitGiveTheirPlacesBack) {
  IOLoopOptions options;
  options.callback_limit = 2;
  const std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  int ran = 0;
  for (int round = 0; round < 2000; ++round) {
    ASSERT_TRUE(loop->try_add_callback([&] { ++ran; })) << round;
    ASSERT_TRUE(loop->try_add_callback([&] { ++ran; })) << round;
    ASSERT_FALSE(loop->try_add_callback([&] { ++ran; })) << round;
    run_turns(*loop);
  }
  EXPECT_EQ(ran, 4000);
  EXPECT_GE(loop->metrics().post_latency.count(), 5u);
}

}  // namespace
}  // namespace gyre::testing
