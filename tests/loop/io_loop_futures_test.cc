// The conformance of every backend: who awaits a future, who waits with a callback, and work in an
// executor.

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
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

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
