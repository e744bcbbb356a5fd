// Idle timeouts: the wheel as pure data, then on a loop in simulated time.

#include "gyre/loop/idle_wheel.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/idle_timeout.h"
#include "gyre/loop/io_loop.h"
#include "gyre/testing/loop_fixture.h"

namespace gyre::internal {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

struct Entry final : IdleEntry {
  explicit Entry(IdleWheel& wheel) : wheel(wheel) {}
  ~Entry() { wheel.disarm(*this); }
  void expired() override { ++times; }

  IdleWheel& wheel;
  int times = 0;
};

class IdleWheelTest : public ::testing::Test {
 protected:
  // One iteration of a loop: the poll until `at`, then work that lasts.
  void iterate(SteadyTime at, nanoseconds work = nanoseconds::zero()) {
    wheel_.end_iteration(now_);
    now_ = at;
    wheel_.begin_iteration(now_);
    now_ += work;
  }
  void expire() {
    wheel_.sweep();
    while (wheel_.has_expired()) wheel_.run_one();
  }

  SteadyTime now_ = SteadyTime(hours(1));
  IdleWheel wheel_{now_};
};

TEST_F(IdleWheelTest, ExpiresAfterItsTimeoutAndAtMostTwoTicksLater) {
  Entry entry(wheel_);
  wheel_.arm(entry, seconds(1), now_);
  EXPECT_EQ(wheel_.size(), 1u);
  const SteadyTime deadline = *wheel_.next_deadline();
  EXPECT_GE(deadline, now_ + seconds(1));
  EXPECT_LE(deadline, now_ + seconds(1) + 2 * IdleWheel::kTick);
  iterate(deadline - nanoseconds(1));
  expire();
  EXPECT_EQ(entry.times, 0);
  iterate(deadline);
  expire();
  EXPECT_EQ(entry.times, 1);
  EXPECT_FALSE(entry.armed());
  EXPECT_TRUE(wheel_.empty());
  EXPECT_EQ(wheel_.next_deadline(), std::nullopt);
}

TEST_F(IdleWheelTest, ATouchPutsTheEndOff) {
  Entry entry(wheel_);
  wheel_.arm(entry, seconds(10), now_);
  for (int i = 0; i < 100; ++i) {
    iterate(now_ + seconds(9));
    expire();
    wheel_.touch(entry);
  }
  EXPECT_EQ(entry.times, 0);
  const SteadyTime touched = now_;
  while (entry.times == 0) {
    iterate(*wheel_.next_deadline());
    expire();
  }
  EXPECT_GE(now_ - touched, seconds(10));
  EXPECT_LE(now_ - touched, seconds(10) + 2 * IdleWheel::kTick);
}

TEST_F(IdleWheelTest, ATouchInALongIterationCountsFromItsEnd) {
  // Guards the cached time: the loop was blocked when the bytes came.
  Entry entry(wheel_);
  wheel_.arm(entry, seconds(10), now_);
  iterate(now_ + seconds(5), /*work=*/seconds(4));
  wheel_.touch(entry);
  const SteadyTime touched = now_;
  while (entry.times == 0) {
    iterate(*wheel_.next_deadline());
    expire();
  }
  EXPECT_GE(now_ - touched, seconds(10));
}

// The second one begins at the very tick at which the first one ended.
TEST_F(IdleWheelTest, ALongIterationAfterTheOneOfTheTouchDoesNotCount) {
  Entry entry(wheel_);
  wheel_.arm(entry, seconds(5), now_);
  iterate(now_ + seconds(1), seconds(1));
  wheel_.touch(entry);
  iterate(now_, seconds(4));
  iterate(now_ + seconds(1) + 3 * IdleWheel::kTick);
  expire();
  EXPECT_EQ(entry.times, 1);
}

TEST_F(IdleWheelTest, TimeoutsBeyondTheHorizonComeInTheirTime) {
  Entry day(wheel_);
  wheel_.arm(day, hours(24), now_);
  const SteadyTime begin = now_;
  int looks = 0;
  while (day.times == 0) {
    iterate(*wheel_.next_deadline());
    expire();
    ++looks;
  }
  EXPECT_GE(now_ - begin, hours(24));
  EXPECT_LE(now_ - begin, hours(24) + 2 * IdleWheel::kTick);
  EXPECT_LE(looks, 24 * 3600 / 68 + 2) << "once a turn of the wheel";
}

TEST_F(IdleWheelTest, AnyTimeoutIsTakenAsItIsMeant) {
  Entry shortest(wheel_), longest(wheel_);
  wheel_.arm(shortest, nanoseconds(1), now_);
  wheel_.arm(longest, nanoseconds::max(), now_);
  iterate(now_ + 2 * IdleWheel::kTick);
  expire();
  EXPECT_EQ(shortest.times, 1);
  iterate(now_ + hours(24 * 365));
  expire();
  EXPECT_EQ(longest.times, 0);
}

TEST_F(IdleWheelTest, LongAfterTheLastEntryANewOneIsNotLookedAtTwice) {
  Entry entry(wheel_);
  iterate(now_ + hours(100));
  wheel_.arm(entry, seconds(1), now_);
  EXPECT_GE(*wheel_.next_deadline(), now_ + seconds(1));
}

TEST_F(IdleWheelTest, OneThatIsTouchedWhileItWaitsForItsTurnIsSpared) {
  Entry entry(wheel_);
  wheel_.arm(entry, seconds(1), now_);
  iterate(now_ + seconds(3));
  wheel_.sweep();
  ASSERT_TRUE(wheel_.has_expired());
  wheel_.touch(entry);
  wheel_.run_one();
  EXPECT_EQ(entry.times, 0);
  EXPECT_TRUE(entry.armed());
  EXPECT_FALSE(wheel_.has_expired());
}

TEST_F(IdleWheelTest, AgreesWithOneTimerPerEntry) {
  // Against the plain definition, with random iterations and touches: never early, at most two
  // ticks and an iteration late.
  struct Model {
    std::optional<SteadyTime> touched;
    nanoseconds timeout;
  };
  constexpr int kEntries = 200;
  constexpr nanoseconds kLongestIteration = seconds(4);
  std::minstd_rand random(7);
  std::vector<std::unique_ptr<Entry>> entries;
  std::vector<Model> models(kEntries);
  std::vector<int> seen(kEntries);
  for (int i = 0; i < kEntries; ++i) entries.push_back(std::make_unique<Entry>(wheel_));
  int expirations = 0;
  for (int round = 0; round < 20000; ++round) {
    const SteadyTime before = now_;
    const nanoseconds sleep = milliseconds(random() % 100 == 0 ? random() % 90000 : random() % 300);
    SteadyTime wake = now_ + sleep;
    if (wheel_.next_deadline()) wake = std::min(wake, std::max(now_, *wheel_.next_deadline()));
    iterate(wake, milliseconds(random() % 50 == 0 ? random() % 4000 : 0));
    for (int n = random() % 20; n > 0; --n) {
      const int i = random() % kEntries;
      if (!entries[i]->armed()) {
        models[i] = {now_, milliseconds(1 + random() % 200000)};
        wheel_.arm(*entries[i], models[i].timeout, now_);
      } else if (random() % 40 == 0) {
        wheel_.disarm(*entries[i]);
        models[i].touched.reset();
      } else {
        wheel_.touch(*entries[i]);
        models[i].touched = now_;
      }
    }
    expire();
    for (int i = 0; i < kEntries; ++i) {
      if (entries[i]->times != seen[i]) {
        seen[i] = entries[i]->times;
        ++expirations;
        ASSERT_TRUE(models[i].touched.has_value()) << "entry " << i << " was disarmed";
        ASSERT_GE(now_ - *models[i].touched, models[i].timeout) << "early";
        models[i].touched.reset();
      } else if (models[i].touched) {
        ASSERT_LE(before - *models[i].touched,
                  models[i].timeout + 2 * IdleWheel::kTick + kLongestIteration)
            << "late";
      }
      ASSERT_EQ(entries[i]->armed(), models[i].touched.has_value());
    }
  }
  EXPECT_GT(expirations, 100);
}

// ---- On a loop

class IdleTimeoutTest : public ::testing::Test {
 protected:
  gyre::testing::LoopFixture fixture_;
  IOLoop& loop_ = fixture_.loop();
};

TEST_F(IdleTimeoutTest, CallsOnceWhenNothingHappened) {
  int calls = 0;
  IdleTimeout idle(loop_, [&] { ++calls; });
  EXPECT_TRUE(fixture_.run_for(hours(1)).ok());
  EXPECT_EQ(calls, 0) << "not started";
  idle.start(seconds(60));
  EXPECT_TRUE(fixture_.run_for(seconds(60)).ok());
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(fixture_.run_for(milliseconds(300)).ok());
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(idle.active());
  EXPECT_TRUE(fixture_.run_for(hours(1)).ok());
  EXPECT_EQ(calls, 1);
}

TEST_F(IdleTimeoutTest, AHundredThousandWakeTheLoopOnceInTheirTimeAndNotMore) {
  std::vector<std::unique_ptr<IdleTimeout>> idle;
  for (int i = 0; i < 100'000; ++i) {
    idle.push_back(std::make_unique<IdleTimeout>(loop_, [] { ADD_FAILURE() << "was not idle"; }));
    idle.back()->start(seconds(60));
  }
  // Each has something to do every ten seconds, in a callback of its own.
  for (int round = 0; round < 30; ++round) {
    loop_.call_later(seconds(10) * round, [&] {
      for (auto& timeout : idle) timeout->touch();
    });
  }
  fixture_.kernel().waits.clear();
  EXPECT_TRUE(fixture_.run_for(seconds(300)).ok());
  EXPECT_LE(fixture_.kernel().waits.size(), 60u) << "30 are the callbacks'";
}

TEST_F(IdleTimeoutTest, MayStartAgainAndDestroyItselfInItsCallback) {
  int calls = 0;
  std::unique_ptr<IdleTimeout> idle;
  idle = std::make_unique<IdleTimeout>(loop_, [&, big = std::string(100, 'x')] {
    if (++calls < 3) return idle->start(seconds(1));
    idle.reset();
    EXPECT_EQ(big.size(), 100u) << "the callable lives until it returns";
  });
  idle->start(seconds(1));
  EXPECT_TRUE(fixture_.run_for(seconds(10)).ok());
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(idle, nullptr);
}

TEST_F(IdleTimeoutTest, MayStopAndDestroyOthersThatAreDueToo) {
  std::vector<std::unique_ptr<IdleTimeout>> idle;
  int calls = 0;
  for (int i = 0; i < 3; ++i) {
    idle.push_back(std::make_unique<IdleTimeout>(loop_, [&, i] {
      ++calls;
      idle[(i + 1) % 3]->stop();
      idle[(i + 2) % 3].reset();
    }));
    idle.back()->start(seconds(1));
  }
  EXPECT_TRUE(fixture_.run_for(seconds(10)).ok());
  EXPECT_EQ(calls, 1);
}

TEST_F(IdleTimeoutTest, AnExceptionGoesToTheHandlerAndTheOthersHaveTheirTurn) {
  std::vector<std::string> seen;
  loop_.set_exception_handler([&](std::exception_ptr) { seen.push_back("exception"); });
  IdleTimeout first(loop_, [] { throw std::runtime_error("first"); });
  IdleTimeout second(loop_, [&] { seen.push_back("second"); });
  first.start(seconds(1));
  second.start(seconds(1));
  EXPECT_TRUE(fixture_.run_for(seconds(2)).ok());
  EXPECT_THAT(seen, ElementsAre("exception", "second"));
  first.start(seconds(1));
  EXPECT_TRUE(fixture_.run_for(seconds(2)).ok());
  EXPECT_THAT(seen, ElementsAre("exception", "second", "exception")) << "it kept its callback";
}

TEST_F(IdleTimeoutTest, ZeroStopsIt) {
  IdleTimeout idle(loop_, [] { ADD_FAILURE(); });
  idle.start(seconds(1));
  idle.start(seconds(0));
  EXPECT_FALSE(idle.active());
  EXPECT_TRUE(fixture_.run_for(seconds(2)).ok());
}

TEST_F(IdleTimeoutTest, ClosingTheLoopEndsThemAll) {
  IdleTimeout idle(loop_, [] { ADD_FAILURE(); });
  idle.start(seconds(1));
  ASSERT_TRUE(loop_.close().ok());
  EXPECT_FALSE(idle.active());
  idle.touch();
  idle.start(seconds(1));
  EXPECT_FALSE(idle.active());
}

TEST(IdleTimeoutLifetime, MayOutliveItsLoop) {
  auto fixture = std::make_unique<gyre::testing::LoopFixture>();
  IdleTimeout idle(fixture->loop(), [] { ADD_FAILURE(); });
  idle.start(seconds(1));
  fixture.reset();
  EXPECT_FALSE(idle.active());
}

}  // namespace
}  // namespace gyre::internal
