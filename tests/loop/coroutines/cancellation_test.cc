// A token reaches through everything that a coroutine can wait for, and so does a limit: nothing of
// it goes on, and nothing that it waited for is lost or stays taken.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/sync.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;

// Everything that a task may wait for, each without an end of its own.
struct World {
  explicit World(IOLoop& loop) : loop(loop) {
    full.try_put(0);
    fill(pair.a.get());
  }

  IOLoop& loop;
  FdPair pair = socket_pair();  // a: full, and nothing to read
  Promise<int> promise;
  Future<int> future = promise.get_future();
  gyre::Event event;
  Semaphore semaphore{0};
  Queue<int> empty;
  Queue<int> full{1};
};

struct Wait {
  std::string what;
  std::function<Task<>(World&)> begin;
};

Task<> sleep_long() { co_await sleep_for(hours(1)); }

std::vector<Wait> all_waits() {
  std::vector<Wait> waits = {
      {"sleep_for", [](World&) -> Task<> { co_await sleep_for(hours(1)); }},
      {"readable",
       [](World& w) -> Task<> { static_cast<void>(co_await readable(w.pair.a.get())); }},
      {"writable",
       [](World& w) -> Task<> { static_cast<void>(co_await writable(w.pair.a.get())); }},
      {"a future", [](World& w) -> Task<> { co_await std::move(w.future); }},
      {"Event", [](World& w) -> Task<> { co_await w.event.wait(); }},
      {"Semaphore", [](World& w) -> Task<> { static_cast<void>(co_await w.semaphore.acquire()); }},
      {"Queue::get", [](World& w) -> Task<> { co_await w.empty.get(); }},
      {"Queue::put", [](World& w) -> Task<> { co_await w.full.put(1); }},
      {"a task", [](World&) -> Task<> { co_await sleep_long(); }},
  };
  // And each of them inside the combinators.
  const std::vector<Wait> plain = waits;
  for (const Wait& wait : plain) {
    waits.push_back({"with_timeout of " + wait.what, [wait](World& w) -> Task<> {
                       static_cast<void>(co_await with_timeout(hours(2), wait.begin(w)));
                     }});
    waits.push_back({"with_cancellation of " + wait.what, [wait](World& w) -> Task<> {
                       CancellationSource never;
                       static_cast<void>(co_await with_cancellation(never.token(), wait.begin(w)));
                     }});
    waits.push_back({"when_all of " + wait.what, [wait](World& w) -> Task<> {
                       std::vector<Task<>> tasks;
                       tasks.push_back(wait.begin(w));
                       tasks.push_back(sleep_long());
                       co_await when_all(std::move(tasks));
                     }});
    waits.push_back({"when_any of " + wait.what, [wait](World& w) -> Task<> {
                       std::vector<Task<>> tasks;
                       tasks.push_back(sleep_long());
                       tasks.push_back(wait.begin(w));
                       static_cast<void>(co_await when_any(std::move(tasks)));
                     }});
  }
  return waits;
}

class Cancellation : public VirtualLoopTest {
 protected:
  // A wait that says whether it went on, and whether it is gone.
  static Task<> observed(const Wait& wait, World& world, OnDestroy, bool& went_on) {
    co_await wait.begin(world);
    went_on = true;
  }

  // After a wait was cut off: nothing stays taken, nothing is lost.
  void expect_intact(World& world) {
    EXPECT_TRUE(loop_
                    ->run_sync([&]() -> Task<> {
                      world.event.set();
                      world.empty.try_put(7);
                      EXPECT_EQ(world.empty.size(), 1u) << "nobody took it";
                      EXPECT_EQ(world.full.try_get(), 0);
                      EXPECT_EQ(world.full.size(), 0u) << "nobody put one";
                      absl::Status late =
                          co_await with_timeout(milliseconds(1), [](World& w) -> Task<> {
                            static_cast<void>(co_await readable(w.pair.a.get()));
                          }(world));
                      // AlreadyExists, and at once, if somebody still waited.
                      EXPECT_EQ(late.code(), StatusCode::kDeadlineExceeded);
                    })
                    .ok());
    world.promise.set_value(1);
    run_turns(3);
  }
};
GYRE_FOR_EACH_BACKEND(Cancellation);

TEST_P(Cancellation, ReachesThroughEverythingThatATaskCanWaitFor) {
  for (const Wait& wait : all_waits()) {
    SCOPED_TRACE(wait.what);
    World world(*loop_);
    CancellationSource source;
    bool went_on = false, gone = false;
    const absl::Status status = loop_->run_sync([&]() -> Task<absl::Status> {
      loop_->call_later(milliseconds(0), [&] {
        EXPECT_FALSE(gone) << "it waits";
        source.cancel();
      });
      absl::Status result = co_await with_cancellation(
          source.token(), observed(wait, world, OnDestroy([&] { gone = true; }), went_on));
      EXPECT_TRUE(gone) << "before who waits goes on";
      co_return result;
    });
    EXPECT_EQ(status.code(), StatusCode::kCancelled) << status;
    expect_intact(world);
    EXPECT_FALSE(went_on);
  }
}

TEST_P(Cancellation, ALimitReachesThroughTheSame) {
  for (const Wait& wait : all_waits()) {
    SCOPED_TRACE(wait.what);
    World world(*loop_);
    bool went_on = false, gone = false;
    const absl::Status status = loop_->run_sync([&]() -> Task<absl::Status> {
      co_return co_await with_timeout(
          milliseconds(1), observed(wait, world, OnDestroy([&] { gone = true; }), went_on));
    });
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
    EXPECT_TRUE(gone);
    expect_intact(world);
    EXPECT_FALSE(went_on);
  }
}

TEST_P(Cancellation, ReachesATaskThatHoppedToAnotherLoop) {
  std::unique_ptr<IOLoop> other = make_loop("other");
  LoopInThread thread(*other);
  CancellationSource source;
  bool gone = false;
  const absl::Status status = loop_->run_sync([&]() -> Task<absl::Status> {
    auto away = [&](OnDestroy) -> Task<> {
      co_await resume_on(*other);
      loop_->add_callback([&] { source.cancel(); });
      co_await sleep_for(hours(1));
    };
    absl::Status result =
        co_await with_cancellation(source.token(), away(OnDestroy([&] { gone = true; })));
    EXPECT_TRUE(gone);
    co_return result;
  });
  EXPECT_EQ(status.code(), StatusCode::kCancelled) << status;
}

}  // namespace
}  // namespace gyre::testing
