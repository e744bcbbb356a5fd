#include "gyre/testing/virtual_time.h"

#include <chrono>
#include <optional>

#include "gyre/loop/clock.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/testing/forwarding_poller.h"

namespace gyre::testing {
namespace {

using std::chrono::nanoseconds;

// How often a loop that may not jump looks whether it may now, in real time. It goes on sleeping
// meanwhile: a wake-up that got lost stays lost.
constexpr auto kLook = std::chrono::milliseconds(1);

bool is_nothing(const Poller::WaitResult& result) {
  return result.events.empty() && !result.woken && result.error == 0;
}

}  // namespace

class VirtualTime::JumpingPoller final : public ForwardingPoller {
 public:
  JumpingPoller(VirtualTime& time, std::unique_ptr<Poller> poller)
      : ForwardingPoller(std::move(poller)), time_(time) {
    std::lock_guard<std::mutex> lock(time_.mutex_);
    time_.pollers_.push_back(this);
  }
  ~JumpingPoller() override {
    std::lock_guard<std::mutex> lock(time_.mutex_);
    std::erase(time_.pollers_, this);
  }

  WaitResult wait(nanoseconds timeout) override {
    WaitResult result = ForwardingPoller::wait(nanoseconds::zero());
    if (timeout != nanoseconds::zero() && is_nothing(result)) result = sleep(timeout);
    woken_.store(false);
    return result;
  }
  WaitResult wait_for_wake(nanoseconds timeout) override {
    if (timeout >= nanoseconds::zero()) return wait(timeout);  // to a time that it may jump to
    set_deadline(SteadyTime::max());
    const WaitResult result = forward_wait_for_wake(timeout);
    set_deadline(std::nullopt);
    woken_.store(false);
    return result;
  }

  // Signal-safe, so without the lock. Before the wake-up: whoever wakes a loop is awake itself, so
  // no time passes until this one is seen to be.
  void wake() noexcept override {
    woken_.store(true);
    ForwardingPoller::wake();
  }

 private:
  friend class VirtualTime;

  WaitResult sleep(nanoseconds timeout) {
    set_deadline(timeout < nanoseconds::zero()
                     ? SteadyTime::max()
                     : internal::saturating_add(time_.clock.now(), timeout));
    WaitResult result;
    do {
      if (timeout > nanoseconds::zero() && time_.try_jump(*this)) break;
      result = ForwardingPoller::wait(timeout > nanoseconds::zero() ? kLook : timeout);
      // A wait without a limit that ends with nothing was interrupted: the loop may look around.
    } while (is_nothing(result) && timeout > nanoseconds::zero());
    set_deadline(std::nullopt);
    return result;
  }

  void set_deadline(std::optional<SteadyTime> deadline) {
    std::lock_guard<std::mutex> lock(time_.mutex_);
    deadline_ = deadline;
  }

  // True: time may not pass until `deadline`, which is another poller's.
  bool in_the_way(SteadyTime deadline) const {
    if (deadline_.has_value()) return woken_.load() || *deadline_ < deadline;
    // Its loop is at work; unless that is further up on this very stack.
    return loop_ != nullptr && loop_->running() && !loop_->in_loop_thread();
  }

  VirtualTime& time_;
  std::atomic<bool> woken_ = false;
  // Guarded by time_.mutex_.
  IOLoop* loop_ = nullptr;
  std::optional<SteadyTime> deadline_;  // while it sleeps
};

absl::StatusOr<std::unique_ptr<IOLoop>> VirtualTime::create_loop(IOLoopOptions base) {
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create(options(std::move(base)));
  if (loop.ok()) attach(**loop);
  return loop;
}

IOLoopOptions VirtualTime::options(IOLoopOptions base) {
  base.clock = &clock;
  base.poller_factory =
      [this, backend = base.backend,
       inner = std::move(base.poller_factory)]() -> absl::StatusOr<std::unique_ptr<Poller>> {
    absl::StatusOr<Backend> resolved = resolve_backend(backend);
    if (!resolved.ok()) return resolved.status();
    absl::StatusOr<std::unique_ptr<Poller>> poller = inner ? inner() : create_poller(*resolved);
    if (!poller.ok()) return poller.status();
    return std::make_unique<JumpingPoller>(*this, *std::move(poller));
  };
  return base;
}

// The loop's poller is the one that was made last.
void VirtualTime::attach(IOLoop& loop) {
  std::lock_guard<std::mutex> lock(mutex_);
  pollers_.back()->loop_ = &loop;
}

bool VirtualTime::try_jump(const JumpingPoller& poller) {
  std::lock_guard<std::mutex> lock(mutex_);
  const SteadyTime deadline = *poller.deadline_;
  const nanoseconds left = deadline - clock.now();
  if (left <= nanoseconds::zero()) return true;
  // Woken since it looked last, by a loop that may be asleep by now.
  if (holds_.load() > 0 || poller.woken_.load()) return false;
  for (const JumpingPoller* other : pollers_) {
    if (other != &poller && other->in_the_way(deadline)) return false;
  }
  clock.advance(left);
  return true;
}

}  // namespace gyre::testing
