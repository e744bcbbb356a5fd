#ifndef GYRE_TESTS_LOOP_COROUTINES_SYNC_FIXTURE_H_
#define GYRE_TESTS_LOOP_COROUTINES_SYNC_FIXTURE_H_

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/sync.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {

// Coroutines that wait for each other, on a loop of each backend, in virtual time.
class Sync : public VirtualLoopTest {
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
    for (int i = 0; i < count; ++i) co_await sleep_for(std::chrono::milliseconds(0));
  }
  void saw(std::string name) { seen_.push_back(std::move(name)); }

  std::vector<std::string> seen_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_COROUTINES_SYNC_FIXTURE_H_
