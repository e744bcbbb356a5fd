// Tasks side by side that hop to another loop, and are cut off there.

#include "gyre/loop/combinators.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/coroutines/combinators_fixture.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Names = std::vector<std::string>;

class CombinatorsAcrossLoops : public CombinatorsTest {
 protected:
  CombinatorsAcrossLoops() : far_(make_loop("far")), thread_(*far_) {}

  std::unique_ptr<IOLoop> far_;
  LoopInThread thread_;
};
GYRE_FOR_EACH_BACKEND(CombinatorsAcrossLoops);

TEST_P(CombinatorsAcrossLoops, ATaskThatEndsOnAnotherLoopGivesItsResultHere) {
  auto there = [&](int value) -> Task<int> {
    EXPECT_TRUE(co_await resume_on(*far_));
    EXPECT_TRUE(far_->in_loop_thread());
    co_return value;
  };
  run_task([&]() -> Task<> {
    std::vector<int> all = co_await when_all(tasks(there(1), give(2), there(3)));
    EXPECT_TRUE(loop_->in_loop_thread());
    EXPECT_THAT(all, ElementsAre(1, 2, 3));
    FirstOf<int> first = co_await when_any(tasks(wait_for_ever("a"), there(4)));
    EXPECT_TRUE(loop_->in_loop_thread());
    EXPECT_EQ(first.value, 4);
    absl::StatusOr<int> in_time = co_await with_timeout(hours(1), there(5));
    EXPECT_TRUE(loop_->in_loop_thread());
    EXPECT_EQ(in_time.value(), 5);
  });
}

TEST_P(CombinatorsAcrossLoops, ATaskIsCutOffWhereItWaitsAndOnThatLoopsThread) {
  std::atomic<bool> destroyed_there{false};
  auto there = [&]() -> Task<> {
    OnDestroy notice([&] { destroyed_there = far_->in_loop_thread(); });
    EXPECT_TRUE(co_await resume_on(*far_));
    co_await sleep_for(hours(1));
    ADD_FAILURE() << "went on";
  };
  run_task([&]() -> Task<> {
    absl::Status late = co_await with_timeout(milliseconds(5), there());
    EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
    EXPECT_TRUE(destroyed_there) << "before it goes on";
  });
}

TEST_P(CombinatorsAcrossLoops, AnFdThatATaskAwaitedThereIsFreeAfterIt) {
  FdPair fds = socket_pair();
  auto there = [&]() -> Task<> {
    EXPECT_TRUE(co_await resume_on(*far_));
    EXPECT_TRUE((co_await readable(fds.a.get())).ok());
  };
  run_task([&]() -> Task<> {
    absl::Status late = co_await with_timeout(milliseconds(5), there());
    EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
    write_all(fds.b.get(), "x");
    absl::Status again = co_await with_timeout(hours(1), there());
    EXPECT_TRUE(again.ok()) << again;
  });
}

TEST_P(CombinatorsAcrossLoops, ATaskThatHopsToAndFroIsCutOffWhereverItIs) {
  const int rounds = kSanitized ? 50 : 300;
  std::atomic<int> alive{0};
  auto hopper = [&]() -> Task<> {
    ++alive;
    OnDestroy notice([&] { --alive; });
    for (;;) {
      // Each hop takes its time, so that it is cut off after as many as the limit has microseconds.
      virtual_time_.clock.advance(microseconds(1));
      EXPECT_TRUE(co_await resume_on(*far_));
      EXPECT_TRUE(co_await resume_on(*loop_));
    }
  };
  run_task([&]() -> Task<> {
    for (int i = 0; i < rounds; ++i) {
      absl::Status late = co_await with_timeout(microseconds(i % 50), hopper());
      EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
      EXPECT_EQ(alive, 0);
    }
  });
}

TEST_P(CombinatorsAcrossLoops, TheLoserOfARaceThatEndsThereMeanwhileHarmsNothing) {
  const int rounds = kSanitized ? 50 : 300;
  auto there = [&](int value) -> Task<std::unique_ptr<int>> {
    EXPECT_TRUE(co_await resume_on(*far_));
    co_return std::make_unique<int>(value);
  };
  run_task([&]() -> Task<> {
    for (int i = 0; i < rounds; ++i) {
      FirstOf<std::unique_ptr<int>> first = co_await when_any(tasks(there(0), there(1), there(2)));
      EXPECT_EQ(*first.value, static_cast<int>(first.index));
    }
  });
}

TEST_P(CombinatorsAcrossLoops, ATaskOnALoopThatNobodyRunsIsCutOffToo) {
  thread_.stop();
  auto there = [&]() -> Task<> {
    OnDestroy notice = note("destroyed");
    EXPECT_TRUE(co_await resume_on(*far_));
    ADD_FAILURE() << "went on";
  };
  run_task([&]() -> Task<> {
    absl::Status late = co_await with_timeout(milliseconds(2), there());
    EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
    EXPECT_THAT(seen_, ElementsAre("destroyed"));
  });
}

TEST_P(CombinatorsAcrossLoops, ATaskWhoseOtherLoopIsClosedIsGoneAndTheLimitStillCounts) {
  auto there = [&]() -> Task<> {
    EXPECT_TRUE(co_await resume_on(*far_));
    co_await sleep_for(hours(1));
  };
  run_task([&]() -> Task<> {
    loop_->call_later(milliseconds(5), [&] {
      thread_.stop();
      EXPECT_TRUE(far_->close().ok());
    });
    absl::Status late = co_await with_timeout(milliseconds(20), there());
    EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
  });
}

TEST_P(CombinatorsAcrossLoops, RunSyncsOwnLimitReachesThroughThemAll) {
  std::atomic<int> destroyed{0};
  auto there = [&]() -> Task<int> {
    OnDestroy notice([&] { ++destroyed; });
    EXPECT_TRUE(co_await resume_on(*far_));
    co_await sleep_for(hours(1));
    co_return 1;
  };
  absl::StatusOr<std::vector<int>> result = loop_->run_sync(
      [&] { return with_timeout(hours(1), when_all(tasks(there(), give(1), there()))); },
      nanoseconds(milliseconds(10)));
  EXPECT_EQ(result.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(destroyed, 2);
}

TEST_P(CombinatorsAcrossLoops, CloseDestroysChildrenThatAreElsewhere) {
  std::atomic<int> destroyed{0};
  Event arrived;
  VirtualTime::Hold hold(virtual_time_);
  auto there = [&]() -> Task<> {
    OnDestroy notice([&] { ++destroyed; });
    EXPECT_TRUE(co_await resume_on(*far_));
    arrived.set();
    co_await sleep_for(hours(1));
  };
  loop_->spawn_callback([&]() -> Task<> { co_await when_all(tasks(there(), there(), there())); });
  {
    LoopInThread thread(*loop_);
    ASSERT_TRUE(arrived.wait(3));
  }
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(destroyed, 3);
}

TEST_P(CombinatorsAcrossLoops, WhoWasCancelledAtOnceMayGoOnInAnotherLoop) {
  // Nothing may be on its way to resume it: another thread runs the chain by then.
  run_task([&]() -> Task<> {
    for (int i = 0; i < 200; ++i) {
      CancellationSource source;
      auto suicide = [&]() -> Task<> {
        source.cancel();
        co_await sleep_for(hours(1));
      };
      absl::Status result = co_await with_cancellation(source.token(), suicide());
      EXPECT_EQ(result.code(), StatusCode::kCancelled);
      EXPECT_TRUE(co_await resume_on(*far_));
      co_await sleep_for(microseconds(10));
      EXPECT_TRUE(co_await resume_on(*loop_));
    }
  });
}

// In a process of its own, for the two threads that wait for each other cannot be ended.
void expect_exit_zero(std::function<void()> body) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::alarm(kSanitized ? 40 : 15);  // SIGALRM ends it
        body();
        std::_Exit(::testing::Test::HasFailure() ? 1 : 0);
      },
      ::testing::ExitedWithCode(0), "");
}

using CombinatorsAcrossLoopsDeathTest = CombinatorsTest;
GYRE_FOR_EACH_BACKEND(CombinatorsAcrossLoopsDeathTest);

TEST_P(CombinatorsAcrossLoopsDeathTest, TwoLoopsThatCutOffEachOthersTasksDoNotWaitForEachOther) {
  use_time(TestTime::kReal);  // the cuts of two threads are to meet, by chance
  expect_exit_zero([&] {
    std::unique_ptr<IOLoop> far = make_loop("far");
    std::unique_ptr<IOLoop> near = make_loop("near");
    Event done;
    auto cut = [&](IOLoop& home, IOLoop& away) -> Task<> {
      auto there = [](IOLoop& to) -> Task<> {
        static_cast<void>(co_await resume_on(to));
        co_await sleep_for(hours(1));
      };
      // So many that both are at it at the same time now and then.
      for (int i = 0; i < (kSanitized ? 2000 : 10000); ++i) {
        static_cast<void>(co_await with_timeout(microseconds(i % 50), there(away)));
      }
      EXPECT_TRUE(home.in_loop_thread());
      done.set();
    };
    near->spawn_callback([&] { return cut(*near, *far); });
    far->spawn_callback([&] { return cut(*far, *near); });
    LoopInThread near_thread(*near);
    LoopInThread far_thread(*far);
    EXPECT_TRUE(done.wait(2));
  });
}

TEST_P(CombinatorsAcrossLoopsDeathTest,
       TwoLoopsThatCloseWithTasksOnEachOtherDoNotWaitForEachOther) {
  expect_exit_zero([&] {
    VirtualTime::Hold hold(virtual_time_);
    for (int i = 0; i < 100; ++i) {
      std::unique_ptr<IOLoop> far = make_loop("far");
      std::unique_ptr<IOLoop> near = make_loop("near");
      Event arrived;
      auto wait = [&](IOLoop& away) -> Task<> {
        auto there = [&](IOLoop& to) -> Task<> {
          static_cast<void>(co_await resume_on(to));
          arrived.set();
          co_await sleep_for(hours(1));
        };
        static_cast<void>(co_await with_timeout(hours(1), there(away)));
      };
      near->spawn_callback([&] { return wait(*far); });
      far->spawn_callback([&] { return wait(*near); });
      {
        LoopInThread near_thread(*near);
        LoopInThread far_thread(*far);
        EXPECT_TRUE(arrived.wait(2));
      }
      std::thread closer([&] { EXPECT_TRUE(near->close().ok()); });
      EXPECT_TRUE(far->close().ok());
      closer.join();
    }
  });
}

}  // namespace
}  // namespace gyre::testing
