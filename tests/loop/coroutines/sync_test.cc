// What coroutines of one loop wait for each other with: in the order of arrival, and nothing is
// lost with who is destroyed while it waits.

#include "gyre/loop/sync.h"

#include <algorithm>
#include <memory>
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
#include "gyre/tests/loop/coroutines/sync_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

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
