// A million timers: that they are in order, free their memory, and never fire early.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <random>
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
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sim_poller.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

// In simulated time: a wait takes none, and the clock is exactly at the deadline when a timer
// fires.
class TimerScale : public ::testing::Test {
 protected:
  TimerScale() {
    IOLoopOptions options;
    options.time_slice = hours(1);
    loop_ = make_simulated_loop(kernel_, std::move(options));
  }

  LogCapture log_;
  SimKernel kernel_;
  std::unique_ptr<IOLoop> loop_;
  const int many_ = sized(1000000);
};

TEST_F(TimerScale, AMillionFireInTheOrderOfDeadlineAndInsertionAndNeverEarly) {
  std::mt19937_64 random(1);
  struct Fired {
    nanoseconds delay;
    int number;
  };
  std::vector<Fired> fired;
  fired.reserve(many_);
  const IOLoop::TimePoint start = loop_->time();
  bool early = false;
  for (int i = 0; i < many_; ++i) {
    // Few deadlines, so that many are equal.
    const nanoseconds delay = milliseconds(random() % 1000);
    loop_->call_at(start + delay, [&, delay, i] {
      early |= loop_->time() < start + delay;
      fired.push_back({delay, i});
    });
  }
  loop_->call_at(start + seconds(2), [&] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  ASSERT_EQ(fired.size(), static_cast<size_t>(many_));
  EXPECT_FALSE(early);
  EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end(), [](const Fired& a, const Fired& b) {
    return a.delay != b.delay ? a.delay < b.delay : a.number < b.number;
  }));
  EXPECT_EQ(loop_->metrics().timeouts, static_cast<uint64_t>(many_) + 1);
}

TEST_F(TimerScale, AMillionOutstandingMayBeCancelledAndFreeTheirCapturesAtOnce) {
  auto shared = std::make_shared<int>(0);
  std::vector<IOLoop::Timeout> timeouts;
  timeouts.reserve(many_);
  for (int i = 0; i < many_; ++i) {
    timeouts.push_back(
        loop_->call_later(seconds(1 + i % 1000), [shared] { ADD_FAILURE() << "fired"; }));
  }
  EXPECT_EQ(shared.use_count(), many_ + 1);
  std::shuffle(timeouts.begin(), timeouts.end(), std::mt19937_64(2));
  for (int i = 0; i < many_; ++i) {
    loop_->remove_timeout(timeouts[i]);
    ASSERT_EQ(shared.use_count(), many_ - i);
  }
  EXPECT_EQ(shared.use_count(), 1);
  for (const IOLoop::Timeout& timeout : timeouts) loop_->remove_timeout(timeout);  // no-ops
  kernel_.waits.clear();
  loop_->call_later(hours(5), [&] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_EQ(kernel_.waits.size(), 1u);
  EXPECT_EQ(kernel_.waits.front(), hours(5)) << "nothing is left of the others";
}

TEST_F(TimerScale, ARandomHalfCancelledLeavesTheOtherHalfInOrder) {
  std::mt19937_64 random(3);
  std::vector<IOLoop::Timeout> timeouts;
  std::vector<int64_t> fired;
  const IOLoop::TimePoint start = loop_->time();
  for (int i = 0; i < many_ / 2; ++i) {
    const int64_t delay = random() % 1000000000;
    timeouts.push_back(
        loop_->call_at(start + nanoseconds(delay), [&fired, delay] { fired.push_back(delay); }));
  }
  size_t left = timeouts.size();
  for (size_t i = 0; i < timeouts.size(); ++i) {
    if (random() % 2 == 0) continue;
    loop_->remove_timeout(timeouts[i]);
    --left;
  }
  loop_->call_at(start + seconds(2), [&] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_EQ(fired.size(), left);
  EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end()));
}

TEST_F(TimerScale, AddingAndCancellingForEverUsesTheMemoryOfTheFewThatAreOutstanding) {
  // A server that re-arms an idle timeout for each request: what is cancelled is used again.
  const int rounds = many_ / 2;
  std::vector<IOLoop::Timeout> timeouts(1000);
  int alive = 0;
  struct Counted {
    explicit Counted(int* count) : count_(count) { ++*count_; }
    Counted(Counted&& other) noexcept : count_(other.count_) { ++*count_; }
    ~Counted() { --*count_; }
    int* count_;
  };
  for (int i = 0; i < rounds; ++i) {
    IOLoop::Timeout& timeout = timeouts[i % timeouts.size()];
    loop_->remove_timeout(timeout);
    timeout = loop_->call_later(hours(1), [c = Counted(&alive)] {});
    ASSERT_LE(alive, static_cast<int>(timeouts.size()));
  }
  loop_.reset();
  EXPECT_EQ(alive, 0);
}

TEST_F(TimerScale, TheHandleOfATimerThatFiredNeverCancelsANewOne) {
  // Slots are used again: an old handle that names the slot must not be taken for the new timer's.
  const int rounds = 100, batch = sized(100000) / rounds;
  std::vector<IOLoop::Timeout> old;
  int fired = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<IOLoop::Timeout> fresh;
    for (int i = 0; i < batch; ++i) {
      fresh.push_back(loop_->call_later(seconds(1), [&] { ++fired; }));
    }
    for (const IOLoop::Timeout& timeout : old) loop_->remove_timeout(timeout);
    loop_->call_later(seconds(2), [&] { loop_->stop(); });
    ASSERT_TRUE(loop_->start().ok());
    ASSERT_EQ(fired, batch * (round + 1));
    old = std::move(fresh);
  }
}

TEST_F(TimerScale, TheHandleOfATimerIsDeadWhileItRunsAndInItsDestructor) {
  IOLoop::Timeout own;
  int others = 0;
  own = loop_->call_later(seconds(1), [&, n = OnDestroy([&] { loop_->remove_timeout(own); })] {
    loop_->remove_timeout(own);
    loop_->call_later(seconds(1), [&] { ++others; });
    loop_->remove_timeout(own);
  });
  loop_->call_later(seconds(3), [&] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_EQ(others, 1);
}

TEST_F(TimerScale, AHandleThatIsGivenToAnotherLoopNamesNothingThere) {
  SimKernel other_kernel;
  std::unique_ptr<IOLoop> other = make_simulated_loop(other_kernel);
  const int count = sized(100000);
  int here = 0, there = 0;
  std::vector<IOLoop::Timeout> of_here, of_there;
  // Made alike, so that slots and positions are the same in both.
  for (int i = 0; i < count; ++i) {
    of_here.push_back(loop_->call_later(seconds(1), [&] { ++here; }));
    of_there.push_back(other->call_later(seconds(1), [&] { ++there; }));
  }
  for (const IOLoop::Timeout& timeout : of_here) other->remove_timeout(timeout);
  for (const IOLoop::Timeout& timeout : of_there) loop_->remove_timeout(timeout);
  for (IOLoop* loop : {loop_.get(), other.get()}) {
    loop->call_later(seconds(2), [loop] { loop->stop(); });
    ASSERT_TRUE(loop->start().ok());
  }
  EXPECT_EQ(here, count);
  EXPECT_EQ(there, count);
}

TEST_F(TimerScale, ManyDueAtOnceThatCancelEachOtherLeaveNoneToFireTwice) {
  const int count = sized(100000);
  std::vector<IOLoop::Timeout> timeouts(count);
  std::vector<int> fired(count, 0);
  for (int i = 0; i < count; ++i) {
    timeouts[i] = loop_->call_later(seconds(1), [&, i] {
      ++fired[i];
      if (i + 1 < count) loop_->remove_timeout(timeouts[i + 1]);  // the next one
      loop_->remove_timeout(timeouts[i / 2]);                     // one that is over
    });
  }
  loop_->call_later(seconds(2), [&] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  for (int i = 0; i < count; ++i) ASSERT_EQ(fired[i], i % 2 == 0 ? 1 : 0) << i;
}

TEST_F(TimerScale, CancellingManyThatAreDueAndTooNewTakesNoLongerThanCancellingOthers) {
  // Due timers that are newer than the iteration are set aside while an older one runs; that one
  // cancels them all. Were each cancel a search through them, this would take a hundred times as
  // long.
  const int count = sized(30000);
  std::vector<IOLoop::Timeout> timeouts;
  timeouts.reserve(count);
  bool cancelled = false;
  loop_->call_later(nanoseconds(0), [&] {
    for (const IOLoop::Timeout& timeout : timeouts) loop_->remove_timeout(timeout);
    cancelled = true;
  });
  loop_->add_callback([&] {
    for (int i = 0; i < count; ++i) {
      timeouts.push_back(loop_->call_at(IOLoop::TimePoint::min(), [] { ADD_FAILURE(); }));
    }
  });
  loop_->call_later(seconds(1), [&] { loop_->stop(); });
  const std::clock_t start = std::clock();  // of this process: others may have the processor
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_TRUE(cancelled);
  EXPECT_LT(std::clock() - start, 2 * CLOCKS_PER_SEC);
}

// The CPU time of `count` timers that are added amid all others, and cancelled again.
std::clock_t time_of_adding_and_cancelling(IOLoop& loop, int count) {
  std::minstd_rand random(5);
  const std::clock_t start = std::clock();
  for (int i = 0; i < count; ++i) {
    loop.remove_timeout(loop.call_later(microseconds(random()), [] {}));
  }
  return std::clock() - start;
}

TEST_F(TimerScale, AddingAndCancellingAmidAMillionTakesLittleLongerThanAmidAThousand) {
  // A logarithm is twice as large there, and caches miss; in a list it would be a thousand times as
  // long.
  const int few = many_ / 1000, count = sized(200000);
  int timers = 0;
  std::minstd_rand random(6);
  const auto fill_up_to = [&](int size) {
    for (; timers < size; ++timers) loop_->call_later(microseconds(random()), [] {});
  };
  fill_up_to(few);
  time_of_adding_and_cancelling(*loop_, count);  // gets the memory
  const std::clock_t amid_few = time_of_adding_and_cancelling(*loop_, count);
  fill_up_to(many_);
  const std::clock_t amid_many = time_of_adding_and_cancelling(*loop_, count);
  RecordProperty("ratio_percent", static_cast<int>(100 * amid_many / std::max(amid_few, 1L)));
  EXPECT_LT(amid_many, 50 * std::max<std::clock_t>(amid_few, CLOCKS_PER_SEC / 100));
}

TEST_F(TimerScale, CloseDestroysThemAllUnrun) {
  auto shared = std::make_shared<int>(0);
  for (int i = 0; i < many_ / 2; ++i) {
    loop_->call_later(seconds(i % 777), [shared] { ADD_FAILURE() << "fired"; });
  }
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(shared.use_count(), 1);
}

// ---- In real time

// What the kernel's own wait makes of a deadline.
class TimerPrecision : public LoopTest {
 protected:
  TimerPrecision() : LoopTest(TestTime::kReal) {}
};
GYRE_FOR_EACH_BACKEND(TimerPrecision);

TEST_P(TimerPrecision, DeadlinesBetweenTwoMillisecondsAreMetBeforeTheNextOneAndNeverEarly) {
  // A backend that rounds to milliseconds, up, would be 0.95 ms late each time. The best tenth: on
  // a busy machine the others say more about its scheduler.
  constexpr int kCount = 200;
  std::vector<nanoseconds> late;
  const absl::Status status = loop_->run_sync(
      [&]() -> Task<> {
        for (int i = 0; i < kCount; ++i) {
          const nanoseconds delay = microseconds(50 + 1000 * (i % 3));
          const IOLoop::TimePoint deadline = loop_->time() + delay;
          co_await sleep_for(delay);
          late.push_back(loop_->time() - deadline);
        }
      },
      kDeadline);
  ASSERT_TRUE(status.ok()) << status;
  std::sort(late.begin(), late.end());
  EXPECT_GE(late.front().count(), 0);
  EXPECT_LT(late[kCount / 10], microseconds(900));
}

TEST_P(TimerPrecision, TenThousandSpreadOverAFractionOfASecondNeverFireEarly) {
  const int count = sized(10000);
  int fired = 0, early = 0;
  std::mt19937_64 random(4);
  for (int i = 0; i < count; ++i) {
    const IOLoop::TimePoint deadline = loop_->time() + microseconds(random() % 200000);
    loop_->call_at(deadline, [&, deadline] {
      early += IOLoop::Clock::now() < deadline;
      if (++fired == count) loop_->stop();
    });
  }
  run();
  EXPECT_EQ(fired, count);
  EXPECT_EQ(early, 0);
}

}  // namespace
}  // namespace gyre::testing
