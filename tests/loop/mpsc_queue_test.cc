#include "gyre/loop/mpsc_queue.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/event.h"

namespace gyre::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Item : MpscNode<> {
  int producer = 0;
  int value = 0;
};
using Queue = MpscQueue<>;

std::vector<int> values(const Queue::Batch& batch) {
  std::vector<int> result;
  const MpscNode<>* last = nullptr;
  for (MpscNode<>* node = batch.first; node != nullptr; node = node->next.get()) {
    result.push_back(static_cast<Item*>(node)->value);
    last = node;
  }
  EXPECT_EQ(batch.last, last);
  EXPECT_EQ(batch.count, result.size());
  return result;
}

// Counts the wake-ups.
struct CountingWaker {
  void wake() { event.set(); }
  testing::Event event;
};

class MpscQueueTest : public ::testing::Test {
 protected:
  bool push(int value) {
    items_.push_back(std::make_unique<Item>());
    items_.back()->value = value;
    return queue_.push(items_.back().get(), waker_);
  }
  void stop() { queue_.request_stop(waker_); }
  int wakes() { return waker_.event.times(); }

  std::vector<std::unique_ptr<Item>> items_;
  CountingWaker waker_;
  Queue queue_;
};

TEST_F(MpscQueueTest, HandsOutEverythingOldestFirst) {
  EXPECT_TRUE(queue_.empty_hint());
  for (int i : {1, 2, 3}) EXPECT_TRUE(push(i));
  EXPECT_FALSE(queue_.empty_hint());
  EXPECT_THAT(values(queue_.take_all()), ElementsAre(1, 2, 3));
  EXPECT_TRUE(queue_.empty_hint());
  EXPECT_THAT(values(queue_.take_all()), IsEmpty());
  push(4);
  EXPECT_THAT(values(queue_.take_all()), ElementsAre(4));
  EXPECT_EQ(wakes(), 0) << "nobody slept";
}

TEST_F(MpscQueueTest, ASleepFailsWhereAPushCameFirst) {
  push(1);
  EXPECT_FALSE(queue_.prepare_to_sleep());
  EXPECT_THAT(values(queue_.take_all()), ElementsAre(1));
  EXPECT_TRUE(queue_.prepare_to_sleep());
}

TEST_F(MpscQueueTest, TheFirstPushOfASleepWakesAndNoOther) {
  ASSERT_TRUE(queue_.prepare_to_sleep());
  EXPECT_TRUE(queue_.empty_hint()) << "asleep is not work";
  push(1);
  EXPECT_EQ(wakes(), 1);
  push(2);
  stop();
  EXPECT_EQ(wakes(), 1);
  const Queue::Batch batch = queue_.take_all(/*slept=*/true);
  EXPECT_TRUE(batch.woken);
  EXPECT_TRUE(batch.stop);
  EXPECT_THAT(values(batch), ElementsAre(1, 2));
  EXPECT_TRUE(queue_.all_wakes_sent());
  push(3);
  EXPECT_EQ(wakes(), 1) << "the consumer is awake";
}

TEST_F(MpscQueueTest, ASleepThatEndsByItselfIsNotWoken) {
  ASSERT_TRUE(queue_.prepare_to_sleep());
  EXPECT_FALSE(queue_.take_all(/*slept=*/true).woken);
  push(1);
  EXPECT_EQ(wakes(), 0);
  EXPECT_FALSE(queue_.take_all().woken);
  EXPECT_TRUE(queue_.all_wakes_sent());
}

TEST_F(MpscQueueTest, AStopKeepsFromSleepingAndStandsBesideNodes) {
  stop();
  stop();
  EXPECT_TRUE(queue_.hint().stop);
  EXPECT_FALSE(queue_.empty_hint());
  EXPECT_FALSE(queue_.prepare_to_sleep());
  push(1);
  EXPECT_TRUE(queue_.hint().stop);
  const Queue::Batch batch = queue_.take_all();
  EXPECT_TRUE(batch.stop);
  EXPECT_THAT(values(batch), ElementsAre(1));
  EXPECT_FALSE(queue_.hint().stop);
  EXPECT_FALSE(queue_.take_all().stop) << "reported once";
}

TEST_F(MpscQueueTest, AStopWakesTheSleeper) {
  ASSERT_TRUE(queue_.prepare_to_sleep());
  stop();
  EXPECT_EQ(wakes(), 1);
  push(1);
  EXPECT_EQ(wakes(), 1);
  const Queue::Batch batch = queue_.take_all(/*slept=*/true);
  EXPECT_TRUE(batch.woken);
  EXPECT_TRUE(batch.stop);
}

TEST_F(MpscQueueTest, AWakeUpCountsAsSentOnceItIsWritten) {
  // Guards the waker's end: until then a producer may be on its way to it.
  struct LookingWaker {
    void wake() { sent_before_it_is_written = queue->all_wakes_sent(); }
    Queue* queue;
    bool sent_before_it_is_written = true;
  } waker{&queue_};
  Item item;
  ASSERT_TRUE(queue_.prepare_to_sleep());
  struct TakingWaker {
    // The consumer wakes by itself at this very moment, and takes note of the sleep that was ended.
    void wake() {
      EXPECT_TRUE(queue->take_all(/*slept=*/true).woken);
      looking->wake();
    }
    Queue* queue;
    LookingWaker* looking;
  } taking{&queue_, &waker};
  EXPECT_TRUE(queue_.push(&item, taking));
  EXPECT_FALSE(waker.sent_before_it_is_written);
  EXPECT_TRUE(queue_.all_wakes_sent());
}

TEST_F(MpscQueueTest, ClosedRefusesEverything) {
  push(1);
  push(2);
  stop();
  EXPECT_FALSE(queue_.closed());
  EXPECT_THAT(values(queue_.close()), ElementsAre(1, 2));
  EXPECT_TRUE(queue_.closed());
  EXPECT_FALSE(push(3));
  stop();
  EXPECT_EQ(wakes(), 0);
}

TEST_F(MpscQueueTest, KeepsEachProducersOrderAndLosesNothingWithOneWakeUpPerSleep) {
  constexpr int kProducers = 3, kItems = 20000;
  std::vector<std::vector<Item>> items(kProducers, std::vector<Item>(kItems));
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kItems; ++i) {
        items[p][i].producer = p;
        items[p][i].value = i;
        queue_.push(&items[p][i], waker_);
      }
    });
  }
  std::vector<int> next(kProducers, 0);
  int total = 0, sleeps = 0;
  bool lost = false;
  while (total < kProducers * kItems && !lost) {
    Queue::Batch batch = queue_.take_all();
    if (batch.first == nullptr && queue_.prepare_to_sleep()) {
      lost = !waker_.event.wait(++sleeps);
      batch = queue_.take_all(/*slept=*/true);
      EXPECT_TRUE(batch.woken);
    }
    for (MpscNode<>* node = batch.first; node != nullptr; node = node->next.get(), ++total) {
      auto* item = static_cast<Item*>(node);
      EXPECT_EQ(item->value, next[item->producer]++);
    }
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_FALSE(lost) << "a wake-up was lost";
  EXPECT_EQ(wakes(), sleeps);
  EXPECT_TRUE(queue_.all_wakes_sent());
}

TEST_F(MpscQueueTest, APushThatRacesTheCloseIsHandedOutOrRefused) {
  for (int round = 0; round < 200; ++round) {
    const auto owner = std::make_unique<Queue>();
    Queue& queue = *owner;
    std::vector<Item> items(50);
    std::atomic<int> queued{0};
    std::thread producer([&] {
      for (Item& item : items) queued += queue.push(&item, waker_);
    });
    while (round % 3 != 0 && queued == 0) std::this_thread::yield();
    const size_t handed_out = queue.close().count;
    producer.join();
    EXPECT_EQ(handed_out, static_cast<size_t>(queued));
  }
}

}  // namespace
}  // namespace gyre::internal
