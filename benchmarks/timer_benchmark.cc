// Timers: call_later and remove_timeout, and IdleTimeout.
//
// Measures nanoseconds an operation on a loop with 1,000, 100,000 or 1,000,000 timers that do not
// fire meanwhile: timer/rearm_random (cancel one of them at random and add it again, with another
// timeout at random), timer/rearm_constant (with the same timeout each time, as idle timeouts
// have), timer/add_cancel (add one and cancel it); and timer/fire: a million timers that are due,
// from the start of the loop to the last callback, each. The counter bytes_per_timer is what the
// heap grew by for each. Baselines, in the same run: the peers, each with timers that live in
// memory of their own and are used again, as a careful user has them.
//
// "gyre" reads the clock for each timer, as the delay counts from the call; libuv, libevent and
// libev take the time from the loop, which reads it once an iteration. "gyre_call_at" is given the
// time. "gyre_idle_timeout" is coarse, and made for connections.
//
// Goals: with 100,000 timers 80 ns at random and 30 ns with a constant timeout; 250 ns to fire.

#include <optional>
#include <vector>

#include "gyre/benchmarks/comparison.h"
#include "gyre/benchmarks/peers/peers.h"
#include "gyre/benchmarks/timer_contest.h"
#include "gyre/loop/idle_timeout.h"
#include "gyre/loop/io_loop.h"

namespace gyre::bench {
namespace {

class OfLoop {
 public:
  explicit OfLoop(int64_t* fired) : fired_(fired) {
    IOLoopOptions options;
    options.make_current = false;
    loop_ = IOLoop::create(std::move(options)).value();
  }
  void run(int64_t fires) {
    wanted_ = fires;
    loop_->start().IgnoreError();
  }

 protected:
  void fire() {
    if (++*fired_ == wanted_) loop_->stop();
  }

  std::unique_ptr<IOLoop> loop_;
  int64_t* const fired_;
  int64_t wanted_ = -1;
};

class GyreTimers : public OfLoop {
 public:
  static constexpr bool kPrecise = true;
  GyreTimers(size_t count, int64_t* fired) : OfLoop(fired), timeouts_(count) {}

  void arm(size_t i, std::chrono::nanoseconds delay) {
    timeouts_[i] = loop_->call_later(delay, [this] { fire(); });
  }
  void rearm(size_t i, std::chrono::nanoseconds delay) {
    cancel(i);
    arm(i, delay);
  }
  void cancel(size_t i) { loop_->remove_timeout(timeouts_[i]); }

 protected:
  std::vector<IOLoop::Timeout> timeouts_;
};

class GyreTimersAt : public GyreTimers {
 public:
  GyreTimersAt(size_t count, int64_t* fired) : GyreTimers(count, fired), now_(loop_->time()) {}

  void arm(size_t i, std::chrono::nanoseconds delay) {
    timeouts_[i] = loop_->call_at(now_ + delay, [this] { fire(); });
  }
  void rearm(size_t i, std::chrono::nanoseconds delay) {
    cancel(i);
    arm(i, delay);
  }

 private:
  const IOLoop::TimePoint now_;
};

class GyreIdleTimeouts : public OfLoop {
 public:
  static constexpr bool kPrecise = false;
  GyreIdleTimeouts(size_t count, int64_t* fired) : OfLoop(fired), timeouts_(count) {
    for (auto& timeout : timeouts_) timeout.emplace(*loop_, [this] { fire(); });
  }

  void arm(size_t i, std::chrono::nanoseconds delay) { timeouts_[i]->start(delay); }
  // The timeout stays what it was.
  void rearm(size_t i, std::chrono::nanoseconds) { timeouts_[i]->touch(); }
  void cancel(size_t i) { timeouts_[i]->stop(); }

 private:
  std::vector<std::optional<IdleTimeout>> timeouts_;
};

}  // namespace
}  // namespace gyre::bench

int main(int argc, char** argv) {
  using namespace gyre::bench;
  add_timer_contender<GyreTimers>("gyre");
  add_timer_contender<GyreTimersAt>("gyre_call_at");
  add_timer_contender<GyreIdleTimeouts>("gyre_idle_timeout");
  add_timer_peers();
  return run_comparisons(argc, argv);
}
