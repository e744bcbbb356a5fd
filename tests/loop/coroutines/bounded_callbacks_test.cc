// try_add_callback: a queue that says no, and its depth.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;

class BoundedCallbacks : public LoopTest {
 protected:
  std::unique_ptr<IOLoop> make_bounded(size_t limit) {
    IOLoopOptions options;
    options.name = "bounded";
    options.callback_limit = limit;
    options.time_slice = hours(1);
    return make_loop(std::move(options));
  }
};
GYRE_FOR_EACH_BACKEND(BoundedCallbacks);

TEST_P(BoundedCallbacks, FourProducersTogetherGetExactlyTheLimit) {
  constexpr size_t kLimit = 1000;
  for (int round = 0; round < 10; ++round) {
    std::unique_ptr<IOLoop> loop = make_bounded(kLimit);
    std::atomic<int> accepted{0}, ran{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> producers;
    for (int t = 0; t < 4; ++t) {
      producers.emplace_back([&] {
        while (!go) std::this_thread::yield();
        for (size_t i = 0; i < kLimit; ++i) {
          accepted += loop->try_add_callback([&] { ++ran; });
        }
      });
    }
    go = true;
    for (std::thread& producer : producers) producer.join();
    EXPECT_EQ(accepted, static_cast<int>(kLimit));
    run_turns(*loop);
    EXPECT_EQ(ran, static_cast<int>(kLimit)) << "what was accepted runs, and nothing else";
  }
}

TEST_P(BoundedCallbacks, TheLimitHoldsAtEveryMomentWhileTheLoopRuns) {
  // Counts those that are queued or running; the consumer makes room all the time.
  constexpr int kLimit = 64;
  const int each = sized(50000);
  std::unique_ptr<IOLoop> loop = make_bounded(kLimit);
  std::atomic<int> queued{0}, most{0}, ran{0}, refused{0};
  {
    LoopInThread thread(*loop);
    std::vector<std::thread> producers;
    for (int t = 0; t < 4; ++t) {
      producers.emplace_back([&] {
        for (int i = 0; i < each;) {
          auto work = [&] {
            --queued;
            ++ran;
          };
          // Before the post: it may run at once. So `queued` may be too high by those that try.
          const int now = ++queued;
          if (loop->try_add_callback(work)) {
            int seen = most;
            while (now > seen && !most.compare_exchange_weak(seen, now)) {
            }
            ++i;
          } else {
            --queued;
            ++refused;
            std::this_thread::yield();
          }
        }
      });
    }
    for (std::thread& producer : producers) producer.join();
    Event drained;
    loop->add_callback([&] { drained.set(); });
    EXPECT_TRUE(drained.wait());
  }
  EXPECT_EQ(ran, each * 4);
  EXPECT_EQ(queued, 0);
  EXPECT_LE(most, kLimit + 4);
}

TEST_P(BoundedCallbacks, WhatIsRefusedIsNotMovedFrom) {
  std::unique_ptr<IOLoop> loop = make_bounded(1);
  bool destroyed = false;
  auto work = [owned = std::make_unique<int>(7), notice = OnDestroy([&] { destroyed = true; })] {};
  EXPECT_TRUE(loop->try_add_callback([] {}));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(loop->try_add_callback(std::move(work)));
  EXPECT_FALSE(destroyed);
  // The arguments too.
  auto argument = std::make_unique<int>(8);
  EXPECT_FALSE(loop->try_add_callback([](std::unique_ptr<int>) {}, std::move(argument)));
  ASSERT_TRUE(argument != nullptr);
  EXPECT_EQ(*argument, 8);
  run_turns(*loop);
  EXPECT_TRUE(loop->try_add_callback(std::move(work))) << "whole as it was";
  run_turns(*loop);
  EXPECT_TRUE(destroyed);
}

TEST_P(BoundedCallbacks, ThereIsRoomAgainOnceTheyRan) {
  std::unique_ptr<IOLoop> loop = make_bounded(3);
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(loop->try_add_callback([] {})) << round;
    EXPECT_FALSE(loop->try_add_callback([] {}));
    run_turns(*loop);
  }
}

TEST_P(BoundedCallbacks, OneThatThrowsMakesRoomToo) {
  std::unique_ptr<IOLoop> loop = make_bounded(1);
  int thrown = 0;
  loop->set_exception_handler([&](std::exception_ptr) { ++thrown; });
  for (int round = 0; round < 10; ++round) {
    EXPECT_TRUE(loop->try_add_callback([] { throw 1; })) << round;
    run_turns(*loop);
  }
  EXPECT_EQ(thrown, 10);
}

TEST_P(BoundedCallbacks, OneThatPostsItsSuccessorFindsRoomInTheNextIterationAtTheLatest) {
  std::unique_ptr<IOLoop> loop = make_bounded(2);  // itself and its successor
  int runs = 0;
  std::function<void()> again = [&] {
    if (++runs < 100) {
      EXPECT_TRUE(loop->try_add_callback(again)) << runs;
    } else {
      loop->stop();
    }
  };
  EXPECT_TRUE(loop->try_add_callback(again));
  run(*loop);
  EXPECT_EQ(runs, 100);
}

TEST_P(BoundedCallbacks, OrdinaryPostsAreNotCountedAndNeverRefused) {
  std::unique_ptr<IOLoop> loop = make_bounded(1);
  int ran = 0;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(loop->add_callback([&] { ++ran; }));
  EXPECT_TRUE(loop->try_add_callback([&] { ++ran; }));
  EXPECT_FALSE(loop->try_add_callback([&] { ++ran; }));
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(loop->add_callback([&] { ++ran; }));
  run_turns(*loop);
  EXPECT_EQ(ran, 2001);
}

TEST_P(BoundedCallbacks, ALimitOfZeroRefusesAll) {
  std::unique_ptr<IOLoop> loop = make_bounded(0);
  EXPECT_FALSE(loop->try_add_callback([] { ADD_FAILURE() << "ran"; }));
  EXPECT_TRUE(loop->add_callback([] {}));
  run_turns(*loop);
  EXPECT_FALSE(loop->try_add_callback([] { ADD_FAILURE() << "ran"; }));
}

TEST_P(BoundedCallbacks, AClosedLoopRefusesAndDestroys) {
  std::unique_ptr<IOLoop> loop = make_bounded(10);
  int destroyed = 0;
  EXPECT_TRUE(loop->try_add_callback([n = OnDestroy([&] { ++destroyed; })] { ADD_FAILURE(); }));
  ASSERT_TRUE(loop->close().ok());
  EXPECT_EQ(destroyed, 1) << "unrun";
  auto work = [n = OnDestroy([&] { ++destroyed; })] { ADD_FAILURE(); };
  EXPECT_FALSE(loop->try_add_callback(std::move(work)));
  EXPECT_EQ(destroyed, 2) << "before it returns";
}

TEST_P(BoundedCallbacks, ALoopThatWasFullWhenItClosedDestroysWhatItRefusesToo) {
  // Who sees closed() relies on it: what was given is gone.
  std::unique_ptr<IOLoop> loop = make_bounded(1);
  EXPECT_TRUE(loop->try_add_callback([] {}));
  ASSERT_TRUE(loop->close().ok());
  bool destroyed = false;
  auto work = [n = OnDestroy([&] { destroyed = true; })] {};
  EXPECT_FALSE(loop->try_add_callback(std::move(work)));
  EXPECT_TRUE(destroyed);
}

TEST_P(BoundedCallbacks, PostsThatRaceTheCloseAreAllDestroyedOnce) {
  const int rounds = sized(200);
  for (int round = 0; round < rounds; ++round) {
    std::unique_ptr<IOLoop> loop = make_bounded(50);
    std::atomic<int> made{0}, destroyed{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> producers;
    for (int t = 0; t < 2; ++t) {
      producers.emplace_back([&] {
        while (!go) std::this_thread::yield();
        for (int i = 0; i < 100; ++i) {
          ++made;
          loop->try_add_callback([n = OnDestroy([&] { ++destroyed; })] { ADD_FAILURE(); });
        }
      });
    }
    go = true;
    EXPECT_TRUE(loop->close().ok());
    for (std::thread& producer : producers) producer.join();
    EXPECT_EQ(made, destroyed);
  }
}

TEST_P(BoundedCallbacks, TheMetricsTellTheDepthOfTheQueue) {
  std::unique_ptr<IOLoop> loop = make_bounded(100);
  EXPECT_EQ(loop->metrics().queue_depth, 0u);
  EXPECT_EQ(loop->metrics().max_queue_depth, 0u);
  uint64_t inside = 0;
  for (int i = 0; i < 30; ++i) EXPECT_TRUE(loop->try_add_callback([] {}));
  for (int i = 0; i < 9; ++i) loop->add_callback([] {});
  loop->add_callback([&] {
    inside = loop->metrics().queue_depth;
    loop->add_callback([] {});
    loop->stop();
  });
  run(*loop);
  EXPECT_EQ(inside, 40u);
  EXPECT_EQ(loop->metrics().max_queue_depth, 40u);
  run_turns(*loop, 3);
  EXPECT_LE(loop->metrics().queue_depth, 2u) << "of the last iteration";
  EXPECT_EQ(loop->metrics().max_queue_depth, 40u) << "the most that it was";
}

TEST_P(BoundedCallbacks, WhatATimeSliceLeftBehindStillCounts) {
  IOLoopOptions options;
  options.callback_limit = 10;
  options.time_slice = std::chrono::nanoseconds(1);
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  bool checked = false;
  EXPECT_TRUE(loop->try_add_callback([&] {}));
  for (int i = 0; i < 9; ++i) {
    EXPECT_TRUE(loop->try_add_callback([&, i] {
      if (i != 0) return;
      // One is done by now, at most, and another runs: nothing like ten places are free.
      int room = 0;
      while (loop->try_add_callback([] {})) ++room;
      EXPECT_LE(room, 2);
      checked = true;
    }));
  }
  run_turns(*loop, 30);
  EXPECT_TRUE(checked);
}

}  // namespace
}  // namespace gyre::testing
