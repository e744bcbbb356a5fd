// The conformance of every backend: what may be posted, how it is called and destroyed, and that it
// is counted.

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/io_loop_callbacks_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;

TEST_P(IOLoopCallbacks, GetTheirArgumentsDecayedAndAsRvalues) {
  int lvalue = 1;
  const std::string text = "copied";
  char array[] = "array";
  loop_->add_callback(
      [&](std::unique_ptr<int> owned) { seen_.push_back("owned " + std::to_string(*owned)); },
      std::make_unique<int>(7));
  loop_->add_callback([&](std::string&& s) { seen_.push_back(s); }, text);
  loop_->add_callback([&](const char* s) { seen_.push_back(s); }, array);
  loop_->add_callback([](int& i) { i = 2; }, std::ref(lvalue));
  loop_->add_callback([&](int i) { seen_.push_back(std::to_string(i)); }, lvalue);  // copied now
  run_turns();
  EXPECT_EQ(lvalue, 2);
  EXPECT_THAT(seen_, ElementsAre("owned 7", "copied", "array", "1"));
}

template <class F, class... A>
concept AddCallbackCompiles = requires(IOLoop& loop, F f, A... a) {
  loop.add_callback(f, a...);
};

TEST_P(IOLoopCallbacks, ThatCannotBeCalledWithRvaluesOrReturnATaskDoNotCompile) {
  static_assert(!AddCallbackCompiles<void (*)(int&), int>, "an argument is passed as an rvalue");
  static_assert(AddCallbackCompiles<void (*)(int&), std::reference_wrapper<int>>);
  static_assert(AddCallbackCompiles<void (*)(int&&), int>);
  static_assert(!AddCallbackCompiles<Task<int> (*)()>, "nobody would run the Task");
  static_assert(!AddCallbackCompiles<Task<> (*)(int), int>);
  static_assert(AddCallbackCompiles<Future<int> (*)()>);
}

struct Member {
  int value = 0;
  void set(int to) { value = to; }
};

TEST_P(IOLoopCallbacks, MayBeMemberFunctions) {
  Member member;
  auto shared = std::make_shared<Member>();
  loop_->add_callback(&Member::set, &member, 3);
  loop_->add_callback(&Member::set, shared, 4);
  run_turns();
  EXPECT_EQ(member.value, 3);
  EXPECT_EQ(shared->value, 4);
}

TEST_P(IOLoopCallbacks, AreCalledOnceAsAnRvalue) {
  struct Counted {
    int* lvalue_calls;
    int* rvalue_calls;
    void operator()() & { ++*lvalue_calls; }
    void operator()() && { ++*rvalue_calls; }
  };
  int lvalue_calls = 0, rvalue_calls = 0;
  loop_->add_callback(Counted{&lvalue_calls, &rvalue_calls});
  loop_->call_later(milliseconds(0), Counted{&lvalue_calls, &rvalue_calls});
  loop_->spawn_callback(Counted{&lvalue_calls, &rvalue_calls});
  run_turns(2);
  EXPECT_EQ(lvalue_calls, 0);
  EXPECT_EQ(rvalue_calls, 3);
}

TEST_P(IOLoopCallbacks, MayBeOfAnySizeAndAlignment) {
  struct alignas(64) Wide {
    int value = 5;
  };
  std::array<int, 1000> large{};
  large[999] = 6;
  int sum = 0;
  uintptr_t misaligned = 1;
  loop_->add_callback([&sum, large] { sum += large[999]; });
  loop_->add_callback([&sum, &misaligned, wide = Wide()] {
    misaligned = reinterpret_cast<uintptr_t>(&wide) % 64;
    sum += wide.value;
  });
  for (size_t unused = 0; unused < 2; ++unused) {
    loop_->add_callback([&sum, a = std::array<char, 40>{1}] { sum += a[0]; });
    loop_->add_callback([&sum, a = std::array<char, 41>{1}] { sum += a[0]; });
  }
  run_turns();
  EXPECT_EQ(sum, 15);
  EXPECT_EQ(misaligned, 0u);
}

TEST_P(IOLoopCallbacks, AreDestroyedOnTheLoopsThreadRightAfterTheyRan) {
  std::thread::id destroyed_by;
  std::thread([&] {
    OnDestroy notice([&] {
      destroyed_by = std::this_thread::get_id();
      seen_.push_back("destroyed");
    });
    loop_->add_callback([&, notice = std::move(notice)] { seen_.push_back("ran"); });
  }).join();
  loop_->add_callback([&] { seen_.push_back("next"); });
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("ran", "destroyed", "next"));
  EXPECT_EQ(destroyed_by, std::this_thread::get_id());
}

TEST_P(IOLoopCallbacks, LargeOnesAndArgumentsAreDestroyedRightAfterTheyRanToo) {
  auto notice = [&](const char* what) {
    return OnDestroy([this, what] { seen_.push_back(what); });
  };
  loop_->add_callback([large = std::array<char, 500>(), n = notice("large destroyed")] {
    static_cast<void>(large);
  });
  loop_->add_callback([](const OnDestroy&) {}, notice("argument destroyed"));
  loop_->add_callback([&] { seen_.push_back("next"); });
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("large destroyed", "argument destroyed", "next"));
}

TEST_P(IOLoopCallbacks, MayPostInTheirDestructor) {
  loop_->add_callback([notice = OnDestroy([&] {
                         loop_->add_callback([&] {
                           seen_.push_back("posted by a destructor");
                           loop_->stop();
                         });
                       })] {});
  run();
  EXPECT_THAT(seen_, ElementsAre("posted by a destructor"));
}

TEST_P(IOLoopCallbacks, AreDestroyedBeforeAPostThatIsRefusedReturns) {
  ASSERT_TRUE(loop_->close().ok());
  auto notice = [&] { return OnDestroy([&] { seen_.push_back("destroyed"); }); };
  EXPECT_FALSE(loop_->add_callback([n = notice()] {}));
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
  EXPECT_FALSE(loop_->add_callback([](const OnDestroy&) {}, notice()));
  EXPECT_FALSE(loop_->spawn_callback([n = notice()] {}));
  EXPECT_THAT(seen_, ElementsAre("destroyed", "destroyed", "destroyed"));
}

TEST_P(IOLoopCallbacks, MayReturnAnythingAndTheLoopDoesNotSpin) {
  loop_->add_callback([] { return std::vector<int>(); });
  loop_->add_callback([] { return 1; });
  loop_->call_later(milliseconds(50), [&] { loop_->stop(); });
  run();
  EXPECT_LT(loop_->metrics().iterations, 10u);
}

TEST_P(IOLoopCallbacks, SpawnedFunctionsThatReturnNoTaskAreOrdinaryCallbacks) {
  loop_->add_callback([&] { seen_.push_back("a"); });
  EXPECT_TRUE(loop_->spawn_callback([&](std::string s) { seen_.push_back(s); }, "b"));
  EXPECT_TRUE(loop_->spawn_callback([&] { return 1; }));
  loop_->add_callback([&] { seen_.push_back("c"); });
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("a", "b", "c"));
}

TEST_P(IOLoopCallbacks, BoundedPostsAreRefusedAtTheLimitAndTakenAgainOnceOthersRan) {
  IOLoopOptions options;
  options.callback_limit = 3;
  options.time_slice = hours(1);
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  auto work = std::make_unique<int>(5);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(loop->try_add_callback([&] { seen_.push_back("bounded"); }));
  auto refused = [&, owned = std::move(work)] {
    seen_.push_back("refused " + std::to_string(*owned));
  };
  EXPECT_FALSE(loop->try_add_callback(std::move(refused)));
  EXPECT_TRUE(loop->add_callback([] {})) << "ordinary posts have no limit";
  run_turns(*loop, 1);
  EXPECT_THAT(seen_, ElementsAre("bounded", "bounded", "bounded"));
  EXPECT_TRUE(loop->try_add_callback(std::move(refused))) << "it was not moved from";
  EXPECT_TRUE(
      loop->try_add_callback([&](std::string s) { seen_.push_back(s); }, "with an argument"));
  run_turns(*loop, 1);
  EXPECT_EQ(seen_.size(), 5u);
  EXPECT_EQ(seen_[3], "refused 5");
  EXPECT_GE(loop->metrics().max_queue_depth, 4u);
  ASSERT_TRUE(loop->close().ok());
  EXPECT_FALSE(loop->try_add_callback([] {}));
}

TEST_P(IOLoopCallbacks, AreCounted) {
  for (int i = 0; i < 5; ++i) loop_->add_callback([] {});
  loop_->call_later(milliseconds(0), [] {});
  loop_->call_later(hours(1), [] {});
  loop_->add_callback([&] { loop_->stop(); });
  run();
  const LoopMetrics metrics = loop_->metrics();
  EXPECT_EQ(metrics.callbacks, 6u);
  EXPECT_EQ(metrics.timeouts, 1u);
  EXPECT_EQ(metrics.iterations, 1u);
  EXPECT_EQ(metrics.exceptions, 0u);
}

TEST_P(IOLoopCallbacks, ManyPostsWakeAtMostOncePerSleep) {
  LoopInThread thread(*loop_);
  Event done;
  std::vector<std::thread> producers;
  for (int t = 0; t < 3; ++t) {
    producers.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) loop_->add_callback([] {});
      loop_->add_callback([&] { done.set(); });
    });
  }
  EXPECT_TRUE(done.wait(3));
  for (std::thread& producer : producers) producer.join();
  thread.stop();
  const LoopMetrics metrics = loop_->metrics();
  EXPECT_GE(metrics.callbacks, 15003u);
  EXPECT_LE(metrics.wakeups, metrics.iterations);
}

}  // namespace
}  // namespace gyre::testing
