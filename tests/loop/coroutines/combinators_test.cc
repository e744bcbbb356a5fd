// Tasks side by side: what they give, and that nothing is left of those that were cut off.

#include "gyre/loop/combinators.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/coroutines/combinators_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sim_poller.h"

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

using Combinators = CombinatorsTest;
GYRE_FOR_EACH_BACKEND(Combinators);

// ---- when_all

TEST_P(Combinators, WhenAllGivesTheResultsInOrderWhoeverEndedFirst) {
  run_task([&]() -> Task<> {
    std::vector<int> results = co_await when_all(
        tasks(give_after(milliseconds(3), 1), give(2), give_after(milliseconds(1), 3)));
    EXPECT_THAT(results, ElementsAre(1, 2, 3));
    std::vector<int> none = co_await when_all(std::vector<Task<int>>());
    EXPECT_THAT(none, IsEmpty());
    co_await when_all(std::vector<Task<>>());
    co_await when_all(tasks(sleep_task(milliseconds(1)), sleep_task(milliseconds(0))));
  });
}

TEST_P(Combinators, WhenAllRunsThemSideBySide) {
  run_task([&]() -> Task<> {
    auto step = [&](std::string name) -> Task<> {
      seen_.push_back(name + "1");
      co_await sleep_for(milliseconds(0));
      seen_.push_back(name + "2");
    };
    co_await when_all(tasks(step("a"), step("b")));
    EXPECT_THAT(seen_, ElementsAre("a1", "b1", "a2", "b2"));
  });
}

TEST_P(Combinators, WhenAllThrowsTheFirstExceptionOnceAllHaveEnded) {
  run_task([&]() -> Task<> {
    auto ends_last = [&]() -> Task<int> {
      co_await sleep_for(milliseconds(5));
      seen_.push_back("ended");
      co_return 1;
    };
    try {
      static_cast<void>(co_await when_all(tasks(ends_last(), fail_after(milliseconds(3), "second"),
                                                fail_after(milliseconds(0), "third"))));
      ADD_FAILURE() << "not thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "second") << "first by place, not by time";
    }
    EXPECT_THAT(seen_, ElementsAre("ended"));
  });
}

TEST_P(Combinators, WhenAllOfTenThousand) {
  const int count = 10000;
  run_task([&]() -> Task<> {
    std::vector<Task<int>> all;
    for (int i = 0; i < count; ++i) all.push_back(give_after(microseconds(i % 100), i));
    std::vector<int> results = co_await when_all(std::move(all));
    EXPECT_EQ(results.size(), static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) EXPECT_EQ(results[i], i);
  });
}

TEST_P(Combinators, ALimitAroundWhenAllDestroysTenThousand) {
  const int count = 10000;
  int destroyed = 0;
  auto child = [&]() -> Task<int> {
    OnDestroy notice([&] { ++destroyed; });
    co_await sleep_for(hours(1));
    co_return 1;
  };
  run_task([&]() -> Task<> {
    std::vector<Task<int>> all;
    for (int i = 0; i < count; ++i) all.push_back(child());
    absl::StatusOr<std::vector<int>> late =
        co_await with_timeout(milliseconds(1), when_all(std::move(all)));
    EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
    EXPECT_EQ(destroyed, count);
  });
}

// ---- when_any

TEST_P(Combinators, WhenAnyGivesTheFirstAndDestroysTheOthers) {
  run_task([&]() -> Task<> {
    FirstOf<int> first = co_await when_any(
        tasks(wait_for_ever("a"), give_after(milliseconds(1), 5), wait_for_ever("b")));
    EXPECT_EQ(first.index, 1u);
    EXPECT_EQ(first.value, 5);
    EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("a", "b"));
    FirstOf<void> nothing = co_await when_any(tasks(sleep_task(hours(1)), sleep_task({})));
    EXPECT_EQ(nothing.index, 1u);
  });
}

TEST_P(Combinators, WhenAnyOfOneThatEndsAtOnceStartsNoFurther) {
  run_task([&]() -> Task<> {
    auto never = [&](OnDestroy) -> Task<int> {
      seen_.push_back("ran");
      co_return 2;
    };
    FirstOf<int> first = co_await when_any(tasks(wait_for_ever("a"), give(1), never(note("b"))));
    EXPECT_EQ(first.index, 1u);
    EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("a", "b"));
  });
}

TEST_P(Combinators, WhenAnyThrowsIfTheFirstThrewAndIgnoresTheOthers) {
  run_task([&]() -> Task<> {
    bool thrown = false;
    try {
      static_cast<void>(
          co_await when_any(tasks(give_after(hours(1), 1), fail_after(milliseconds(1), "x"))));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    FirstOf<int> first =
        co_await when_any(tasks(fail_after(hours(1), "never"), give_after(milliseconds(1), 3)));
    EXPECT_EQ(first.value, 3);
  });
}

TEST(CombinatorsInSimulatedTime, OfTwoThatEndTogetherWhenAnyGivesTheEarlier) {
  LogCapture log;
  SimKernel kernel;
  std::unique_ptr<IOLoop> loop = make_simulated_loop(kernel);
  absl::Status status = loop->run_sync([&]() -> Task<> {
    FirstOf<int> first =
        co_await when_any(tasks(give_after(seconds(1), 1), give_after(seconds(1), 2)));
    EXPECT_EQ(first.index, 0u);
    EXPECT_EQ(first.value, 1);
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(Combinators, WhenAnyOfTenThousandDestroysAllButOne) {
  const int count = 10000;
  int destroyed = 0;
  auto child = [&](int i) -> Task<int> {
    OnDestroy notice([&] { ++destroyed; });
    co_await sleep_for(i == count / 2 ? nanoseconds(milliseconds(1)) : nanoseconds(hours(1)));
    co_return i;
  };
  run_task([&]() -> Task<> {
    std::vector<Task<int>> all;
    for (int i = 0; i < count; ++i) all.push_back(child(i));
    FirstOf<int> first = co_await when_any(std::move(all));
    EXPECT_EQ(first.index, static_cast<size_t>(count / 2));
    EXPECT_EQ(destroyed, count);
  });
}

TEST_P(Combinators, TheyNest) {
  run_task([&]() -> Task<> {
    auto race = [&](std::string name) -> Task<int> {
      FirstOf<int> first =
          co_await when_any(tasks(wait_for_ever(name), give_after(milliseconds(1), 1)));
      co_return first.value;
    };
    absl::StatusOr<std::vector<int>> sum =
        co_await with_timeout(hours(1), when_all(tasks(race("a"), race("b"), race("c"))));
    EXPECT_THAT(sum.value(), ElementsAre(1, 1, 1));
    EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("a", "b", "c"));
  });
}

TEST_P(Combinators, ThoseThatWereNeverAwaitedDestroyTheirTasksUnrun) {
  auto body = [&](OnDestroy) -> Task<int> {
    seen_.push_back("ran");
    co_return 1;
  };
  { Task<absl::StatusOr<int>> never = with_timeout(hours(1), body(note("timeout"))); }
  { Task<std::vector<int>> never = when_all(tasks(body(note("all")))); }
  { Task<FirstOf<int>> never = when_any(tasks(body(note("any")))); }
  EXPECT_THAT(seen_, ElementsAre("timeout", "all", "any"));
}

TEST(CombinatorsDeathTest, WhenAnyOfNoTaskIsACheckedError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto loop = std::move(*IOLoop::create());
        static_cast<void>(loop->run_sync([] { return when_any(std::vector<Task<int>>()); }));
      },
      "when_any");
}

// ---- The loop closes

TEST_P(Combinators, CloseDestroysThoseThatWaitAndWhatTheyWaitFor) {
  Promise<int> promise;
  CancellationSource source;
  auto all = [&]() -> Task<> {
    OnDestroy notice = note("parent");
    static_cast<void>(co_await when_all(tasks(wait_for_ever("child"), wait_for_ever("child"))));
  };
  auto any = [&]() -> Task<> {
    OnDestroy notice = note("parent");
    static_cast<void>(co_await when_any(tasks(wait_for_ever("child"), wait_for_ever("child"))));
  };
  auto limited = [&]() -> Task<> {
    OnDestroy notice = note("parent");
    static_cast<void>(co_await with_timeout(hours(1), wait_for_ever("child")));
  };
  auto cancellable = [&]() -> Task<> {
    OnDestroy notice = note("parent");
    static_cast<void>(co_await with_cancellation(source.token(), wait_for_ever("child")));
  };
  auto future = [&](Future<int> awaited) -> Task<> {
    OnDestroy notice = note("parent");
    static_cast<void>(co_await with_timeout(hours(1), std::move(awaited)));
  };
  loop_->spawn_callback(all);
  loop_->spawn_callback(any);
  loop_->spawn_callback(limited);
  loop_->spawn_callback(cancellable);
  loop_->spawn_callback(future, promise.get_future());
  run_turns(3);
  EXPECT_THAT(seen_, IsEmpty());
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(std::count(seen_.begin(), seen_.end(), "parent"), 5);
  EXPECT_EQ(std::count(seen_.begin(), seen_.end(), "child"), 6);
  EXPECT_EQ(seen_.size(), 11u);
  promise.set_value(1);
  source.cancel();
}

}  // namespace
}  // namespace gyre::testing
