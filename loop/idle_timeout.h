#ifndef GYRE_LOOP_IDLE_TIMEOUT_H_
#define GYRE_LOOP_IDLE_TIMEOUT_H_

#include <chrono>
#include <utility>

#include "gyre/loop/callback.h"
#include "gyre/loop/idle_wheel.h"
#include "gyre/loop/io_loop.h"

namespace gyre {

// Calls back once nothing has happened for a while: for the many connections of a server, where a
// timer that is armed anew with each byte would cost more than the byte. touch() is one store, and
// a timeout that is never over costs nothing but to be looked at once in its time.
//
// Coarse: it comes at the earliest when the timeout is over, and about a quarter of a second later
// at the latest. What matters to the millisecond is a case for call_later.
//
// Loop thread only, its destruction too. Never calls once the loop was closed; after the loop was
// destroyed it may only be destroyed.
class IdleTimeout final : private internal::IdleEntry {
 public:
  // The callback runs on the loop, like a timeout, as often as a timeout is over. It may start it
  // again, and destroy it.
  IdleTimeout(IOLoop& loop, Callback callback);
  ~IdleTimeout();
  IdleTimeout(const IdleTimeout&) = delete;
  IdleTimeout& operator=(const IdleTimeout&) = delete;

  // Counts from now on; if it did before, anew. Zero or less: stop().
  void start(std::chrono::nanoseconds timeout);
  // Something happened: the time counts anew. No-op while it does not count.
  void touch() { wheel_.touch(*this); }
  void stop() {
    if (armed()) wheel_.disarm(*this);
  }
  bool active() const { return armed(); }

 private:
  void expired() override;

  IOLoop& loop_;
  internal::IdleWheel& wheel_;
  Callback callback_;
  bool* destroyed_ = nullptr;  // of the call that is going on
};

}  // namespace gyre

#endif  // GYRE_LOOP_IDLE_TIMEOUT_H_
