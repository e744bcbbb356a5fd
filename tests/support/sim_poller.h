#ifndef GYRE_TESTS_SUPPORT_SIM_POLLER_H_
#define GYRE_TESTS_SUPPORT_SIM_POLLER_H_

#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/tests/support/manual_clock.h"

namespace gyre::testing {

// A kernel of the test's own making, on a manual clock: a wait takes no time, and the clock jumps
// to its end. What the test says happens in it: ready fds, a failure, a post.
struct SimKernel {
  ManualClock clock;
  std::vector<std::chrono::nanoseconds> waits;  // the timeout of each
  std::map<int, uint64_t> tokens;               // the fds that are registered
  int wakes = 0;
  // Runs in each wait: gives the events and the errno of it.
  std::function<void(std::vector<Poller::Event>& events, int& error)> during_wait;
  // What add() fails with.
  absl::Status add_status;
};

class SimPoller final : public Poller {
 public:
  explicit SimPoller(SimKernel& kernel) : kernel_(kernel) {}

  std::string_view name() const override { return "simulated"; }
  absl::Status add(int fd, uint32_t, uint64_t token, Trigger) override {
    if (kernel_.add_status.ok()) kernel_.tokens[fd] = token;
    return kernel_.add_status;
  }
  absl::Status modify(int fd, uint32_t, uint64_t token, Trigger) override {
    kernel_.tokens[fd] = token;
    return absl::OkStatus();
  }
  absl::Status remove(int fd) override {
    kernel_.tokens.erase(fd);
    return absl::OkStatus();
  }
  WaitResult wait(std::chrono::nanoseconds timeout) override {
    kernel_.waits.push_back(timeout);
    events_.clear();
    WaitResult result;
    const int wakes_before = kernel_.wakes;
    if (kernel_.during_wait) kernel_.during_wait(events_, result.error);
    result.events = events_;
    result.woken = kernel_.wakes != wakes_before;
    if (!result.woken && events_.empty() && result.error == 0) {
      if (timeout.count() > 0) kernel_.clock.advance(timeout);
      if (timeout.count() < 0) {
        ADD_FAILURE() << "the loop sleeps for ever";
        result.error = EDEADLK;
      }
    }
    return result;
  }
  void wake() noexcept override { ++kernel_.wakes; }

 private:
  SimKernel& kernel_;
  std::vector<Event> events_;
};

// A loop on `kernel`, in simulated time. It does not become current.
inline std::unique_ptr<IOLoop> make_simulated_loop(SimKernel& kernel, IOLoopOptions options = {}) {
  options.name = "simulated";
  options.make_current = false;
  options.clock = &kernel.clock;
  options.poller_factory = [&kernel]() -> absl::StatusOr<std::unique_ptr<Poller>> {
    return std::make_unique<SimPoller>(kernel);
  };
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create(std::move(options));
  EXPECT_TRUE(loop.ok()) << loop.status();
  return loop.ok() ? std::move(*loop) : nullptr;
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_SIM_POLLER_H_
