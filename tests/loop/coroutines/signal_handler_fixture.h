#ifndef GYRE_TESTS_LOOP_COROUTINES_SIGNAL_HANDLER_FIXTURE_H_
#define GYRE_TESTS_LOOP_COROUTINES_SIGNAL_HANDLER_FIXTURE_H_

#include <signal.h>

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/signal_handler.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {

inline struct sigaction disposition(int signal) {
  struct sigaction action {};
  EXPECT_EQ(::sigaction(signal, nullptr, &action), 0);
  return action;
}

// Signal handlers on a loop of each backend. SIGUSR1 and SIGUSR2 are the tests'.
class SignalHandlers : public LoopTest {
 protected:
  SignalHandlers() {
    // A signal that comes when no handler is left does nothing.
    for (int signal : {SIGUSR1, SIGUSR2}) ::signal(signal, SIG_IGN);
  }
  ~SignalHandlers() override {
    for (int signal : {SIGUSR1, SIGUSR2}) ::signal(signal, SIG_DFL);
  }

  static std::unique_ptr<SignalHandler> make(IOLoop& loop, int signal,
                                             SignalHandler::Function function) {
    absl::StatusOr<std::unique_ptr<SignalHandler>> handler =
        SignalHandler::create(loop, signal, std::move(function));
    EXPECT_TRUE(handler.ok()) << handler.status();
    return handler.ok() ? std::move(*handler) : nullptr;
  }
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_COROUTINES_SIGNAL_HANDLER_FIXTURE_H_
