#ifndef GYRE_TESTS_LOOP_IO_LOOP_HANDLERS_FIXTURE_H_
#define GYRE_TESTS_LOOP_IO_LOOP_HANDLERS_FIXTURE_H_

#include <functional>
#include <map>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {

// What the handlers of fds are told, on a loop of each backend.
class IOLoopHandlers : public VirtualLoopTest {
 protected:
  // Notes what `fd` is told.
  void watch(int fd, uint32_t interest) {
    const absl::Status status = loop_->add_handler(
        fd, [this](int f, uint32_t events) { events_[f].push_back(events); }, interest);
    ASSERT_TRUE(status.ok()) << status;
  }
  // The one call that `fd` got since the last time.
  uint32_t only_call(int fd) {
    EXPECT_EQ(events_[fd].size(), 1u);
    const uint32_t events = events_[fd].empty() ? 0 : events_[fd].front();
    events_[fd].clear();
    return events;
  }
  // Runs until `condition`, which the handlers change; it is asked once in each iteration.
  void run_until(const std::function<bool()>& condition) {
    const Patience patience;
    std::function<void()> ask = [&] {
      if (condition() || !patience.left()) return loop_->stop();
      loop_->add_callback(ask);
    };
    loop_->add_callback(ask);
    run();
    EXPECT_TRUE(condition());
  }
  // How many iterations the loop makes in a time in which nothing happens: few, or it spins.
  uint64_t iterations_at_rest() {
    const uint64_t before = loop_->metrics().iterations;
    loop_->call_later(std::chrono::milliseconds(50), [&] { loop_->stop(); });
    run();
    return loop_->metrics().iterations - before;
  }

  std::map<int, std::vector<uint32_t>> events_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_IO_LOOP_HANDLERS_FIXTURE_H_
