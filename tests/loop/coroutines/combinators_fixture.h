#ifndef GYRE_TESTS_LOOP_COROUTINES_COMBINATORS_FIXTURE_H_
#define GYRE_TESTS_LOOP_COROUTINES_COMBINATORS_FIXTURE_H_

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {

template <class T, class... More>
std::vector<Task<T>> tasks(Task<T> first, More... more) {
  std::vector<Task<T>> all;
  all.push_back(std::move(first));
  (all.push_back(std::move(more)), ...);
  return all;
}

inline Task<int> give(int value) { co_return value; }
inline Task<int> give_after(std::chrono::nanoseconds delay, int value) {
  co_await sleep_for(delay);
  co_return value;
}
inline Task<int> fail_after(std::chrono::nanoseconds delay, std::string what) {
  if (delay > std::chrono::nanoseconds(0)) co_await sleep_for(delay);
  throw std::runtime_error(what);
  co_return 0;
}
inline Task<> sleep_task(std::chrono::nanoseconds delay) { co_await sleep_for(delay); }

// Tasks of which notes are taken, on a loop of each backend.
class CombinatorsTest : public VirtualLoopTest {
 protected:
  // Runs a coroutine on the loop; it has to end before the deadline.
  template <class F>
  void run_task(F body) {
    const absl::Status status = loop_->run_sync(body, kDeadline);
    EXPECT_TRUE(status.ok()) << status;
  }
  OnDestroy note(std::string name) {
    return OnDestroy([this, name] { seen_.push_back(name); });
  }
  // Waits for ever, and says when it is destroyed.
  Task<int> wait_for_ever(std::string name) {
    OnDestroy notice = note(name);
    co_await sleep_for(std::chrono::hours(1));
    seen_.push_back(name + " went on");
    co_return 0;
  }

  std::vector<std::string> seen_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_COROUTINES_COMBINATORS_FIXTURE_H_
