// Tasks that a token may cut off: what they give, and that nothing is left of them.

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/coroutines/combinators_fixture.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Names = std::vector<std::string>;

using Combinators = CombinatorsTest;

TEST_P(Combinators, ATokenThatWasCancelledBeforeTheStartMeansThatTheTaskNeverRuns) {
  run_task([&]() -> Task<> {
    auto body = [&](OnDestroy) -> Task<int> {
      seen_.push_back("ran");
      co_return 1;
    };
    CancellationSource source;
    source.cancel();
    EXPECT_TRUE(source.cancelled());
    absl::StatusOr<int> result =
        co_await with_cancellation(source.token(), body(note("destroyed")));
    EXPECT_EQ(result.status().code(), StatusCode::kCancelled);
    EXPECT_THAT(seen_, ElementsAre("destroyed"));
  });
}

TEST_P(Combinators, ACancelDestroysTheTaskAndGivesCancelled) {
  run_task([&]() -> Task<> {
    CancellationSource source;
    loop_->call_later(milliseconds(1), [&] {
      source.cancel();
      source.cancel();
      EXPECT_THAT(seen_, IsEmpty()) << "later: who cancels may be the task itself";
    });
    absl::StatusOr<int> result = co_await with_cancellation(source.token(), wait_for_ever("task"));
    EXPECT_EQ(result.status().code(), StatusCode::kCancelled);
    EXPECT_THAT(seen_, ElementsAre("task"));
    Promise<int> promise;
    CancellationSource other;
    loop_->add_callback([&] { other.cancel(); });
    absl::StatusOr<int> future = co_await with_cancellation(other.token(), promise.get_future());
    EXPECT_EQ(future.status().code(), StatusCode::kCancelled);
  });
}

TEST_P(Combinators, ATokenThatIsNotCancelledChangesNothing) {
  run_task([&]() -> Task<> {
    absl::StatusOr<int> without = co_await with_cancellation(CancellationToken(), give(1));
    EXPECT_EQ(without.value(), 1);
    CancellationSource source;
    absl::StatusOr<int> with =
        co_await with_cancellation(source.token(), give_after(milliseconds(1), 2));
    EXPECT_EQ(with.value(), 2);
    source.cancel();  // nobody listens any more
    co_await sleep_for(milliseconds(0));
    bool thrown = false;
    try {
      static_cast<void>(co_await with_cancellation(CancellationToken(), fail_after({}, "x")));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  });
}

TEST_P(Combinators, ATaskThatCancelsItselfRunsToItsNextSuspension) {
  run_task([&]() -> Task<> {
    for (bool suspended_before : {false, true}) {
      CancellationSource source;
      auto suicide = [&]() -> Task<int> {
        OnDestroy notice = note("destroyed");
        if (suspended_before) co_await sleep_for(milliseconds(0));
        source.cancel();
        seen_.push_back("still here");
        co_await sleep_for(hours(1));
        co_return 1;
      };
      absl::StatusOr<int> result = co_await with_cancellation(source.token(), suicide());
      EXPECT_EQ(result.status().code(), StatusCode::kCancelled);
      EXPECT_THAT(seen_, ElementsAre("still here", "destroyed"));
      seen_.clear();
    }
  });
}

TEST_P(Combinators, ATaskThatCancelsItselfAndEndsGivesItsResult) {
  run_task([&]() -> Task<> {
    CancellationSource source;
    auto last_words = [&]() -> Task<int> {
      co_await sleep_for(milliseconds(0));
      source.cancel();
      co_return 1;
    };
    absl::StatusOr<int> result = co_await with_cancellation(source.token(), last_words());
    EXPECT_EQ(result.value(), 1);
  });
}

TEST_P(Combinators, OneSourceCancelsManyInTheOrderInWhichTheyAsked) {
  constexpr int kCount = 1000;
  CancellationSource source;
  std::vector<int> order;
  auto one = [&](int i) -> Task<> {
    absl::Status result = co_await with_cancellation(source.token(), sleep_task(hours(1)));
    EXPECT_EQ(result.code(), StatusCode::kCancelled);
    order.push_back(i);
  };
  run_task([&]() -> Task<> {
    std::vector<Task<>> all;
    for (int i = 0; i < kCount; ++i) all.push_back(one(i));
    loop_->call_later(milliseconds(1), [&] { source.cancel(); });
    co_await when_all(std::move(all));
  });
  ASSERT_EQ(order.size(), static_cast<size_t>(kCount));
  for (int i = 0; i < kCount; ++i) EXPECT_EQ(order[i], i);
}

TEST(CancellationToken, AListenerMayForgetAnotherAndDestroyTheSource) {
  auto source = std::make_unique<CancellationSource>();
  const CancellationToken token = source->token();
  Names seen;
  uint64_t forgotten = 0;
  token.on_cancel([&] {
    seen.push_back("first");
    token.forget(forgotten);
    source.reset();
    token.on_cancel([&] { seen.push_back("at once"); });
  });
  forgotten = token.on_cancel([&] { seen.push_back("forgotten"); });
  token.on_cancel([&] { seen.push_back("third"); });
  EXPECT_FALSE(token.cancelled());
  source->cancel();
  EXPECT_TRUE(token.cancelled());
  EXPECT_THAT(seen, ElementsAre("first", "at once", "third"));
  EXPECT_FALSE(CancellationToken().cancelled());
  EXPECT_EQ(CancellationToken().on_cancel([] {}), 0u);
}

}  // namespace
}  // namespace gyre::testing
