// The conformance of every backend: callbacks, and the order of an iteration.

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/loop/io_loop_callbacks_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

GYRE_FOR_EACH_BACKEND(IOLoopCallbacks);

TEST_P(IOLoopCallbacks, RunInTheOrderOfTheirPosts) {
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) loop_->add_callback([&, i] { order.push_back(i); });
  loop_->add_callback([&] { loop_->stop(); });
  run();
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

TEST_P(IOLoopCallbacks, NeverRunInsideThePost) {
  loop_->add_callback([&] {
    loop_->add_callback([&] { seen_.push_back("inner"); });
    loop_->spawn_callback([&] { seen_.push_back("spawned"); });
    seen_.push_back("outer");
    loop_->add_callback([&] { loop_->stop(); });
  });
  EXPECT_THAT(seen_, IsEmpty());
  run();
  EXPECT_THAT(seen_, ElementsAre("outer", "inner", "spawned"));
}

TEST_P(IOLoopCallbacks, WhatACallbackPostsRunsInTheNextIterationAfterAPoll) {
  on_every_poll(*loop_, [&] { seen_.push_back("io"); });
  loop_->add_callback([&] {
    seen_.push_back("a");
    loop_->add_callback([&] {
      seen_.push_back("c");
      loop_->stop();
    });
  });
  loop_->add_callback([&] { seen_.push_back("b"); });
  run();
  EXPECT_THAT(seen_, ElementsAre("a", "b", "io", "c"));
}

TEST_P(IOLoopCallbacks, WhatATimeoutOrAHandlerPostsRunsInTheNextIteration) {
  bool first = true;
  on_every_poll(*loop_, [&] {
    seen_.push_back("io");
    if (first) loop_->add_callback([&] { seen_.push_back("posted by io"); });
    first = false;
  });
  loop_->call_later(milliseconds(0), [&] {
    seen_.push_back("timeout");
    loop_->add_callback([&] { seen_.push_back("posted by timeout"); });
  });
  run_turns(2);
  EXPECT_THAT(seen_, ElementsAre("timeout", "io", "posted by timeout", "posted by io", "io"));
}

TEST_P(IOLoopCallbacks, RunBeforeTheTimeoutsThatAreDueAndThoseBeforeTheHandlers) {
  on_every_poll(*loop_, [&] {
    seen_.push_back("io");
    loop_->stop();
  });
  loop_->call_later(milliseconds(-1), [&] { seen_.push_back("timeout"); });
  loop_->add_callback([&] { seen_.push_back("callback"); });
  run();
  EXPECT_THAT(seen_, ElementsAre("callback", "timeout", "io"));
}

TEST_P(IOLoopCallbacks, KeepTheOrderOfArrivalOverAllThreads) {
  // Guards the loop thread's own short way into the queue: it must not overtake another thread's
  // post.
  auto post_elsewhere = [&](std::string name) {
    std::thread([&] { loop_->add_callback([&, name] { seen_.push_back(name); }); }).join();
  };
  loop_->add_callback([&] {
    post_elsewhere("remote 1");
    loop_->add_callback([&] { seen_.push_back("local 1"); });
    loop_->add_callback([&] { seen_.push_back("local 2"); });
    post_elsewhere("remote 2");
    post_elsewhere("remote 3");
    loop_->add_callback_from_signal([this] { seen_.push_back("signal"); });
    loop_->add_callback([&] { loop_->stop(); });
  });
  run();
  EXPECT_THAT(seen_,
              ElementsAre("remote 1", "local 1", "local 2", "remote 2", "remote 3", "signal"));
}

TEST_P(IOLoopCallbacks, OfManyThreadsEachRunOnceOnTheLoopsThreadInTheirThreadsOrder) {
  constexpr int kThreads = 4, kPosts = 3000;
  std::array<int, kThreads> next{};
  std::atomic<int> wrong{0};
  int total = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        const bool posted = loop_->add_callback([&, t, i] {
          if (next[t]++ != i || !loop_->in_loop_thread()) ++wrong;
          if (++total == kThreads * kPosts) loop_->stop();
        });
        if (!posted) ++wrong;
      }
    });
  }
  run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(total, kThreads * kPosts);
  EXPECT_EQ(wrong, 0);
}

TEST_P(IOLoopCallbacks, PostedFromAnotherThreadWakeASleepingLoopEveryTime) {
  // Guards the wake-up: one that is lost leaves the loop asleep, and the test at its deadline.
  LoopInThread thread(*loop_);
  for (int i = 0; i < 2000; ++i) {
    Event ran;
    ASSERT_TRUE(loop_->add_callback([&] { ran.set(); }));
    ASSERT_TRUE(ran.wait()) << "round " << i;
  }
  thread.stop();
  const LoopMetrics metrics = loop_->metrics();
  EXPECT_GT(metrics.wakeups, 0u);
  EXPECT_LE(metrics.wakeups, metrics.iterations);
}

TEST_P(IOLoopCallbacks, PostedByTwoThreadsAtOnceWakeASleepingLoopEveryTime) {
  // Guards the wake-up with a second producer, which the first one's wake-up must not hide.
  LoopInThread thread(*loop_);
  Event ran_a, ran_b;
  auto produce = [&](Event& ran) {
    for (int i = 1; i <= 1000; ++i) {
      if (!loop_->add_callback([&] { ran.set(); }) || !ran.wait(i)) return;
    }
  };
  std::thread a([&] { produce(ran_a); });
  produce(ran_b);
  a.join();
  EXPECT_EQ(ran_a.times(), 1000);
  EXPECT_EQ(ran_b.times(), 1000);
}

TEST_P(IOLoopCallbacks, TwoLoopsPostToEachOtherInATightRing) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread a(*loop_), b(*other);
  Event done;
  int left = 5000;
  std::function<void(IOLoop&, IOLoop&)> pass = [&](IOLoop& here, IOLoop& there) {
    if (--left == 0) return done.set();
    there.add_callback([&] { pass(there, here); });
  };
  loop_->add_callback([&] { pass(*loop_, *other); });
  EXPECT_TRUE(done.wait());
}

TEST_P(IOLoopCallbacks, PostedBeforeStartRunAtOnce) {
  loop_->call_later(hours(1), [] {});
  loop_->add_callback([&] { loop_->stop(); });
  run();
}

TEST_P(IOLoopCallbacks, PostedByATimeoutDoNotWaitForTheNextTimeout) {
  loop_->call_later(hours(1), [] {});
  loop_->call_later(milliseconds(1), [&] { loop_->add_callback([&] { loop_->stop(); }); });
  run();
}

TEST_P(IOLoopCallbacks, ThatPostThemselvesStarveNeitherTimeoutsNorHandlers) {
  int turns = 0, polls = 0;
  bool fired = false;
  std::function<void()> again = [&] {
    ++turns;
    virtual_time_.clock.advance(microseconds(50));
    if (fired && polls > 100) return loop_->stop();
    loop_->add_callback(again);
  };
  on_every_poll(*loop_, [&] { ++polls; });
  loop_->call_later(milliseconds(5), [&] { fired = true; });
  loop_->add_callback(again);
  run();
  EXPECT_TRUE(fired);
  EXPECT_LE(turns, polls + 2);  // one in each iteration, and a poll between any two
}

TEST_P(IOLoopCallbacks, AreCutByTheTimeSliceAndTheRestKeepsItsPlace) {
  ManualClock clock;
  IOLoopOptions options;
  options.clock = &clock;
  options.time_slice = milliseconds(2);
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  on_every_poll(*loop, [&] { seen_.push_back("io"); });
  loop->call_later(milliseconds(1), [&] { seen_.push_back("timeout"); });
  loop->add_callback([&] {
    loop->add_callback([&] {
      seen_.push_back("late");
      loop->stop();
    });
    seen_.push_back("slow");
    clock.advance(milliseconds(3));
  });
  loop->add_callback([&] { seen_.push_back("b"); });
  loop->add_callback([&] { seen_.push_back("c"); });
  run(*loop);
  EXPECT_THAT(seen_, ElementsAre("slow", "timeout", "io", "b", "c", "late"));
}

TEST_P(IOLoopCallbacks, FastOnesInFrontDoNotHideSlowOnesFromTheTimeSlice) {
  // Guards the slice against looking at the clock too seldom.
  ManualClock clock;
  IOLoopOptions options;
  options.clock = &clock;
  options.time_slice = milliseconds(2);
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  int ran = 0, ran_before_io = -1;
  on_every_poll(*loop, [&] {
    if (ran_before_io < 0) ran_before_io = ran;
  });
  for (int i = 0; i < 5000; ++i) {
    loop->add_callback(
        [&] { clock.advance(++ran > 1000 ? milliseconds(1) : std::chrono::microseconds(1)); });
  }
  loop->add_callback([&] { loop->stop(); });
  run(*loop);
  EXPECT_EQ(ran, 5000);
  EXPECT_GT(ran_before_io, 900);
  EXPECT_LT(ran_before_io, 1100);
}

TEST_P(IOLoopCallbacks, StopLetsTheRestOfTheBatchAndTheDueTimeoutsRunWithoutAPoll) {
  on_every_poll(*loop_, [&] { seen_.push_back("io"); });
  loop_->call_later(milliseconds(0), [&] { seen_.push_back("timeout"); });
  loop_->call_later(hours(1), [&] { seen_.push_back("not due"); });
  loop_->add_callback([&] {
    loop_->stop();
    seen_.push_back("a");
    loop_->add_callback([&] { seen_.push_back("posted later"); });
    loop_->call_later(milliseconds(0), [&] { seen_.push_back("added later"); });
  });
  loop_->add_callback([&] { seen_.push_back("b"); });
  run();
  EXPECT_THAT(seen_, ElementsAre("a", "b", "timeout"));
  seen_.clear();
  loop_->add_callback([&] { loop_->stop(); });
  run();
  EXPECT_THAT(seen_, ElementsAre("posted later", "added later"));
}

TEST_P(IOLoopCallbacks, AStopInABatchIsNotCutByTheTimeSlice) {
  ManualClock clock;
  IOLoopOptions options;
  options.clock = &clock;
  options.time_slice = milliseconds(2);
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  loop->add_callback([&] {
    loop->stop();
    clock.advance(milliseconds(3));
  });
  for (const char* name : {"a", "b", "c"}) {
    loop->add_callback([&, name] {
      seen_.push_back(name);
      clock.advance(milliseconds(3));
    });
  }
  for (const char* name : {"timeout 1", "timeout 2"}) {
    loop->call_later(milliseconds(0), [&, name] {
      seen_.push_back(name);
      clock.advance(milliseconds(3));
    });
  }
  run(*loop);
  EXPECT_THAT(seen_, ElementsAre("a", "b", "c", "timeout 1", "timeout 2"));
}

TEST_P(IOLoopCallbacks, StopInATimeoutLetsTheOthersThatAreDueRun) {
  loop_->call_later(milliseconds(-2), [&] {
    seen_.push_back("first");
    loop_->stop();
  });
  loop_->call_later(milliseconds(-1), [&] { seen_.push_back("second"); });
  run();
  EXPECT_THAT(seen_, ElementsAre("first", "second"));
}

TEST_P(IOLoopCallbacks, StopInAHandlerEndsTheRunAfterOneMoreBatchWithoutAPoll) {
  on_every_poll(*loop_, [&] {
    seen_.push_back("io");
    loop_->add_callback([&] { seen_.push_back("posted"); });
    loop_->stop();
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("io", "posted"));
}

TEST_P(IOLoopCallbacks, StopInAHandlerLetsTheOtherHandlersOfTheBatchRun) {
  FdPair fds[3] = {socket_pair(), socket_pair(), socket_pair()};
  for (FdPair& pair : fds) {
    write_all(pair.b.get(), "x");
    ASSERT_TRUE(loop_
                    ->add_handler(
                        pair.a.get(),
                        [&](int, uint32_t) {
                          seen_.push_back("io");
                          loop_->stop();
                        },
                        IOLoop::READ)
                    .ok());
  }
  run();
  EXPECT_THAT(seen_, ElementsAre("io", "io", "io"));
}

TEST_P(IOLoopCallbacks, ALatchedStopRunsNothing) {
  on_every_poll(*loop_, [&] { seen_.push_back("io"); });
  loop_->add_callback([&] { seen_.push_back("callback"); });
  loop_->call_later(milliseconds(0), [&] { seen_.push_back("timeout"); });
  loop_->stop();
  run();
  EXPECT_THAT(seen_, IsEmpty());
  loop_->add_callback([&] { loop_->stop(); });
  run();
  EXPECT_THAT(seen_, ElementsAre("callback", "timeout"));
}

TEST_P(IOLoopCallbacks, SeveralStopsInOneRunEndOneRun) {
  loop_->add_callback([&] {
    loop_->stop();
    loop_->stop();
    std::thread([&] { loop_->stop(); }).join();
  });
  loop_->add_callback([&] { loop_->stop(); });
  run();
  loop_->add_callback([&] { seen_.push_back("second run"); });
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("second run"));
}

TEST_P(IOLoopCallbacks, SeveralStopsBeforeStartEndOneRun) {
  loop_->stop();
  loop_->stop();
  run();
  loop_->add_callback([&] { seen_.push_back("ran"); });
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("ran"));
}

TEST_P(IOLoopCallbacks, SurviveRestartsThatRaceTheirPosts) {
  // Guards stop against a post at the same moment: the one must not swallow the other.
  constexpr int kPosts = 20000;
  int ran = 0;
  std::atomic<bool> over{false};
  std::thread producer([&] {
    for (int i = 0; i < kPosts; ++i) {
      loop_->add_callback([&] { ++ran; });
      if (i % 100 == 0) loop_->stop();
    }
    loop_->add_callback([&] {
      over = true;
      loop_->stop();
    });
  });
  while (!over) ASSERT_TRUE(loop_->start().ok());
  producer.join();
  EXPECT_EQ(ran, kPosts);
}

}  // namespace
}  // namespace gyre::testing
