// LoopPool, on every backend.

#include "gyre/threading/loop_pool.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"
#include "gyre/tests/threading/thread_name.h"
#include "gyre/threading/cpu_affinity.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class Threading : public ::testing::TestWithParam<Backend> {
 protected:
  std::unique_ptr<LoopPool> make_pool(int threads, std::string name = "pool") {
    LoopPoolOptions options;
    options.threads = threads;
    options.name = std::move(name);
    options.backend = GetParam();
    absl::StatusOr<std::unique_ptr<LoopPool>> pool = LoopPool::create(std::move(options));
    EXPECT_TRUE(pool.ok()) << pool.status();
    return pool.ok() ? std::move(*pool) : nullptr;
  }

  LogCapture log_;
};
GYRE_FOR_EACH_BACKEND(Threading);

// ---- LoopPool: create

TEST_P(Threading, APoolHasAsManyLoopsAsWereAskedForAndEachRunsInAThreadOfItsOwn) {
  std::unique_ptr<LoopPool> pool = make_pool(3, "work");
  ASSERT_EQ(pool->size(), 3u);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::vector<std::string> names(3);
  Event ran;
  for (size_t i = 0; i < 3; ++i) {
    IOLoop& loop = pool->loop(i);
    EXPECT_TRUE(loop.running());
    EXPECT_EQ(loop.backend(), GetParam());
    EXPECT_EQ(loop.name(), "work-" + std::to_string(i));
    EXPECT_TRUE(loop.add_callback([&, i] {
      std::lock_guard<std::mutex> lock(mutex);
      threads.insert(std::this_thread::get_id());
      names[i] = thread_name();
      EXPECT_EQ(IOLoop::current(false), &loop);
      ran.set();
    }));
  }
  ASSERT_TRUE(ran.wait(3));
  EXPECT_EQ(threads.size(), 3u);
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 0u);
  EXPECT_THAT(names, ElementsAre("work-0", "work-1", "work-2"));
}

TEST_P(Threading, APoolOfZeroThreadsHasOnePerUsableCpu) {
  EXPECT_EQ(make_pool(0)->size(), static_cast<size_t>(usable_cpus()));
}

TEST_P(Threading, APoolOfNegativeThreadsIsInvalid) {
  for (int threads : {-1, -100, std::numeric_limits<int>::min()}) {
    LoopPoolOptions options;
    options.threads = threads;
    options.backend = GetParam();
    EXPECT_EQ(LoopPool::create(options).status().code(), StatusCode::kInvalidArgument);
  }
}

TEST_P(Threading, APoolOfABackendThatIsNotCompiledInIsUnimplemented) {
  LoopPoolOptions options;
  options.threads = 2;
  options.backend = GetParam();
  const internal::PollerMaker maker = internal::replace_backend(GetParam(), nullptr);
  const absl::Status status = LoopPool::create(options).status();
  internal::replace_backend(GetParam(), maker);
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented) << status;
}

TEST_P(Threading, APinnedPoolBindsItsThreadsRoundAndRound) {
  const std::vector<int> cpus = affinity_mask();
  if (cpus.empty()) GTEST_SKIP() << "threads cannot be bound on this platform";
  LoopPoolOptions options;
  options.threads = static_cast<int>(cpus.size()) + 1;
  options.pin_cpus = true;
  options.backend = GetParam();
  auto pool = LoopPool::create(options);
  ASSERT_TRUE(pool.ok()) << pool.status();
  std::vector<std::vector<int>> bound((*pool)->size());
  Event ran;
  for (size_t i = 0; i < bound.size(); ++i) {
    (*pool)->loop(i).add_callback([&, i] {
      bound[i] = affinity_mask();
      ran.set();
    });
  }
  ASSERT_TRUE(ran.wait(static_cast<int>(bound.size())));
  for (size_t i = 0; i < bound.size(); ++i)
    EXPECT_THAT(bound[i], ElementsAre(cpus[i % cpus.size()]));
}

TEST_P(Threading, APoolThatRunsOutOfFdsEndsTheThreadsThatRunAndLeavesNoFdBehind) {
  const int before = count_open_fds();
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit low = limit;
  low.rlim_cur = before + 20;  // enough for a few loops
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  LoopPoolOptions options;
  options.threads = 50;
  options.backend = GetParam();
  const absl::Status status = LoopPool::create(options).status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(count_open_fds(), before);
}

// ---- LoopPool: next and for_each

TEST_P(Threading, NextGoesRound) {
  std::unique_ptr<LoopPool> pool = make_pool(3);
  std::vector<IOLoop*> first, second;
  for (int i = 0; i < 3; ++i) first.push_back(&pool->next());
  for (int i = 0; i < 3; ++i) second.push_back(&pool->next());
  EXPECT_THAT(first, UnorderedElementsAre(&pool->loop(0), &pool->loop(1), &pool->loop(2)));
  EXPECT_EQ(first, second);
}

TEST_P(Threading, NextIsExactUnderConcurrency) {
  std::unique_ptr<LoopPool> pool = make_pool(3);
  std::mutex mutex;
  std::map<IOLoop*, int> total;
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      std::map<IOLoop*, int> mine;
      for (int i = 0; i < 3000; ++i) ++mine[&pool->next()];
      std::lock_guard<std::mutex> lock(mutex);
      for (auto [loop, count] : mine) total[loop] += count;
    });
  }
  for (std::thread& caller : callers) caller.join();
  ASSERT_EQ(total.size(), 3u);
  for (auto [loop, count] : total) EXPECT_EQ(count, 4000) << loop->name();
}

TEST_P(Threading, ForEachRunsOnceOnEachLoopsOwnThread) {
  std::unique_ptr<LoopPool> pool = make_pool(3);
  std::mutex mutex;
  std::multiset<IOLoop*> seen;
  Event ran;
  pool->for_each([&](IOLoop& loop) {
    EXPECT_TRUE(loop.in_loop_thread());
    std::lock_guard<std::mutex> lock(mutex);
    seen.insert(&loop);
    ran.set();
  });
  ASSERT_TRUE(ran.wait(3));
  EXPECT_THAT(seen, UnorderedElementsAre(&pool->loop(0), &pool->loop(1), &pool->loop(2)));
}

TEST_P(Threading, ForEachKeepsItsFunctionUntilTheLastLoopRanIt) {
  std::unique_ptr<LoopPool> pool = make_pool(2);
  std::atomic<int> calls{0};
  Event destroyed;
  pool->for_each([&, n = OnDestroy([&] { destroyed.set(); })](IOLoop&) { ++calls; });
  ASSERT_TRUE(destroyed.wait());
  EXPECT_EQ(calls, 2);
}

TEST_P(Threading, ForEachMayBeCalledFromAPoolsThreadAndAfterStop) {
  std::unique_ptr<LoopPool> pool = make_pool(2);
  Event ran;
  pool->loop(0).add_callback([&] { pool->for_each([&](IOLoop&) { ran.set(); }); });
  EXPECT_TRUE(ran.wait(2));
  pool->stop();
  pool->join();
  pool->for_each([&](IOLoop&) { ADD_FAILURE() << "ran after join"; });
}

// ---- LoopPool: stop and join

TEST_P(Threading, StopAndJoinAreIdempotentAndTheDestructorMayFollow) {
  std::unique_ptr<LoopPool> pool = make_pool(2);
  pool->stop();
  pool->stop();
  pool->join();
  pool->join();
  pool->stop();
  pool.reset();
  make_pool(2).reset();  // without either
}

TEST_P(Threading, StopMayComeFromAPoolsThread) {
  std::unique_ptr<LoopPool> pool = make_pool(3);
  pool->loop(1).add_callback([&] { pool->stop(); });
  pool->join();
  for (size_t i = 0; i < 3; ++i) EXPECT_FALSE(pool->loop(i).running());
}

TEST_P(Threading, StopMayComeFromSeveralThreadsAtOnce) {
  std::unique_ptr<LoopPool> pool = make_pool(2);
  std::vector<std::thread> stoppers;
  for (int i = 0; i < 4; ++i) {
    stoppers.emplace_back([&] {
      pool->stop();
      pool->join();
    });
  }
  pool->for_each([&](IOLoop&) { pool->stop(); });
  pool->join();
  for (std::thread& stopper : stoppers) stopper.join();
  EXPECT_FALSE(pool->loop(0).running());
}

TEST_P(Threading, JoinWaitsUntilAStopCame) {
  std::unique_ptr<LoopPool> pool = make_pool(2);
  std::atomic<bool> stopping{false}, joined{false};
  Event waiting;
  std::thread joiner([&] {
    waiting.set();
    pool->join();
    EXPECT_TRUE(stopping) << "nobody had stopped it";
    joined = true;
  });
  ASSERT_TRUE(waiting.wait());
  // Work in between: each loop is still at it.
  for (int i = 0; i < 50; ++i) {
    Event ran;
    ASSERT_TRUE(pool->next().add_callback([&] { ran.set(); }));
    ASSERT_TRUE(ran.wait());
  }
  EXPECT_FALSE(joined);
  stopping = true;
  pool->stop();
  joiner.join();
  EXPECT_TRUE(joined);
}

TEST_P(Threading, NothingRunsAfterJoinAndTheLoopsStayValid) {
  std::unique_ptr<LoopPool> pool = make_pool(2);
  std::atomic<bool> joined{false};
  std::atomic<int> late{0}, destroyed{0};
  std::function<void(IOLoop&)> again = [&](IOLoop& loop) {
    late += joined;
    loop.add_callback([&] { again(loop); });
  };
  for (size_t i = 0; i < 2; ++i) {
    IOLoop& loop = pool->loop(i);
    loop.add_callback([&] { again(loop); });
    // Due at once: while the threads end, or never.
    loop.add_callback([&] { loop.call_later(milliseconds(0), [&] { late += joined; }); });
  }
  pool->stop();
  pool->join();
  joined = true;
  for (size_t i = 0; i < 2; ++i) {
    IOLoop& loop = pool->loop(i);
    loop.add_callback([&, n = OnDestroy([&] { ++destroyed; })] { ++late; });
    EXPECT_EQ(loop.name(), "pool-" + std::to_string(i));
    EXPECT_FALSE(loop.in_loop_thread());
    loop.stop();
    loop.metrics();
  }
  static_cast<void>(pool->next());
  pool.reset();
  EXPECT_EQ(late, 0);
  EXPECT_EQ(destroyed, 2) << "posts after join are destroyed unrun with the pool";
}

TEST_P(Threading, PostsThatRaceStopAndTheDestructorRunOrAreDestroyed) {
  for (int round = 0; round < 30; ++round) {
    std::unique_ptr<LoopPool> pool = make_pool(2);
    std::atomic<int> posted{0}, finished{0};
    std::atomic<bool> stop{false};
    std::thread producer([&] {
      while (!stop) {
        ++posted;
        pool->next().add_callback([n = OnDestroy([&] { ++finished; })] {});
      }
    });
    while (posted < 10) std::this_thread::yield();
    pool->stop();
    pool->join();
    stop = true;
    producer.join();
    pool.reset();
    EXPECT_EQ(finished, posted);
  }
}

TEST_P(Threading, TasksHopBetweenTheLoopsOfAPool) {
  std::unique_ptr<LoopPool> pool = make_pool(3);
  Event done;
  for (int i = 0; i < 20; ++i) {
    pool->next().spawn_callback([&]() -> Task<> {
      for (int hop = 0; hop < 30; ++hop) {
        IOLoop& next = pool->next();
        EXPECT_TRUE(co_await resume_on(next));
        EXPECT_TRUE(next.in_loop_thread());
      }
      done.set();
    });
  }
  EXPECT_TRUE(done.wait(20));
}

TEST_P(Threading, TasksThatAreSuspendedWhenThePoolEndsAreDestroyedUnresumed) {
  std::atomic<int> destroyed{0};
  Event suspended;
  std::unique_ptr<LoopPool> pool = make_pool(2);
  for (int i = 0; i < 10; ++i) {
    pool->next().spawn_callback([&, other = &pool->next()]() -> Task<> {
      OnDestroy notice([&] { ++destroyed; });
      EXPECT_TRUE(co_await resume_on(*other));
      suspended.set();
      co_await sleep_for(hours(1));
      ADD_FAILURE() << "resumed";
    });
  }
  ASSERT_TRUE(suspended.wait(10));
  pool.reset();
  EXPECT_EQ(destroyed, 10);
}

// ---- Checked errors

class ThreadingDeathTest : public ::testing::Test {
 protected:
  ThreadingDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ThreadingDeathTest, APoolThatIsJoinedByItsOwnThread) {
  EXPECT_DEATH(
      {
        LoopPoolOptions options;
        options.threads = 1;
        auto pool = LoopPool::create(options).value();
        Event never;
        pool->loop(0).add_callback([&] { pool->join(); });
        static_cast<void>(never.wait());
      },
      "pool.*callback of loop \"gyre-0\"");
}

TEST_F(ThreadingDeathTest, ALoopBehindTheEndOfThePool) {
  EXPECT_DEATH(
      {
        LoopPoolOptions options;
        options.threads = 2;
        LoopPool::create(options).value()->loop(2);
      },
      "loop 2 of a pool of 2");
}

}  // namespace
}  // namespace gyre::testing
