// What the loop and its coroutines cost of the heap in steady state, on every backend. Every
// operator new of this program is counted.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>

#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/sync.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace {

// Of the test's own thread, so that what the watchdog does is not counted.
thread_local uint64_t allocations = 0;

void* allocate(size_t size, size_t alignment = alignof(std::max_align_t)) {
  ++allocations;
  // aligned_alloc(3) wants a multiple of the alignment.
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

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
                      const uint64_t before = allocations;
                      for (int i = 0; i < kRounds; ++i) co_await step();
                      counted = allocations - before;
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
    const uint64_t before = allocations;
    EXPECT_TRUE(loop_->start().ok());
    return allocations - before;
  };
  run_rounds();
  EXPECT_EQ(run_rounds(), 0u);
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
                        if (++calls == kRounds) before = allocations;
                        if (calls < 2 * kRounds) return;
                        counted = allocations - before;
                        loop_->stop();
                      },
                      IOLoop::READ)
                  .ok());
  EXPECT_TRUE(loop_->start().ok());
  EXPECT_EQ(counted, 0u);
}

}  // namespace
}  // namespace gyre::testing
