#include "gyre/loop/periodic_callback.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sim_poller.h"

namespace gyre::testing {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

// In simulated time: whole hours of calls take no time, and come exactly when they are due.
class PeriodicCallbackTimes : public ::testing::Test {
 protected:
  int64_t now() { return duration_cast<seconds>(loop_->time() - start_).count(); }
  void run() { EXPECT_TRUE(loop_->start().ok()); }

  LogCapture log_;
  SimKernel kernel_;
  std::unique_ptr<IOLoop> loop_ = make_simulated_loop(kernel_);
  const IOLoop::TimePoint start_ = loop_->time();
  std::vector<int64_t> calls_;
};

TEST_F(PeriodicCallbackTimes, FirstCallComesOnePeriodAfterStartAndThenEachPeriod) {
  PeriodicCallback periodic(
      *loop_,
      [&] {
        calls_.push_back(now());
        if (calls_.size() == 4) loop_->stop();
      },
      seconds(10));
  periodic.start();
  run();
  EXPECT_THAT(calls_, ElementsAre(10, 20, 30, 40));
}

TEST_F(PeriodicCallbackTimes, ASlowCallbackSkipsThePeriodsItMissedAndKeepsThePhase) {
  // Tornado's table (test_overrun).
  const std::vector<int> durations = {9, 9, 10, 11, 20, 20, 35, 35, 0, 0, 0};
  PeriodicCallback periodic(
      *loop_,
      [&] {
        calls_.push_back(now());
        if (calls_.size() > durations.size()) return loop_->stop();
        kernel_.clock.advance(seconds(durations[calls_.size() - 1]));
      },
      seconds(10));
  periodic.start();
  run();
  // After the 10 s one the next point of the grid is that of this very moment, which is over.
  EXPECT_THAT(calls_, ElementsAre(10, 20, 30, 50, 70, 100, 130, 170, 210, 220, 230, 240));
}

TEST_F(PeriodicCallbackTimes, AClockThatStepsBackMakesNoBurst) {
  PeriodicCallback periodic(
      *loop_,
      [&] {
        calls_.push_back(now());
        if (calls_.size() == 2) kernel_.clock.advance(seconds(-100));
        if (calls_.size() == 4) loop_->stop();
      },
      seconds(10));
  periodic.start();
  run();
  EXPECT_THAT(calls_, ElementsAre(10, 20, 30, 40));
}

TEST_F(PeriodicCallbackTimes, AClockThatJumpsForwardMakesNoBurst) {
  PeriodicCallback periodic(
      *loop_,
      [&] {
        calls_.push_back(now());
        if (calls_.size() == 2) kernel_.clock.advance(seconds(1001));
        if (calls_.size() == 4) loop_->stop();
      },
      seconds(10));
  periodic.start();
  run();
  EXPECT_THAT(calls_, ElementsAre(10, 20, 1030, 1040));
}

TEST_F(PeriodicCallbackTimes, JitterSpreadsThePeriodAroundItsMean) {
  constexpr int kCalls = 2000;
  std::vector<nanoseconds> times;
  PeriodicCallback periodic(
      *loop_,
      [&] {
        times.push_back(loop_->time() - start_);
        if (times.size() == kCalls) loop_->stop();
      },
      seconds(10), 0.5);
  periodic.start();
  run();
  nanoseconds shortest = seconds(100), longest = seconds(0), last(0);
  for (nanoseconds time : times) {
    shortest = std::min(shortest, time - last);
    longest = std::max(longest, time - last);
    last = time;
  }
  // period x (1 + jitter x (rand - 0.5))
  EXPECT_GE(shortest, milliseconds(7500));
  EXPECT_LE(longest, milliseconds(12500));
  EXPECT_LT(shortest, milliseconds(8000));
  EXPECT_GT(longest, milliseconds(12000));
  const double mean = std::chrono::duration<double>(times.back()).count() / kCalls;
  EXPECT_NEAR(mean, 10, 0.2);  // six standard errors
}

TEST_F(PeriodicCallbackTimes, JitterKeepsAGridOfItsOwnWhenTheCallbackIsSlow) {
  int calls = 0;
  PeriodicCallback periodic(
      *loop_,
      [&] {
        if (++calls == 200) return loop_->stop();
        kernel_.clock.advance(seconds(35));
      },
      seconds(10), 0.1);
  periodic.start();
  run();
  const double total = std::chrono::duration<double>(loop_->time() - start_).count();
  EXPECT_GE(total, 199 * 35.0);
  EXPECT_LE(total, 200 * 46.0);
}

TEST_F(PeriodicCallbackTimes, AHugePeriodNeverComesWhateverItsJitter) {
  // Half of the draws make it longer than the clock's range.
  std::vector<std::unique_ptr<PeriodicCallback>> many;
  for (int i = 0; i < 64; ++i) {
    many.push_back(std::make_unique<PeriodicCallback>(
        *loop_,
        [&] {
          ADD_FAILURE() << "called";
          loop_->stop();
        },
        nanoseconds::max(), 0.5));
    many.back()->start();
  }
  loop_->call_later(std::chrono::hours(24 * 365 * 100), [&] { loop_->stop(); });
  run();
}

TEST_F(PeriodicCallbackTimes, AHugePeriodNeverComes) {
  PeriodicCallback periodic(
      *loop_, [&] { ADD_FAILURE() << "called"; }, std::chrono::hours::max());
  periodic.start();
  loop_->call_later(std::chrono::hours(24 * 365 * 100), [&] { loop_->stop(); });
  run();
  EXPECT_TRUE(periodic.is_running());
}

TEST_F(PeriodicCallbackTimes, RestartLaysANewGrid) {
  PeriodicCallback periodic(
      *loop_,
      [&] {
        calls_.push_back(now());
        if (calls_.size() == 4) loop_->stop();
      },
      seconds(10));
  periodic.start();
  loop_->call_later(seconds(13), [&] {
    periodic.stop();
    periodic.start();
  });
  run();
  EXPECT_THAT(calls_, ElementsAre(10, 23, 33, 43));
}

TEST_F(PeriodicCallbackTimes, StopAndStartInTheCallbackLayANewGridAndNoSecondTimer) {
  PeriodicCallback* self = nullptr;
  PeriodicCallback periodic(
      *loop_,
      [&] {
        calls_.push_back(now());
        kernel_.clock.advance(seconds(3));
        if (calls_.size() == 2) {
          self->stop();
          self->start();
        }
        if (calls_.size() == 5) loop_->stop();
      },
      seconds(10));
  self = &periodic;
  periodic.start();
  run();
  EXPECT_THAT(calls_, ElementsAre(10, 20, 33, 43, 53));
}

class IOLoopPeriodicCallback : public VirtualLoopTest {};
GYRE_FOR_EACH_BACKEND(IOLoopPeriodicCallback);

TEST_P(IOLoopPeriodicCallback, CallsUntilItIsStopped) {
  int calls = 0;
  PeriodicCallback periodic(
      *loop_,
      [&] {
        if (++calls == 5) loop_->stop();
      },
      milliseconds(1));
  EXPECT_FALSE(periodic.is_running());
  periodic.start();
  EXPECT_TRUE(periodic.is_running());
  run();
  periodic.stop();
  EXPECT_FALSE(periodic.is_running());
  loop_->call_later(milliseconds(20), [&] { loop_->stop(); });
  run();
  EXPECT_EQ(calls, 5);
}

TEST_P(IOLoopPeriodicCallback, StartWhileRunningAddsNoSecondTimer) {
  int calls = 0;
  PeriodicCallback periodic(
      *loop_, [&] { ++calls; }, std::chrono::hours(1));
  periodic.start();
  periodic.start();
  periodic.stop();
  EXPECT_FALSE(periodic.is_running());
  EXPECT_EQ(loop_->metrics().timeouts, 0u);
  PeriodicCallback quick(
      *loop_,
      [&] {
        ++calls;
        loop_->stop();
      },
      milliseconds(1));
  quick.start();
  quick.start();
  run();
  quick.stop();
  run_turns(3);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(loop_->metrics().timeouts, 1u);
}

TEST_P(IOLoopPeriodicCallback, MayStopItselfAndBeStoppedTwice) {
  int calls = 0;
  PeriodicCallback* self = nullptr;
  PeriodicCallback periodic(
      *loop_,
      [&] {
        ++calls;
        self->stop();
        EXPECT_FALSE(self->is_running());
      },
      milliseconds(1));
  self = &periodic;
  periodic.stop();
  periodic.start();
  loop_->call_later(milliseconds(20), [&] { loop_->stop(); });
  run();
  periodic.stop();
  EXPECT_EQ(calls, 1);
}

TEST_P(IOLoopPeriodicCallback, MayBeDestroyedInItsOwnCallback) {
  // Guards the callback's captures, which are in use while the object goes.
  int calls = 0;
  auto periodic = std::make_unique<std::unique_ptr<PeriodicCallback>>();
  *periodic = std::make_unique<PeriodicCallback>(
      *loop_,
      [&, text = std::string(100, 'x')] {
        ++calls;
        periodic->reset();
        EXPECT_EQ(text, std::string(100, 'x'));
      },
      milliseconds(1));
  (*periodic)->start();
  loop_->call_later(milliseconds(20), [&] { loop_->stop(); });
  run();
  EXPECT_EQ(calls, 1);
}

TEST_P(IOLoopPeriodicCallback, MayBeDestroyedWhileRunningAndAfterTheLoopWasClosed) {
  bool destroyed = false;
  auto running = std::make_unique<PeriodicCallback>(
      *loop_, [n = OnDestroy([&] { destroyed = true; })] { ADD_FAILURE() << "called"; },
      milliseconds(1));
  running->start();
  running.reset();
  EXPECT_TRUE(destroyed);
  PeriodicCallback closed(
      *loop_, [] { ADD_FAILURE() << "called"; }, milliseconds(1));
  closed.start();
  loop_->call_later(milliseconds(5), [&] { loop_->stop(); });
  closed.stop();
  run();
  closed.start();
  ASSERT_TRUE(loop_->close().ok());
}

TEST_P(IOLoopPeriodicCallback, MayBeDestroyedAfterTheLoop) {
  // Guards "at any time": the object holds a reference to a loop that is gone.
  PeriodicCallback periodic(
      *loop_, [] {}, milliseconds(1));
  periodic.start();
  loop_.reset();
}

TEST_P(IOLoopPeriodicCallback, AnExceptionDoesNotEndIt) {
  int calls = 0, errors = 0;
  loop_->set_exception_handler([&](std::exception_ptr) { ++errors; });
  PeriodicCallback periodic(
      *loop_,
      [&] {
        if (++calls == 3) loop_->stop();
        throw std::runtime_error("thrown by a periodic callback");
      },
      milliseconds(1));
  periodic.start();
  run();
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(errors, 3);
}

TEST_P(IOLoopPeriodicCallback, StartedOnAClosedLoopNeverCalls) {
  PeriodicCallback periodic(
      *loop_, [] { ADD_FAILURE() << "called"; }, milliseconds(1));
  ASSERT_TRUE(loop_->close().ok());
  periodic.start();
  periodic.stop();
}

}  // namespace
}  // namespace gyre::testing
