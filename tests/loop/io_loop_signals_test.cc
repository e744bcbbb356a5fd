// The conformance of every backend: what signal handlers may call.

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/alarm_storm.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {
namespace {

using ::testing::ElementsAre;

// What the handler of SIGUSR1 does. A plain pointer, for a signal handler may read no more.
std::atomic<void (*)()> g_action{nullptr};
std::atomic<IOLoop*> g_loop{nullptr};
std::atomic<int> g_ran{0};
std::atomic<int> g_posted{0};
std::atomic<int> g_errno_changed{0};
std::atomic<int> g_handled{0};

void handle(int) {
  const int before = errno;
  g_action.load()();
  if (errno != before) ++g_errno_changed;
  ++g_handled;
}

void post_from_signal() {
  g_posted += g_loop.load()->add_callback_from_signal([] { ++g_ran; });
}
void stop_from_signal() { g_loop.load()->stop(); }

class IOLoopSignals : public LoopTest {
 protected:
  IOLoopSignals() {
    g_loop = loop_.get();
    g_ran = g_posted = g_errno_changed = g_handled = 0;
    struct sigaction action {};
    action.sa_handler = &handle;
    EXPECT_EQ(sigaction(SIGUSR1, &action, &previous_), 0);
  }
  ~IOLoopSignals() override { sigaction(SIGUSR1, &previous_, nullptr); }

  struct sigaction previous_ {};
};
GYRE_FOR_EACH_BACKEND(IOLoopSignals);

TEST_P(IOLoopSignals, ACallbackFromASignalHandlerRunsOnTheLoop) {
  g_action = &post_from_signal;
  loop_->add_callback([] { ::raise(SIGUSR1); });
  run_turns(2);
  EXPECT_EQ(g_posted, 1);
  EXPECT_EQ(g_ran, 1);
}

TEST_P(IOLoopSignals, ACallbackFromASignalHandlerInAnotherThreadWakesTheLoop) {
  g_action = &post_from_signal;
  LoopInThread thread(*loop_);
  for (int i = 1; i <= 100; ++i) {
    ::pthread_kill(::pthread_self(), SIGUSR1);
    Event after;
    loop_->add_callback([&] { after.set(); });
    ASSERT_TRUE(after.wait());
    EXPECT_EQ(g_ran, i) << "in the order of arrival";
  }
}

TEST_P(IOLoopSignals, ASignalThatInterruptsTheSleepingLoopsOwnThreadIsNotLost) {
  g_action = &post_from_signal;
  pthread_t runner = ::pthread_self();
  LoopInThread thread(*loop_);
  Event known;
  loop_->add_callback([&] {
    runner = ::pthread_self();
    known.set();
  });
  ASSERT_TRUE(known.wait());
  for (int i = 1; i <= 200; ++i) {
    ::pthread_kill(runner, SIGUSR1);
    for (Patience patience; g_ran < i && patience.left();) std::this_thread::yield();
    ASSERT_EQ(g_ran, i);
  }
}

TEST_P(IOLoopSignals, StopFromASignalHandlerEndsTheRun) {
  g_action = &stop_from_signal;
  loop_->add_callback([] { ::raise(SIGUSR1); });
  run();
  ::raise(SIGUSR1);  // latched
  run();
  LoopInThread thread(*loop_);
  ::pthread_kill(::pthread_self(), SIGUSR1);
  thread.stop();
}

TEST_P(IOLoopSignals, LeaveErrnoAlone) {
  // Also where the post has to wake the loop, which is a system call, and where it fails.
  LoopInThread thread(*loop_);
  for (void (*action)() : {&post_from_signal, &stop_from_signal}) {
    g_action = action;
    for (int i = 0; i < 50; ++i) {
      errno = EDOM;
      ::raise(SIGUSR1);
      EXPECT_EQ(errno, EDOM);
    }
  }
  thread.stop();
  ASSERT_TRUE(loop_->close().ok());
  errno = EDOM;
  EXPECT_FALSE(loop_->add_callback_from_signal([] {}));
  loop_->stop();
  EXPECT_EQ(errno, EDOM);
  EXPECT_EQ(g_errno_changed, 0);
}

TEST_P(IOLoopSignals, AStormOfSignalsThatInterruptsPostsLosesNothing) {
  // Guards the post that a handler makes while it interrupts a post of the same thread.
  g_action = &post_from_signal;
  std::atomic<bool> over{false};
  std::atomic<int> plain{0};
  int plain_posted = 0;
  LoopInThread thread(*loop_);
  const pthread_t poster = ::pthread_self();
  std::thread storm([&] {
    while (!over) {
      ::pthread_kill(poster, SIGUSR1);
      std::this_thread::yield();
    }
  });
  const Patience patience;
  for (int i = 0; i < 20000 || (g_posted < 20 && patience.left()); ++i) {
    plain_posted += loop_->add_callback([&] { ++plain; });
  }
  over = true;
  storm.join();
  Event drained;
  loop_->add_callback([&] { drained.set(); });
  EXPECT_TRUE(drained.wait());
  EXPECT_EQ(plain, plain_posted);
  EXPECT_EQ(g_ran, g_posted);
  EXPECT_GE(g_posted, 20);
}

TEST_P(IOLoopSignals, OfAHundredThousandThatInterruptPostsNoneIsLostThatReturnedTrue) {
  const int signals = sized(100000);
  g_action = &post_from_signal;
  // The loop's thread inherits the mask: all signals interrupt this one, which does nothing but
  // post.
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &alarm, nullptr), 0);
  LoopInThread thread(*loop_);
  ASSERT_EQ(::pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr), 0);
  std::atomic<int> plain{0};
  int plain_posted = 0;
  {
    const AlarmStorm storm(&handle, std::chrono::microseconds(10));
    // A second of this thread's own time, and a busy machine has many threads.
    for (Patience patience(3 * kDeadline); g_handled < signals && patience.left();) {
      // A queue that grows faster than it is worked off would measure the memory instead.
      if (plain_posted - plain > 100000) std::this_thread::yield();
      for (int i = 0; i < 100; ++i) plain_posted += loop_->add_callback([&] { ++plain; });
    }
  }
  Event drained;
  loop_->add_callback([&] { drained.set(); });
  EXPECT_TRUE(drained.wait());
  // A thread that knows nothing of this, the watchdog's, may be amid the last handler.
  for (Patience patience; g_ran != g_posted && patience.left();) std::this_thread::yield();
  EXPECT_GE(g_handled, signals);
  EXPECT_EQ(plain, plain_posted);
  EXPECT_EQ(g_ran, g_posted);
  EXPECT_GT(g_posted, 0);
}

TEST_P(IOLoopSignals, AStormOfSignalsInTheLoopsThreadLosesNothing) {
  g_action = &post_from_signal;
  std::atomic<bool> over{false};
  const pthread_t runner = ::pthread_self();
  std::thread storm([&] {
    while (!over) {
      ::pthread_kill(runner, SIGUSR1);
      std::this_thread::yield();
    }
  });
  int turns = 0;
  std::function<void()> again = [&] {
    if (++turns >= 20000 && g_posted >= 20) return loop_->stop();
    loop_->add_callback(again);
  };
  loop_->add_callback(again);
  run();
  over = true;
  storm.join();
  run_turns(1);
  EXPECT_EQ(g_ran, g_posted);
  EXPECT_GE(g_posted, 20);
}

TEST_P(IOLoopSignals, TheSlotsAreLimitedAndASlotIsFreeOnceItsCallbackRan) {
  int capacity = 0;
  static int ran;
  ran = 0;
  while (capacity < 100000 && loop_->add_callback_from_signal([] { ++ran; })) ++capacity;
  EXPECT_GT(capacity, 0);
  EXPECT_LT(capacity, 100000);
  EXPECT_FALSE(loop_->add_callback_from_signal([] { ++ran; }));
  EXPECT_TRUE(loop_->add_callback([] {})) << "ordinary posts need no slot";
  run_turns(1);
  EXPECT_EQ(ran, capacity) << "what was refused does not run";
  for (int i = 0; i < capacity; ++i)
    EXPECT_TRUE(loop_->add_callback_from_signal([] { ++ran; })) << i;
  EXPECT_FALSE(loop_->add_callback_from_signal([] { ++ran; }));
  run_turns(1);
  EXPECT_EQ(ran, 2 * capacity);
}

TEST_P(IOLoopSignals, ASlotIsFreeForTheCallbackThatFollowsInTheSameBatch) {
  static IOLoop* loop;
  static bool free_again;
  loop = loop_.get();
  free_again = false;
  while (loop_->add_callback_from_signal([] {})) {
  }
  loop_->add_callback([] { free_again = loop->add_callback_from_signal([] {}); });
  run_turns(1);
  EXPECT_TRUE(free_again);
}

TEST_P(IOLoopSignals, SlotsOfCallbacksThatCloseDestroyedAreNoConcern) {
  for (int i = 0; i < 10; ++i) loop_->add_callback_from_signal([] { ADD_FAILURE() << "ran"; });
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_FALSE(loop_->add_callback_from_signal([] { ADD_FAILURE() << "ran"; }));
}

TEST_P(IOLoopSignals, ACallableOf32BytesFits) {
  struct Data {
    int64_t values[3];
  };
  static int64_t sum;
  sum = 0;
  int64_t* target = &sum;
  const Data data{{1, 2, 3}};
  auto callable = [data, target] { *target += data.values[0] + data.values[1] + data.values[2]; };
  static_assert(sizeof(callable) == 32);
  EXPECT_TRUE(loop_->add_callback_from_signal(callable));
  run_turns(1);
  EXPECT_EQ(sum, 6);
}

TEST_P(IOLoopSignals, KeepTheOrderOfArrivalWithOtherPosts) {
  static std::vector<int> order;
  order.clear();
  loop_->add_callback([] { order.push_back(1); });
  loop_->add_callback_from_signal([] { order.push_back(2); });
  loop_->add_callback([] { order.push_back(3); });
  loop_->add_callback_from_signal([] { order.push_back(4); });
  run_turns(1);
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
}

TEST_P(IOLoopSignals, MaySeveralThreadsPostAtOnce) {
  std::atomic<int> posted{0};
  g_ran = 0;
  LoopInThread thread(*loop_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) posted += loop_->add_callback_from_signal([] { ++g_ran; });
    });
  }
  for (std::thread& t : threads) t.join();
  Event drained;
  loop_->add_callback([&] { drained.set(); });
  EXPECT_TRUE(drained.wait());
  EXPECT_EQ(g_ran, posted);
  EXPECT_GT(posted, 0);
}

}  // namespace
}  // namespace gyre::testing
