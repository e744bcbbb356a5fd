// SpinPolicy, and what a loop makes of it in a simulated kernel.

#include <chrono>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/spin_policy.h"
#include "gyre/tests/support/sim_poller.h"

namespace gyre::testing {
namespace {

using internal::SpinPolicy;
using ::testing::ElementsAre;
using namespace std::chrono_literals;

constexpr auto kLimit = 50us;

class SpinPolicyTest : public ::testing::Test {
 protected:
  // One wait: whether it began with a spin, which found something or slept for `slept`.
  bool wait(bool finds, SpinPolicy::Duration slept = 20us) {
    const bool spins = policy_.worth_it();
    if (spins) policy_.spun(finds ? 1us : kLimit, finds);
    policy_.waited(spins && finds ? 1us : (spins ? kLimit : 0us) + slept);
    return spins;
  }
  // How many waits until one begins with a spin, which is in vain.
  uint32_t skipped() {
    uint32_t count = 0;
    while (!wait(/*finds=*/false)) ++count;
    return count;
  }

  SpinPolicy policy_{kLimit};
};

TEST_F(SpinPolicyTest, WithoutALimitItNeverSpins) {
  SpinPolicy off(0ns);
  EXPECT_FALSE(off.worth_it());
}

TEST_F(SpinPolicyTest, TheLongestLimitAlwaysSpinsAndANegativeOneNever) {
  SpinPolicy always(SpinPolicy::Duration::max());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(always.worth_it());
    always.spun(1s, /*found=*/true);
    always.waited(1s);
  }
  EXPECT_FALSE(SpinPolicy(SpinPolicy::Duration::min()).worth_it());
}

TEST_F(SpinPolicyTest, AsLongAsItFindsSomethingItGoesOn) {
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(wait(/*finds=*/true));
}

TEST_F(SpinPolicyTest, FailuresInARowAreFartherAndFartherApart) {
  std::vector<uint32_t> gaps;
  for (int i = 0; i < 8; ++i) gaps.push_back(skipped());
  EXPECT_THAT(gaps, ElementsAre(0, 1, 8, 64, 512, 4096, SpinPolicy::kMostSkipped,
                                SpinPolicy::kMostSkipped));
}

TEST_F(SpinPolicyTest, OneSuccessForgetsTheFailures) {
  for (int i = 0; i < 4; ++i) skipped();
  while (!wait(/*finds=*/true)) {
  }
  EXPECT_EQ(skipped(), 0u);
  EXPECT_EQ(skipped(), 1u);
}

TEST_F(SpinPolicyTest, ASpinThatLostItsCpuCountsAsInVainWhateverItFound) {
  for (int i = 0; i < 4; ++i) skipped();
  while (!policy_.worth_it()) policy_.waited(20us);
  policy_.spun(4ms, /*found=*/true);
  policy_.waited(4ms);
  EXPECT_EQ(skipped(), 4096u);
}

TEST_F(SpinPolicyTest, WhereTheOtherThreadNeedsThisCpuSixSpinsInAHundredThousandWaitsAreMade) {
  int spins = 0;
  for (int i = 0; i < 16384; ++i) spins += wait(/*finds=*/false, 1us);
  EXPECT_EQ(spins, 6);
  for (int i = 0; i < 5 * 16384; ++i) spins += wait(/*finds=*/false, 1us);
  EXPECT_LE(spins, 6 + 5);
}

TEST_F(SpinPolicyTest, LongWaitsAreNotSpunForUntilTheyAreShortAgain) {
  for (int i = 0; i < 100; ++i) policy_.waited(10s);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(wait(/*finds=*/true, 10s)) << i;
  int until = 0;
  while (!wait(/*finds=*/true, 20us)) ASSERT_LT(++until, 50);
}

// ---- In a loop

class SpinTest : public ::testing::Test {
 protected:
  void SetUp() override {
    IOLoopOptions options;
    options.spin = kLimit;
    loop_ = make_simulated_loop(kernel_, std::move(options));
    ASSERT_NE(loop_, nullptr);
  }
  // The waits in which the loop slept.
  std::vector<std::chrono::nanoseconds> sleeps() const {
    std::vector<std::chrono::nanoseconds> sleeps;
    for (const auto timeout : kernel_.waits) {
      if (timeout != 0ns) sleeps.push_back(timeout);
    }
    return sleeps;
  }
  // Each poll of a spin takes 10 us.
  void poll_slowly(std::function<void(int poll, std::vector<Poller::Event>& events)> f = nullptr) {
    kernel_.during_wait = [this, f, polls = 0](std::vector<Poller::Event>& events, int&) mutable {
      kernel_.clock.advance(10us);
      if (f) f(++polls, events);
    };
  }

  SimKernel kernel_;
  std::unique_ptr<IOLoop> loop_;
};

TEST_F(SpinTest, APostThatComesInASpinWakesNobody) {
  poll_slowly([this](int poll, auto&) {
    if (poll == 3) std::thread([this] { loop_->add_callback([this] { loop_->stop(); }); }).join();
  });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_THAT(sleeps(), ElementsAre());
  EXPECT_EQ(kernel_.wakes, 0);
  EXPECT_EQ(loop_->metrics().spins, 1u);
  EXPECT_EQ(loop_->metrics().spins_won, 1u);
  EXPECT_EQ(loop_->metrics().wakeups, 0u);
}

TEST_F(SpinTest, AnEventThatASpinFindsIsHandled) {
  uint32_t seen = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      7,
                      [&](int, uint32_t events) {
                        seen = events;
                        loop_->stop();
                      },
                      IOLoop::READ)
                  .ok());
  poll_slowly([this](int poll, std::vector<Poller::Event>& events) {
    if (poll == 2) events.push_back({kernel_.tokens.at(7), IOLoop::READ});
  });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_EQ(seen, IOLoop::READ);
  EXPECT_THAT(sleeps(), ElementsAre());
}

TEST_F(SpinTest, AStopEndsASpin) {
  poll_slowly([this](int poll, auto&) {
    if (poll == 2) loop_->stop();
  });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_THAT(sleeps(), ElementsAre());
}

TEST_F(SpinTest, ATimeoutIsNotLateByTheSpinBeforeIt) {
  poll_slowly();
  const IOLoop::TimePoint due = loop_->time() + 200us;
  loop_->call_at(due, [&] {
    EXPECT_EQ(loop_->time(), due + 10us) << "but for what the last wait itself takes here";
    loop_->stop();
  });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_THAT(sleeps(), ElementsAre(150us));
}

TEST_F(SpinTest, ATimeoutThatIsNearIsNotSpunFor) {
  poll_slowly();
  loop_->call_later(kLimit, [this] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_EQ(loop_->metrics().spins, 0u);
}

TEST_F(SpinTest, AClockThatStandsStillDoesNotKeepTheLoopSpinning) {
  loop_->call_later(1s, [this] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_THAT(sleeps(), ElementsAre(1s));
}

// An acceptor's loop, or that of a main thread which waits for signals.
TEST_F(SpinTest, LoopsThatNeverSpinTakeNoCpuFromThoseThatDo) {
  std::vector<std::unique_ptr<IOLoop>> sleepers;
  std::vector<std::thread> threads;
  std::latch running(std::thread::hardware_concurrency() + 1);
  for (unsigned i = 0; i <= std::thread::hardware_concurrency(); ++i) {
    auto loop = IOLoop::create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    (*loop)->add_callback([&running] { running.count_down(); });
    threads.emplace_back([sleeper = loop->get()] { EXPECT_TRUE(sleeper->start().ok()); });
    sleepers.push_back(*std::move(loop));
  }
  running.wait();
  poll_slowly();
  loop_->call_later(1ms, [this] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_EQ(loop_->metrics().spins, 1u);
  for (auto& sleeper : sleepers) sleeper->stop();
  for (std::thread& thread : threads) thread.join();
}

TEST(SpinByDefault, IsOff) {
  SimKernel kernel;
  auto loop = make_simulated_loop(kernel);
  loop->call_later(1s, [&] { loop->stop(); });
  ASSERT_TRUE(loop->start().ok());
  EXPECT_THAT(kernel.waits, ElementsAre(1s));
  EXPECT_EQ(loop->metrics().spins, 0u);
}

}  // namespace
}  // namespace gyre::testing
