#include "gyre/testing/loop_fixture.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "gyre/loop/clock.h"
#include "gyre/loop/log.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/testing/forwarding_poller.h"

namespace gyre::testing {

// What a run waits for, looked at before each poll.
struct LoopFixture::Watch {
  enum class End { kNone, kCondition, kIdle, kLimit, kDeadlock };

  IOLoop& loop;
  std::optional<absl::FunctionRef<bool()>> condition;
  bool until_idle = false;
  IOLoop::TimePoint limit;
  End end = End::kNone;

  void finish(End how) {
    end = how;
    loop.stop();
  }
};

// Stands between the loop and its poller, because that is where an iteration has nothing left to
// do.
class LoopFixture::ObservedPoller final : public ForwardingPoller {
 public:
  ObservedPoller(LoopFixture& fixture, std::unique_ptr<Poller> poller)
      : ForwardingPoller(std::move(poller)), fixture_(fixture) {}

  WaitResult wait(std::chrono::nanoseconds timeout) override {
    Watch* watch = fixture_.watch_;
    if (watch == nullptr) return ForwardingPoller::wait(timeout);
    if (watch->end == Watch::End::kNone) timeout = observe(*watch, timeout);
    const WaitResult result = ForwardingPoller::wait(
        watch->end == Watch::End::kNone ? timeout : std::chrono::nanoseconds::zero());
    // There was nothing to wait for, but what is ready now may go on.
    if (asleep_ && watch->end == Watch::End::kNone && result.events.empty() && !result.woken) {
      if (watch->until_idle) {
        watch->finish(Watch::End::kIdle);
      } else if (fixture_.kernel_ != nullptr && forever_ && watch->condition) {
        watch->finish(Watch::End::kDeadlock);
      }
    }
    return result;
  }

 private:
  // A condition may come true on another thread, which wakes nobody.
  static constexpr auto kLook = std::chrono::milliseconds(5);

  // How long to wait, unless the run is over.
  std::chrono::nanoseconds observe(Watch& watch, std::chrono::nanoseconds timeout) {
    asleep_ = timeout.count() != 0;
    forever_ = timeout.count() < 0;
    const IOLoop::TimePoint now = watch.loop.time();
    if (watch.condition && (*watch.condition)()) {
      watch.finish(Watch::End::kCondition);
    } else if (now >= watch.limit) {
      watch.finish(Watch::End::kLimit);
    }
    if (watch.end != Watch::End::kNone || !asleep_) return std::chrono::nanoseconds::zero();
    if (watch.until_idle) return std::chrono::nanoseconds::zero();  // only a look at the fds
    if (fixture_.kernel_ != nullptr) {
      if (forever_ && watch.condition) return std::chrono::nanoseconds::zero();
    } else if (watch.condition && fixture_.virtual_time_ == nullptr) {
      timeout = forever_ ? kLook : std::min<std::chrono::nanoseconds>(timeout, kLook);
    }
    const std::chrono::nanoseconds left = watch.limit - now;
    return timeout.count() < 0 ? left : std::min(timeout, left);
  }

  LoopFixture& fixture_;
  bool asleep_ = false;   // the loop has nothing to do now
  bool forever_ = false;  // nor at any later time
};

LoopFixture::LoopFixture(LoopFixtureOptions options) {
  IOLoopOptions loop_options = std::move(options.loop);
  if (options.backend.has_value()) {
    loop_options.backend = *options.backend;
    loop_options.poller_factory = [backend = *options.backend] { return create_poller(backend); };
    if (options.time == FixtureTime::kVirtual) {
      virtual_time_ = std::make_unique<VirtualTime>();
      loop_options = virtual_time_->options(std::move(loop_options));
    }
  } else {
    kernel_ = std::make_unique<SimulatedKernel>();
    loop_options = kernel_->options(std::move(loop_options));
  }
  loop_options.poller_factory = [this, inner = std::move(loop_options.poller_factory)]()
      -> absl::StatusOr<std::unique_ptr<Poller>> {
    absl::StatusOr<std::unique_ptr<Poller>> poller = inner();
    if (!poller.ok()) return poller.status();
    return std::make_unique<ObservedPoller>(*this, *std::move(poller));
  };
  loop_options.make_current = true;
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create(std::move(loop_options));
  GYRE_CHECK(loop.ok(), "LoopFixture: %s", loop.status().ToString());
  loop_ = *std::move(loop);
  if (virtual_time_ != nullptr) virtual_time_->attach(*loop_);
}

LoopFixture::~LoopFixture() {
  loop_.reset();
  IOLoop::clear_current();
}

SimulatedKernel& LoopFixture::kernel() {
  GYRE_CHECK(kernel_ != nullptr, "LoopFixture::kernel(): the loop runs on a real backend");
  return *kernel_;
}

VirtualTime& LoopFixture::virtual_time() {
  GYRE_CHECK(virtual_time_ != nullptr,
             "LoopFixture::virtual_time(): only with FixtureTime::kVirtual, on a real backend");
  return *virtual_time_;
}

absl::Status LoopFixture::run(Watch& watch) {
  // A run inside a callback of another is refused, and the other goes on.
  Watch* const outer = std::exchange(watch_, &watch);
  const absl::Status status = loop_->start();
  watch_ = outer;
  if (!status.ok()) return status;
  switch (watch.end) {
    case Watch::End::kNone:
      return absl::CancelledError("the loop was stopped");
    case Watch::End::kCondition:
    case Watch::End::kIdle:
      return absl::OkStatus();
    case Watch::End::kLimit:
      return absl::DeadlineExceededError("the limit of the run is over");
    case Watch::End::kDeadlock:
      return absl::FailedPreconditionError(
          "nothing is left to happen: no timeout, no callback, no fd that is ready");
  }
  return absl::InternalError("unknown end");
}

absl::Status LoopFixture::run_until(absl::FunctionRef<bool()> condition, Duration limit) {
  Watch watch{*loop_, condition, false, internal::saturating_add(loop_->time(), limit)};
  return run(watch);
}

absl::Status LoopFixture::run_for(Duration duration) {
  Watch watch{*loop_, std::nullopt, false, internal::saturating_add(loop_->time(), duration)};
  const absl::Status status = run(watch);
  return absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status;
}

absl::Status LoopFixture::run_until_idle(Duration limit) {
  Watch watch{*loop_, std::nullopt, true, internal::saturating_add(loop_->time(), limit)};
  return run(watch);
}

}  // namespace gyre::testing
