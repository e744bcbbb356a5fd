// What coroutines of one loop wait for each other with: in the order of arrival, and nothing is
// lost with who is destroyed while it waits.

#include "gyre/loop/sync.h"

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
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Names = std::vector<std::string>;

class Sync : public LoopTest {
 protected:
  template <class F>
  void run_task(F body) {
    const absl::Status status = loop_->run_sync(body, kDeadline);
    EXPECT_TRUE(status.ok()) << status;
  }
  // Spawns a task that `source` ends.
  template <class F>
  void spawn_cancellable(const CancellationSource& source, F body) {
    loop_->spawn_callback([token = source.token(), body = std::move(body)]() -> Task<> {
      static_cast<void>(co_await with_cancellation(token, body()));
    });
  }
  // Lets what was posted and spawned so far run, and what that posts in turn.
  static Task<> turns(int count = 5) {
    for (int i = 0; i < count; ++i) co_await sleep_for(milliseconds(0));
  }
  void saw(std::string name) { seen_.push_back(std::move(name)); }

  Names seen_;
};
GYRE_FOR_EACH_BACKEND(Sync);

// ---- Event

TEST_P(Sync, AnEventLetsAllThatWaitGoOnInOrderAndInALaterIteration) {
  gyre::Event event;
  for (const char* name : {"a", "b", "c"}) {
    loop_->spawn_callback([&, name]() -> Task<> {
      co_await event.wait();
      saw(name);
    });
  }
  run_task([&]() -> Task<> {
    co_await turns();
    EXPECT_THAT(seen_, IsEmpty());
    EXPECT_FALSE(event.is_set());
    event.set();
    EXPECT_TRUE(event.is_set());
    EXPECT_THAT(seen_, IsEmpty()) << "not inside set()";
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("a", "b", "c"));
    co_await event.wait();  // does not wait
    event.set();
  });
}

TEST_P(Sync, WhoWaitedForAnEventGoesOnAlsoIfItWasClearedAgain) {
  gyre::Event event;
  loop_->spawn_callback([&]() -> Task<> {
    co_await event.wait();
    saw("first");
    co_await event.wait();
    saw("second");
  });
  run_task([&]() -> Task<> {
    co_await turns();
    event.set();
    event.clear();
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("first"));
    event.set();
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("first", "second"));
  });
}

TEST_P(Sync, WhoIsDestroyedWhileItWaitsForAnEventIsNoConcernOfTheOthers) {
  gyre::Event event;
  std::vector<CancellationSource> sources(3);
  for (int i = 0; i < 3; ++i) {
    spawn_cancellable(sources[i], [&, i]() -> Task<> {
      co_await event.wait();
      saw(std::to_string(i));
    });
  }
  run_task([&]() -> Task<> {
    co_await turns();
    sources[1].cancel();
    co_await turns();
    event.set();
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("0", "2"));
  });
}

TEST_P(Sync, WhoIsDestroyedAfterTheEventWokeItAndBeforeItWentOnNeverGoesOn) {
  gyre::Event event;
  CancellationSource source;
  spawn_cancellable(source, [&]() -> Task<> {
    co_await event.wait();
    saw("went on");
  });
  run_task([&]() -> Task<> {
    co_await turns();
    source.cancel();  // its end is on its way before the event wakes it
    event.set();
    co_await turns();
    EXPECT_THAT(seen_, IsEmpty());
  });
}

TEST_P(Sync, WaitingForAnEventMayHaveALimit) {
  gyre::Event event;
  run_task([&]() -> Task<> {
    auto wait = [&]() -> Task<> { co_await event.wait(); };
    absl::Status late = co_await with_timeout(milliseconds(1), wait());
    EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
    loop_->call_later(milliseconds(1), [&] { event.set(); });
    absl::Status in_time = co_await with_timeout(hours(1), wait());
    EXPECT_TRUE(in_time.ok());
  });
}

TEST_P(Sync, TenThousandWaitForOneEvent) {
  gyre::Event event;
  int woken = 0;
  const int count = 10000;
  for (int i = 0; i < count; ++i) {
    loop_->spawn_callback([&]() -> Task<> {
      co_await event.wait();
      ++woken;
    });
  }
  run_task([&]() -> Task<> {
    co_await turns();
    event.set();
    co_await turns();
    EXPECT_EQ(woken, count);
  });
}

// ---- Semaphore

TEST_P(Sync, ASemaphoreGivesAsManyPermitsAsItHas) {
  Semaphore semaphore(2);
  int inside = 0, most = 0;
  run_task([&]() -> Task<> {
    auto worker = [&]() -> Task<> {
      Semaphore::Permit permit = co_await semaphore.acquire();
      most = std::max(most, ++inside);
      co_await sleep_for(milliseconds(0));
      --inside;
    };
    std::vector<Task<>> all;
    for (int i = 0; i < 20; ++i) all.push_back(worker());
    co_await when_all(std::move(all));
    EXPECT_EQ(most, 2);
    EXPECT_EQ(semaphore.available(), 2u);
  });
}

TEST_P(Sync, PermitsGoToThoseThatWaitInTheOrderOfTheirArrivalAndNobodyOvertakes) {
  Semaphore semaphore;
  run_task([&]() -> Task<> {
    Semaphore::Permit mine = co_await semaphore.acquire();
    EXPECT_EQ(semaphore.available(), 0u);
    auto worker = [&](std::string name) -> Task<> {
      Semaphore::Permit permit = co_await semaphore.acquire();
      saw(name);
    };
    for (const char* name : {"a", "b", "c"}) loop_->spawn_callback(worker, std::string(name));
    co_await turns();
    mine.reset();
    EXPECT_EQ(semaphore.available(), 0u) << "it belongs to a, though a has not gone on";
    co_await worker("late");
    EXPECT_THAT(seen_, ElementsAre("a", "b", "c", "late"));
    EXPECT_EQ(semaphore.available(), 1u);
  });
}

TEST_P(Sync, APermitMayBeMovedAndReleasedOnce) {
  Semaphore semaphore(2);
  run_task([&]() -> Task<> {
    Semaphore::Permit first = co_await semaphore.acquire();
    Semaphore::Permit second = co_await semaphore.acquire();
    EXPECT_EQ(semaphore.available(), 0u);
    first = std::move(second);  // the one it held is released
    EXPECT_EQ(semaphore.available(), 1u);
    first.reset();
    first.reset();
    EXPECT_EQ(semaphore.available(), 2u);
    Semaphore::Permit none;
    none.reset();
    EXPECT_EQ(semaphore.available(), 2u);
  });
}

TEST_P(Sync, WhoIsDestroyedWhileItWaitsForAPermitDoesNotGetIt) {
  Semaphore semaphore;
  CancellationSource source;
  run_task([&]() -> Task<> {
    Semaphore::Permit mine = co_await semaphore.acquire();
    spawn_cancellable(source, [&]() -> Task<> {
      Semaphore::Permit permit = co_await semaphore.acquire();
      saw("cancelled one");
    });
    loop_->spawn_callback([&]() -> Task<> {
      Semaphore::Permit permit = co_await semaphore.acquire();
      saw("next");
    });
    co_await turns();
    source.cancel();
    co_await turns();
    mine.reset();
    co_await turns();
    EXPECT_THAT(seen_, ElementsAre("next"));
    EXPECT_EQ(semaphore.available(), 1u);
  });
}

TEST_P(Sync, APermitOfOneThatIsDestroyedBeforeItWentOnGoesToTheNext) {
  // Otherwise the permit is lost for ever, and with it whatever it guards.
  Semaphore semaphore;
  run_task([&]() -> Task<> {
    for (bool another : {true, false}) {
      Semaphore::Permit mine = co_await semaphore.acquire();
      CancellationSource cancel;
      spawn_cancellable(cancel, [&]() -> Task<> {
        Semaphore::Permit permit = co_await semaphore.acquire();
        saw("cancelled one");
      });
      if (another) {
        loop_->spawn_callback([&]() -> Task<> {
          Semaphore::Permit permit = co_await semaphore.acquire();
          saw("next");
        });
      }
      co_await turns();
      cancel.cancel();  // its end is on its way before the permit is
      mine.reset();
      EXPECT_EQ(semaphore.available(), 0u);
      co_await turns();
      EXPECT_EQ(semaphore.available(), 1u);
    }
    EXPECT_THAT(seen_, ElementsAre("next"));
  });
}

TEST_P(Sync, AHundredThousandAcquisitionsNeedNoStackAndLoseNoPermit) {
  const int each = sized(100000) / 10;
  Semaphore semaphore(3);
  int done = 0;
  run_task([&]() -> Task<> {
    auto worker = [&]() -> Task<> {
      for (int i = 0; i < each; ++i) {
        Semaphore::Permit permit = co_await semaphore.acquire();
        ++done;
        if (i % 16 == 0) co_await sleep_for(milliseconds(0));
      }
    };
    std::vector<Task<>> all;
    for (int i = 0; i < 10; ++i) all.push_back(worker());
    co_await when_all(std::move(all));
    EXPECT_EQ(done, each * 10);
    EXPECT_EQ(semaphore.available(), 3u);
  });
}

// ---- Queue

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

// ---- The loop closes

TEST_P(Sync, CloseDestroysThoseThatWaitAndTheRestStaysUsable) {
  gyre::Event event;
  Semaphore semaphore(0);
  Queue<int> empty;
  Queue<int> full(1);
  EXPECT_TRUE(full.try_put(1));
  loop_->spawn_callback([&]() -> Task<> { co_await event.wait(); });
  loop_->spawn_callback(
      [&]() -> Task<> { const Semaphore::Permit permit = co_await semaphore.acquire(); });
  loop_->spawn_callback([&]() -> Task<> {
    const int item = co_await empty.get();
    ADD_FAILURE() << item;
  });
  loop_->spawn_callback([&]() -> Task<> { co_await full.put(2); });
  run_turns(3);
  ASSERT_TRUE(loop_->close().ok());
  event.set();
  EXPECT_TRUE(empty.try_put(1));
  EXPECT_EQ(empty.size(), 1u) << "nobody waits";
  EXPECT_EQ(full.try_get(), 1);
  EXPECT_EQ(full.size(), 0u);
}

TEST_P(Sync, CloseDestroysThoseThatWereWokenAndLosesNothing) {
  Semaphore semaphore(0);
  Queue<int> queue;
  loop_->spawn_callback([&]() -> Task<> {
    Semaphore::Permit permit = co_await semaphore.acquire();
    saw("went on");
  });
  loop_->spawn_callback([&]() -> Task<> {
    static_cast<void>(co_await queue.get());
    saw("went on");
  });
  run_turns(3);
  EXPECT_TRUE(queue.try_put(1));
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(queue.try_get(), 1);
  EXPECT_THAT(seen_, IsEmpty());
}

TEST(SyncDeathTest, DestroyingWhatATaskWaitsForIsACheckedError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto loop = std::move(*IOLoop::create());
        auto queue = std::make_unique<Queue<int>>();
        loop->spawn_callback([&]() -> Task<> { static_cast<void>(co_await queue->get()); });
        loop->call_later(milliseconds(1), [&] { queue.reset(); });
        static_cast<void>(loop->start());
      },
      "while a task waits");
  EXPECT_DEATH({ Queue<int> queue(0); }, "holds nothing");
}

}  // namespace
}  // namespace gyre::testing
