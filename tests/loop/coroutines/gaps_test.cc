// Behaviours of Tornado's and libuv's loops, and faults of others, that no other test holds.
// docs/tornado.md lists them all.

#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/epoll.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

class Gaps : public VirtualLoopTest {};
GYRE_FOR_EACH_BACKEND(Gaps);

TEST_P(Gaps, ATimerInAYearLetsTheLoopSleep) {
  // More milliseconds than an int holds: a poll's timeout must not wrap around.
  bool fired = false;
  loop_->call_later(hours(24 * 365), [&] { fired = true; });
  loop_->call_later(milliseconds(50), [&] { loop_->stop(); });
  run();
  EXPECT_FALSE(fired);
  EXPECT_LT(loop_->metrics().iterations, 10u);
}

TEST_P(Gaps, ATimeoutOfAMicrosecondFires) {
  loop_->call_later(microseconds(1), [&] { loop_->stop(); });
  run();
}

TEST_P(Gaps, WakeUpsThatNobodyWaitsForNeitherBlockNorGetLost) {
  // A pipe that is full, or a counter at its end, means: woken already.
  absl::StatusOr<std::unique_ptr<Poller>> poller = create_poller(GetParam());
  ASSERT_TRUE(poller.ok());
  for (int i = 0; i < 200000; ++i) (*poller)->wake();
  EXPECT_TRUE((*poller)->wait(hours(1)).woken);
  for (int i = 0; i < 1000 && (*poller)->wait(nanoseconds(0)).woken; ++i) {
  }
  EXPECT_FALSE((*poller)->wait(nanoseconds(0)).woken) << "it would spin";
}

TEST_P(Gaps, ManyLoopsGoThroughOneAnotherWithoutAnErrnoOfTheirs) {
  // Tornado's test_init_close_race: loops that come and go at the same time as others run.
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over) {
      IOLoopOptions options;
      options.backend = GetParam();
      options.make_current = false;
      absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create(std::move(options));
      EXPECT_TRUE(loop.ok()) << loop.status();
    }
  });
  FdPair fds = socket_pair();
  int served = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      fds.a.get(),
                      [&](int fd, uint32_t) {
                        EXPECT_EQ(read_available(fd), "x");
                        if (++served == 500) return loop_->stop();
                        write_all(fds.b.get(), "x");
                      },
                      IOLoop::READ)
                  .ok());
  write_all(fds.b.get(), "x");
  run();
  over = true;
  other.join();
  EXPECT_EQ(served, 500);
}

struct Unmovable {
  Unmovable() = default;
  Unmovable(const Unmovable&) { throw std::bad_alloc(); }
  void operator()() const { ADD_FAILURE() << "ran"; }
};

TEST_P(Gaps, ACallableThatCannotBeStoredIsTheCallersConcernAndTheLoopIsWhole) {
  const Unmovable callable;
  EXPECT_THROW(loop_->add_callback(callable), std::bad_alloc);
  EXPECT_THROW(loop_->try_add_callback(callable), std::bad_alloc);
  EXPECT_THROW(loop_->call_later(nanoseconds(0), callable), std::bad_alloc);
  int ran = 0;
  loop_->add_callback([&] { ++ran; });
  loop_->call_later(nanoseconds(0), [&] { ++ran; });
  run_turns(3);
  EXPECT_EQ(ran, 2);
}

TEST_P(Gaps, ABoundedPostThatThrowsKeepsNoPlace) {
  IOLoopOptions options;
  options.callback_limit = 2;
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  const Unmovable callable;
  for (int i = 0; i < 10; ++i) {
    EXPECT_THROW(loop->try_add_callback(callable), std::bad_alloc);
  }
  EXPECT_TRUE(loop->try_add_callback([] {}));
  EXPECT_TRUE(loop->try_add_callback([] {}));
  EXPECT_FALSE(loop->try_add_callback([] {}));
}

TEST_P(Gaps, CallbacksOfACoroutineNeverRunInsideThePost) {
  std::vector<int> seen;
  const absl::Status status = loop_->run_sync(
      [&]() -> Task<> {
        loop_->add_callback([&] { seen.push_back(2); });
        seen.push_back(1);
        co_await sleep_for(milliseconds(0));
        seen.push_back(3);
      },
      kDeadline);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ::testing::ElementsAre(1, 2, 3));
}

TEST_P(Gaps, APeriodicCallbackMaySpawnATaskThatKeepsItFromOverlapping) {
  // Tornado awaits a coroutine callback, so that it never overlaps itself; here the program says
  // so.
  int running = 0, most = 0, rounds = 0;
  bool busy = false;
  PeriodicCallback periodic(
      *loop_,
      [&] {
        if (busy) return;
        busy = true;
        loop_->spawn_callback([&]() -> Task<> {
          most = std::max(most, ++running);
          co_await sleep_for(milliseconds(3));
          --running;
          busy = false;
          if (++rounds == 5) loop_->stop();
        });
      },
      milliseconds(1));
  periodic.start();
  run();
  EXPECT_EQ(most, 1);
}

#if defined(__linux__)
TEST_P(Gaps, AnEpollFdInsideTheLoopIsReadyWhenWhatItWatchesIs) {
  UniqueFd inner(::epoll_create1(EPOLL_CLOEXEC));
  FdPair fds = socket_pair();
  epoll_event event{};
  event.events = EPOLLIN;
  ASSERT_EQ(::epoll_ctl(inner.get(), EPOLL_CTL_ADD, fds.a.get(), &event), 0);
  int called = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      inner.get(),
                      [&](int, uint32_t events) {
                        ++called;
                        EXPECT_EQ(events, IOLoop::READ);
                        EXPECT_EQ(read_available(fds.a.get()), "x");
                      },
                      IOLoop::READ)
                  .ok());
  run_turns(2);
  EXPECT_EQ(called, 0);
  write_all(fds.b.get(), "x");
  run_turns(3);
  EXPECT_EQ(called, 1);
  EXPECT_TRUE(loop_->remove_handler(inner.get()).ok());
}
#endif

TEST_P(Gaps, ATwoThousandFoldHangUpIsDeliveredOncePerHandler) {
  // Each handler removes and closes its own fd while the others are ready too.
  std::vector<FdPair> pairs;
  constexpr int kPairs = 400;  // select ends at 1024 fds
  std::vector<int> called(kPairs, 0);
  int left = kPairs;
  for (int i = 0; i < kPairs; ++i) {
    pairs.push_back(socket_pair());
    ASSERT_TRUE(loop_
                    ->add_handler(
                        pairs[i].a.get(),
                        [&, i](int fd, uint32_t) {
                          ++called[i];
                          EXPECT_TRUE(loop_->remove_handler(fd).ok());
                          pairs[i].a = UniqueFd();
                          if (--left == 0) loop_->stop();
                        },
                        IOLoop::READ)
                    .ok());
  }
  for (FdPair& pair : pairs) pair.b = UniqueFd();
  run();
  EXPECT_EQ(called, std::vector<int>(kPairs, 1));
}

TEST_P(Gaps, TheThreadThatRanALoopMayEndBeforeTheLoop) {
  bool destroyed = false;
  std::thread first([&] {
    loop_->add_callback([&] { loop_->stop(); });
    run();
    loop_->add_callback([n = OnDestroy([&] { destroyed = true; })] { ADD_FAILURE(); });
  });
  first.join();
  EXPECT_FALSE(loop_->running());
  EXPECT_TRUE(loop_->add_callback([] {}));
  EXPECT_FALSE(destroyed);
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(destroyed);
}

TEST_P(Gaps, ADestructorThatStopsTheLoopInCloseHarmsNothing) {
  loop_->add_callback([n = OnDestroy([this] {
                         loop_->stop();
                         EXPECT_FALSE(loop_->close().ok() && !loop_->closed());
                       })] {});
  EXPECT_TRUE(loop_->close().ok());
}

TEST_P(Gaps, TasksTimersAndPostsGoOnAfterTheClockHasBeenIdleForLong) {
  // A loop that was not run for a while fires what is due once, in order.
  std::vector<int> seen;
  for (int i = 0; i < 3; ++i) {
    loop_->call_later(milliseconds(3 - i), [&, i] { seen.push_back(i); });
  }
  virtual_time_.clock.advance(milliseconds(4));
  run_turns(2);
  EXPECT_THAT(seen, ::testing::ElementsAre(2, 1, 0));
}

TEST_P(Gaps, AChildOfForkHasAWatchdogOfItsOwn) {
  // The thread and the lock of the parent's are of no use to it.
  if (kSanitized) GTEST_SKIP() << "TSan: no threads after a fork in a program that has threads";
  loop_->set_blocking_log_threshold(milliseconds(1));
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    std::unique_ptr<IOLoop> loop = make_loop("child");
    loop->set_blocking_log_threshold(milliseconds(1));
    loop->add_callback([&] {
      while (log_.count("has blocked the loop") == 0) std::this_thread::yield();
      loop->stop();
    });
    static_cast<void>(loop->start());
    ::_exit(7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

using GapsDeathTest = Gaps;
GYRE_FOR_EACH_BACKEND(GapsDeathTest);

// Runs loops in threads that never end, and ends the process.
[[noreturn]] void exit_while_loops_run(Backend backend) {
  for (int i = 0; i < 3; ++i) {
    IOLoopOptions options;
    options.backend = backend;
    options.make_current = false;
    IOLoop* loop = i == 0 ? &IOLoop::instance() : IOLoop::create(std::move(options))->release();
    auto again = std::make_shared<std::function<void()>>();
    *again = [loop, again] { loop->add_callback(*again); };
    loop->add_callback(*again);
    Event running;
    loop->add_callback([&] { running.set(); });
    std::thread([loop] { static_cast<void>(loop->start()); }).detach();
    if (!running.wait()) std::_Exit(2);
  }
  std::exit(0);  // with the destructors of globals
}

TEST_P(GapsDeathTest, AProcessMayExitWhileLoopsRun) {
  // No destructor of a global takes a loop away under a thread that runs it.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(exit_while_loops_run(GetParam()), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace gyre::testing
