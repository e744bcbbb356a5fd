// The conformance of every backend: close, and what is destroyed when.

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/io_loop_lifecycle_fixture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_P(IOLoopLifecycle, CloseDestroysWhatIsQueuedUnrun) {
  loop_->add_callback([n = OnDestroy(note("callback")), this] { seen_.push_back("ran"); });
  loop_->call_later(milliseconds(0),
                    [n = OnDestroy(note("timeout")), this] { seen_.push_back("ran"); });
  loop_->spawn_callback([n = OnDestroy(note("unstarted task"))]() -> Task<> { co_return; });
  std::thread([&] { loop_->add_callback([n = OnDestroy(note("from elsewhere"))] {}); }).join();
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("callback", "timeout", "unstarted task",
                                                     "from elsewhere"));
  EXPECT_TRUE(loop_->closed());
}

TEST_P(IOLoopLifecycle, CloseDestroysOnTheClosingThread) {
  std::thread::id destroyed_by;
  loop_->add_callback([n = OnDestroy([&] { destroyed_by = std::this_thread::get_id(); })] {});
  std::thread closer([&] { EXPECT_TRUE(loop_->close().ok()); });
  const std::thread::id closer_id = closer.get_id();
  closer.join();
  EXPECT_EQ(destroyed_by, closer_id);
}

TEST_P(IOLoopLifecycle, CloseAfterARunDestroysWhatItLeftBehind) {
  loop_->add_callback([&] {
    loop_->stop();
    loop_->add_callback([n = OnDestroy(note("posted after stop"))] {});
  });
  run();
  EXPECT_THAT(seen_, IsEmpty());
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_THAT(seen_, ElementsAre("posted after stop"));
}

TEST_P(IOLoopLifecycle, ASecondCloseDoesNothing) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(), [](int, uint32_t) {}, IOLoop::READ)
                  .ok());
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(loop_->close(/*all_fds=*/true).ok());
  EXPECT_TRUE(is_open(pair.a.get()));
}

TEST_P(IOLoopLifecycle, CloseWhileRunningIsAnErrorAndNothingIsClosed) {
  loop_->add_callback([&] {
    EXPECT_EQ(loop_->close().code(), StatusCode::kFailedPrecondition);
    EXPECT_FALSE(loop_->closed());
    EXPECT_TRUE(loop_->add_callback([&] {
      seen_.push_back("still running");
      loop_->stop();
    }));
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("still running"));
}

TEST_P(IOLoopLifecycle, AfterCloseEverythingSaysSo) {
  ASSERT_TRUE(loop_->close().ok());
  const absl::Status start = loop_->start();
  EXPECT_EQ(start.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(start.message()), HasSubstr("closed"));
  EXPECT_FALSE(loop_->add_callback([] {}));
  EXPECT_FALSE(loop_->add_callback([](int) {}, 1));
  EXPECT_FALSE(loop_->spawn_callback([] {}));
  EXPECT_FALSE(loop_->spawn_callback([]() -> Task<> { co_return; }));
  EXPECT_FALSE(loop_->add_callback_from_signal([] {}));
  EXPECT_FALSE(loop_->in_loop_thread());
  EXPECT_EQ(loop_->backend(), GetParam());
  loop_->time();
  loop_->metrics();
}

// What a destructor tries on a loop that is going away.
struct Attempts {
  int runs = 0;
  bool posted = false, spawned = false, from_signal = false, timed = false, handled = false;

  void make(IOLoop& loop, int fd) {
    ++runs;
    posted |= loop.add_callback([] {});
    spawned |= loop.spawn_callback([]() -> Task<> { co_return; });
    from_signal |= loop.add_callback_from_signal([] {});
    timed |= static_cast<bool>(loop.call_later(milliseconds(0), [] {}));
    timed |= static_cast<bool>(loop.call_at(IOLoop::TimePoint::min(), [] {}));
    timed |= static_cast<bool>(loop.add_timeout(milliseconds(0), [] {}));
    handled |= loop.add_handler(
                       fd, [](int, uint32_t) {}, IOLoop::READ)
                   .ok();
    loop.stop();
    loop.remove_timeout({});
    EXPECT_TRUE(loop.close().ok()) << "a second close is a no-op";
  }
  void expect_refused(int expected_runs) const {
    EXPECT_EQ(runs, expected_runs);
    EXPECT_FALSE(posted || spawned || from_signal || timed || handled);
  }
};

Task<> wait_for_ever(OnDestroy notice) {
  Promise<int> promise;
  Future<int> future = promise.get_future();
  co_await future;
  static_cast<void>(notice);
}

class IOLoopClosing : public IOLoopLifecycle {
 protected:
  // One of each kind of thing that a loop may hold, whose destructor tries to use the loop.
  void fill_loop(Attempts& attempts) {
    IOLoop* loop = loop_.get();
    const int fd = spare_.b.get();
    auto notice = [&attempts, loop, fd] {
      return OnDestroy([&attempts, loop, fd] { attempts.make(*loop, fd); });
    };
    loop->spawn_callback(wait_for_ever, notice());
    run_turns(2);
    loop->add_callback([n = notice()] {});
    loop->call_later(hours(1), [n = notice()] {});
    ASSERT_TRUE(loop->add_handler(
                        spare_.a.get(), [n = notice()](int, uint32_t) {}, IOLoop::READ)
                    .ok());
  }

  FdPair spare_ = socket_pair();
};
GYRE_FOR_EACH_BACKEND(IOLoopClosing);

TEST_P(IOLoopClosing, DestructorsDuringCloseAreRefusedWhateverTheyTry) {
  Attempts attempts;
  fill_loop(attempts);
  ASSERT_TRUE(loop_->close().ok());
  attempts.expect_refused(4);
}

TEST_P(IOLoopClosing, DestructorsDuringTheLoopsDestructorAreRefusedWhateverTheyTry) {
  Attempts attempts;
  fill_loop(attempts);
  loop_.reset();
  attempts.expect_refused(4);
}

TEST_P(IOLoopClosing, APostThatRacesCloseIsRefusedOrDestroyedByIt) {
  // Guards the accounts of close(): each callable is destroyed once, none runs, and no wake-up is
  // written to a poller that is gone.
  for (int round = 0; round < 25; ++round) {
    std::unique_ptr<IOLoop> loop = make_loop();
    std::atomic<int> destroyed{0}, ran{0}, accepted{0}, refused{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> producers;
    for (int t = 0; t < 2; ++t) {
      producers.emplace_back([&] {
        while (!go) std::this_thread::yield();
        for (int i = 0; i < 300; ++i) {
          const bool posted =
              loop->add_callback([&, n = OnDestroy([&] { ++destroyed; })] { ++ran; });
          ++(posted ? accepted : refused);
        }
      });
    }
    go = true;
    for (int i = 0; i < round; ++i) std::this_thread::yield();
    EXPECT_TRUE(loop->close().ok());
    EXPECT_FALSE(loop->add_callback([] {}));
    for (std::thread& producer : producers) producer.join();
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(accepted + refused, 600);
    EXPECT_EQ(destroyed, 600);
  }
}

TEST_P(IOLoopClosing, APostThatRacesTheEndOfARunAndCloseIsRefusedOrDestroyedByIt) {
  // Guards the wake-up that a producer still owes when the loop that it woke is closed.
  for (int round = 0; round < 25; ++round) {
    std::unique_ptr<IOLoop> loop = make_loop();
    std::atomic<int> destroyed{0};
    LoopInThread thread(*loop);
    std::atomic<bool> stop{false};
    std::atomic<int> posted{0};
    std::thread producer([&] {
      while (!stop) {
        ++posted;
        loop->add_callback([n = OnDestroy([&] { ++destroyed; })] {});
      }
    });
    while (posted == 0) std::this_thread::yield();
    thread.stop();
    EXPECT_TRUE(loop->close().ok());
    stop = true;
    producer.join();
    EXPECT_EQ(destroyed, posted);
  }
}

TEST_P(IOLoopClosing, ALoopMayBeDestroyedRightAfterItsStopperReturned) {
  // Guards stop() against touching a loop that its own stop let go.
  for (int round = 0; round < 100; ++round) {
    std::unique_ptr<IOLoop> loop = make_loop();
    std::thread runner([&] {
      EXPECT_TRUE(loop->start().ok());
      loop.reset();
    });
    loop->stop();
    runner.join();
    EXPECT_EQ(loop, nullptr);
  }
}

}  // namespace
}  // namespace gyre::testing
