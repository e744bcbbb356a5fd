#include "gyre/loop/periodic_callback.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <ratio>

namespace gyre {
namespace {

double random_between_halves() {
  static thread_local std::minstd_rand generator(std::random_device{}());
  return std::uniform_real_distribution<double>(-0.5, 0.5)(generator);
}

}  // namespace

struct PeriodicCallback::State : std::enable_shared_from_this<State> {
  State(IOLoop& l, Callback c, IOLoop::Duration p, double j)
      : loop(l),
        queue(internal::LoopAccess::queue(l)),
        callback(std::move(c)),
        period(p),
        jitter(j) {}

  void start() {
    running = true;
    next = loop.time();
    schedule();
  }

  void schedule() {
    advance(loop.time());
    // A stop and a start in the callback lay a new grid: what belongs to the old one does nothing.
    timeout = loop.call_at(next, [state = shared_from_this()] { state->run(); });
  }

  // Tornado's rule: to the next point of the grid that is in the future. A clock that stepped back
  // does not make the calls come faster.
  void advance(IOLoop::TimePoint now) {
    IOLoop::Duration step = period;
    if (jitter != 0) {
      const double factor = 1 + jitter * random_between_halves();
      const std::chrono::duration<double, std::nano> jittered(period.count() * factor);
      step = std::max(internal::saturating_nanoseconds(jittered), IOLoop::Duration(1));
    }
    if (next > now) {
      next = internal::saturating_add(next, step);
      return;
    }
    const auto missed = internal::saturating_sub(now, next) / step;
    next = internal::saturating_add(internal::saturating_add(next, step * missed), step);
  }

  void run() {
    if (!running) return;
    timeout = {};
    struct Rescheduler {  // also when the callback throws
      State& state;
      ~Rescheduler() {
        // Stopped, or stopped and started again, in the callback: nothing to continue.
        if (state.running && !state.timeout) state.schedule();
      }
    } rescheduler{*this};
    callback();
  }

  IOLoop& loop;
  const std::shared_ptr<internal::CallbackQueue> queue;  // tells whether the loop is still there
  Callback callback;
  const IOLoop::Duration period;
  const double jitter;
  IOLoop::TimePoint next;
  IOLoop::Timeout timeout;
  bool running = false;
};

PeriodicCallback::PeriodicCallback(IOLoop& loop, Callback callback, IOLoop::Duration period,
                                   double jitter, Private)
    : state_(std::make_shared<State>(loop, std::move(callback), period, jitter)) {
  GYRE_CHECK(period > IOLoop::Duration::zero(),
             "the period of a PeriodicCallback has to be positive, not %d ns",
             static_cast<int64_t>(period.count()));
}

PeriodicCallback::~PeriodicCallback() { stop(); }

void PeriodicCallback::start() {
  if (!state_->running && !state_->queue->closed()) state_->start();
}

void PeriodicCallback::stop() {
  if (!state_->running) return;
  state_->running = false;
  const IOLoop::Timeout timeout = std::exchange(state_->timeout, {});
  // A loop that was closed has dropped it, and may be gone.
  if (!state_->queue->closed()) state_->loop.remove_timeout(timeout);
}

bool PeriodicCallback::is_running() const { return state_->running; }

}  // namespace gyre
