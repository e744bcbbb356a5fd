// A million awaits, on a stack that would not hold ten thousand frames: in every build, since g++
// makes no tail calls at -O0 and a sanitizer's frames are larger.

#include <limits.h>
#include <pthread.h>

#include <chrono>
#include <functional>
#include <memory>

#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/sync.h"
#include "gyre/loop/task.h"

namespace gyre::testing {
namespace {

constexpr int kMany = 1000000;
constexpr size_t kStackBytes = 256 * 1024;

void on_a_small_stack(std::function<void()> f) {
  pthread_attr_t attributes;
  ASSERT_EQ(::pthread_attr_init(&attributes), 0);
  ASSERT_EQ(::pthread_attr_setstacksize(&attributes, kStackBytes), 0);
  pthread_t thread;
  const auto run = [](void* function) -> void* {
    (*static_cast<std::function<void()>*>(function))();
    return nullptr;
  };
  ASSERT_EQ(::pthread_create(&thread, &attributes, run, &f), 0);
  ::pthread_attr_destroy(&attributes);
  ::pthread_join(thread, nullptr);
}

// Runs the task that `make` gives in a loop of that thread.
void expect_result(int expected, std::function<Task<int>()> make) {
  on_a_small_stack([&] {
    absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    const absl::StatusOr<int> result = (*loop)->run_sync(make);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, expected);
  });
}

Task<int> give(int value) { co_return value; }

Task<int> deep(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await deep(depth - 1);
}

Task<int> deep_and_suspended(int depth) {
  if (depth == 0) {
    co_await sleep_for(std::chrono::nanoseconds(0));
    co_return 0;
  }
  co_return 1 + co_await deep_and_suspended(depth - 1);
}

TEST(LongChains, AMillionAwaitsDeepNeedNoStack) {
  expect_result(kMany, [] { return deep(kMany); });
}

TEST(LongChains, AMillionAwaitsDeepThatWereSuspendedNeedNoStack) {
  expect_result(kMany, [] { return deep_and_suspended(kMany); });
}

TEST(LongChains, AMillionTasksOneAfterTheOtherNeedNoStack) {
  expect_result(kMany, []() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < kMany; ++i) sum += co_await give(1);
    co_return sum;
  });
}

TEST(LongChains, AMillionFuturesThatAreDoneNeedNoStack) {
  expect_result(kMany, []() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < kMany; ++i) {
      Promise<int> promise;
      promise.set_value(1);
      sum += co_await promise.get_future();
    }
    co_return sum;
  });
}

TEST(LongChains, AMillionLocksThatAreFreeNeedNoStack) {
  expect_result(kMany, []() -> Task<int> {
    Semaphore semaphore(1);
    Queue<int> queue;
    int sum = 0;
    for (int i = 0; i < kMany; ++i) {
      Semaphore::Permit permit = co_await semaphore.acquire();
      co_await queue.put(1);
      sum += co_await queue.get();
    }
    co_return sum;
  });
}

}  // namespace
}  // namespace gyre::testing
