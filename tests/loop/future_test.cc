// The conformance of every backend: promises, futures and executors.

#include "gyre/loop/future.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/executor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---- Without a loop

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

// ---- On a loop

class IOLoopFutures : public VirtualLoopTest {
 protected:
  std::vector<std::string> seen_;
};
GYRE_FOR_EACH_BACKEND(IOLoopFutures);

TEST_P(IOLoopFutures, AddFutureCallsInALaterIterationEvenIfItIsDone) {
  Promise<int> promise;
  promise.set_value(1);
  loop_->add_callback([&] {
    loop_->add_future(promise.get_future(), [&](Future<int> future) {
      EXPECT_TRUE(future.done());
      seen_.push_back("got " + std::to_string(future.get()));
      loop_->stop();
    });
    seen_.push_back("added");
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("added", "got 1"));
}

TEST_P(IOLoopFutures, AddFutureCallsOnceTheFutureIsDoneAndNeverInsideSetValue) {
  Promise<int> promise;
  loop_->add_future(promise.get_future(), [&](Future<int> future) {
    seen_.push_back("got " + std::to_string(future.get()));
    loop_->stop();
  });
  loop_->add_callback([&] {
    promise.set_value(2);
    seen_.push_back("set");
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("set", "got 2"));
}

TEST_P(IOLoopFutures, AddFutureCallsOnItsLoopWhoeverSetsTheValue) {
  // Guards the callback against being lost, or run twice, where set_value and add_future meet.
  for (int i = 0; i < 150; ++i) {
    Promise<int> promise;
    Future<int> future = promise.get_future();
    std::thread setter([&] { promise.set_value(i); });
    int calls = 0;
    loop_->add_future(std::move(future), [&](Future<int> f) {
      ++calls;
      EXPECT_EQ(f.get(), i);
      EXPECT_TRUE(loop_->in_loop_thread());
      loop_->stop();
    });
    ASSERT_TRUE(loop_->start().ok());
    setter.join();
    EXPECT_EQ(calls, 1);
  }
}

TEST_P(IOLoopFutures, AddFutureIsAnyThreads) {
  LoopInThread thread(*loop_);
  Event called;
  Promise<int> promise;
  loop_->add_future(promise.get_future(), [&](Future<int>) {
    EXPECT_TRUE(loop_->in_loop_thread());
    called.set();
  });
  promise.set_value(1);
  EXPECT_TRUE(called.wait());
}

TEST_P(IOLoopFutures, AddFutureGivesTheExceptionToTheCallback) {
  Promise<int> promise;
  loop_->add_future(promise.get_future(), [&](Future<int> future) {
    EXPECT_THROW(future.get(), std::runtime_error);
    seen_.push_back("called");
  });
  promise.set_exception(std::make_exception_ptr(std::runtime_error("set")));
  loop_->add_future(Promise<int>().get_future(), [&](Future<int> future) {
    EXPECT_THROW(future.get(), BrokenPromise);
    seen_.push_back("broken");
  });
  run_turns(1);
  EXPECT_THAT(seen_, ElementsAre("called", "broken"));
}

TEST_P(IOLoopFutures, APromiseMayOutliveTheLoopAndASetValueHarmsNothing) {
  Promise<int> added, awaited, run;
  loop_->add_future(added.get_future(), [&, n = OnDestroy([&] { seen_.push_back("destroyed"); })](
                                            Future<int>) { seen_.push_back("called"); });
  loop_->spawn_callback(
      [&](Future<int> future) -> Task<> {
        co_await future;
        seen_.push_back("resumed");
      },
      awaited.get_future());
  EXPECT_FALSE(loop_->run_sync([&] { return run.get_future(); }, milliseconds(1)).ok());
  run_turns(2);
  loop_.reset();
  added.set_value(1);
  awaited.set_value(2);
  run.set_value(3);
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_P(IOLoopFutures, AValueThatRacesTheCloseHarmsNothing) {
  // Guards the waiting callback: it is destroyed once, and never runs.
  for (int i = 0; i < 100; ++i) {
    std::unique_ptr<IOLoop> loop = make_loop();
    std::atomic<int> destroyed{0}, called{0};
    Promise<int> added, awaited;
    loop->add_future(added.get_future(),
                     [&, n = OnDestroy([&] { ++destroyed; })](Future<int>) { ++called; });
    loop->spawn_callback(
        [&](Future<int> future, OnDestroy) -> Task<> {
          co_await future;
          ++called;
        },
        awaited.get_future(), OnDestroy([&] { ++destroyed; }));
    run_turns(*loop, 1);
    std::thread setter([&] {
      added.set_value(1);
      awaited.set_value(2);
    });
    loop.reset();
    setter.join();
    EXPECT_EQ(destroyed, 2);
    EXPECT_EQ(called, 0);
  }
}

TEST_P(IOLoopFutures, AnAwaiterResumesOnTheLoopFromWhichItAwaited) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  Promise<int> promise;
  other->add_callback([&] { promise.set_value(1); });
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_EQ(co_await promise.get_future(), 1);
                    EXPECT_TRUE(loop_->in_loop_thread());
                  })
                  .ok());
}

// ---- Executors

TEST_P(IOLoopFutures, RunInExecutorRunsOffTheLoopAndCompletesOnIt) {
  std::thread::id worker;
  EXPECT_EQ(*loop_->run_sync([&]() -> Task<int> {
    const int value = co_await loop_->run_in_executor([&] {
      worker = std::this_thread::get_id();
      return 42;
    });
    EXPECT_TRUE(loop_->in_loop_thread());
    co_return value;
  }),
            42);
  EXPECT_NE(worker, std::this_thread::get_id());
  EXPECT_NE(worker, std::thread::id());
}

TEST_P(IOLoopFutures, RunInExecutorTakesVoidAndMoveOnlyWorkAndGivesExceptions) {
  bool ran = false;
  EXPECT_TRUE(loop_
                  ->run_sync([&] {
                    return loop_->run_in_executor(
                        [&, p = std::make_unique<int>(1)] { ran = *p == 1; });
                  })
                  .ok());
  EXPECT_TRUE(ran);
  EXPECT_THROW(
      static_cast<void>(loop_->run_sync([&] {
        return loop_->run_in_executor([]() -> int { throw std::runtime_error("at work"); });
      })),
      std::runtime_error);
  EXPECT_EQ(**loop_->run_sync(
                [&] { return loop_->run_in_executor([] { return std::make_unique<int>(8); }); }),
            8);
}

TEST_P(IOLoopFutures, TheDefaultExecutorRunsAtLeastFourAtOnce) {
  // Guards against work that waits for other work: four that wait for each other have to come
  // together.
  Event arrived;
  std::atomic<int> together{0};
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    std::vector<Future<void>> work;
                    for (int i = 0; i < 4; ++i) {
                      work.push_back(loop_->run_in_executor([&] {
                        arrived.set();
                        if (arrived.wait(4)) ++together;
                      }));
                    }
                    for (Future<void>& future : work) co_await future;
                  })
                  .ok());
  EXPECT_EQ(together, 4);
}

TEST_P(IOLoopFutures, TheDefaultExecutorIsBounded) {
  std::mutex mutex;
  std::set<std::thread::id> workers;
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    std::vector<Future<void>> work;
                    for (int i = 0; i < 200; ++i) {
                      work.push_back(loop_->run_in_executor([&] {
                        std::lock_guard<std::mutex> lock(mutex);
                        workers.insert(std::this_thread::get_id());
                      }));
                    }
                    for (Future<void>& future : work) co_await future;
                  })
                  .ok());
  EXPECT_LE(workers.size(), std::max(4u, std::thread::hardware_concurrency()));
}

TEST_P(IOLoopFutures, WorkMayAskForMoreWorkFromTheExecutor) {
  EXPECT_EQ(*loop_->run_sync([&]() -> Task<int> {
    Future<int> inner;
    co_await loop_->run_in_executor([&] { inner = loop_->run_in_executor([] { return 5; }); });
    co_return co_await inner;
  }),
            5);
}

class CountingExecutor final : public Executor {
 public:
  explicit CountingExecutor(bool accepts) : accepts_(accepts) {}
  bool execute(IOLoop::Callback work) override {
    ++asked_;
    if (accepts_) work();
    return accepts_;
  }
  int asked() const { return asked_; }

 private:
  const bool accepts_;
  std::atomic<int> asked_{0};
};

TEST_P(IOLoopFutures, TheDefaultExecutorOfALoopMayBeReplaced) {
  CountingExecutor executor(/*accepts=*/true);
  loop_->set_default_executor(&executor);
  EXPECT_EQ(*loop_->run_sync([&] { return loop_->run_in_executor([] { return 1; }); }), 1);
  EXPECT_EQ(executor.asked(), 1);
  std::unique_ptr<IOLoop> other = make_loop();
  EXPECT_EQ(*other->run_sync([&] { return other->run_in_executor([] { return 2; }); }), 2);
  EXPECT_EQ(executor.asked(), 1) << "it is that loop's alone";
  loop_->set_default_executor(nullptr);
  EXPECT_EQ(*loop_->run_sync([&] { return loop_->run_in_executor([] { return 3; }); }), 3);
  EXPECT_EQ(executor.asked(), 1);
}

TEST_P(IOLoopFutures, WhereTheExecutorRefusesTheFutureThrows) {
  CountingExecutor executor(/*accepts=*/false);
  loop_->set_default_executor(&executor);
  bool destroyed = false;
  Future<int> future =
      loop_->run_in_executor([&, n = OnDestroy([&] { destroyed = true; })]() -> int {
        ADD_FAILURE() << "it was refused";
        return 1;
      });
  EXPECT_TRUE(destroyed);
  EXPECT_TRUE(future.done());
  EXPECT_ANY_THROW(future.get());
}

}  // namespace
}  // namespace gyre::testing
