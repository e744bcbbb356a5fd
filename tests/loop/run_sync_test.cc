// The conformance of every backend: run_sync.

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RunSync : public VirtualLoopTest {
 protected:
  std::vector<std::string> seen_;
};
GYRE_FOR_EACH_BACKEND(RunSync);

Task<int> value_now(int value) { co_return value; }
Task<int> value_later(int value) {
  co_await sleep_for(milliseconds(1));
  co_return value;
}
Task<> nothing_later() { co_await sleep_for(milliseconds(1)); }
Task<int> throw_now() {
  throw std::runtime_error("thrown at once");
  co_return 0;
}
Task<int> throw_later() {
  co_await sleep_for(milliseconds(1));
  throw std::runtime_error("thrown later");
}
Task<> throw_nothing_now() {
  throw std::runtime_error("thrown at once");
  co_return;
}
Task<> notice_and_wait(OnDestroy notice, std::vector<std::string>& seen) {
  static_cast<void>(notice);
  co_await sleep_for(hours(1));
  seen.push_back("resumed");
}

// What run_sync throws, as text.
template <class F>
std::string thrown_by(IOLoop& loop, F&& f) {
  try {
    static_cast<void>(loop.run_sync(std::forward<F>(f)));
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing";
}

TEST_P(RunSync, GivesWhatTheFunctionReturns) {
  static_assert(std::is_same_v<decltype(loop_->run_sync([] { return 1; })), absl::StatusOr<int>>);
  static_assert(std::is_same_v<decltype(loop_->run_sync([] {})), absl::Status>);
  static_assert(std::is_same_v<decltype(loop_->run_sync(nothing_later)), absl::Status>);
  static_assert(
      std::is_same_v<decltype(loop_->run_sync([] { return Future<void>(); })), absl::Status>);
  EXPECT_EQ(*loop_->run_sync([] { return 42; }), 42);
  EXPECT_EQ(*loop_->run_sync([] { return std::string("text"); }), "text");
  EXPECT_EQ(**loop_->run_sync([] { return std::make_unique<int>(3); }), 3);
  bool ran = false;
  EXPECT_TRUE(loop_->run_sync([&] { ran = true; }).ok());
  EXPECT_TRUE(ran);
}

TEST_P(RunSync, GivesTheValueOfATask) {
  EXPECT_EQ(*loop_->run_sync([] { return value_now(1); }), 1);
  EXPECT_EQ(*loop_->run_sync([] { return value_later(2); }), 2);
  EXPECT_TRUE(loop_->run_sync(nothing_later).ok());
  int captured = 5;
  auto coroutine = [&]() -> Task<int> {
    co_await sleep_for(milliseconds(0));
    co_return captured;
  };
  EXPECT_EQ(*loop_->run_sync(coroutine), 5);
}

TEST_P(RunSync, GivesTheValueOfAFuture) {
  Promise<int> now, later;
  now.set_value(1);
  EXPECT_EQ(*loop_->run_sync([&] { return now.get_future(); }), 1);
  loop_->call_later(milliseconds(1), [&] { later.set_value(2); });
  EXPECT_EQ(*loop_->run_sync([&] { return later.get_future(); }), 2);
  Promise<void> nothing;
  std::thread setter([&] { nothing.set_value(); });
  EXPECT_TRUE(loop_->run_sync([&] { return nothing.get_future(); }).ok());
  setter.join();
  Promise<std::unique_ptr<int>> owned;
  owned.set_value(std::make_unique<int>(4));
  EXPECT_EQ(**loop_->run_sync([&] { return owned.get_future(); }), 4);
}

TEST_P(RunSync, GivesAStatusOrAStatusOrJustAsItIs) {
  static_assert(
      std::is_same_v<decltype(loop_->run_sync([] { return absl::OkStatus(); })), absl::Status>);
  static_assert(
      std::is_same_v<decltype(loop_->run_sync([]() -> Task<absl::StatusOr<int>> { co_return 1; })),
                     absl::StatusOr<int>>);
  EXPECT_TRUE(loop_->run_sync([] { return absl::OkStatus(); }).ok());
  EXPECT_EQ(loop_->run_sync([] { return absl::NotFoundError("x"); }), absl::NotFoundError("x"));
  EXPECT_EQ(*loop_->run_sync([]() -> absl::StatusOr<int> { return 3; }), 3);
  EXPECT_EQ(
      loop_->run_sync([]() -> absl::StatusOr<int> { return absl::DataLossError("y"); }).status(),
      absl::DataLossError("y"));
  EXPECT_EQ(loop_->run_sync([]() -> Task<absl::Status> { co_return absl::AbortedError("z"); }),
            absl::AbortedError("z"));
  EXPECT_EQ(*loop_->run_sync([]() -> Task<absl::StatusOr<int>> { co_return 4; }), 4);
  Promise<absl::StatusOr<int>> promise;
  promise.set_value(absl::OutOfRangeError("w"));
  EXPECT_EQ(loop_->run_sync([&] { return promise.get_future(); }).status(),
            absl::OutOfRangeError("w"));
}

TEST_P(RunSync, RethrowsWhatTheFunctionTheTaskOrTheFutureThrew) {
  EXPECT_EQ(thrown_by(*loop_, []() -> int { throw std::runtime_error("from the function"); }),
            "from the function");
  EXPECT_EQ(thrown_by(*loop_, [] { throw std::runtime_error("from void"); }), "from void");
  EXPECT_EQ(thrown_by(*loop_, throw_now), "thrown at once");
  EXPECT_EQ(thrown_by(*loop_, throw_nothing_now), "thrown at once");
  EXPECT_EQ(thrown_by(*loop_, throw_later), "thrown later");
  EXPECT_EQ(thrown_by(*loop_, []() -> Task<int> { throw std::runtime_error("before the task"); }),
            "before the task");
  Promise<int> promise;
  promise.set_exception(std::make_exception_ptr(std::runtime_error("from the future")));
  EXPECT_EQ(thrown_by(*loop_, [&] { return promise.get_future(); }), "from the future");
  EXPECT_THROW(static_cast<void>(loop_->run_sync([] { return Promise<int>().get_future(); })),
               BrokenPromise);
  EXPECT_EQ(loop_->metrics().exceptions, 0u)
      << "they are the caller's, not the exception handler's";
  EXPECT_EQ(*loop_->run_sync([] { return 1; }), 1) << "the loop is fit for the next";
}

TEST_P(RunSync, RunsOnTheLoop) {
  EXPECT_TRUE(loop_
                  ->run_sync([&] {
                    EXPECT_TRUE(loop_->in_loop_thread());
                    EXPECT_EQ(IOLoop::current(false), loop_.get());
                  })
                  .ok());
  EXPECT_FALSE(loop_->running());
}

TEST_P(RunSync, WhatWasQueuedBeforeRunsBefore) {
  loop_->add_callback([&] { seen_.push_back("queued"); });
  EXPECT_TRUE(loop_->run_sync([&] { seen_.push_back("func"); }).ok());
  EXPECT_THAT(seen_, ElementsAre("queued", "func"));
}

TEST_P(RunSync, ATimeoutDestroysTheTaskUnresumedBeforeItReturns) {
  const absl::Status status = loop_->run_sync(
      [&] { return notice_and_wait(OnDestroy([&] { seen_.push_back("destroyed"); }), seen_); },
      milliseconds(2));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
  run_turns(2);
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_P(RunSync, ATimeoutForAFutureMakesALaterValueHarmless) {
  Promise<std::string> promise;
  EXPECT_EQ(loop_->run_sync([&] { return promise.get_future(); }, milliseconds(2)).status().code(),
            StatusCode::kDeadlineExceeded);
  promise.set_value("late");
  run_turns(2);
  EXPECT_EQ(*loop_->run_sync([] { return 1; }), 1) << "the late value ends no later run";
}

TEST_P(RunSync, AStopDestroysTheTaskUnresumedBeforeItReturns) {
  loop_->call_later(milliseconds(1), [&] { loop_->stop(); });
  const absl::Status status = loop_->run_sync(
      [&] { return notice_and_wait(OnDestroy([&] { seen_.push_back("destroyed"); }), seen_); });
  EXPECT_EQ(status.code(), StatusCode::kCancelled) << status;
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_P(RunSync, AStopFromAnotherThreadCancelsIt) {
  Event started;
  VirtualTime::Hold hold(virtual_time_);  // for the stopper
  std::thread stopper([&] {
    EXPECT_TRUE(started.wait());
    loop_->stop();
  });
  EXPECT_EQ(loop_
                ->run_sync([&]() -> Task<> {
                  started.set();
                  co_await sleep_for(hours(1));
                })
                .code(),
            StatusCode::kCancelled);
  stopper.join();
}

TEST_P(RunSync, AFunctionThatHadNotStartedNeverRuns) {
  // Guards the queued call, whose function is the caller's and gone by the time it would run.
  loop_->stop();
  EXPECT_EQ(loop_->run_sync([&] { seen_.push_back("ran"); }).code(), StatusCode::kCancelled);
  run_turns(2);
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(RunSync, ATimeoutThatIsOverAtOnceCancelsAFunctionThatHadNotStarted) {
  // The time slice is over before the function's turn comes.
  ManualClock clock;
  IOLoopOptions options;
  options.clock = &clock;
  options.time_slice = milliseconds(2);
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  loop->add_callback([&] { clock.advance(milliseconds(5)); });
  const absl::Status status = loop->run_sync([&] { seen_.push_back("ran"); }, milliseconds(0));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  run_turns(*loop, 3);
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(RunSync, AResultBeforeTheTimeoutLeavesNoTimeoutBehind) {
  ManualClock clock;
  IOLoopOptions options;
  options.clock = &clock;
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  EXPECT_EQ(*loop->run_sync([] { return 1; }, milliseconds(1)), 1);
  EXPECT_EQ(*loop->run_sync([] { return value_now(2); }, hours(1)), 2);
  clock.advance(hours(2));
  run_turns(*loop, 2);
  EXPECT_EQ(loop->metrics().timeouts, 0u);
}

TEST_P(RunSync, InsideARunningLoopIsAnError) {
  loop_->add_callback([&] {
    const absl::StatusOr<int> inside = loop_->run_sync([&] {
      seen_.push_back("ran");
      return 1;
    });
    EXPECT_EQ(inside.status().code(), StatusCode::kFailedPrecondition);
    loop_->stop();
  });
  run();
  run_turns(1);
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(RunSync, WhileAnotherThreadRunsTheLoopIsAnError) {
  LoopInThread thread(*loop_);
  EXPECT_EQ(loop_->run_sync([] {}).code(), StatusCode::kFailedPrecondition);
}

TEST_P(RunSync, OnAClosedLoopIsAnError) {
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(loop_->run_sync([&] { seen_.push_back("ran"); }).code(),
            StatusCode::kFailedPrecondition);
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(RunSync, OfAnotherLoopInsideACallbackIsFine) {
  std::unique_ptr<IOLoop> other = make_loop();
  loop_->add_callback([&] {
    EXPECT_EQ(*other->run_sync([] { return value_later(7); }), 7);
    loop_->stop();
  });
  run();
}

TEST_P(RunSync, ATaskThatEndsOnAnotherLoopGivesItsResult) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(*loop_->run_sync([&]() -> Task<int> {
      co_await resume_on(*other);
      co_return other->in_loop_thread() ? i : -1;
    }),
              i);
  }
}

Task<> end_on(IOLoop& loop, OnDestroy parameter) {
  EXPECT_TRUE(co_await resume_on(loop));
  static_cast<void>(parameter);
}

TEST_P(RunSync, ATaskThatEndsOnAnotherLoopIsDestroyedBeforeItReturns) {
  // Guards what a coroutine's parameters refer to: they live as long as its frame.
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  for (int i = 0; i < 10; ++i) {
    std::atomic<bool> destroyed{false};
    EXPECT_TRUE(loop_
                    ->run_sync([&] {
                      return end_on(*other, OnDestroy([&destroyed] {
                        // As long as it takes: who does not wait for it is far ahead by then.
                        for (int yields = 0; yields < 1000; ++yields) std::this_thread::yield();
                        destroyed = true;
                      }));
                    })
                    .ok());
    ASSERT_TRUE(destroyed);
  }
}

TEST_P(RunSync, ATaskThatThrowsOnAnotherLoopIsRethrownHere) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(thrown_by(*loop_,
                        [&]() -> Task<> {
                          co_await resume_on(*other);
                          throw std::runtime_error("thrown elsewhere");
                        }),
              "thrown elsewhere");
  }
}

TEST_P(RunSync, ATimeoutReachesATaskThatSleepsOnAnotherLoop) {
  // Virtual time might pass on the other loop once this one has stopped.
  use_time(TestTime::kReal);
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  std::thread::id destroyed_by, other_thread;
  for (int i = 0; i < 20; ++i) {
    int destroyed = 0;
    const absl::Status status = loop_->run_sync(
        [&]() -> Task<> {
          OnDestroy notice([&] {
            ++destroyed;
            destroyed_by = std::this_thread::get_id();
          });
          co_await resume_on(*other);
          other_thread = std::this_thread::get_id();
          co_await sleep_for(hours(1));
          seen_.push_back("resumed");
        },
        milliseconds(2));
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
    EXPECT_EQ(destroyed, 1) << "before run_sync returns";
    EXPECT_TRUE(destroyed_by == other_thread || destroyed_by == std::this_thread::get_id());
  }
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(RunSync, ATimeoutReachesATaskThatWaitsOnALoopThatNobodyRuns) {
  std::unique_ptr<IOLoop> other = make_loop();
  int destroyed = 0;
  const absl::Status status = loop_->run_sync(
      [&]() -> Task<> {
        OnDestroy notice([&] { ++destroyed; });
        co_await resume_on(*other);
        seen_.push_back("resumed");
      },
      milliseconds(2));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_EQ(destroyed, 1);
  run_turns(*other, 2);
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(RunSync, ATimeoutThatRacesTheEndOnAnotherLoopIsOneOrTheOther) {
  // Guards the abandoned task: the loop that it is on ends it at the same moment. In real time, for
  // two threads that wake by themselves.
  use_time(TestTime::kReal);
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  for (int i = 0; i < 100; ++i) {
    const absl::StatusOr<int> result = loop_->run_sync(
        [&]() -> Task<int> {
          co_await resume_on(*other);
          co_await sleep_for(std::chrono::microseconds(200));
          co_return 3;
        },
        std::chrono::microseconds(100 + 2 * i));
    if (result.ok()) {
      EXPECT_EQ(*result, 3);
    } else {
      EXPECT_EQ(result.status().code(), StatusCode::kDeadlineExceeded);
    }
  }
}

}  // namespace
}  // namespace gyre::testing
