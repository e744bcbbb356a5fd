// LoopThread, on every backend.

#include "gyre/threading/loop_thread.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/threading/thread_name.h"
#include "gyre/threading/cpu_affinity.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using ::testing::ElementsAre;

class LoopThreads : public ::testing::TestWithParam<Backend> {
 protected:
  std::unique_ptr<LoopThread> make_thread(std::string name = "one") {
    LoopThreadOptions options;
    options.name = std::move(name);
    options.backend = GetParam();
    absl::StatusOr<std::unique_ptr<LoopThread>> thread = LoopThread::create(std::move(options));
    EXPECT_TRUE(thread.ok()) << thread.status();
    return thread.ok() ? std::move(*thread) : nullptr;
  }

  LogCapture log_;
};
GYRE_FOR_EACH_BACKEND(LoopThreads);

TEST_P(LoopThreads, ALoopThreadRunsItsLoopOnReturn) {
  std::unique_ptr<LoopThread> thread = make_thread("worker");
  EXPECT_TRUE(thread->loop().running());
  EXPECT_FALSE(thread->loop().in_loop_thread());
  EXPECT_EQ(thread->loop().name(), "worker");
  EXPECT_EQ(thread->loop().backend(), GetParam());
  std::string name;
  IOLoop* current = nullptr;
  Event ran;
  EXPECT_TRUE(thread->loop().add_callback([&] {
    name = thread_name();
    current = IOLoop::current(false);
    ran.set();
  }));
  ASSERT_TRUE(ran.wait());
  EXPECT_EQ(name, "worker");
  EXPECT_EQ(current, &thread->loop());
  EXPECT_EQ(IOLoop::current(false), nullptr) << "the creating thread's current loop is not touched";
}

TEST_P(LoopThreads, ALoopThreadMayBeStoppedAndJoinedTwice) {
  std::unique_ptr<LoopThread> thread = make_thread();
  thread->stop();
  thread->stop();
  thread->join();
  thread->join();
  EXPECT_FALSE(thread->loop().running());
  thread->stop();
}

TEST_P(LoopThreads, ALoopThreadMayBeStoppedInItsOwnThread) {
  std::unique_ptr<LoopThread> thread = make_thread();
  thread->loop().add_callback([&] { thread->stop(); });
  thread->join();
  EXPECT_FALSE(thread->loop().running());
}

TEST_P(LoopThreads, ALoopThreadWhoseLoopIsStoppedByItselfSaysSo) {
  log_.expect(LogLevel::kWarning, "loop thread lonely ended");
  std::unique_ptr<LoopThread> thread = make_thread("lonely");
  thread->loop().stop();
  thread->join();
}

TEST_P(LoopThreads, ADestroyedLoopThreadDestroysWhatIsQueuedUnrun) {
  std::atomic<int> destroyed{0};
  Event blocked, go_on;
  {
    std::unique_ptr<LoopThread> thread = make_thread();
    thread->loop().add_callback([&, t = thread.get()] {
      blocked.set();
      EXPECT_TRUE(go_on.wait());
      t->stop();
      t->loop().add_callback(
          [n = OnDestroy([&] { ++destroyed; })] { ADD_FAILURE() << "ran after stop"; });
      t->loop().call_later(hours(1), [n = OnDestroy([&] { ++destroyed; })] {});
    });
    ASSERT_TRUE(blocked.wait());
    go_on.set();
  }
  EXPECT_EQ(destroyed, 2);
}

TEST_P(LoopThreads, ALoopThreadBoundToACpuRunsThere) {
  const std::vector<int> cpus = affinity_mask();
  if (cpus.empty()) GTEST_SKIP() << "threads cannot be bound on this platform";
  LoopThreadOptions options;
  options.backend = GetParam();
  options.cpu = cpus.back();
  auto thread = LoopThread::create(options);
  ASSERT_TRUE(thread.ok()) << thread.status();
  std::vector<int> bound;
  Event ran;
  (*thread)->loop().add_callback([&] {
    bound = affinity_mask();
    ran.set();
  });
  ASSERT_TRUE(ran.wait());
  EXPECT_THAT(bound, ElementsAre(cpus.back()));
  options.cpu = -1;
  EXPECT_EQ(LoopThread::create(options).status().code(), StatusCode::kInvalidArgument);
}

TEST(LoopThreadDeathTest, ALoopThreadThatJoinsItself) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto thread = LoopThread::create().value();
        Event never;
        thread->loop().add_callback([&] { thread->join(); });
        static_cast<void>(never.wait());
      },
      "loop \"gyre\" joins itself");
}

}  // namespace
}  // namespace gyre::testing
