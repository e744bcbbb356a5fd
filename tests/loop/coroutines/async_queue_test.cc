// The queue between coroutines of one loop: in the order of arrival, and no item is lost with who
// is destroyed while it waits.

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/sync.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/loop/coroutines/sync_fixture.h"

namespace gyre::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_P(Sync, AQueueGivesFirstInFirstOut) {
  Queue<int> queue;
  run_task([&]() -> Task<> {
    for (int i = 0; i < 5; ++i) co_await queue.put(i);
    EXPECT_EQ(queue.size(), 5u);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(co_await queue.get(), i);
    EXPECT_EQ(queue.size(), 0u);
  });
}

TEST_P(Sync, ThoseThatWaitForItemsAreServedInOrderAndNobodyOvertakes) {
  Queue<int> queue;
  auto getter = [&](std::string name) -> Task<> {
    const int item = co_await queue.get();
    saw(name + std::to_string(item));
  };
  run_task([&]() -> Task<> {
    for (const char* name : {"a", "b", "c"}) loop_->spawn_callback(getter, std::string(name));
    co_await turns();
    for (int i = 1; i <= 3; ++i) EXPECT_TRUE(queue.try_put(i));
    EXPECT_EQ(queue.size(), 0u);
    EXPECT_FALSE(queue.try_get().has_value()) << "the items are spoken for";
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("a1", "b2", "c3"));
  });
}

TEST_P(Sync, AFullQueueMakesPutWaitAndTryPutFail) {
  Queue<int> queue(2);
  auto putter = [&](int item) -> Task<> {
    co_await queue.put(item);
    saw("put " + std::to_string(item));
  };
  run_task([&]() -> Task<> {
    EXPECT_TRUE(queue.try_put(1));
    EXPECT_TRUE(queue.try_put(2));
    EXPECT_FALSE(queue.try_put(99));
    loop_->spawn_callback(putter, 3);
    loop_->spawn_callback(putter, 4);
    co_await turns();
    EXPECT_THAT(seen_, IsEmpty());
    EXPECT_EQ(queue.size(), 2u);
    EXPECT_EQ(queue.try_get(), 1);
    EXPECT_FALSE(queue.try_put(99)) << "3 waits for the room, and came first";
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("put 3"));
    for (int i = 2; i <= 4; ++i) EXPECT_EQ(co_await queue.get(), i);
    EXPECT_FALSE(queue.try_get().has_value());
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("put 3", "put 4"));
  });
}

TEST_P(Sync, AQueueTakesWhatCanOnlyBeMoved) {
  Queue<std::unique_ptr<int>> queue(1);
  run_task([&]() -> Task<> {
    loop_->spawn_callback([&]() -> Task<> {
      for (int i = 0; i < 3; ++i) co_await queue.put(std::make_unique<int>(i));
    });
    for (int i = 0; i < 3; ++i) {
      std::unique_ptr<int> item = co_await queue.get();
      EXPECT_EQ(*item, i);
    }
  });
}

TEST_P(Sync, WhoIsDestroyedWhileItWaitsForAnItemTakesNone) {
  Queue<int> queue;
  CancellationSource source;
  run_task([&]() -> Task<> {
    spawn_cancellable(source, [&]() -> Task<> { saw(std::to_string(co_await queue.get())); });
    co_await turns();
    source.cancel();
    co_await turns();
    EXPECT_TRUE(queue.try_put(1));
    EXPECT_EQ(queue.size(), 1u);
    EXPECT_EQ(co_await queue.get(), 1);
    EXPECT_THAT(seen_, IsEmpty());
  });
}

TEST_P(Sync, AnItemOfOneThatIsDestroyedBeforeItWentOnIsNotLost) {
  Queue<int> queue;
  run_task([&]() -> Task<> {
    for (bool another : {true, false}) {
      CancellationSource source;
      spawn_cancellable(source, [&]() -> Task<> {
        static_cast<void>(co_await queue.get());
        saw("cancelled one");
      });
      if (another) {
        loop_->spawn_callback(
            [&]() -> Task<> { saw("next: " + std::to_string(co_await queue.get())); });
      }
      co_await turns();
      source.cancel();  // its end is on its way before the item is
      EXPECT_TRUE(queue.try_put(7));
      co_await turns();
      if (!another) {
        EXPECT_EQ(queue.try_get(), 7);
      }
    }
    EXPECT_THAT(seen_, ElementsAre("next: 7"));
  });
}

TEST_P(Sync, ItemsThatComeBackKeepTheirOrder) {
  // Two getters are given 1 and 2, and both are destroyed before they go on.
  Queue<int> queue;
  run_task([&]() -> Task<> {
    for (bool first_dies_first : {true, false}) {
      std::vector<CancellationSource> sources(2);
      for (const CancellationSource& source : sources) {
        spawn_cancellable(source, [&]() -> Task<> {
          static_cast<void>(co_await queue.get());
          saw("cancelled one");
        });
      }
      co_await turns();
      sources[first_dies_first ? 0 : 1].cancel();
      sources[first_dies_first ? 1 : 0].cancel();
      for (int i = 1; i <= 3; ++i) EXPECT_TRUE(queue.try_put(i));
      co_await turns();
      EXPECT_THAT(seen_, IsEmpty());
      std::vector<int> items;
      while (std::optional<int> item = queue.try_get()) items.push_back(*item);
      EXPECT_THAT(items, ElementsAre(1, 2, 3)) << first_dies_first;
    }
  });
}

TEST_P(Sync, AnItemThatComesBackToAFullQueueLetsNobodyInUntilThereIsRoom) {
  Queue<int> queue(1);
  run_task([&]() -> Task<> {
    CancellationSource source;
    spawn_cancellable(source, [&]() -> Task<> { static_cast<void>(co_await queue.get()); });
    co_await turns();
    source.cancel();
    EXPECT_TRUE(queue.try_put(1));  // handed over
    EXPECT_TRUE(queue.try_put(2));  // the only place
    loop_->spawn_callback([&]() -> Task<> { co_await queue.put(3); });
    co_await turns();
    EXPECT_EQ(queue.size(), 2u) << "1 came back";
    EXPECT_EQ(queue.try_get(), 1);
    EXPECT_EQ(queue.size(), 1u) << "3 has to wait until 2 is gone";
    EXPECT_EQ(queue.try_get(), 2);
    EXPECT_EQ(co_await queue.get(), 3);
  });
}

TEST_P(Sync, WhoIsDestroyedWhileItWaitsToPutTakesItsItemAlong) {
  Queue<int> queue(1);
  CancellationSource source;
  run_task([&]() -> Task<> {
    EXPECT_TRUE(queue.try_put(1));
    spawn_cancellable(source, [&]() -> Task<> { co_await queue.put(2); });
    loop_->spawn_callback([&]() -> Task<> { co_await queue.put(3); });
    co_await turns();
    source.cancel();
    co_await turns();
    EXPECT_EQ(co_await queue.get(), 1);
    EXPECT_EQ(co_await queue.get(), 3);
    EXPECT_EQ(queue.size(), 0u);
  });
}

TEST_P(Sync, AnItemThatWasTakenInStaysAlsoIfWhoPutItIsDestroyedBeforeItWentOn) {
  Queue<int> queue(1);
  CancellationSource source;
  run_task([&]() -> Task<> {
    EXPECT_TRUE(queue.try_put(1));
    spawn_cancellable(source, [&]() -> Task<> {
      co_await queue.put(2);
      saw("went on");
    });
    co_await turns();
    source.cancel();
    EXPECT_EQ(queue.try_get(), 1);
    EXPECT_EQ(queue.size(), 1u);
    co_await turns();
    EXPECT_EQ(queue.try_get(), 2);
    EXPECT_FALSE(queue.try_get().has_value()) << "once";
    EXPECT_THAT(seen_, IsEmpty());
  });
}

TEST_P(Sync, ManyProducersAndConsumersLoseNothingAndKeepEachProducersOrder) {
  // Each consumer sees the items of one producer in their order.
  const int each = sized(20000);
  Queue<std::pair<int, int>> queue(7);
  std::vector<std::vector<int>> got(4);  // by producer
  run_task([&]() -> Task<> {
    auto producer = [&](int id) -> Task<> {
      for (int i = 0; i < each; ++i) co_await queue.put({id, i});
    };
    auto consumer = [&]() -> Task<> {
      std::vector<int> last(4, -1);
      for (int i = 0; i < each; ++i) {
        std::pair<int, int> item = co_await queue.get();
        EXPECT_GT(item.second, last[item.first]);
        last[item.first] = item.second;
        got[item.first].push_back(item.second);
        EXPECT_LE(queue.size(), 7u);
      }
    };
    std::vector<Task<>> all;
    for (int i = 0; i < 4; ++i) all.push_back(producer(i));
    for (int i = 0; i < 4; ++i) all.push_back(consumer());
    co_await when_all(std::move(all));
    EXPECT_EQ(queue.size(), 0u);
  });
  std::vector<int> expected(each);
  std::iota(expected.begin(), expected.end(), 0);
  for (std::vector<int>& items : got) {
    std::sort(items.begin(), items.end());
    EXPECT_TRUE(items == expected) << "each item once";
  }
}

TEST_P(Sync, ConsumersThatComeAndGoLoseNothing) {
  // Getters with a limit that is over again and again: each item arrives once.
  const int count = sized(2000);
  Queue<int> queue(3);
  std::vector<int> got;
  run_task([&]() -> Task<> {
    auto get = [&]() -> Task<int> { co_return co_await queue.get(); };
    auto consumer = [&]() -> Task<> {
      while (static_cast<int>(got.size()) < count) {
        absl::StatusOr<int> item = co_await with_timeout(std::chrono::microseconds(20), get());
        if (item.ok()) got.push_back(*item);
      }
    };
    auto producer = [&]() -> Task<> {
      for (int i = 0; i < count; ++i) {
        co_await queue.put(i);
        if (i % 3 == 0) co_await sleep_for(std::chrono::microseconds(20));
      }
    };
    std::vector<Task<>> all;
    all.push_back(producer());
    all.push_back(consumer());
    all.push_back(consumer());
    co_await when_all(std::move(all));
    std::sort(got.begin(), got.end());
    std::vector<int> expected(count);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(got, expected);
  });
}

}  // namespace
}  // namespace gyre::testing
