#ifndef GYRE_TESTS_LOOP_IO_LOOP_TIMEOUTS_FIXTURE_H_
#define GYRE_TESTS_LOOP_IO_LOOP_TIMEOUTS_FIXTURE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gyre/loop/io_loop.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {

// Timeouts on a loop of each backend, in virtual time.
class IOLoopTimeouts : public VirtualLoopTest {
 protected:
  // A loop whose time stands still but for clock_.advance().
  std::unique_ptr<IOLoop> make_manual_loop() {
    IOLoopOptions options;
    options.clock = &clock_;
    options.name = "manual";
    return make_loop(std::move(options));
  }

  std::function<void()> note(std::string name) {
    return [this, name] { seen_.push_back(name); };
  }

  ManualClock clock_;
  FdPair ready_ = pipe_pair();
  std::vector<std::string> seen_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_IO_LOOP_TIMEOUTS_FIXTURE_H_
