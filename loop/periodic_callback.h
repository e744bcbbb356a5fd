#ifndef GYRE_LOOP_PERIODIC_CALLBACK_H_
#define GYRE_LOOP_PERIODIC_CALLBACK_H_

#include <chrono>
#include <memory>
#include <type_traits>
#include <utility>

#include "gyre/loop/callback.h"
#include "gyre/loop/io_loop.h"

namespace gyre {

// Calls a function again and again: first one period after start(), then on the grid that start()
// laid. A call that takes longer than the period skips the periods that it missed, and keeps the
// phase. An exception goes to the loop's exception handler, and the next call comes all the same.
// Loop thread only. May be destroyed at any time, also in its own callback.
class PeriodicCallback {
 public:
  // `period` has to be positive, else it is a checked error. `jitter`: each period is multiplied by
  // 1 + jitter * (a random number between -0.5 and 0.5), so that many such do not fall together.
  template <class F, class Rep, class Period>
  requires internal::PlainCallable<F> PeriodicCallback(IOLoop& loop, F&& callback,
                                                       std::chrono::duration<Rep, Period> period,
                                                       double jitter = 0)
      : PeriodicCallback(loop, repeatable(std::forward<F>(callback)),
                         internal::saturating_nanoseconds(period), jitter, Private()) {}
  ~PeriodicCallback();
  PeriodicCallback(const PeriodicCallback&) = delete;
  PeriodicCallback& operator=(const PeriodicCallback&) = delete;

  // No-op while running.
  void start();
  // No call follows. No-op while stopped.
  void stop();
  bool is_running() const;

 private:
  struct State;
  struct Private {};

  PeriodicCallback(IOLoop& loop, Callback callback, IOLoop::Duration period, double jitter,
                   Private);

  template <class F>
  static Callback repeatable(F&& callback) {
    GYRE_CHECK(!internal::is_null_callable(callback), "the callback of a PeriodicCallback is null");
    return [f = std::decay_t<F>(std::forward<F>(callback))]() mutable { static_cast<void>(f()); };
  }

  // Shared with the timeout and the call that is going on: either may outlive this object.
  std::shared_ptr<State> state_;
};

}  // namespace gyre

#endif  // GYRE_LOOP_PERIODIC_CALLBACK_H_
