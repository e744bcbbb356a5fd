#include "gyre/loop/timer_queue.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::internal {
namespace {

using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::OnDestroy;

constexpr uint64_t kAnyTime = std::numeric_limits<uint64_t>::max();

SteadyTime at(int64_t t) { return SteadyTime(nanoseconds(t)); }

class TimerQueueTest : public ::testing::Test {
 protected:
  TimerId add(int64_t deadline, std::string name) {
    return queue_.add(at(deadline), CallSite(), [this, name] { seen_.push_back(name); });
  }
  // Runs what is due, as the loop does.
  int run(int64_t now, uint64_t before = kAnyTime) {
    int count = 0;
    queue_.begin_batch(at(now), before);
    while (run_one()) ++count;
    return count;
  }

  bool run_one() {
    return queue_.run_one([](CallbackNode* node, SteadyTime) { node->run_and_destroy(); });
  }

  TimerQueue queue_;
  std::vector<std::string> seen_;
};

TEST_F(TimerQueueTest, RunsByDeadlineAndThenInsertion) {
  add(3, "3");
  add(1, "1a");
  add(2, "2");
  add(1, "1b");
  EXPECT_EQ(queue_.size(), 4u);
  EXPECT_EQ(queue_.next_deadline(), at(1));
  EXPECT_EQ(run(2), 3);
  EXPECT_THAT(seen_, ElementsAre("1a", "1b", "2"));
  EXPECT_EQ(queue_.next_deadline(), at(3));
  EXPECT_EQ(run(2), 0);
  EXPECT_EQ(run(3), 1);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(TimerQueueTest, ThoseThatAreTooNewStayAndDoNotStandInTheWay) {
  const uint64_t begin = queue_.next_sequence();
  add(5, "old");
  const uint64_t before = queue_.next_sequence();
  TimerId removed = add(1, "new, removed");
  add(2, "new");
  EXPECT_GT(before, begin);
  EXPECT_EQ(run(10, before), 1);
  EXPECT_THAT(seen_, ElementsAre("old"));
  EXPECT_EQ(queue_.size(), 2u);
  EXPECT_TRUE(queue_.cancel(removed));
  EXPECT_EQ(run(10), 1);
  EXPECT_THAT(seen_, ElementsAre("old", "new"));
}

TEST_F(TimerQueueTest, OneThatIsInTheBatchMayBeCancelled) {
  add(1, "first");
  const TimerId cancelled = add(2, "cancelled");
  const TimerId last = add(3, "last");
  queue_.begin_batch(at(10), kAnyTime);
  EXPECT_EQ(queue_.size(), 3u) << "they are still timers of the queue";
  EXPECT_EQ(queue_.next_deadline(), at(1));
  ASSERT_TRUE(run_one());
  EXPECT_TRUE(queue_.cancel(cancelled));
  EXPECT_FALSE(queue_.cancel(cancelled));
  EXPECT_EQ(queue_.size(), 1u);
  EXPECT_LE(queue_.next_deadline(), at(3));
  ASSERT_TRUE(run_one());
  EXPECT_FALSE(queue_.cancel(last));
  EXPECT_FALSE(run_one());
  EXPECT_TRUE(queue_.empty());
  EXPECT_THAT(seen_, ElementsAre("first", "last"));
}

TEST_F(TimerQueueTest, WhatABatchLeftRunsWithTheNextInOrder) {
  add(1, "1");
  add(3, "3");
  add(5, "5");
  queue_.begin_batch(at(10), kAnyTime);
  ASSERT_TRUE(run_one());
  add(2, "2");
  add(4, "4");
  add(6, "6");
  EXPECT_EQ(queue_.next_deadline(), at(2)) << "of all, whether in the batch or not";
  EXPECT_EQ(run(10), 5);
  EXPECT_THAT(seen_, ElementsAre("1", "2", "3", "4", "5", "6"));
}

TEST_F(TimerQueueTest, ManyThatAreDueAtOnceRunInOrderAndTheOthersStay) {
  // Guards the way that sorts what is due instead of popping it.
  constexpr int kDue = 20000, kLater = 30000;
  std::minstd_rand random(3);
  std::vector<int> ran, expected;
  for (int i = 0; i < kDue + kLater; ++i) {
    const int deadline = i < kDue ? static_cast<int>(random() % 5000) : 10000 + i;
    queue_.add(at(deadline), CallSite(), [&ran, deadline] { ran.push_back(deadline); });
    expected.push_back(deadline);
  }
  const uint64_t before = queue_.next_sequence();
  queue_.add(at(0), CallSite(), [&ran] { ran.push_back(-1); });  // too new
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(run(5000, before), kDue);
  EXPECT_EQ(queue_.size(), size_t{kLater + 1});
  EXPECT_TRUE(std::equal(ran.begin(), ran.end(), expected.begin()));
  ran.clear();
  EXPECT_EQ(run(100000), kLater + 1);
  expected.erase(expected.begin(), expected.begin() + kDue);
  expected.insert(expected.begin(), -1);
  EXPECT_EQ(ran, expected);
}

TEST_F(TimerQueueTest, TheDestructorOfACancelledOneMayCancelTheFirstAndAddOthers) {
  // Guards the place of a cancelled timer in the heap, which the next that is added gets: it may
  // not become the first, nor be given twice.
  for (const bool adds : {false, true}) {
    TimerQueue queue;
    std::vector<int> ran;
    const auto add = [&](int deadline) {
      return queue.add(at(deadline), CallSite(), [&ran, deadline] { ran.push_back(deadline); });
    };
    const TimerId first = add(1);
    const TimerId victim = queue.add(at(2), CallSite(), [n = OnDestroy([&] {
                                                           EXPECT_EQ(queue.size(), 4u);
                                                           EXPECT_TRUE(queue.cancel(first));
                                                           if (adds) add(5), add(3);
                                                         })] {});
    const TimerId other = add(7);
    add(8);
    add(9);
    EXPECT_TRUE(queue.cancel(victim));
    EXPECT_FALSE(queue.cancel(victim));
    EXPECT_EQ(queue.next_deadline(), at(adds ? 3 : 7));
    add(4);
    EXPECT_EQ(queue.next_deadline(), at(adds ? 3 : 4));
    EXPECT_TRUE(queue.cancel(other));
    int sites = 0;
    queue.for_each([&](SteadyTime, CallSite) { ++sites; });
    EXPECT_EQ(queue.size(), adds ? 5u : 3u);
    EXPECT_EQ(sites, adds ? 5 : 3);
    queue.begin_batch(at(10), kAnyTime);
    while (queue.run_one([](CallbackNode* node, SteadyTime) { node->run_and_destroy(); })) {
    }
    EXPECT_THAT(ran, adds ? std::vector({3, 4, 5, 8, 9}) : std::vector({4, 8, 9}));
  }
}

TEST_F(TimerQueueTest, TheConstructorOfACallableMayAddAndCancelOthersAndThenThrow) {
  // The slot and the place in the heap that it is about to get are nobody else's meanwhile.
  struct Meddler {
    const std::function<void()>* when_copied;
    std::vector<std::string>* seen;
    Meddler(const std::function<void()>* when_copied, std::vector<std::string>* seen)
        : when_copied(when_copied), seen(seen) {}
    Meddler(const Meddler& other) : when_copied(other.when_copied), seen(other.seen) {
      (*when_copied)();
    }
    void operator()() const { seen->push_back("meddler"); }
  };
  for (const bool throws : {false, true}) {
    for (const bool vacated : {false, true}) {
      seen_.clear();
      const TimerId first = add(1, "first");
      add(9, "9");
      const TimerId other = add(8, "8");
      add(10, "10");
      if (vacated) {
        EXPECT_TRUE(queue_.cancel(other));
      }
      const std::function<void()> when_copied = [&] {
        const TimerId cancelled = add(6, "cancelled");
        add(7, "added");
        EXPECT_TRUE(queue_.cancel(cancelled));
        EXPECT_TRUE(queue_.cancel(first));
        if (throws) throw std::runtime_error("copied");
      };
      const Meddler meddler(&when_copied, &seen_);
      if (throws) {
        EXPECT_THROW(queue_.add(at(3), CallSite(), meddler), std::runtime_error);
      } else {
        queue_.add(at(3), CallSite(), meddler);
      }
      EXPECT_EQ(queue_.size(), 5u - (throws ? 1 : 0) - (vacated ? 1 : 0));
      EXPECT_EQ(queue_.next_deadline(), at(throws ? 7 : 3));
      std::vector<std::string> expected{"added", "9", "10"};
      if (!vacated) expected.insert(expected.begin() + 1, "8");
      if (!throws) expected.insert(expected.begin(), "meddler");
      EXPECT_EQ(run(100), static_cast<int>(expected.size()));
      EXPECT_EQ(seen_, expected);
    }
  }
}

TEST_F(TimerQueueTest, CancelDestroysAtOnceAndOnlyOnce) {
  const TimerId id =
      queue_.add(at(1), CallSite(), [n = OnDestroy([&] { seen_.push_back("destroyed"); })] {});
  EXPECT_TRUE(queue_.cancel(id));
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
  EXPECT_FALSE(queue_.cancel(id));
  EXPECT_FALSE(queue_.cancel({}));
  EXPECT_FALSE(queue_.cancel({12345, 99999}));
  EXPECT_EQ(run(10), 0);
}

TEST_F(TimerQueueTest, ATimerIsGoneFromTheQueueWhileItRuns) {
  TimerId self = queue_.add(at(1), CallSite(), [&] {
    EXPECT_FALSE(queue_.cancel(self));
    EXPECT_TRUE(queue_.empty());
    add(1, "added while it ran");
    seen_.push_back("ran");
  });
  EXPECT_EQ(run(1, queue_.next_sequence()), 1);
  EXPECT_EQ(queue_.size(), 1u);
  run(1);
  EXPECT_THAT(seen_, ElementsAre("ran", "added while it ran"));
}

TEST_F(TimerQueueTest, ACallableStaysWhereItIsWhileItAddsManyOthers) {
  // Guards the running callable against memory that moves.
  queue_.add(at(1), CallSite(), [this, text = std::string(100, 'x')] {
    for (int i = 0; i < 5000; ++i) add(2, "other");
    EXPECT_EQ(text, std::string(100, 'x'));
  });
  EXPECT_EQ(run(1), 1);
  EXPECT_EQ(queue_.size(), 5000u);
}

TEST_F(TimerQueueTest, AnOldIdDoesNotCancelTheTimerThatHasItsSlot) {
  const TimerId old = add(1, "old");
  EXPECT_TRUE(queue_.cancel(old));
  const TimerId fresh = add(1, "fresh");
  EXPECT_EQ(fresh.slot, old.slot) << "else this test shows nothing";
  EXPECT_FALSE(queue_.cancel(old));
  EXPECT_EQ(run(1), 1);
  EXPECT_FALSE(queue_.cancel(fresh));
  EXPECT_THAT(seen_, ElementsAre("fresh"));
}

TEST_F(TimerQueueTest, CallablesThatThrowGiveTheirSlotBack) {
  const TimerId id = queue_.add(at(1), CallSite(), [] { throw std::runtime_error("x"); });
  EXPECT_THROW(run(1), std::runtime_error);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(add(1, "next").slot, id.slot);
  struct ThrowsWhenCopied {
    ThrowsWhenCopied() = default;
    ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::runtime_error("copied"); }
    void operator()() const {}
  };
  const ThrowsWhenCopied callable;
  EXPECT_THROW(queue_.add(at(1), CallSite(), callable), std::runtime_error);
  EXPECT_EQ(queue_.size(), 1u);
  EXPECT_EQ(run(1), 1);
}

TEST_F(TimerQueueTest, ClearDestroysAllAndADestructorMayCancelOrAdd) {
  TimerId other = add(7, "other");
  queue_.add(at(1), CallSite(), [n = OnDestroy([&] {
                                   queue_.cancel(other);
                                   seen_.push_back("destroyed");
                                 })] {});
  const uint64_t before = queue_.next_sequence();
  queue_.add(at(1), CallSite(), [n = OnDestroy([&] { seen_.push_back("too new, destroyed"); })] {});
  queue_.begin_batch(at(10), before);
  queue_.clear();
  EXPECT_TRUE(queue_.empty());
  EXPECT_FALSE(run_one());
  EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("destroyed", "too new, destroyed"));
}

TEST_F(TimerQueueTest, LargeCallablesAndTheEndsOfTheClock) {
  std::array<char, 500> large{};
  large[499] = 'z';
  queue_.add(SteadyTime::max(), CallSite(),
             [this, large] { seen_.push_back(std::string(1, large[499])); });
  queue_.add(SteadyTime::min(), CallSite(), [this] { seen_.push_back("min"); });
  EXPECT_EQ(queue_.next_deadline(), SteadyTime::min());
  EXPECT_EQ(run(0), 1);
  EXPECT_EQ(queue_.next_deadline(), SteadyTime::max());
  EXPECT_EQ(run(std::numeric_limits<int64_t>::max()), 1);
  EXPECT_THAT(seen_, ElementsAre("min", "z"));
}

TEST(TimerQueueSequences, TwoLoopsNeverShareAnId) {
  std::set<uint64_t> firsts;
  for (int i = 0; i < 100; ++i) {
    const uint64_t first = first_timer_sequence();
    EXPECT_NE(first, 0u);
    EXPECT_TRUE(firsts.insert(first >> 40).second);
  }
}

}  // namespace
}  // namespace gyre::internal
