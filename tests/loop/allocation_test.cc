// What the loop and its coroutines cost of the heap in steady state, on every backend.

#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/sync.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/allocation_count.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::nanoseconds;

constexpr int kRounds = 1000;

class LoopAllocation : public LoopTest {
 protected:
  // Of kRounds times `step`, awaited in one coroutine, after as many that do not count.
  uint64_t count(const std::function<Task<>()>& step) {
    uint64_t counted = 0;
    EXPECT_TRUE(loop_
                    ->run_sync([&]() -> Task<> {
                      for (int i = 0; i < kRounds; ++i) co_await step();
                      const uint64_t before = allocations();
                      for (int i = 0; i < kRounds; ++i) co_await step();
                      counted = allocations() - before;
                    })
                    .ok());
    return counted;
  }
};
GYRE_FOR_EACH_BACKEND(LoopAllocation);

Task<int> give(int value) { co_return value; }
Task<int> give_through(int levels) {
  if (levels == 0) co_return 0;
  co_return 1 + co_await give_through(levels - 1);
}

TEST_P(LoopAllocation, OfATaskIsItsFrameAndNothingElse) {
  EXPECT_EQ(count([]() -> Task<> { co_return; }), kRounds);
}

TEST_P(LoopAllocation, OfTasksThatAwaitEachOtherIsOneForEachFrame) {
  EXPECT_EQ(count([]() -> Task<> { co_await give(1); }), 2 * kRounds);
  EXPECT_EQ(count([]() -> Task<> { EXPECT_EQ(co_await give_through(9), 9); }), 11 * kRounds);
}

TEST_P(LoopAllocation, OfASleepIsNoneBesideTheFrame) {
  EXPECT_EQ(count([]() -> Task<> { co_await sleep_for(nanoseconds(0)); }), kRounds);
}

TEST_P(LoopAllocation, OfLocksIsNoneBesideTheFrame) {
  Semaphore semaphore(1);
  gyre::Event event;
  event.set();
  EXPECT_EQ(count([&]() -> Task<> {
              co_await event.wait();
              Semaphore::Permit permit = co_await semaphore.acquire();
            }),
            kRounds);
}

TEST_P(LoopAllocation, OfAWaitForAnEventIsNoneBesideTheFrame) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "a posted callback is an allocation of its own there, to be looked after";
#endif
  gyre::Event event;
  EXPECT_EQ(count([&]() -> Task<> {
              loop_->add_callback([&] { event.set(); });
              co_await event.wait();
              event.clear();
            }),
            kRounds);
}

TEST_P(LoopAllocation, OfAHopToItsOwnLoopIsNoneBesideTheFrame) {
  EXPECT_EQ(count([&]() -> Task<> { EXPECT_TRUE(co_await resume_on(*loop_)); }), kRounds);
}

TEST_P(LoopAllocation, OfAnAwaitedFutureIsItsStateAndItsAwaiter) {
  EXPECT_LE(count([&]() -> Task<> {
              Promise<int> promise;
              Future<int> future = promise.get_future();
              promise.set_value(1);
              co_await std::move(future);
            }),
            3 * kRounds);
}

TEST_P(LoopAllocation, OfCallbacksAndTimersInTheirInlineSpaceIsNone) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "a posted callback is an allocation of its own there, to be looked after";
#endif
  int left = 0;
  std::function<void()> turn = [&] {
    if (--left <= 0) return loop_->stop();
    loop_->add_callback([&] { turn(); });
    loop_->remove_timeout(loop_->call_later(std::chrono::hours(1), [&] { turn(); }));
    loop_->call_later(nanoseconds(0), [a = 1, b = 2.0] { static_cast<void>(a + b); });
  };
  const auto run_rounds = [&] {
    left = kRounds;
    loop_->add_callback([&] { turn(); });
    const uint64_t before = allocations();
    EXPECT_TRUE(loop_->start().ok());
    return allocations() - before;
  };
  run_rounds();
  EXPECT_EQ(run_rounds(), 0u);
}

std::atomic<IOLoop*> g_signalled{nullptr};

TEST_P(LoopAllocation, OfAPostFromASignalHandlerIsNone) {
  struct sigaction action {
  }, former{};
  action.sa_handler = [](int) { g_signalled.load()->add_callback_from_signal([] {}); };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &former), 0);
  g_signalled = loop_.get();
  const uint64_t before = allocations();
  for (int i = 0; i < 100; ++i) ::raise(SIGUSR1);
  EXPECT_EQ(allocations(), before);
  ASSERT_EQ(::sigaction(SIGUSR1, &former, nullptr), 0);
  run_turns();
  EXPECT_GE(loop_->metrics().callbacks, 100u) << "none was refused";
}

TEST_P(LoopAllocation, OfAHandlersCallIsNone) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");  // stays readable
  int calls = 0;
  uint64_t before = 0, counted = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&](int, uint32_t) {
                        if (++calls == kRounds) before = allocations();
                        if (calls < 2 * kRounds) return;
                        counted = allocations() - before;
                        loop_->stop();
                      },
                      IOLoop::READ)
                  .ok());
  EXPECT_TRUE(loop_->start().ok());
  EXPECT_EQ(counted, 0u);
}

}  // namespace
}  // namespace gyre::testing
