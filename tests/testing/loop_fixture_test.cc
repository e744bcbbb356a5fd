// The kit for tests, used as its user would.

#include "gyre/testing/loop_fixture.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/loop/task.h"
#include "gyre/testing/inline_executor.h"
#include "gyre/testing/simulated_kernel.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SimulatedLoop, ADayTakesNoTime) {
  LoopFixture fixture;
  const IOLoop::TimePoint begin = fixture.loop().time();
  int ticks = 0;
  PeriodicCallback periodic(
      fixture.loop(), [&] { ++ticks; }, hours(1));
  periodic.start();
  EXPECT_TRUE(fixture.run_for(hours(24)).ok());
  EXPECT_EQ(ticks, 24);
  EXPECT_EQ(fixture.loop().time() - begin, hours(24)) << "not a nanosecond more";
}

TEST(SimulatedLoop, RunUntilStopsAsSoonAsTheConditionIsTrue) {
  LoopFixture fixture;
  const IOLoop::TimePoint begin = fixture.loop().time();
  bool done = false;
  fixture.loop().call_later(hours(1), [&] { done = true; });
  fixture.loop().call_later(hours(2), [] { FAIL() << "the condition was true before"; });
  EXPECT_TRUE(fixture.run_until([&] { return done; }, hours(3)).ok());
  EXPECT_EQ(fixture.loop().time() - begin, hours(1));
}

TEST(SimulatedLoop, RunUntilSaysThatItsTimeIsOver) {
  LoopFixture fixture;
  PeriodicCallback periodic(
      fixture.loop(), [] {}, milliseconds(300));
  periodic.start();
  const absl::Status status = fixture.run_until([] { return false; }, milliseconds(1000));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_TRUE(fixture.run_for(milliseconds(1)).ok()) << "it may be run again";
}

TEST(SimulatedLoop, RunUntilSaysThatNothingCanHappenAnyMore) {
  LoopFixture fixture;
  fixture.loop().call_later(hours(1), [] {});
  const absl::Status status = fixture.run_until([] { return false; }, hours(100));
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(status.message(), HasSubstr("nothing is left to happen"));
}

TEST(SimulatedLoop, RunUntilIdleLeavesTheFutureAlone) {
  LoopFixture fixture;
  std::vector<std::string> seen;
  fixture.loop().add_callback([&] {
    seen.push_back("first");
    fixture.loop().add_callback([&] { seen.push_back("second"); });
  });
  fixture.loop().call_later(nanoseconds(1), [&] { seen.push_back("later"); });
  EXPECT_TRUE(fixture.run_until_idle().ok());
  EXPECT_THAT(seen, ElementsAre("first", "second"));
}

TEST(SimulatedLoop, SomebodyElsesStopIsNotTheCondition) {
  LoopFixture fixture;
  fixture.loop().add_callback([&] { fixture.loop().stop(); });
  EXPECT_EQ(fixture.run_until([] { return false; }).code(), StatusCode::kCancelled);
}

TEST(SimulatedLoop, VirtualFdsAreReadyWhenTheTestSaysSo) {
  LoopFixture fixture;
  SimulatedKernel& kernel = fixture.kernel();
  const int fd = kernel.open();
  std::vector<uint32_t> seen;
  ASSERT_TRUE(fixture.loop()
                  .add_handler(
                      fd,
                      [&](int ready, uint32_t events) {
                        EXPECT_EQ(ready, fd);
                        seen.push_back(events);
                        if (seen.size() == 3) kernel.set_ready(fd, IOLoop::NONE);
                      },
                      IOLoop::READ)
                  .ok());
  EXPECT_EQ(kernel.watched(fd), IOLoop::READ);
  fixture.loop().call_later(hours(1), [&] { kernel.set_ready(fd, IOLoop::READ | IOLoop::WRITE); });
  EXPECT_TRUE(fixture.run_for(hours(2)).ok());
  EXPECT_THAT(seen, ElementsAre(IOLoop::READ, IOLoop::READ, IOLoop::READ)) << "level-triggered";
  ASSERT_TRUE(fixture.loop().remove_handler(fd).ok());
  EXPECT_EQ(kernel.watched(fd), std::nullopt);
}

TEST(SimulatedLoop, RealFdsAreRefusedByName) {
  LoopFixture fixture;
  const absl::Status status = fixture.loop().add_handler(
      0, [](int, uint32_t) {}, IOLoop::READ);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("fd 0 is not open in the simulated kernel"));
}

TEST(SimulatedLoop, MoreFdsThanAWaitReportsAllHaveTheirTurn) {
  LoopFixture fixture;
  constexpr int kFds = 3 * Poller::kMaxEventsPerWait + 7;
  std::vector<int> served(kFds);
  for (int i = 0; i < kFds; ++i) {
    const int fd = fixture.kernel().open();
    fixture.kernel().set_ready(fd, IOLoop::READ);
    ASSERT_TRUE(fixture.loop()
                    .add_handler(
                        fd, [&, i](int, uint32_t) { ++served[i]; }, IOLoop::READ)
                    .ok());
  }
  int turns = 0;
  EXPECT_TRUE(fixture.run_until([&] { return ++turns > 8; }).ok());
  EXPECT_THAT(served, ::testing::Each(::testing::Ge(2)));
}

TEST(SimulatedLoop, FailuresOfTheKernelReachTheCaller) {
  LoopFixture fixture;
  fixture.kernel().add_status = absl::ResourceExhaustedError("no watches left");
  EXPECT_EQ(fixture.loop()
                .add_handler(
                    fixture.kernel().open(), [](int, uint32_t) {}, 1)
                .code(),
            StatusCode::kResourceExhausted);
  fixture.kernel().during_wait = [](auto&, int& error) { error = EBADF; };
  EXPECT_FALSE(fixture.run_for(hours(1)).ok());
}

TEST(SimulatedLoop, ALoopThatWouldSleepForEverFailsInsteadOfHanging) {
  SimulatedKernel kernel;
  std::unique_ptr<IOLoop> loop = *IOLoop::create(kernel.options());
  EXPECT_FALSE(loop->start().ok());
}

TEST(SimulatedLoop, AWakeUpBetweenTwoWaitsEndsTheNextOneOnly) {
  // Guards a post from another thread that comes when the loop counts as asleep, and waits not yet.
  SimulatedKernel kernel;
  absl::StatusOr<std::unique_ptr<Poller>> poller = kernel.options().poller_factory();
  ASSERT_TRUE(poller.ok());
  (*poller)->wake();
  const Poller::WaitResult woken = (*poller)->wait(nanoseconds(-1));
  EXPECT_TRUE(woken.woken);
  EXPECT_EQ(woken.error, 0);
  const Poller::WaitResult asleep = (*poller)->wait(nanoseconds(-1));
  EXPECT_FALSE(asleep.woken);
  EXPECT_EQ(asleep.error, EDEADLK);
}

TEST(SimulatedLoop, ARunInsideARunIsRefusedAndTheOuterOneEndsAsItWould) {
  LoopFixture fixture;
  absl::Status inner;
  fixture.loop().add_callback([&] { inner = fixture.run_for(hours(1)); });
  const absl::Status outer = fixture.run_until([&] { return !inner.ok(); }, hours(2));
  EXPECT_EQ(inner.code(), StatusCode::kFailedPrecondition) << inner;
  EXPECT_TRUE(outer.ok()) << outer;
}

TEST(SimulatedLoop, TheLongestLimitIsNone) {
  LoopFixture fixture;
  bool done = false;
  fixture.loop().call_later(hours(1), [&] { done = true; });
  EXPECT_TRUE(fixture.run_until([&] { return done; }, IOLoop::Duration::max()).ok());
}

TEST(SimulatedLoop, TheInlineExecutorsWorkIsDoneInNoTime) {
  LoopFixture fixture;
  InlineExecutor executor;
  fixture.loop().set_default_executor(&executor);
  int result = 0;
  fixture.loop().spawn_callback(
      [&]() -> Task<> { result = co_await fixture.loop().run_in_executor([] { return 42; }); });
  EXPECT_TRUE(fixture.run_until_idle().ok());
  EXPECT_EQ(result, 42);
}

// The same fixture in real time.
class RealLoop : public ::testing::TestWithParam<Backend> {
 protected:
  LoopFixture fixture_{{.backend = GetParam()}};
};

INSTANTIATE_TEST_SUITE_P(Backends, RealLoop, ::testing::ValuesIn(all_backends()),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST_P(RealLoop, SeesAConditionThatAnotherThreadMakesTrue) {
  std::atomic<bool> done = false;
  std::thread thread([&] { done = true; });
  EXPECT_TRUE(fixture_.run_until([&] { return done.load(); }).ok());
  thread.join();
}

TEST_P(RealLoop, ThereIsALimitToItsPatience) {
  EXPECT_EQ(fixture_.run_until([] { return false; }, milliseconds(20)).code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_EQ(fixture_.loop().backend(), GetParam());
}

TEST_P(RealLoop, RunsForAsLongAsItIsTold) {
  const IOLoop::TimePoint begin = fixture_.loop().time();
  EXPECT_TRUE(fixture_.run_for(milliseconds(10)).ok());
  EXPECT_GE(fixture_.loop().time() - begin, milliseconds(10));
}

TEST_P(RealLoop, IdleIsAfterTheLastCallback) {
  int left = 10;
  std::function<void()> again = [&] {
    if (--left > 0) fixture_.loop().add_callback(again);
  };
  fixture_.loop().add_callback(again);
  EXPECT_TRUE(fixture_.run_until_idle().ok());
  EXPECT_EQ(left, 0);
}

}  // namespace
}  // namespace gyre::testing
