#ifndef GYRE_LOOP_SIGNAL_HANDLER_H_
#define GYRE_LOOP_SIGNAL_HANDLER_H_

#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"

namespace gyre {

// Calls a function on a loop when the process gets a signal: an ordinary callback, which may do
// anything. Several loops may each have one for the same signal; each is called. Signals that come
// before the callback ran are one call, as with the kernel's own (signal(7)).
//
// Loop thread only. While there is one, the signal's former disposition (usually: end the process)
// is off; the last one's destructor puts it back. In a child of fork() nothing is called.
class SignalHandler {
 public:
  using Function = absl::AnyInvocable<void(int signal)>;

  // InvalidArgument for a number that is no signal, or that cannot be caught (SIGKILL, SIGSTOP);
  // ResourceExhausted where the process has too many handlers.
  static absl::StatusOr<std::unique_ptr<SignalHandler>> create(IOLoop& loop, int signal,
                                                               Function function);

  // No call follows. Also in its own function, and after the loop was closed.
  ~SignalHandler();
  SignalHandler(const SignalHandler&) = delete;
  SignalHandler& operator=(const SignalHandler&) = delete;

  // All of them, over the whole process.
  static constexpr int kMaxHandlers = 256;

 private:
  struct Slot;
  struct Table;
  struct Delivery;

  explicit SignalHandler(Function function);
  static Table& table();
  static void on_signal(int signal);

  // Shared with the call that is going on, in which this object may be destroyed.
  std::shared_ptr<Function> function_;
  Slot* slot_ = nullptr;
};

}  // namespace gyre

#endif  // GYRE_LOOP_SIGNAL_HANDLER_H_
