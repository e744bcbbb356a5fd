#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/timer_queue.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::internal {
namespace {

using std::chrono::nanoseconds;
using testing::OnDestroy;

SteadyTime at(int64_t t) { return SteadyTime(nanoseconds(t)); }

// Random operations beside a reference that is too simple to be wrong: a sorted map.
class TimerQueueModel {
 public:
  // `burst` timers are added at once, and up to 20 times as many run.
  TimerQueueModel(uint32_t seed, int burst) : random_(seed), burst_(burst), queue_(1, 64) {}

  void step() {
    switch (random_() % 10) {
      case 0:
      case 1:
      case 2:
      case 3:
        for (int i = 0; i < burst_; ++i) add();
        if (random_() % 8 == 0) run();
        break;
      case 4:
      case 5:
        for (int i = 0; i < burst_; ++i) cancel_live();
        break;
      case 6:
        cancel_dead();
        if (random_() % 2 == 0) put_off();
        break;
      case 7:
        now_ += random_() % 30;
        break;
      default:
        run();
        break;
    }
    ASSERT_EQ(queue_.size(), live_.size());
    ASSERT_EQ(queue_.empty(), live_.empty());
    if (live_.empty()) return;
    const SteadyTime earliest = at(live_.begin()->first.first);
    if (over_ || earliest > at(now_)) {
      ASSERT_EQ(queue_.next_deadline(), earliest);
    } else {
      ASSERT_LE(queue_.next_deadline(), at(now_));
    }
  }

  void finish() {
    now_ += 1000;
    run();
    EXPECT_TRUE(queue_.empty());
    EXPECT_EQ(destroyed_, added_);
  }

 private:
  using Key = std::pair<int64_t, uint64_t>;  // deadline, sequence

  void add() {
    // Few distinct deadlines, so that many are equal.
    const int64_t deadline = now_ - 20 + static_cast<int64_t>(random_() % 60);
    const int number = added_++;
    const TimerId id = queue_.add(
        at(deadline), CallSite(),
        [this, number, n = OnDestroy([this] { ++destroyed_; })] { ran_.push_back(number); });
    ASSERT_TRUE(live_.emplace(Key(deadline, id.sequence), std::pair(id, number)).second);
  }

  void cancel_live() {
    if (live_.empty()) return;
    auto victim = live_.begin();
    std::advance(victim, random_() % live_.size());
    const int destroyed_before = destroyed_;
    ASSERT_TRUE(queue_.cancel(victim->second.first));
    ASSERT_EQ(destroyed_, destroyed_before + 1);
    dead_.push_back(victim->second.first);
    live_.erase(victim);
  }

  void put_off() {
    for (int i = 0; i < burst_; ++i) {
      cancel_live();
      add();
    }
  }

  void cancel_dead() {
    if (!dead_.empty()) {
      ASSERT_FALSE(queue_.cancel(dead_[random_() % dead_.size()]));
    }
  }

  // Up to a limit, as a time slice would have it; those that are too new stay.
  void run() {
    before_ = std::max(before_, queue_.next_sequence() - random_() % 5);
    int limit = random_() % (20 * burst_);
    std::vector<int> expected;
    for (auto it = live_.begin(); it != live_.end() && it->first.first <= now_ && limit > 0;) {
      if (it->first.second >= before_) {
        ++it;
        continue;
      }
      expected.push_back(it->second.second);
      dead_.push_back(it->second.first);
      it = live_.erase(it);
      --limit;
    }
    ran_.clear();
    queue_.begin_batch(at(now_), before_);
    const auto run_one = [this] {
      return queue_.run_one([](CallbackNode* node, SteadyTime) { node->run_and_destroy(); });
    };
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_TRUE(run_one());
    over_ = limit > 0;
    if (over_) {
      ASSERT_FALSE(run_one());
    }
    ASSERT_EQ(ran_, expected);
  }

  std::minstd_rand random_;
  const int burst_;
  bool over_ = true;  // no batch was left unfinished
  TimerQueue queue_;
  uint64_t before_ = 0;
  int64_t now_ = 100;
  int added_ = 0, destroyed_ = 0;
  std::map<Key, std::pair<TimerId, int>> live_;
  std::vector<TimerId> dead_;
  std::vector<int> ran_;

 public:
  // Those that are too new or over the limit are run in the end.
  void drain() {
    while (!live_.empty() && !::testing::Test::HasFatalFailure()) {
      now_ += 100;
      run();
    }
  }
};

TEST(TimerQueueProperty, AgreesWithASortedMapOverRandomOperations) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const int burst = seed % 4 == 0 ? 50 : 1;  // so many that they are sorted, not popped
    TimerQueueModel model(seed, burst);
    for (int i = 0; i < 1500 / burst; ++i) {
      model.step();
      if (::testing::Test::HasFatalFailure()) return;
    }
    model.drain();
    model.finish();
  }
}

// Batches of so many that they are sorted in pieces, cut short, with timers that come later and
// with some that are due already when they are added.
TEST(TimerQueueProperty, AgreesWithASortedSetWhereBatchesOfThousandsAreCutShort) {
  for (const bool overlap : {false, true}) {
    std::minstd_rand random(11);
    TimerQueue queue;
    std::set<std::pair<int64_t, int>> expected;
    std::vector<int> ran;
    int64_t now = 0;
    int added = 0;
    const auto add = [&](int64_t from, int64_t to) {
      const int64_t deadline = from + static_cast<int64_t>(random() % (to - from));
      const int number = added++;
      queue.add(at(deadline), CallSite(), [&ran, number] { ran.push_back(number); });
      expected.emplace(deadline, number);
    };
    for (int i = 0; i < 60000; ++i) add(0, 1000000);
    now = 1000000;
    for (int round = 0; !expected.empty(); ++round) {
      SCOPED_TRACE(round);
      queue.begin_batch(at(now), queue.next_sequence());
      ran.clear();
      for (int i = 0; i < 3000 && !expected.empty(); ++i) {
        ASSERT_TRUE(queue.run_one([](CallbackNode* node, SteadyTime) { node->run_and_destroy(); }));
        ASSERT_EQ(ran.back(), expected.begin()->second);
        expected.erase(expected.begin());
      }
      ASSERT_EQ(queue.size(), expected.size());
      if (round >= 40) continue;
      for (int i = 0; i < 1000; ++i) add(now, now + 1000);
      for (int i = 0; overlap && i < 500; ++i) add(now / 2, now);
      now += 1000;
    }
  }
}

}  // namespace
}  // namespace gyre::internal
