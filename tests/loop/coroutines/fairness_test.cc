// Nobody starves: neither timers nor sockets, whatever the callbacks do.

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sim_poller.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

nanoseconds thread_cpu_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

nanoseconds percentile(std::vector<nanoseconds> values, int percent) {
  std::sort(values.begin(), values.end());
  return values[(values.size() - 1) * percent / 100];
}

// In real time: the flood is another thread's, and how late a timer is beside it is measured. The
// same in virtual time: TimeSlices, below.
class Fairness : public LoopTest {
 protected:
  Fairness() : LoopTest(TestTime::kReal) {}

  // With the time slice that users get.
  std::unique_ptr<IOLoop> make_default_loop() { return make_loop(IOLoopOptions()); }
};
GYRE_FOR_EACH_BACKEND(Fairness);

// A loop that is never idle: its thread's CPU time is the time that it had. Where that is the
// wall's time, nothing else ran in its place, and a late timer is the loop's own fault; elsewhere
// lateness is counted in CPU time, from the last moment before the deadline at which the loop was
// seen.
class Lateness {
 public:
  explicit Lateness(IOLoop& loop) : loop_(loop) {}

  // To be called as often as possible, in the loop.
  void tick() {
    const Moment now{IOLoop::Clock::now(), thread_cpu_time()};
    if (ticks_++ == 0) first_ = now;
    last_ = now;
    if (now.wall <= deadline_) before_deadline_ = now;
  }

  // Sets a timer again and again, `count` times, and stops the loop.
  void measure(int count) {
    if (count == 0) return loop_.stop();
    tick();
    deadline_ = loop_.time() + milliseconds(2);
    before_deadline_ = last_;
    loop_.call_at(deadline_, [this, count] {
      tick();
      wall_.push_back(last_.wall - deadline_);
      cpu_.push_back(last_.cpu - before_deadline_.cpu);
      measure(count - 1);
    });
  }

  void expect_p99_at_most(nanoseconds bound) const {
    ASSERT_FALSE(wall_.empty());
    for (nanoseconds late : wall_) EXPECT_GE(late.count(), 0);
    const double share = static_cast<double>((last_.cpu - first_.cpu).count()) /
                         static_cast<double>((last_.wall - first_.wall).count());
    const nanoseconds wall = percentile(wall_, 99), cpu = percentile(cpu_, 99);
    ::testing::Test::RecordProperty("cpu_share_percent", static_cast<int>(share * 100));
    ::testing::Test::RecordProperty("p99_wall_us", static_cast<int>(wall.count() / 1000));
    ::testing::Test::RecordProperty("p99_cpu_us", static_cast<int>(cpu.count() / 1000));
    // The tick before the deadline may be an iteration old.
    EXPECT_LE(cpu, bound * (kSanitized ? 20 : 2)) << "of CPU time";
    if (!kSanitized && share > 0.97) {
      EXPECT_LE(wall, bound) << "the loop's thread had " << share * 100 << " % of the time";
    }
  }

 private:
  struct Moment {
    IOLoop::TimePoint wall;
    nanoseconds cpu;
  };

  IOLoop& loop_;
  int64_t ticks_ = 0;
  Moment first_, last_, before_deadline_;
  IOLoop::TimePoint deadline_;
  std::vector<nanoseconds> wall_, cpu_;
};

TEST_P(Fairness, TimersAreInTimeAndASocketIsServedBesideACallbackThatPostsItselfAndAFlood) {
  const int measurements = kSanitized ? 50 : 200;
  IOLoopOptions options;
  options.callback_limit = 10000;  // what the loop has not run by then is refused
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  FdPair fds = socket_pair();
  int served = 0;
  ASSERT_TRUE(loop->add_handler(
                      fds.a.get(), [&](int, uint32_t) { ++served; }, IOLoop::READ)
                  .ok());
  write_all(fds.b.get(), "x");  // stays readable
  Lateness lateness(*loop);
  std::function<void()> again = [&] {
    lateness.tick();
    loop->add_callback(again);
  };
  loop->add_callback(again);
  std::atomic<bool> over{false};
  std::atomic<int64_t> posted{0};
  std::thread flood([&] {
    // About a million a second, in bursts of 100 each 100 us.
    auto next = IOLoop::Clock::now();
    while (!over) {
      for (int i = 0; i < 100; ++i) posted += loop->try_add_callback([] {});
      next += microseconds(100);
      while (!over && IOLoop::Clock::now() < next) std::this_thread::yield();
    }
  });
  loop->add_callback([&] { lateness.measure(measurements); });
  run(*loop);
  over = true;
  flood.join();
  EXPECT_GT(posted, 1000);
  EXPECT_GE(served, measurements) << "less than once for each timer";
  lateness.expect_p99_at_most(milliseconds(3));
}

TEST_P(Fairness, TimersAreInTimeWhileABacklogOfAHundredThousandCallbacksIsWorkedOff) {
  // Without a time slice the first timer would come behind all of them.
  std::unique_ptr<IOLoop> loop = make_default_loop();
  const int backlog = 100000;
  int ran = 0, ran_at_first_timer = -1;
  for (int i = 0; i < backlog; ++i) {
    loop->add_callback([&] {
      ++ran;
      const nanoseconds until = thread_cpu_time() + microseconds(1);
      while (thread_cpu_time() < until) {
      }
    });
  }
  loop->call_later(milliseconds(1), [&] { ran_at_first_timer = ran; });
  loop->add_callback([&] { loop->stop(); });
  run(*loop);
  EXPECT_EQ(ran, backlog);
  EXPECT_GE(ran_at_first_timer, 0);
  EXPECT_LT(ran_at_first_timer, backlog / 2);
}

TEST_P(Fairness, AMillionTimersDueAtOnceDoNotStarveASocketOrTheCallbacks) {
  std::unique_ptr<IOLoop> loop = make_default_loop();
  const int count = std::max(sized(1000000) / 2, 200000);  // that take a number of time slices
  FdPair fds = socket_pair();
  int fired = 0, served = 0, called = 0;
  int last_served_at = 0, largest_gap = 0;
  ASSERT_TRUE(loop->add_handler(
                      fds.a.get(),
                      [&](int, uint32_t) {
                        ++served;
                        largest_gap = std::max(largest_gap, fired - last_served_at);
                        last_served_at = fired;
                      },
                      IOLoop::READ)
                  .ok());
  write_all(fds.b.get(), "x");
  std::function<void()> again = [&] {
    ++called;
    loop->add_callback(again);
  };
  const IOLoop::TimePoint due = loop->time();
  for (int i = 0; i < count; ++i) loop->call_at(due, [&] { ++fired; });
  loop->call_at(due, [&] { loop->stop(); });
  loop->add_callback(again);
  run(*loop);
  EXPECT_EQ(fired, count);
  EXPECT_GT(served, 3);
  EXPECT_GE(called, served);
  EXPECT_LT(largest_gap, count / 2);
}

TEST_P(Fairness, AHandlerThatIsAlwaysReadyStarvesNeitherTimersNorCallbacksNorOtherHandlers) {
  std::unique_ptr<IOLoop> loop = make_default_loop();
  std::vector<FdPair> pairs;
  constexpr int kPairs = 50;
  std::vector<int> served(kPairs, 0);
  for (int i = 0; i < kPairs; ++i) {
    pairs.push_back(socket_pair());
    write_all(pairs[i].b.get(), "x");
    ASSERT_TRUE(loop->add_handler(
                        pairs[i].a.get(), [&, i](int, uint32_t) { ++served[i]; }, IOLoop::READ)
                    .ok());
  }
  int timers = 0, callbacks = 0;
  std::function<void()> callback = [&] {
    ++callbacks;
    loop->add_callback(callback);
  };
  std::function<void()> timer = [&] {
    if (++timers == 200) return loop->stop();
    loop->call_later(nanoseconds(0), timer);
  };
  loop->add_callback(callback);
  loop->call_later(nanoseconds(0), timer);
  run(*loop);
  EXPECT_GE(callbacks, 199);
  for (int times : served) EXPECT_GE(times, 150) << "in 200 iterations";
}

TEST_P(Fairness, TwoThatPostThemselvesTakeTurns) {
  std::unique_ptr<IOLoop> loop = make_default_loop();
  int first = 0, second = 0;
  std::function<void()> one = [&] {
    ++first;
    EXPECT_LE(std::abs(first - second), 1);
    loop->add_callback(one);
  };
  std::function<void()> two = [&] {
    if (++second == 10000) return loop->stop();
    loop->add_callback(two);
  };
  loop->add_callback(one);
  loop->add_callback(two);
  run(*loop);
}

// ---- The time slice, on a manual clock

class TimeSlices : public ::testing::Test {
 protected:
  std::unique_ptr<IOLoop> make(nanoseconds slice) {
    IOLoopOptions options;
    options.time_slice = slice;
    return make_simulated_loop(kernel_, std::move(options));
  }

  LogCapture log_;
  SimKernel kernel_;
};

TEST_F(TimeSlices, SlowCallbacksEndTheBatchAsSoonAsTheSliceIsOver) {
  std::unique_ptr<IOLoop> loop = make(milliseconds(10));
  std::vector<size_t> polls_before;
  for (int i = 0; i < 9; ++i) {
    loop->add_callback([&] {
      polls_before.push_back(kernel_.waits.size());
      kernel_.clock.advance(milliseconds(4));  // three of them fill a slice
    });
  }
  loop->add_callback([&] { loop->stop(); });
  ASSERT_TRUE(loop->start().ok());
  EXPECT_THAT(polls_before, ::testing::ElementsAre(0, 0, 0, 1, 1, 1, 2, 2, 2));
  for (nanoseconds wait : kernel_.waits) EXPECT_EQ(wait.count(), 0) << "there is work";
}

TEST_F(TimeSlices, OneThatIsSlowerThanTheSliceIsFollowedByAPoll) {
  std::unique_ptr<IOLoop> loop = make(milliseconds(2));
  std::vector<size_t> polls_before;
  for (int i = 0; i < 3; ++i) {
    loop->add_callback([&] {
      polls_before.push_back(kernel_.waits.size());
      kernel_.clock.advance(seconds(1));
    });
  }
  loop->add_callback([&] { loop->stop(); });
  ASSERT_TRUE(loop->start().ok());
  EXPECT_THAT(polls_before, ::testing::ElementsAre(0, 1, 2));
}

TEST_F(TimeSlices, ALongSliceRunsTheWholeBatch) {
  std::unique_ptr<IOLoop> loop = make(hours(1));
  int ran = 0;
  for (int i = 0; i < 1000; ++i) {
    loop->add_callback([&] {
      ++ran;
      EXPECT_EQ(kernel_.waits.size(), 0u);
      kernel_.clock.advance(milliseconds(100));
    });
  }
  loop->add_callback([&] { loop->stop(); });
  ASSERT_TRUE(loop->start().ok());
  EXPECT_EQ(ran, 1000);
}

TEST_F(TimeSlices, ASliceOfNothingRunsOneCallbackAndOneTimerInEachIteration) {
  std::unique_ptr<IOLoop> loop = make(nanoseconds(0));
  std::vector<size_t> callbacks, timers;
  for (int i = 0; i < 3; ++i) {
    loop->add_callback([&] { callbacks.push_back(kernel_.waits.size()); });
    loop->call_later(nanoseconds(0), [&] { timers.push_back(kernel_.waits.size()); });
  }
  loop->call_later(seconds(1), [&] { loop->stop(); });
  ASSERT_TRUE(loop->start().ok());
  EXPECT_THAT(callbacks, ::testing::ElementsAre(0, 1, 2));
  EXPECT_THAT(timers, ::testing::ElementsAre(0, 1, 2));
}

TEST_F(TimeSlices, CallbacksAndTimersEachHaveASliceOfTheirOwn) {
  // Slow callbacks must not cost the timers their turn.
  std::unique_ptr<IOLoop> loop = make(milliseconds(10));
  int timers = 0;
  std::function<void()> slow = [&] {
    kernel_.clock.advance(milliseconds(50));
    loop->add_callback(slow);
  };
  std::function<void()> timer = [&] {
    EXPECT_EQ(loop->metrics().iterations, static_cast<uint64_t>(timers) + 1);
    if (++timers == 100) return loop->stop();
    loop->call_later(nanoseconds(0), timer);
  };
  loop->add_callback(slow);
  loop->call_later(nanoseconds(0), timer);
  ASSERT_TRUE(loop->start().ok());
  EXPECT_EQ(timers, 100);
}

TEST_F(TimeSlices, NoTimerIsMoreThanThreeMillisecondsLateBesideAFloodOfAMillionPostsASecond) {
  // The requirement, exactly: a callback that posts itself for ever, and another thread's posts, a
  // million a second, of two microseconds each, so that the loop never catches up.
  IOLoopOptions defaults;
  std::unique_ptr<IOLoop> loop = make(defaults.time_slice);
  const auto cost = microseconds(2), interval = microseconds(1);
  const IOLoop::TimePoint begin = loop->time();
  int64_t posted = 0;
  int served = 0, timers = 0;
  nanoseconds latest{0};
  // Time passes only in callbacks, so each of them lets in what another thread would have posted.
  std::function<void()> flood = [&] {
    kernel_.clock.advance(cost);
    for (const int64_t due = (loop->time() - begin) / interval; posted < due; ++posted) {
      loop->add_callback(flood);
    }
  };
  std::function<void()> again = [&] {
    flood();
    loop->add_callback(again);
  };
  const int fd = kernel_.open();
  kernel_.set_ready(fd, IOLoop::READ);
  ASSERT_TRUE(loop->add_handler(
                      fd, [&](int, uint32_t) { ++served; }, IOLoop::READ)
                  .ok());
  std::function<void()> timer = [&] {
    const IOLoop::TimePoint deadline = loop->time() + milliseconds(1);
    loop->call_at(deadline, [&, deadline] {
      latest = std::max(latest, nanoseconds(loop->time() - deadline));
      if (++timers == 1000) return loop->stop();
      timer();
    });
  };
  loop->add_callback(again);
  loop->add_callback(timer);
  ASSERT_TRUE(loop->start().ok());
  EXPECT_LE(latest, milliseconds(3));
  EXPECT_GE(served, timers) << "the socket has its turn as often";
  EXPECT_GT(posted, 1000000) << "a second of it, and more";
}

TEST_F(TimeSlices, TheRestOfATimersBatchKeepsItsOrder) {
  std::unique_ptr<IOLoop> loop = make(milliseconds(10));
  std::vector<int> order;
  for (int i = 0; i < 20; ++i) {
    loop->call_later(milliseconds(i % 2), [&, i] {
      order.push_back(i);
      kernel_.clock.advance(milliseconds(6));
    });
  }
  loop->call_later(seconds(10), [&] { loop->stop(); });
  ASSERT_TRUE(loop->start().ok());
  std::vector<int> expected;
  for (int i = 0; i < 20; i += 2) expected.push_back(i);
  for (int i = 1; i < 20; i += 2) expected.push_back(i);
  EXPECT_EQ(order, expected);
}

}  // namespace
}  // namespace gyre::testing
