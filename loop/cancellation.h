#ifndef GYRE_LOOP_CANCELLATION_H_
#define GYRE_LOOP_CANCELLATION_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"

namespace gyre {

// Whether something was cancelled, and who wants to know. Copies share the state; a default one is
// never cancelled. Loop thread only, all copies on one loop.
class CancellationToken {
 public:
  CancellationToken() = default;

  bool cancelled() const { return state_ != nullptr && state_->cancelled; }

  // Calls f when it is cancelled: at once, if it is. Gives a number for forget().
  uint64_t on_cancel(absl::AnyInvocable<void()> f) const {
    if (state_ == nullptr) return 0;
    if (state_->cancelled) {
      f();
      return 0;
    }
    state_->listeners.emplace(++state_->last, std::move(f));
    return state_->last;
  }
  void forget(uint64_t listener) const {
    if (state_ != nullptr) state_->listeners.erase(listener);
  }

 private:
  friend class CancellationSource;

  struct State {
    bool cancelled = false;
    uint64_t last = 0;
    std::map<uint64_t, absl::AnyInvocable<void()>> listeners;  // in the order in which they came
  };

  explicit CancellationToken(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

// Cancels. Loop thread only.
class CancellationSource {
 public:
  CancellationToken token() const { return CancellationToken(state_); }
  bool cancelled() const { return state_->cancelled; }

  // Tells everybody who asked, once, in the order in which they asked. Idempotent.
  void cancel() {
    if (std::exchange(state_->cancelled, true)) return;
    const std::shared_ptr<CancellationToken::State> state = state_;  // a listener may destroy this
    while (!state->listeners.empty()) {
      absl::AnyInvocable<void()> listener = std::move(state->listeners.begin()->second);
      state->listeners.erase(state->listeners.begin());
      listener();
    }
  }

 private:
  std::shared_ptr<CancellationToken::State> state_ = std::make_shared<CancellationToken::State>();
};

}  // namespace gyre

#endif  // GYRE_LOOP_CANCELLATION_H_
