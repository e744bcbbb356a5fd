// The conformance of every backend: coroutines that go from loop to loop, and loops that close with
// coroutines suspended on them.

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/loop/task_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---- resume_on

TEST_P(IOLoopTasks, ResumeOnGoesOnInTheOtherLoopsThread) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE(loop_->in_loop_thread());
                    for (int i = 0; i < 200; ++i) {
                      EXPECT_TRUE(co_await resume_on(*other));
                      EXPECT_TRUE(other->in_loop_thread());
                      EXPECT_FALSE(loop_->in_loop_thread());
                      EXPECT_EQ(IOLoop::current(false), other.get());
                      EXPECT_TRUE(co_await resume_on(*loop_));
                      EXPECT_TRUE(loop_->in_loop_thread());
                    }
                  })
                  .ok());
}

TEST_P(IOLoopTasks, ResumeOnTheSameLoopIsTrue) {
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE(co_await resume_on(*loop_));
                    EXPECT_TRUE(loop_->in_loop_thread());
                  })
                  .ok());
}

TEST_P(IOLoopTasks, ResumeOnAClosedLoopIsFalseAndStays) {
  std::unique_ptr<IOLoop> other = make_loop();
  ASSERT_TRUE(other->close().ok());
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_FALSE(co_await resume_on(*other));
                    EXPECT_TRUE(loop_->in_loop_thread());
                    co_await sleep_for(milliseconds(1));
                    EXPECT_TRUE(loop_->in_loop_thread());
                    EXPECT_FALSE(co_await resume_on(*other));
                  })
                  .ok());
}

TEST_P(IOLoopTasks, AwaitersUseTheLoopThatResumeOnWentTo) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  FdPair pair = socket_pair();
  Promise<int> promise;
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE(co_await resume_on(*other));
                    co_await sleep_for(milliseconds(1));
                    EXPECT_TRUE(other->in_loop_thread());
                    write_all(pair.b.get(), "x");
                    EXPECT_TRUE((co_await readable(pair.a.get())).ok());
                    EXPECT_TRUE(other->in_loop_thread());
                    loop_->add_callback([&] { promise.set_value(1); });
                    co_await promise.get_future();
                    EXPECT_TRUE(other->in_loop_thread());
                    EXPECT_EQ(co_await give(2), 2);
                    EXPECT_TRUE(other->in_loop_thread());
                  })
                  .ok());
}

TEST_P(IOLoopTasks, AHopInTheInnermostTaskMovesTheWholeChain) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  auto hop = [&]() -> Task<int> {
    EXPECT_TRUE(co_await resume_on(*other));
    co_return 1;
  };
  auto middle = [&]() -> Task<int> {
    const int value = co_await hop();
    EXPECT_TRUE(other->in_loop_thread());
    co_return value;
  };
  EXPECT_EQ(*loop_->run_sync([&]() -> Task<int> {
    const int value = co_await middle();
    EXPECT_TRUE(other->in_loop_thread());
    co_return value;
  }),
            1);
}

TEST_P(IOLoopTasks, ATasksExceptionGoesToTheHandlerOfTheLoopThatSpawnedIt) {
  std::unique_ptr<IOLoop> other = make_loop();
  other->set_exception_handler([&](std::exception_ptr) { ADD_FAILURE() << "the wrong loop's"; });
  int errors = 0;
  loop_->set_exception_handler([&](std::exception_ptr) {
    EXPECT_TRUE(loop_->in_loop_thread());
    ++errors;
    loop_->stop();
  });
  LoopInThread thread(*other);
  loop_->spawn_callback([&]() -> Task<> {
    EXPECT_TRUE(co_await resume_on(*other));
    throw std::runtime_error("elsewhere");
  });
  run();
  EXPECT_EQ(errors, 1);
}

TEST_P(IOLoopTasks, ATasksExceptionIsLoggedWhereTheLoopThatSpawnedItIsGone) {
  log_.expect(LogLevel::kError, "nobody's exception");
  std::unique_ptr<IOLoop> other = make_loop();
  loop_->spawn_callback([&, o = other.get()]() -> Task<> {
    EXPECT_TRUE(co_await resume_on(*o));
    throw std::runtime_error("nobody's exception");
  });
  run_turns(1);
  loop_.reset();
  run_turns(*other, 1);
}

TEST_P(IOLoopTasks, ManyTasksHopToAndFroAtOnce) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread a(*loop_), b(*other);
  Event done;
  for (int i = 0; i < 50; ++i) {
    loop_->spawn_callback([&]() -> Task<> {
      for (int j = 0; j < 20; ++j) {
        EXPECT_TRUE(co_await resume_on(*other));
        EXPECT_TRUE(co_await resume_on(*loop_));
      }
      done.set();
    });
  }
  EXPECT_TRUE(done.wait(50));
}

// ---- Close while suspended

TEST_P(IOLoopTasks, CloseDestroysThoseThatAreSuspendedUnresumedFromTheOutermostFrame) {
  FdPair empty = socket_pair(), full = socket_pair();
  fill(full.a.get());
  Promise<int> promise;
  auto inner = [&](int kind) -> Task<> {
    OnDestroy notice = note_destroyed("inner " + std::to_string(kind));
    switch (kind) {
      case 0:
        co_await sleep_for(hours(1));
        break;
      case 1:
        static_cast<void>(co_await readable(empty.a.get()));
        break;
      case 2:
        static_cast<void>(co_await writable(full.a.get()));
        break;
      default:
        co_await promise.get_future();
    }
    seen_.push_back("resumed");
  };
  auto outer = [&](int kind) -> Task<> {
    OnDestroy notice = note_destroyed("outer " + std::to_string(kind));
    co_await inner(kind);
    seen_.push_back("resumed");
  };
  for (int kind = 0; kind < 4; ++kind) {
    std::unique_ptr<IOLoop> loop = make_loop();
    const std::string n = std::to_string(kind);
    loop->spawn_callback([&, f = note_destroyed("function " + n)](int k) { return outer(k); },
                         kind);
    run_turns(*loop, 1);
    EXPECT_THAT(seen_, IsEmpty());
    if (kind % 2 == 0) {
      ASSERT_TRUE(loop->close().ok());
    } else {
      loop.reset();
    }
    EXPECT_THAT(seen_, ElementsAre("inner " + n, "outer " + n, "function " + n));
    seen_.clear();
  }
  promise.set_value(1);  // later, and harms nothing
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(IOLoopTasks, CloseDestroysAChainThatHoppedHereAndNotOneThatHoppedAway) {
  std::unique_ptr<IOLoop> other = make_loop();
  loop_->spawn_callback([&]() -> Task<> {
    OnDestroy notice = note_destroyed();
    EXPECT_TRUE(co_await resume_on(*other));
    seen_.push_back("arrived");
    co_await sleep_for(hours(1));
    seen_.push_back("resumed");
  });
  run_turns(1);
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_THAT(seen_, IsEmpty()) << "it waits on the other loop by now";
  run_turns(*other, 1);
  EXPECT_THAT(seen_, ElementsAre("arrived"));
  ASSERT_TRUE(other->close().ok());
  EXPECT_THAT(seen_, ElementsAre("arrived", "destroyed"));
}

TEST_P(IOLoopTasks, CloseDestroysAChainThatIsOnItsWayHere) {
  std::unique_ptr<IOLoop> other = make_loop();
  loop_->spawn_callback([&]() -> Task<> {
    OnDestroy notice = note_destroyed();
    static_cast<void>(co_await resume_on(*other));
    seen_.push_back("resumed");
  });
  run_turns(1);
  ASSERT_TRUE(other->close().ok());
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
  run_turns(1);
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_P(IOLoopTasks, AHopThatRacesTheCloseOfItsTargetIsRefusedOrDestroyed) {
  // Guards the moment between the source's registry and the target's.
  for (int round = 0; round < 100; ++round) {
    std::unique_ptr<IOLoop> target = make_loop();
    std::atomic<int> destroyed{0}, refused{0}, resumed{0};
    constexpr int kTasks = 10;
    for (int i = 0; i < kTasks; ++i) {
      loop_->spawn_callback([&]() -> Task<> {
        OnDestroy notice([&] { ++destroyed; });
        const bool moved = co_await resume_on(*target);
        ++(moved ? resumed : refused);
      });
    }
    std::thread closer([&] { EXPECT_TRUE(target->close().ok()); });
    run_turns(2);
    closer.join();
    EXPECT_EQ(destroyed, kTasks);
    EXPECT_EQ(resumed, 0) << "nobody ran the target";
    EXPECT_LE(refused, kTasks);
  }
}

TEST_P(IOLoopTasks, ATaskThatIsDestroyedWhileItSleepsIsNeverResumed) {
  // Guards the timeout, the fd and the future of a coroutine that its owner let go.
  ManualClock clock;
  IOLoopOptions options;
  options.clock = &clock;
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  FdPair pair = socket_pair();
  Promise<int> promise;
  struct Holder {
    std::vector<Task<>> tasks;
  };
  auto holder = std::make_shared<Holder>();
  auto sleeper = [&](int kind) -> Task<> {
    OnDestroy notice = note_destroyed();
    if (kind == 0) co_await sleep_for(hours(1));
    if (kind == 1) static_cast<void>(co_await readable(pair.a.get()));
    if (kind == 2) co_await promise.get_future();
    seen_.push_back("resumed");
  };
  for (int kind = 0; kind < 3; ++kind) {
    holder->tasks.push_back(sleeper(kind));
    loop->spawn_callback([holder, kind]() -> Task<> { co_await holder->tasks[kind]; });
  }
  run_turns(*loop, 1);
  holder->tasks.clear();
  EXPECT_THAT(seen_, ElementsAre("destroyed", "destroyed", "destroyed"));
  write_all(pair.b.get(), "x");
  promise.set_value(1);
  clock.advance(hours(2));
  run_turns(*loop, 3);
  EXPECT_EQ(seen_.size(), 3u);
  EXPECT_EQ(loop->remove_handler(pair.a.get()).code(), StatusCode::kNotFound);
}

TEST_P(IOLoopTasks, ASuspendedChainOfAThousandIsDestroyedWithItsLoop) {
  loop_->spawn_callback([&]() -> Task<> {
    OnDestroy notice = note_destroyed();
    std::function<Task<>(int)> nest = [&](int depth) -> Task<> {
      if (depth == 0) {
        co_await sleep_for(hours(1));
      } else {
        co_await nest(depth - 1);
      }
    };
    co_await nest(1000);
  });
  run_turns(1);
  loop_.reset();
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

}  // namespace
}  // namespace gyre::testing
