#ifndef GYRE_TESTS_SUPPORT_SIM_POLLER_H_
#define GYRE_TESTS_SUPPORT_SIM_POLLER_H_

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/testing/simulated_kernel.h"

namespace gyre::testing {

// A simulated kernel for tests of the loop itself: any number is an fd, and a loop that would sleep
// for ever fails the test.
struct SimKernel : SimulatedKernel {
  SimKernel() {
    any_fd = true;
    on_deadlock = [] { ADD_FAILURE() << "the loop sleeps for ever"; };
  }
};

// A loop on `kernel`, in simulated time. It does not become current.
inline std::unique_ptr<IOLoop> make_simulated_loop(SimKernel& kernel, IOLoopOptions options = {}) {
  absl::StatusOr<std::unique_ptr<IOLoop>> loop =
      IOLoop::create(kernel.options(std::move(options)));
  EXPECT_TRUE(loop.ok()) << loop.status();
  return loop.ok() ? std::move(*loop) : nullptr;
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_SIM_POLLER_H_
