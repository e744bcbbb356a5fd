// The conformance of every backend: timeouts.

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/io_loop_timeouts_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

GYRE_FOR_EACH_BACKEND(IOLoopTimeouts);

TEST_P(IOLoopTimeouts, NeverFireEarly) {
  use_time(TestTime::kReal);  // of the kernel's wait
  std::minstd_rand random(1);
  int left = 200;
  for (int i = 0; i < 200; ++i) {
    const nanoseconds delay(random() % 20'000'000);
    const IOLoop::TimePoint deadline = loop_->time() + delay;
    loop_->call_later(delay, [&, deadline] {
      EXPECT_GE(loop_->time(), deadline);
      if (--left == 0) loop_->stop();
    });
  }
  run();
}

TEST_P(IOLoopTimeouts, WakeTheLoopWithoutSpinningUntilTheyAreDue) {
  // Guards against a wait that is rounded down to zero: the loop would spin for the last part of
  // it. In real time, for it is the kernel's wait.
  use_time(TestTime::kReal);
  int left = 20;
  std::function<void()> again = [&] {
    if (--left == 0) return loop_->stop();
    loop_->call_later(microseconds(1500), again);
  };
  loop_->call_later(microseconds(1500), again);
  run();
  EXPECT_LT(loop_->metrics().iterations, 20u * 5);
}

TEST_P(IOLoopTimeouts, FireInTheOrderOfTheirDeadlines) {
  std::unique_ptr<IOLoop> loop = make_manual_loop();
  loop->call_later(milliseconds(3), note("3"));
  loop->call_later(milliseconds(1), note("1"));
  loop->call_later(milliseconds(4), [&] { loop->stop(); });
  loop->call_later(milliseconds(2), note("2"));
  clock_.advance(milliseconds(4));
  run(*loop);
  EXPECT_THAT(seen_, ElementsAre("1", "2", "3"));
}

TEST_P(IOLoopTimeouts, WithEqualDeadlinesFireInTheOrderOfInsertion) {
  const IOLoop::TimePoint when = loop_->time() - milliseconds(1);
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) loop_->call_at(when, [&, i] { order.push_back(i); });
  loop_->call_at(when, [&] { loop_->stop(); });
  run();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST_P(IOLoopTimeouts, OfZeroAndNegativeDelayAndInThePastFireInTheNextIteration) {
  loop_->call_at(loop_->time() - hours(1), note("past"));
  loop_->call_at(IOLoop::TimePoint::min(), note("the oldest"));
  loop_->call_later(nanoseconds::min(), note("the most negative"));
  loop_->call_later(hours::min(), note("more negative than the clock's range"));
  loop_->call_later(milliseconds(-5), note("negative"));
  loop_->call_later(seconds(0), note("zero"));
  loop_->add_callback([&] { loop_->stop(); });  // one iteration
  run();
  EXPECT_EQ(seen_.size(), 6u);
  EXPECT_EQ(seen_.front(), "the oldest");
  EXPECT_EQ(seen_.back(), "zero");
}

TEST_P(IOLoopTimeouts, AddedInAnIterationNeverFireInItAndAPollComesFirst) {
  write_all(ready_.b.get(), "x");
  ASSERT_TRUE(loop_
                  ->add_handler(
                      ready_.a.get(), [&](int, uint32_t) { seen_.push_back("io"); }, IOLoop::READ)
                  .ok());
  loop_->add_callback([&] {
    loop_->call_later(milliseconds(0), note("added by a callback"));
    loop_->call_at(IOLoop::TimePoint::min(), note("added by a callback, in the past"));
  });
  loop_->call_later(milliseconds(0), [&] {
    seen_.push_back("first");
    loop_->call_later(hours(-1), [&] {
      seen_.push_back("added by a timeout");
      loop_->stop();
    });
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("first", "io", "added by a callback, in the past",
                                 "added by a timeout", "added by a callback"));
}

TEST_P(IOLoopTimeouts, ThatReArmThemselvesWithZeroFireOncePerIteration) {
  int polls = 0, fired = 0;
  write_all(ready_.b.get(), "x");
  ASSERT_TRUE(loop_
                  ->add_handler(
                      ready_.a.get(), [&](int, uint32_t) { ++polls; }, IOLoop::READ)
                  .ok());
  std::function<void()> again = [&] {
    if (++fired == 50) return loop_->stop();
    loop_->call_later(milliseconds(0), again);
  };
  loop_->call_later(milliseconds(0), again);
  run();
  EXPECT_EQ(fired, 50);
  EXPECT_EQ(polls, 49);
}

TEST_P(IOLoopTimeouts, CountTheirDelayFromTheCallNotFromTheIteration) {
  std::unique_ptr<IOLoop> loop = make_manual_loop();
  loop->add_callback([&] {
    const IOLoop::TimePoint before = loop->time();
    clock_.advance(seconds(10));
    EXPECT_EQ(loop->time() - before, seconds(10))
        << "time() is the clock, not a value cached per iteration";
    loop->call_later(seconds(5), note("early"));
    clock_.advance(seconds(4));
  });
  loop->add_callback([&] { loop->call_later(seconds(1), note("at the same time, but later")); });
  run_turns(*loop, 3);
  EXPECT_THAT(seen_, IsEmpty());
  clock_.advance(seconds(1));
  run_turns(*loop, 1);
  EXPECT_THAT(seen_, ElementsAre("early", "at the same time, but later"));
}

TEST_P(IOLoopTimeouts, PassTheirArgumentsAsRvalues) {
  auto take = [&](std::unique_ptr<int> owned, const std::string& text) {
    seen_.push_back(text + std::to_string(*owned));
  };
  const IOLoop::TimePoint now = loop_->time();
  loop_->call_at(now - milliseconds(4), take, std::make_unique<int>(1), "call_at ");
  loop_->add_timeout(now - milliseconds(3), take, std::make_unique<int>(2), "deadline ");
  loop_->add_timeout(milliseconds(-2), take, std::make_unique<int>(3), "delay ");
  loop_->call_later(milliseconds(0), take, std::make_unique<int>(4), "call_later ");
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("call_at 1", "deadline 2", "delay 3", "call_later 4"));
}

TEST_P(IOLoopTimeouts, TakeAnyDuration) {
  loop_->call_later(std::chrono::duration<double>(0.001), note("double"));
  loop_->call_later(std::chrono::duration<float, std::milli>(1.5f), note("float"));
  loop_->call_later(std::chrono::duration<short>(0), note("short"));
  loop_->call_later(std::chrono::duration<int, std::ratio<1, 3>>(0), note("thirds"));
  const IOLoop::TimePoint start = loop_->time();
  loop_->call_later(milliseconds(20), [&] { loop_->stop(); });
  run();
  EXPECT_THAT(seen_, ElementsAre("short", "thirds", "double", "float"));
  EXPECT_EQ(loop_->time() - start, milliseconds(20));
}

TEST_P(IOLoopTimeouts, BeyondTheClocksRangeNeverFire) {
  std::vector<IOLoop::Timeout> timeouts = {
      loop_->call_later(nanoseconds::max(), note("nanoseconds")),
      loop_->call_later(hours::max(), note("hours")),
      loop_->call_later(std::chrono::duration<double>(1e300), note("double")),
      loop_->call_later(std::chrono::duration<double>(std::numeric_limits<double>::infinity()),
                        note("infinity")),
      loop_->call_at(IOLoop::TimePoint::max(), note("max")),
      loop_->add_timeout(IOLoop::TimePoint::max(), note("max")),
  };
  for (IOLoop::Timeout timeout : timeouts) EXPECT_TRUE(timeout) << "the handle names something";
  loop_->call_later(hours(24 * 365 * 100), [&] { loop_->stop(); });
  run();
  EXPECT_THAT(seen_, IsEmpty());
  EXPECT_LT(loop_->metrics().iterations, 10u);
  for (IOLoop::Timeout timeout : timeouts) loop_->remove_timeout(timeout);
}

TEST_P(IOLoopTimeouts, BeyondTheClocksRangeDoNotKeepTheLoopFromSleeping) {
  loop_->call_later(hours::max(), note("never"));
  LoopInThread thread(*loop_);
  const uint64_t before = loop_->metrics().iterations;
  Event ran;
  loop_->add_callback([&] { ran.set(); });
  EXPECT_TRUE(ran.wait());
  EXPECT_LT(loop_->metrics().iterations - before, 10u);
}

TEST_P(IOLoopTimeouts, ThatAreDueTogetherAreCutByTheTimeSlice) {
  // Guards the handlers against a great many timeouts at once.
  IOLoopOptions options;
  options.clock = &clock_;
  options.time_slice = milliseconds(2);
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  write_all(ready_.b.get(), "x");
  int fired = 0, fired_before_io = -1, last = -1;
  ASSERT_TRUE(loop->add_handler(
                      ready_.a.get(),
                      [&](int, uint32_t) {
                        if (fired_before_io < 0) fired_before_io = fired;
                      },
                      IOLoop::READ)
                  .ok());
  for (int i = 0; i < 1000; ++i) {
    loop->call_later(milliseconds(0), [&, i] {
      EXPECT_EQ(last + 1, i);
      last = i;
      clock_.advance(microseconds(100));
      if (++fired == 1000) loop->stop();
    });
  }
  run(*loop);
  EXPECT_EQ(fired, 1000);
  EXPECT_GE(fired_before_io, 1);
  EXPECT_LT(fired_before_io, 100);
}

TEST_P(IOLoopTimeouts, ThatAreDueWhenTheLoopWasBlockedAllFireOnceInOrder) {
  std::unique_ptr<IOLoop> loop = make_manual_loop();
  for (int i = 5; i > 0; --i) loop->call_later(seconds(i), note(std::to_string(i)));
  loop->add_callback([&] { clock_.advance(seconds(60)); });
  run_turns(*loop, 2);
  EXPECT_THAT(seen_, ElementsAre("1", "2", "3", "4", "5"));
}

TEST_P(IOLoopTimeouts, SurviveARestart) {
  // Added in the iteration that stop() ends, so that it cannot fire in the first run.
  loop_->add_callback([&] {
    loop_->call_later(milliseconds(1), [&] {
      seen_.push_back("fired");
      loop_->stop();
    });
    loop_->stop();
  });
  run();
  EXPECT_THAT(seen_, IsEmpty());
  run();
  EXPECT_THAT(seen_, ElementsAre("fired"));
}

TEST_P(IOLoopTimeouts, AreEmptyHandlesOnAClosedLoop) {
  IOLoop::Timeout before = loop_->call_later(hours(1), [] {});
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_FALSE(loop_->call_later(milliseconds(0), note("x")));
  EXPECT_FALSE(loop_->call_at(loop_->time(), note("x")));
  EXPECT_FALSE(loop_->add_timeout(milliseconds(0), note("x")));
  EXPECT_FALSE(loop_->add_timeout(loop_->time(), note("x")));
  loop_->remove_timeout(before);
  loop_->remove_timeout({});
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(IOLoopTimeouts, AreNeitherLostNorEarlyUnderAStormOfSignals) {
  // Guards the kernel's wait against EINTR: it goes on with the time that remains.
  use_time(TestTime::kReal);
  struct sigaction action {
  }, previous{};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, &previous), 0);
  std::atomic<bool> over{false};
  const pthread_t loop_thread = pthread_self();
  std::thread storm([&] {
    while (!over) {
      pthread_kill(loop_thread, SIGUSR1);
      for (int i = 0; i < 100 && !over; ++i) std::this_thread::yield();  // or the loop never sleeps
    }
  });
  const IOLoop::TimePoint start = loop_->time();
  loop_->call_later(milliseconds(30), [&] {
    EXPECT_GE(loop_->time() - start, milliseconds(30));
    loop_->stop();
  });
  run();
  over = true;
  storm.join();
  sigaction(SIGUSR1, &previous, nullptr);
}

TEST_P(IOLoopTimeouts, AddedByAPostWakeTheLoopInTime) {
  // Guards the loop that sleeps in the kernel without a limit against a deadline that comes later.
  use_time(TestTime::kReal);
  LoopInThread thread(*loop_);
  Event fired;
  loop_->add_callback([&] { loop_->call_later(milliseconds(1), [&] { fired.set(); }); });
  EXPECT_TRUE(fired.wait());
}

TEST_P(IOLoopTimeouts, AnEarlierOneShortensTheWait) {
  const IOLoop::TimePoint start = loop_->time();
  loop_->call_later(hours(1), [] {});
  loop_->call_later(milliseconds(1), [&] { loop_->stop(); });
  run();
  EXPECT_EQ(loop_->time() - start, milliseconds(1));
}

}  // namespace
}  // namespace gyre::testing
