#include "gyre/loop/idle_timeout.h"

#include "gyre/loop/log.h"
#include "gyre/loop/loop_access.h"

namespace gyre {

IdleTimeout::IdleTimeout(IOLoop& loop, Callback callback)
    : loop_(loop), wheel_(internal::LoopAccess::idle_wheel(loop)), callback_(std::move(callback)) {
  GYRE_CHECK(callback_, "the callback of an IdleTimeout is null");
}

IdleTimeout::~IdleTimeout() {
  stop();
  if (destroyed_ != nullptr) *destroyed_ = true;
}

void IdleTimeout::start(std::chrono::nanoseconds timeout) {
  internal::LoopAccess::assert_here(loop_, "IdleTimeout::start");
  if (timeout <= std::chrono::nanoseconds::zero() || loop_.closed()) return stop();
  wheel_.arm(*this, timeout, loop_.time());
}

void IdleTimeout::expired() {
  // The callback may destroy this object, and must not go with it.
  struct Call {
    IdleTimeout& timeout;
    Callback callback = std::move(timeout.callback_);
    bool destroyed = false;

    ~Call() {
      if (destroyed) return;
      timeout.destroyed_ = nullptr;
      timeout.callback_ = std::move(callback);
    }
  } call{*this};
  destroyed_ = &call.destroyed;
  call.callback();
}

}  // namespace gyre
