// The contract of poller.h, once for each backend: how long a wait takes, and what ends it. Nothing
// in here asks which one it is.

#include <signal.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/tests/loop/poller/poller_conformance.h"
#include "gyre/tests/support/alarm_storm.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr uint32_t NONE = PollEvents::kNone;
constexpr uint32_t READ = PollEvents::kRead;
constexpr uint32_t WRITE = PollEvents::kWrite;

// The poller that the signal handler wakes.
std::atomic<Poller*> g_signalled{nullptr};
void wake_signalled(int) { g_signalled.load(std::memory_order_relaxed)->wake(); }

// ---- Waiting, in real time: it is the kernel's

TEST_P(PollerConformance, AZeroTimeoutLooksOnce) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  EXPECT_LT(idle_wait(nanoseconds(0)), std::chrono::seconds(5));
}

TEST_P(PollerConformance, AWaitIsNeverOverBeforeItsTime) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  for (const nanoseconds timeout :
       {nanoseconds(1), nanoseconds(999), nanoseconds(1001), nanoseconds(50'001),
        nanoseconds(400'000), nanoseconds(999'999), nanoseconds(1'000'001), nanoseconds(1'500'500),
        nanoseconds(20'000'000)}) {
    for (int i = 0; i < 3; ++i) EXPECT_GE(idle_wait(timeout), timeout);
  }
}

TEST_P(PollerConformance, ATimeoutPastTheKernelsRangeIsNoError) {
  for (const nanoseconds timeout :
       {nanoseconds(std::chrono::hours(24 * 30)), nanoseconds(std::chrono::hours(24 * 365 * 100)),
        nanoseconds::max() - nanoseconds(1), nanoseconds::max()}) {
    std::thread waker([&] { poller_->wake(); });
    // A wake-up of the round before may be seen twice.
    wait(timeout);
    EXPECT_TRUE(woken_);
    waker.join();
    wait();
  }
}

TEST_P(PollerConformance, ANegativeTimeoutWaitsUntilSomethingComes) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  std::thread writer([&] { write_all(pair.b.get(), "x"); });
  EXPECT_THAT(wait(nanoseconds(-1)), ElementsAre(Pair(1, READ)));
  writer.join();
}

TEST_P(PollerConformance, SignalsEndAWaitWithoutAnErrorAndLoseNothing) {
  // A storm of EINTR: no error, no event lost, no change lost.
  const AlarmStorm storm([](int) {}, microseconds(500));
  FdPair pair = socket_pair();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
    ASSERT_TRUE(modify(pair.a.get(), READ, 1).ok());
    wait(milliseconds(2));
    write_all(pair.b.get(), "x");
    EXPECT_EQ(next(1), READ);
    read_available(pair.a.get());
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

// ---- Waking

TEST_P(PollerConformance, AWakeUpBeforeTheWaitEndsIt) {
  poller_->wake();
  poller_->wake();
  EXPECT_THAT(wait(nanoseconds(-1)), IsEmpty());
  EXPECT_TRUE(woken_);
  wait();  // it may be seen twice
  wait();
  EXPECT_FALSE(woken_);
  EXPECT_GE(idle_wait(milliseconds(10)), milliseconds(10));
}

TEST_P(PollerConformance, AWakeUpComesBesideTheEvents) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  poller_->wake();
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  EXPECT_TRUE(woken_);
}

TEST_P(PollerConformance, EachWakeUpFromAnotherThreadEndsAWait) {
  constexpr int kWakes = 2000;
  std::atomic<int> taken{0};
  std::thread waker([&] {
    for (int i = 0; i < kWakes; ++i) {
      poller_->wake();
      // The next only after this one was seen: each of them has to count.
      while (taken.load(std::memory_order_acquire) <= i) std::this_thread::yield();
    }
  });
  while (taken.load(std::memory_order_relaxed) < kWakes) {
    wait(nanoseconds(-1));
    if (woken_) taken.fetch_add(1, std::memory_order_release);
  }
  waker.join();
}

TEST_P(PollerConformance, AWakeUpBeforeAWaitForNothingElseEndsIt) {
  poller_->wake();
  EXPECT_TRUE(poller_->wait_for_wake(nanoseconds(-1)).woken);
}

TEST_P(PollerConformance, AWaitForNothingElseHasALimit) {
  EXPECT_EQ(poller_->wait_for_wake(nanoseconds(0)).error, 0);
  EXPECT_FALSE(poller_->wait_for_wake(milliseconds(5)).woken) << "and it ends";
}

TEST_P(PollerConformance, EachWakeUpEndsAWaitForNothingElseOrOneThatMixesWithThem) {
  // What one kind of wait leaves behind must not be missing for the other.
  constexpr int kWakes = 2000;
  std::atomic<int> taken{0};
  std::thread waker([&] {
    for (int i = 0; i < kWakes; ++i) {
      poller_->wake();
      while (taken.load(std::memory_order_acquire) <= i) std::this_thread::yield();
    }
  });
  for (int i = 0; taken.load(std::memory_order_relaxed) < kWakes; ++i) {
    const bool woken = i % 3 == 0 ? poller_->wait(nanoseconds(-1)).woken : [&] {
      const Poller::WaitResult result = poller_->wait_for_wake(nanoseconds(-1));
      EXPECT_TRUE(result.events.empty());
      EXPECT_EQ(result.error, 0);
      return result.woken;
    }();
    if (woken) taken.fetch_add(1, std::memory_order_release);
  }
  waker.join();
}

TEST_P(PollerConformance, ASignalEndsAWaitForNothingElseWithoutAnError) {
  poller_->wake();
  EXPECT_TRUE(poller_->wait_for_wake(nanoseconds(-1)).woken);
  const AlarmStorm storm([](int) {}, microseconds(500));
  for (int i = 0; i < 20; ++i) {
    const Poller::WaitResult result = poller_->wait_for_wake(nanoseconds(-1));
    EXPECT_FALSE(result.woken && i > 0) << "a wake-up may be seen twice";
    EXPECT_EQ(result.error, 0);
  }
}

TEST_P(PollerConformance, ASignalHandlerMayWakeAWaitForNothingElse) {
  // With SA_RESTART, as handlers are mostly set: the kernel goes on with a read(2) by itself.
  g_signalled = poller_.get();
  const AlarmStorm storm(&wake_signalled, microseconds(500), SA_RESTART);
  for (int woken = 0; woken < 20;) woken += poller_->wait_for_wake(nanoseconds(-1)).woken;
}

TEST_P(PollerConformance, ManyThreadsMayWakeWhileFdsComeAndGo) {
  std::atomic<bool> over{false};
  std::vector<std::thread> wakers;
  for (int i = 0; i < 3; ++i) {
    wakers.emplace_back([&] {
      while (!over.load(std::memory_order_relaxed)) poller_->wake();
    });
  }
  for (int i = 0; i < 200; ++i) {
    FdPair pair = socket_pair();
    ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
    write_all(pair.b.get(), "x");
    EXPECT_EQ(next(1), READ);
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
  over = true;
  for (std::thread& waker : wakers) waker.join();
}

TEST_P(PollerConformance, ASignalHandlerMayWake) {
  struct sigaction action {};
  action.sa_handler = &wake_signalled;
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  g_signalled = poller_.get();
  ASSERT_EQ(::raise(SIGUSR1), 0);
  wait(nanoseconds(-1));
  EXPECT_TRUE(woken_);
  ASSERT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
  // And while this thread waits, or is anywhere in the poller.
  FdPair pair = socket_pair();
  const AlarmStorm storm(&wake_signalled, microseconds(200));
  for (int woken = 0; woken < 100;) {
    ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
    ASSERT_TRUE(modify(pair.a.get(), NONE, 1).ok());
    wait(kDeadline);
    woken += woken_;
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

}  // namespace
}  // namespace gyre::testing
