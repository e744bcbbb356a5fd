#ifndef GYRE_TESTS_LOOP_IO_LOOP_CALLBACKS_FIXTURE_H_
#define GYRE_TESTS_LOOP_IO_LOOP_CALLBACKS_FIXTURE_H_

#include <functional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {

// Callbacks on a loop of each backend, in virtual time.
class IOLoopCallbacks : public VirtualLoopTest {
 protected:
  // Calls `handler` in every poll: an fd that is always ready.
  void on_every_poll(IOLoop& loop, std::function<void()> handler) {
    write_all(ready_.b.get(), "x");
    ASSERT_TRUE(loop.add_handler(
                        ready_.a.get(), [handler](int, uint32_t) { handler(); }, IOLoop::READ)
                    .ok());
  }

  FdPair ready_ = pipe_pair();
  std::vector<std::string> seen_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_IO_LOOP_CALLBACKS_FIXTURE_H_
