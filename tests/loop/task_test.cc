// The conformance of every backend: coroutines that await each other, are spawned, and sleep.

#include "gyre/loop/task.h"

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/task_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

GYRE_FOR_EACH_BACKEND(IOLoopTasks);

Task<std::string> fail(std::string what) {
  throw std::runtime_error(what);
  co_return "";
}

// ---- Awaiting tasks

TEST_P(IOLoopTasks, AreLazy) {
  auto body = [&]() -> Task<> {
    seen_.push_back("ran");
    co_return;
  };
  {
    Task<> never = body();
    EXPECT_TRUE(never.valid());
    EXPECT_THAT(seen_, IsEmpty());
  }
  EXPECT_THAT(seen_, IsEmpty());
  Task<> task = body();
  Task<> moved = std::move(task);
  EXPECT_FALSE(task.valid());  // NOLINT: that is what it is about
  EXPECT_TRUE(loop_->run_sync([&] { return std::move(moved); }).ok());
  EXPECT_THAT(seen_, ElementsAre("ran"));
}

TEST_P(IOLoopTasks, GiveTheirValueAndTheirExceptionToWhoAwaitsThem) {
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_EQ(co_await give(3), 3);
                    try {
                      co_await fail("inner");
                      ADD_FAILURE() << "not thrown";
                    } catch (const std::runtime_error& error) {
                      EXPECT_STREQ(error.what(), "inner");
                    }
                    auto owned = []() -> Task<std::unique_ptr<int>> {
                      co_return std::make_unique<int>(4);
                    };
                    EXPECT_EQ(*co_await owned(), 4);
                  })
                  .ok());
}

TEST_P(IOLoopTasks, AnExceptionPassesThroughThoseThatDoNotCatchIt) {
  std::function<Task<int>(int)> nested = [&](int depth) -> Task<int> {
    OnDestroy notice = note_destroyed(std::to_string(depth));
    if (depth == 0) throw std::runtime_error("from the depth");
    co_return co_await nested(depth - 1);
  };
  EXPECT_THROW(static_cast<void>(loop_->run_sync([&] { return nested(3); })), std::runtime_error);
  EXPECT_THAT(seen_, ElementsAre("0", "1", "2", "3"));
}

Task<int> deep(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await deep(depth - 1);
}

Task<int> deep_and_suspended(int depth) {
  if (depth == 0) {
    co_await sleep_for(milliseconds(0));
    co_return 0;
  }
  co_return 1 + co_await deep_and_suspended(depth - 1);
}

Task<int> deep_failure(int depth) {
  if (depth == 0) throw std::runtime_error("from the depth");
  co_return 1 + co_await deep_failure(depth - 1);
}

TEST_P(IOLoopTasks, AChainOfAHundredThousandAwaitsDeepNeedsNoStack) {
  // Guards against a compiler that makes no tail calls: symmetric transfer alone would recurse.
  EXPECT_EQ(*loop_->run_sync([] { return deep(100000); }), 100000);
  EXPECT_EQ(*loop_->run_sync([] { return deep_and_suspended(100000); }), 100000);
}

TEST_P(IOLoopTasks, AnExceptionOutOfAChainOfManyAwaitsNeedsNoStack) {
  // Fewer: each level throws it anew, which is slow.
  EXPECT_THROW(static_cast<void>(loop_->run_sync([] { return deep_failure(20000); })),
               std::runtime_error);
}

TEST_P(IOLoopTasks, AHundredThousandAwaitsOneAfterTheOtherNeedNoStack) {
  EXPECT_EQ(*loop_->run_sync([]() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < 100000; ++i) sum += co_await give(1);
    co_return sum;
  }),
            100000);
}

TEST_P(IOLoopTasks, AHundredThousandAwaitsOfFuturesThatAreDoneNeedNoStack) {
  EXPECT_EQ(*loop_->run_sync([]() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < 100000; ++i) {
      Promise<int> promise;
      promise.set_value(1);
      sum += co_await promise.get_future();
    }
    co_return sum;
  }),
            100000);
}

// ---- spawn_callback

TEST_P(IOLoopTasks, ASpawnedTaskIsRunToItsEnd) {
  EXPECT_TRUE(loop_->spawn_callback(
      [&](int i) -> Task<> {
        seen_.push_back("begin " + std::to_string(i));
        co_await sleep_for(milliseconds(1));
        seen_.push_back("end");
        loop_->stop();
      },
      3));
  EXPECT_THAT(seen_, IsEmpty()) << "never inside the call";
  run();
  EXPECT_THAT(seen_, ElementsAre("begin 3", "end"));
}

TEST_P(IOLoopTasks, ASpawnedFunctionAndItsArgumentsAreKeptUntilTheTaskHasEnded) {
  // Guards a lambda's captures, which its coroutine uses to the end.
  loop_->spawn_callback(
      [&, function = note_destroyed("function destroyed"), text = std::string(100, 'c')](
          const std::string& argument, const OnDestroy&) -> Task<> {
        co_await sleep_for(milliseconds(1));
        EXPECT_EQ(text, std::string(100, 'c'));
        EXPECT_EQ(argument, std::string(100, 'a'));
        seen_.push_back("task ends");
        loop_->call_later(milliseconds(0), [&] { loop_->stop(); });
      },
      std::string(100, 'a'), note_destroyed("argument destroyed"));
  run();
  ASSERT_EQ(seen_.size(), 3u) << "destroyed soon after the end";
  EXPECT_EQ(seen_[0], "task ends");
}

TEST_P(IOLoopTasks, ASpawnedTasksExceptionGoesToTheExceptionHandler) {
  std::vector<std::string> errors;
  loop_->set_exception_handler([&](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      errors.push_back(e.what());
    }
    if (errors.size() == 3) loop_->stop();
  });
  loop_->spawn_callback([]() -> Task<> {
    throw std::runtime_error("at once");
    co_return;
  });
  loop_->spawn_callback([]() -> Task<int> {
    co_await sleep_for(milliseconds(1));
    throw std::runtime_error("later");
  });
  loop_->spawn_callback(
      [](bool no_task) -> Task<> {
        if (no_task) throw std::runtime_error("before the task");
        return []() -> Task<> { co_return; }();
      },
      true);
  run();
  EXPECT_THAT(errors, ElementsAre("at once", "before the task", "later"));
  EXPECT_EQ(loop_->metrics().exceptions, 3u);
}

TEST_P(IOLoopTasks, ASpawnedTasksExceptionIsLoggedWhereThereIsNoHandler) {
  log_.expect(LogLevel::kError, "out of a task");
  loop_->spawn_callback([]() -> Task<> {
    co_await sleep_for(milliseconds(0));
    throw std::runtime_error("out of a task");
  });
  run_turns(3);
}

TEST_P(IOLoopTasks, ASpawnedTasksResultIsDestroyed) {
  loop_->spawn_callback([&]() -> Task<OnDestroy> { co_return note_destroyed(); });
  run_turns(2);
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_P(IOLoopTasks, AThousandSpawnedTasksRunSideBySide) {
  int begun = 0, left = 1000;
  for (int i = 0; i < 1000; ++i) {
    loop_->spawn_callback([&]() -> Task<> {
      ++begun;
      while (begun < 1000) co_await sleep_for(milliseconds(0));  // each waits for all
      co_await sleep_for(milliseconds(0));
      if (--left == 0) loop_->stop();
    });
  }
  run();
  EXPECT_EQ(left, 0);
}

// ---- sleep_for

TEST_P(IOLoopTasks, SleepForIsNeverEarlyAndGivesNothing) {
  static_assert(std::is_void_v<decltype(sleep_for(milliseconds(1)).await_resume())>);
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    const IOLoop::TimePoint start = loop_->time();
                    co_await sleep_for(milliseconds(5));
                    EXPECT_GE(loop_->time() - start, milliseconds(5));
                  })
                  .ok());
}

TEST_P(IOLoopTasks, SleepForAlwaysSuspendsForZeroAndLessToo) {
  loop_->spawn_callback([&]() -> Task<> {
    for (nanoseconds delay : {nanoseconds(0), nanoseconds(-5), nanoseconds::min()}) {
      loop_->add_callback([&] { seen_.push_back("others run"); });
      co_await sleep_for(delay);
      seen_.push_back("resumed");
    }
    loop_->stop();
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("others run", "resumed", "others run", "resumed", "others run",
                                 "resumed"));
}

TEST_P(IOLoopTasks, SleepForTakesAnyDuration) {
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    co_await sleep_for(std::chrono::duration<double>(0.001));
                    co_await sleep_for(std::chrono::seconds(0));
                  })
                  .ok());
  EXPECT_EQ(loop_->run_sync([&]() -> Task<> { co_await sleep_for(hours::max()); }, milliseconds(3))
                .code(),
            StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace gyre::testing
