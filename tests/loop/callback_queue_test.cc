// CallbackQueue and SignalSlots.

#include "gyre/loop/callback_queue.h"

#include <atomic>
#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/signal_slots.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::internal {
namespace {

using ::testing::ElementsAre;
using testing::Event;
using ::testing::IsEmpty;
using testing::OnDestroy;

class CountingWaker final : public Waker {
 public:
  void wake() noexcept override {
    errno = EIO;  // as a failed write would leave it
    event_.set();
  }
  int wakes() { return event_.times(); }
  bool wait(int times) { return event_.wait(times); }

 private:
  Event event_;
};

// On the heap, here and below: AddressSanitizer's stack of gcc 12 does not align as the queue asks.
class CallbackQueueTest : public ::testing::Test {
 protected:
  ~CallbackQueueTest() override {
    queue_.close();
    CallbackQueue::set_running(nullptr);
  }

  bool post(std::string name) {
    return queue_.post(CallSite(), [this, name] { seen_.push_back(name); });
  }
  // Runs what is in the batch; gives how many.
  int run_batch() {
    NodeReleaser releaser;
    int count = 0;
    for (CallbackNode* node; (node = queue_.pop()) != nullptr; ++count) {
      node->run_and_destroy();
      queue_.release(node, releaser);
    }
    return count;
  }

  CountingWaker waker_;
  CallbackQueue queue_{waker_};
  std::vector<std::string> seen_;
};

TEST_F(CallbackQueueTest, ABatchIsWhatWasPostedBeforeItBegan) {
  post("a");
  post("b");
  EXPECT_TRUE(queue_.has_work());
  queue_.begin_batch();
  post("c");
  EXPECT_EQ(run_batch(), 2);
  EXPECT_THAT(seen_, ElementsAre("a", "b"));
  EXPECT_TRUE(queue_.has_work());
  queue_.begin_batch();
  EXPECT_EQ(run_batch(), 1);
  EXPECT_THAT(seen_, ElementsAre("a", "b", "c"));
  EXPECT_FALSE(queue_.has_work());
}

TEST_F(CallbackQueueTest, WhatIsLeftOfABatchStaysAtTheHeadOfTheNext) {
  post("a");
  post("b");
  queue_.begin_batch();
  NodeReleaser releaser;
  CallbackNode* first = queue_.pop();
  first->run_and_destroy();
  queue_.release(first, releaser);
  post("c");
  queue_.begin_batch();
  run_batch();
  EXPECT_THAT(seen_, ElementsAre("a", "b", "c"));
}

TEST_F(CallbackQueueTest, PostsOfTheRunningThreadKeepTheirPlaceAmongTheOthers) {
  CallbackQueue::set_running(&queue_);
  EXPECT_TRUE(queue_.running_here());
  post("local 1");
  std::thread([&] {
    EXPECT_FALSE(queue_.running_here());
    post("remote 1");
  }).join();
  post("local 2");
  std::thread([&] { post("remote 2"); }).join();
  queue_.begin_batch();
  run_batch();
  EXPECT_THAT(seen_, ElementsAre("local 1", "remote 1", "local 2", "remote 2"));
  EXPECT_EQ(waker_.wakes(), 0);
}

TEST_F(CallbackQueueTest, SaysThatItHasWorkWhereverThatIs) {
  CallbackQueue::set_running(&queue_);
  EXPECT_FALSE(queue_.has_work());
  post("local");
  EXPECT_TRUE(queue_.has_work());
  EXPECT_TRUE(queue_.prepare_to_sleep()) << "the loop looks at has_work() first";
  queue_.finish_sleep();
  queue_.begin_batch();
  EXPECT_TRUE(queue_.has_work());
  run_batch();
  EXPECT_FALSE(queue_.has_work());
  std::thread([&] { post("remote"); }).join();
  EXPECT_TRUE(queue_.has_work());
  EXPECT_FALSE(queue_.prepare_to_sleep());
}

TEST_F(CallbackQueueTest, APostEndsASleepWithOneWakeUp) {
  ASSERT_TRUE(queue_.prepare_to_sleep());
  post("a");
  post("b");
  EXPECT_EQ(waker_.wakes(), 1);
  EXPECT_TRUE(queue_.finish_sleep());
  queue_.begin_batch();
  EXPECT_EQ(run_batch(), 2);
  ASSERT_TRUE(queue_.prepare_to_sleep());
  EXPECT_FALSE(queue_.finish_sleep()) << "nobody ended it";
  EXPECT_EQ(waker_.wakes(), 1);
}

TEST_F(CallbackQueueTest, AStopStaysUntilItIsTakenBack) {
  EXPECT_FALSE(queue_.stop_requested());
  queue_.request_stop();
  EXPECT_TRUE(queue_.stop_requested());
  post("a");
  queue_.begin_batch();
  EXPECT_TRUE(queue_.stop_requested());
  queue_.clear_stop();
  EXPECT_FALSE(queue_.stop_requested());
  EXPECT_EQ(run_batch(), 1);
  post("b");
  queue_.request_stop();
  queue_.clear_stop();
  EXPECT_FALSE(queue_.stop_requested());
  queue_.begin_batch();
  EXPECT_EQ(run_batch(), 1) << "taking back a stop loses no post";
}

TEST_F(CallbackQueueTest, AStopEndsASleep) {
  ASSERT_TRUE(queue_.prepare_to_sleep());
  queue_.request_stop();
  EXPECT_EQ(waker_.wakes(), 1);
  EXPECT_TRUE(queue_.finish_sleep());
  EXPECT_TRUE(queue_.stop_requested());
}

TEST_F(CallbackQueueTest, CloseDestroysTheOldestFirstAndRefusesWhatTheirDestructorsPost) {
  auto tracked = [&](std::string name) {
    return [n = OnDestroy([this, name] {
              seen_.push_back(name);
              EXPECT_FALSE(post("posted by a destructor"));
            })] {};
  };
  queue_.post(CallSite(), tracked("left of the batch 1"));
  queue_.post(CallSite(), tracked("left of the batch 2"));
  queue_.begin_batch();
  CallbackQueue::set_running(&queue_);
  queue_.post(CallSite(), tracked("local"));
  CallbackQueue::set_running(nullptr);
  queue_.post(CallSite(), tracked("remote"));
  queue_.close();
  EXPECT_THAT(seen_, ElementsAre("left of the batch 1", "left of the batch 2", "local", "remote"));
  EXPECT_TRUE(queue_.closed());
  queue_.close();
  EXPECT_EQ(seen_.size(), 4u);
  queue_.request_stop();
  EXPECT_EQ(waker_.wakes(), 0);
}

TEST_F(CallbackQueueTest, ARefusedPostDestroysTheCallable) {
  queue_.close();
  EXPECT_FALSE(queue_.post(CallSite(), [n = OnDestroy([&] { seen_.push_back("destroyed"); })] {}));
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_F(CallbackQueueTest, CloseWaitsForTheWakeUpThatAProducerOwes) {
  // Guards the waker, which the loop destroys after close: the producer that ended the last sleep
  // may be about to write its wake-up.
  class SlowWaker final : public Waker {
   public:
    void wake() noexcept override {
      entered.set();
      if (!let_go.wait()) ADD_FAILURE() << "never let go";
      written = true;
    }
    Event entered, let_go;
    std::atomic<bool> written{false};
  };
  SlowWaker waker;
  const auto owner = std::make_unique<CallbackQueue>(waker);
  CallbackQueue& queue = *owner;
  ASSERT_TRUE(queue.prepare_to_sleep());
  std::thread producer([&] { EXPECT_TRUE(queue.post(CallSite(), [] {})); });
  ASSERT_TRUE(waker.entered.wait());
  EXPECT_TRUE(queue.finish_sleep());
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    queue.close();
    closed = true;
    EXPECT_TRUE(waker.written) << "close returned before the wake-up was written";
  });
  while (!queue.closed()) std::this_thread::yield();
  EXPECT_FALSE(closed);
  waker.let_go.set();
  producer.join();
  closer.join();
}

TEST_F(CallbackQueueTest, ASignalsPostLeavesErrnoAlone) {
  ASSERT_TRUE(queue_.prepare_to_sleep());
  errno = EDOM;
  EXPECT_TRUE(queue_.post_from_signal([] {}));
  EXPECT_EQ(errno, EDOM);
  EXPECT_EQ(waker_.wakes(), 1);
  EXPECT_TRUE(queue_.finish_sleep());
  queue_.begin_batch();
  EXPECT_EQ(run_batch(), 1);
  ASSERT_TRUE(queue_.prepare_to_sleep());
  queue_.request_stop();
  EXPECT_EQ(errno, EDOM);
  EXPECT_EQ(waker_.wakes(), 2);
  queue_.finish_sleep();
}

TEST_F(CallbackQueueTest, ASignalsSlotIsFreeOnceItsNodeIsReleased) {
  size_t taken = 0;
  while (queue_.post_from_signal([] {})) ++taken;
  EXPECT_EQ(taken, SignalSlots::kSlots);
  queue_.begin_batch();
  NodeReleaser releaser;
  CallbackNode* node = queue_.pop();
  node->run_and_destroy();
  queue_.release(node, releaser);
  EXPECT_TRUE(queue_.post_from_signal([] {}));
  EXPECT_FALSE(queue_.post_from_signal([] {}));
  queue_.begin_batch();
  EXPECT_EQ(run_batch(), static_cast<int>(SignalSlots::kSlots));
}

TEST_F(CallbackQueueTest, AClosedQueueRefusesSignals) {
  queue_.close();
  errno = EDOM;
  EXPECT_FALSE(queue_.post_from_signal([] {}));
  EXPECT_EQ(errno, EDOM);
}

// ---- The bounded post

TEST_F(CallbackQueueTest, ABoundedPostIsRefusedAtTheLimitAndTheCallableStays) {
  const auto owner = std::make_unique<CallbackQueue>(waker_, /*limit=*/2);
  CallbackQueue& queue = *owner;
  auto callable = [text = std::string("kept where it is, since it is long")] {
    static_cast<void>(text);
  };
  EXPECT_TRUE(queue.try_post(CallSite(), [] {}));
  EXPECT_TRUE(queue.post(CallSite(), [] {})) << "an ordinary post does not count";
  EXPECT_TRUE(queue.try_post(CallSite(), [] {}));
  struct Movable {
    std::unique_ptr<int> value = std::make_unique<int>(1);
    void operator()() const {}
  } movable;
  EXPECT_FALSE(queue.try_post(CallSite(), std::move(movable)));
  EXPECT_NE(movable.value, nullptr) << "moved from, though it was refused";  // NOLINT
  EXPECT_TRUE(queue.post(CallSite(), callable));
  queue.begin_batch();
  EXPECT_EQ(queue.depth(), 4u);
  NodeReleaser releaser;
  while (CallbackNode* node = queue.pop()) {
    node->run_and_destroy();
    queue.release(node, releaser);
  }
  queue.finish_batch();
  EXPECT_TRUE(queue.try_post(CallSite(), std::move(movable))) << "there is room again";
  EXPECT_EQ(movable.value, nullptr);  // NOLINT
  EXPECT_TRUE(queue.try_post(CallSite(), [] {}));
  EXPECT_FALSE(queue.try_post(CallSite(), [] {}));
  queue.begin_batch();
  EXPECT_EQ(queue.depth(), 2u);
  EXPECT_EQ(queue.max_depth(), 4u);
  queue.close();
  EXPECT_FALSE(queue.try_post(CallSite(), [] {}));
}

TEST_F(CallbackQueueTest, ManyThreadsNeverExceedTheLimit) {
  constexpr size_t kLimit = 100;
  const auto owner = std::make_unique<CallbackQueue>(waker_, kLimit);
  CallbackQueue& queue = *owner;
  std::atomic<int> accepted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) accepted += queue.try_post(CallSite(), [] {});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(accepted, static_cast<int>(kLimit));
  EXPECT_GT(accepted, 0);
  queue.begin_batch();
  EXPECT_EQ(queue.depth(), static_cast<size_t>(accepted));
  queue.close();
}

// ---- SignalSlots

TEST(SignalSlots, AreDistinctAlignedAndLimited) {
  SignalSlots slots;
  std::set<void*> taken;
  while (void* slot = slots.take()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(slot) % 16, 0u);
    EXPECT_TRUE(taken.insert(slot).second);
  }
  EXPECT_EQ(taken.size(), SignalSlots::kSlots);
  for (void* slot : taken) slots.give(slot);
  std::set<void*> again;
  while (void* slot = slots.take()) again.insert(slot);
  EXPECT_EQ(again, taken);
}

TEST(SignalSlots, ManyThreadsNeverShareASlot) {
  SignalSlots slots;
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int t = 1; t <= 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 3000; ++i) {
        std::vector<int*> mine;
        for (int n = 0; n < 90; ++n) {
          if (auto* slot = static_cast<int*>(slots.take())) mine.push_back(slot);
          if (!mine.empty()) *mine.back() = t;
        }
        for (int* slot : mine) {
          shared += *slot != t;
          slots.give(slot);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared, 0);
}

}  // namespace
}  // namespace gyre::internal
