// Tasks with a limit of time: what they give, and that nothing is left of those that were cut off.

#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/coroutines/combinators_fixture.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sim_poller.h"
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
using Names = std::vector<std::string>;

using Combinators = CombinatorsTest;

TEST_P(Combinators, WithTimeoutGivesTheResultThatCameInTime) {
  run_task([&]() -> Task<> {
    absl::StatusOr<int> at_once = co_await with_timeout(hours(1), give(1));
    EXPECT_EQ(at_once.value(), 1);
    absl::StatusOr<int> later = co_await with_timeout(hours(1), give_after(milliseconds(1), 2));
    EXPECT_EQ(later.value(), 2);
    absl::Status nothing = co_await with_timeout(hours(1), sleep_task(milliseconds(1)));
    EXPECT_TRUE(nothing.ok());
    auto owned = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
    absl::StatusOr<std::unique_ptr<int>> moved = co_await with_timeout(hours(1), owned());
    EXPECT_EQ(**moved, 3);
    auto status = []() -> Task<absl::StatusOr<int>> { co_return absl::NotFoundError("no"); };
    absl::StatusOr<int> flat = co_await with_timeout(hours(1), status());
    EXPECT_EQ(flat.status().code(), StatusCode::kNotFound);
  });
}

TEST_P(Combinators, WithTimeoutTakesAFuture) {
  run_task([&]() -> Task<> {
    Promise<int> set;
    set.set_value(4);
    absl::StatusOr<int> done = co_await with_timeout(hours(1), set.get_future());
    EXPECT_EQ(done.value(), 4);
    Promise<void> later;
    loop_->call_later(milliseconds(1), [&] { later.set_value(); });
    absl::Status in_time = co_await with_timeout(hours(1), later.get_future());
    EXPECT_TRUE(in_time.ok());
    Promise<int> never;
    absl::StatusOr<int> late = co_await with_timeout(milliseconds(1), never.get_future());
    EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
    never.set_value(5);  // harms nothing
    co_await sleep_for(milliseconds(0));
  });
}

TEST_P(Combinators, WithTimeoutThrowsWhatTheTaskThrew) {
  run_task([&]() -> Task<> {
    for (nanoseconds delay : {nanoseconds(0), nanoseconds(milliseconds(1))}) {
      try {
        static_cast<void>(co_await with_timeout(hours(1), fail_after(delay, "inside")));
        ADD_FAILURE() << "not thrown";
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "inside");
      }
    }
    Promise<int> broken;
    Future<int> future = broken.get_future();
    broken = Promise<int>();
    bool thrown = false;
    try {
      static_cast<void>(co_await with_timeout(hours(1), std::move(future)));
    } catch (const BrokenPromise&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  });
}

TEST_P(Combinators, ATimeoutDestroysTheTaskBeforeItGoesOn) {
  run_task([&]() -> Task<> {
    absl::StatusOr<int> late = co_await with_timeout(milliseconds(1), wait_for_ever("task"));
    EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
    EXPECT_THAT(seen_, ElementsAre("task"));
  });
}

TEST_P(Combinators, ATimeoutIsNeverEarly) {
  run_task([&]() -> Task<> {
    for (int i = 0; i < 20; ++i) {
      const IOLoop::TimePoint start = loop_->time();
      absl::StatusOr<int> late = co_await with_timeout(microseconds(700), wait_for_ever("task"));
      EXPECT_FALSE(late.ok());
      EXPECT_GE(loop_->time() - start, microseconds(700));
    }
  });
}

TEST_P(Combinators, ATaskThatIsCutOffLeavesNoFdRegistrationBehind) {
  FdPair fds = socket_pair();
  run_task([&]() -> Task<> {
    auto wait = [](int fd) -> Task<absl::Status> { co_return co_await readable(fd); };
    absl::Status late = co_await with_timeout(milliseconds(1), wait(fds.a.get()));
    EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
    // Free for a handler, and for another waiter.
    EXPECT_TRUE(loop_
                    ->add_handler(
                        fds.a.get(), [](int, uint32_t) {}, IOLoop::READ)
                    .ok());
    EXPECT_TRUE(loop_->remove_handler(fds.a.get()).ok());
    write_all(fds.b.get(), "x");
    absl::Status again = co_await with_timeout(hours(1), wait(fds.a.get()));
    EXPECT_TRUE(again.ok()) << again;
  });
}

TEST_P(Combinators, OneDirectionThatIsCutOffLeavesTheOtherWaiting) {
  FdPair fds = socket_pair();
  fill(fds.a.get());
  run_task([&]() -> Task<> {
    auto read = [](int fd) -> Task<> { EXPECT_TRUE((co_await readable(fd)).ok()); };
    auto write = [](int fd) -> Task<> { static_cast<void>(co_await writable(fd)); };
    auto cut = [&]() -> Task<> {
      absl::Status late = co_await with_timeout(milliseconds(1), write(fds.a.get()));
      EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
      write_all(fds.b.get(), "x");
    };
    co_await when_all(tasks(read(fds.a.get()), cut()));
  });
}

TEST(CombinatorsInSimulatedTime, NoTimerIsLeftOfWhatEndedOrWasCutOff) {
  LogCapture log;
  SimKernel kernel;
  std::unique_ptr<IOLoop> loop = make_simulated_loop(kernel);
  absl::Status status = loop->run_sync([&]() -> Task<> {
    // In time: the limit's timer must not be waited for.
    EXPECT_TRUE((co_await with_timeout(seconds(60), sleep_task(seconds(1)))).ok());
    kernel.waits.clear();
    co_await sleep_for(hours(2));
    EXPECT_THAT(kernel.waits, ElementsAre(hours(2)));
    // Cut off: neither must the sleep's.
    absl::Status late = co_await with_timeout(seconds(1), sleep_task(seconds(60)));
    EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
    kernel.waits.clear();
    co_await sleep_for(hours(2));
    EXPECT_THAT(kernel.waits, ElementsAre(hours(2)));
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(Combinators, ALimitOfNothingGivesTheResultOfATaskThatNeedsNoTime) {
  run_task([&]() -> Task<> {
    for (nanoseconds limit : {nanoseconds(0), nanoseconds(-1), nanoseconds::min()}) {
      absl::StatusOr<int> at_once = co_await with_timeout(limit, give(1));
      EXPECT_TRUE(at_once.ok());
      absl::StatusOr<int> late = co_await with_timeout(limit, wait_for_ever("task"));
      EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
    }
    absl::StatusOr<int> endless =
        co_await with_timeout(hours::max(), give_after(milliseconds(1), 2));
    EXPECT_TRUE(endless.ok());
  });
}

TEST(CombinatorsInSimulatedTime, AResultThatComesTogetherWithTheTimeoutIsNotLost) {
  // The limit and the task's own timer are due in the same iteration, whichever came first.
  LogCapture log;
  SimKernel kernel;
  std::unique_ptr<IOLoop> loop = make_simulated_loop(kernel);
  absl::Status status = loop->run_sync([&]() -> Task<> {
    // The task's timer is older than the limit's, so the task ends before its limit is over.
    absl::StatusOr<int> together = co_await with_timeout(seconds(1), give_after(seconds(1), 7));
    EXPECT_TRUE(together.ok()) << together.status();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(Combinators, NestedLimitsCutWhereTheFirstOneIsOver) {
  run_task([&]() -> Task<> {
    auto inner = [&](nanoseconds limit) -> Task<int> {
      OnDestroy notice = note("inner");
      absl::StatusOr<int> result = co_await with_timeout(limit, wait_for_ever("task"));
      seen_.push_back("inner late");
      co_return result.ok() ? 1 : -1;
    };
    absl::StatusOr<int> outer_in_time = co_await with_timeout(hours(1), inner(milliseconds(1)));
    EXPECT_EQ(outer_in_time.value(), -1);
    EXPECT_THAT(seen_, ElementsAre("task", "inner late", "inner"));
    seen_.clear();
    absl::StatusOr<int> outer_late = co_await with_timeout(milliseconds(1), inner(hours(1)));
    EXPECT_EQ(outer_late.status().code(), StatusCode::kDeadlineExceeded);
    EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("task", "inner"));
  });
}

TEST_P(Combinators, AHundredNestedLimitsAreCutByTheOutermost) {
  std::function<Task<int>(int)> nest = [&](int depth) -> Task<int> {
    OnDestroy notice = note("level");
    if (depth == 0) co_return co_await wait_for_ever("level");
    absl::StatusOr<int> result = co_await with_timeout(hours(depth), nest(depth - 1));
    seen_.push_back("went on");
    co_return result.value_or(-1);
  };
  run_task([&]() -> Task<> {
    absl::StatusOr<int> late = co_await with_timeout(milliseconds(1), nest(99));
    EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
  });
  EXPECT_EQ(seen_, Names(101, "level"));
}

TEST_P(Combinators, ManyAwaitsInARowNeedNoStack) {
  const int count = sized(1000000) / 2;  // for each of two backends
  run_task([&]() -> Task<> {
    int sum = 0;
    for (int i = 0; i < count; ++i) {
      absl::StatusOr<int> one = co_await with_timeout(hours(1), give(1));
      sum += *one;
    }
    EXPECT_EQ(sum, count);
  });
}

TEST_P(Combinators, ManyAwaitsInARowThatSuspendNeedNoStack) {
  const int count = sized(100000) / 2;
  run_task([&]() -> Task<> {
    auto suspends = []() -> Task<int> {
      Promise<int> promise;
      Future<int> future = promise.get_future();
      IOLoop::current()->add_callback([p = std::move(promise)]() mutable { p.set_value(1); });
      co_return co_await future;
    };
    int sum = 0;
    for (int i = 0; i < count; ++i) {
      absl::StatusOr<int> one = co_await with_timeout(hours(1), suspends());
      sum += *one;
    }
    EXPECT_EQ(sum, count);
  });
}

TEST_P(Combinators, AFutureThatAnotherThreadSetsAroundTheTimeoutIsOneOrTheOther) {
  use_time(TestTime::kReal);  // another thread races a timeout
  const int rounds = kSanitized ? 100 : 500;
  int in_time = 0, late = 0;
  for (int i = 0; i < rounds; ++i) {
    Promise<int> promise;
    Future<int> future = promise.get_future();
    std::thread setter([&, i] {
      const IOLoop::TimePoint when = loop_->time() + microseconds(i % 100);  // spreads the race
      while (loop_->time() < when) std::this_thread::yield();
      promise.set_value(i);
    });
    absl::StatusOr<int> result = loop_->run_sync(
        [&] { return with_timeout(microseconds(60), std::move(future)); }, kDeadline);
    setter.join();
    if (result.ok()) {
      EXPECT_EQ(*result, i);
      ++in_time;
    } else {
      EXPECT_EQ(result.status().code(), StatusCode::kDeadlineExceeded);
      ++late;
    }
  }
  EXPECT_EQ(in_time + late, rounds);
}

}  // namespace
}  // namespace gyre::testing
