// Dumps of loops that run elsewhere, and of such that do not answer.

#include "gyre/threading/loop_dump.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Far more than a loop needs that works: a test that waits for it all fails.
constexpr auto kPatience = kDeadline;

class PoolDump : public ::testing::TestWithParam<Backend> {
 protected:
  PoolDump() {
    LoopPoolOptions options;
    options.threads = 2;
    options.name = "pool";
    options.backend = GetParam();
    pool_ = LoopPool::create(std::move(options)).value();
  }

  LogCapture log_;
  std::unique_ptr<LoopPool> pool_;
};
GYRE_FOR_EACH_BACKEND(PoolDump);

TEST_P(PoolDump, HasEveryLoopWithWhatIsOnIt) {
  Event set;
  pool_->loop(1).add_callback([&] {
    pool_->loop(1).call_later(hours(1), [] {});
    set.set();
  });
  ASSERT_TRUE(set.wait());
  const std::string text = pool_->dump(kPatience);
  EXPECT_THAT(text, AllOf(HasSubstr("loop \"pool-0\", "), HasSubstr("loop \"pool-1\", ")));
  EXPECT_LT(text.find("pool-0"), text.find("pool-1"));
  EXPECT_THAT(text, HasSubstr("runs until stop() is called; has 0 handlers, 1 timeout"));
  EXPECT_THAT(text, HasSubstr("set at tests/threading/loop_dump_test.cc:"));
  EXPECT_THAT(text, Not(HasSubstr("no answer")));
}

TEST_P(PoolDump, NamesALoopThatIsStuckAndWhereWhatItRunsWasPosted) {
  Event inside, go_on;
  const auto stuck = [&] {
    inside.set();
    EXPECT_TRUE(go_on.wait());
  };
  const int line = __LINE__ + 1;
  pool_->loop(0).add_callback(stuck);
  ASSERT_TRUE(inside.wait());
  const auto began = steady_clock::now();
  const std::string text = pool_->dump(milliseconds(50));
  EXPECT_GE(steady_clock::now() - began, milliseconds(50));
  EXPECT_LT(steady_clock::now() - began, kPatience) << "it does not wait for the loop";
  EXPECT_THAT(text, AllOf(HasSubstr("loop \"pool-0\" has not been in its poller for "),
                          HasSubstr("a callback, posted at tests/threading/loop_dump_test.cc:" +
                                    std::to_string(line) + "\n  no answer within 0.050 s\n")));
  go_on.set();
  EXPECT_THAT(pool_->dump(kPatience), Not(HasSubstr("no answer")));
}

TEST_P(PoolDump, OfAPoolThatHasEndedDoesNotWait) {
  pool_->stop();
  pool_->join();
  const auto began = steady_clock::now();
  EXPECT_EQ(pool_->dump(kPatience), "loop \"pool-0\" does not run\nloop \"pool-1\" does not run\n");
  EXPECT_LT(steady_clock::now() - began, kPatience);
}

TEST_P(PoolDump, ALoopThatStopsInsteadOfAnsweringIsNotWaitedFor) {
  Event inside, go_on;
  pool_->loop(0).add_callback([&] {
    inside.set();
    EXPECT_TRUE(go_on.wait());
  });
  ASSERT_TRUE(inside.wait());
  // Stopped in the callback, the loop never comes to what is posted from now on.
  log_.expect(LogLevel::kWarning, "stopped by itself");
  std::thread stopper([&] {
    pool_->loop(0).stop();
    go_on.set();
  });
  const std::string text = pool_->dump(kPatience);
  stopper.join();
  EXPECT_THAT(text,
              AllOf(HasSubstr("loop \"pool-0\" does not run\n"), HasSubstr("loop \"pool-1\", ")));
}

TEST_P(PoolDump, OnAThreadOfThePoolHasItsOwnLoopToo) {
  Event done;
  std::string text;
  pool_->loop(0).add_callback([&] {
    text = pool_->dump(kPatience);
    done.set();
  });
  ASSERT_TRUE(done.wait());
  EXPECT_THAT(text, AllOf(HasSubstr("loop \"pool-0\", "), HasSubstr("loop \"pool-1\", "),
                          Not(HasSubstr("no answer"))));
}

TEST_P(PoolDump, LoopsThatDumpEachOtherAtTheSameTimeEnd) {
  Event done;
  for (size_t i = 0; i < 2; ++i) {
    pool_->loop(i).add_callback([&] {
      static_cast<void>(pool_->dump(milliseconds(50)));
      done.set();
    });
  }
  EXPECT_TRUE(done.wait(2));
}

TEST_P(PoolDump, OfLoopsThatWereNeverStartedOrAreClosed) {
  IOLoopOptions options;
  options.backend = GetParam();
  options.make_current = false;
  options.name = "idle";
  const std::unique_ptr<IOLoop> idle = IOLoop::create(options).value();
  options.name = "closed";
  const std::unique_ptr<IOLoop> closed = IOLoop::create(options).value();
  ASSERT_TRUE(closed->close().ok());
  IOLoop* const loops[] = {idle.get(), closed.get()};
  EXPECT_EQ(dump_loops(loops, kPatience),
            "loop \"idle\" does not run\nloop \"closed\" is closed\n");
  EXPECT_EQ(dump_loops({}, kPatience), "");
}

TEST_P(PoolDump, WhileTheLoopsWorkIsNoRace) {
  std::atomic<bool> over{false};
  std::thread poster([&] {
    while (!over) {
      pool_->for_each([](IOLoop& loop) { loop.call_later(milliseconds(1), [] {}); });
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(pool_->dump(kPatience), HasSubstr("loop \"pool-1\""));
    for (size_t loop = 0; loop < 2; ++loop) pool_->loop(loop).metrics();
  }
  over = true;
  poster.join();
}

}  // namespace
}  // namespace gyre::testing
