// Promises and futures, without a loop.

#include "gyre/loop/future.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using ::testing::ElementsAre;

TEST(Future, IsDoneOnceItsPromiseIsSet) {
  Promise<int> promise;
  Future<int> future = promise.get_future();
  EXPECT_TRUE(future.valid());
  EXPECT_FALSE(future.done());
  promise.set_value(3);
  EXPECT_TRUE(future.done());
  EXPECT_EQ(future.get(), 3);
}

TEST(Future, MayBeTakenAfterTheValueWasSet) {
  Promise<std::string> promise;
  promise.set_value("early");
  EXPECT_EQ(promise.get_future().get(), "early");
}

TEST(Future, OfVoid) {
  Promise<void> promise;
  Future<void> future = promise.get_future();
  promise.set_value();
  EXPECT_TRUE(future.done());
  future.get();
}

TEST(Future, HoldsWhatCanOnlyBeMovedAndIsConstructedFromArguments) {
  struct Pinned {
    int sum;
    Pinned(int a, std::unique_ptr<int> b) : sum(a + *b) {}
    Pinned(Pinned&&) = default;
    Pinned(const Pinned&) = delete;
  };
  Promise<Pinned> promise;
  promise.set_value(1, std::make_unique<int>(2));
  EXPECT_EQ(promise.get_future().get().sum, 3);
  Promise<std::string> text;
  text.set_value(3, 'x');
  EXPECT_EQ(text.get_future().get(), "xxx");
}

TEST(Future, RethrowsTheException) {
  Promise<int> promise;
  Future<int> future = promise.get_future();
  promise.set_exception(std::make_exception_ptr(std::runtime_error("set")));
  EXPECT_TRUE(future.done());
  EXPECT_THROW(future.get(), std::runtime_error);
}

TEST(Future, OfAPromiseThatDiesUnsetIsDoneAndThrows) {
  Future<int> future;
  Future<void> nothing;
  {
    Promise<int> promise;
    future = promise.get_future();
    Promise<void> other;
    nothing = other.get_future();
  }
  EXPECT_TRUE(future.done());
  EXPECT_TRUE(nothing.done());
  EXPECT_THROW(future.get(), BrokenPromise);
  EXPECT_THROW(nothing.get(), BrokenPromise);
}

TEST(Future, OfAPromiseThatIsAssignedOverIsDoneAndThrows) {
  Promise<int> promise;
  Future<int> future = promise.get_future();
  promise = Promise<int>();
  EXPECT_TRUE(future.done());
  EXPECT_THROW(future.get(), BrokenPromise);
  Future<int> second = promise.get_future();
  promise.set_value(2);
  EXPECT_EQ(second.get(), 2);
}

TEST(Future, IsMoveOnly) {
  EXPECT_FALSE(std::is_copy_constructible_v<Future<int>>);
  EXPECT_FALSE(std::is_copy_constructible_v<Promise<int>>);
  EXPECT_TRUE(std::is_default_constructible_v<Promise<int>>);
  Promise<int> promise;
  Future<int> future = promise.get_future();
  Promise<int> moved_promise = std::move(promise);
  Future<int> moved = std::move(future);
  EXPECT_FALSE(future.valid());  // NOLINT: that is what it is about
  moved_promise.set_value(5);
  EXPECT_EQ(moved.get(), 5);
  EXPECT_FALSE(Future<int>().valid());
}

TEST(Future, MayDieBeforeItsPromise) {
  bool destroyed = false;
  {
    Promise<OnDestroy> promise;
    promise.get_future();
    promise.set_value([&] { destroyed = true; });
  }
  EXPECT_TRUE(destroyed);
}

TEST(Future, AConstructorThatThrowsLeavesThePromiseUnset) {
  struct Picky {
    explicit Picky(bool fail) {
      if (fail) throw std::runtime_error("not constructed");
    }
  };
  Promise<Picky> promise;
  Future<Picky> future = promise.get_future();
  EXPECT_THROW(promise.set_value(true), std::runtime_error);
  EXPECT_FALSE(future.done());
  promise.set_value(false);
  EXPECT_TRUE(future.done());
}

TEST(Future, IsSetByAnotherThread) {
  for (int i = 0; i < 200; ++i) {
    Promise<std::vector<int>> promise;
    Future<std::vector<int>> future = promise.get_future();
    std::thread setter([&] { promise.set_value(3, i); });
    while (!future.done()) std::this_thread::yield();
    EXPECT_THAT(future.get(), ElementsAre(i, i, i));
    setter.join();
  }
}

}  // namespace
}  // namespace gyre::testing
