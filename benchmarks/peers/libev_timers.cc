// The timers of libev, as a contender of timer_contest.h.

#if defined(GYRE_PEER_LIBEV)

#include <ev.h>

#include <vector>

#include "gyre/benchmarks/timer_contest.h"

namespace gyre::bench {
namespace {

class EvTimers {
 public:
  static constexpr bool kPrecise = true;
  EvTimers(size_t count, int64_t* fired) : timers_(count), fired_(fired) {
    for (ev_timer& timer : timers_) {
      ev_init(&timer, [](struct ev_loop*, ev_timer* timer, int) {
        static_cast<EvTimers*>(timer->data)->fire();
      });
      timer.data = this;
    }
  }
  ~EvTimers() {
    for (ev_timer& timer : timers_) ev_timer_stop(loop_, &timer);
    ev_loop_destroy(loop_);
  }

  void arm(size_t i, std::chrono::nanoseconds delay) {
    ev_timer_set(&timers_[i], static_cast<double>(delay.count()) / 1e9, 0.);
    ev_timer_start(loop_, &timers_[i]);
  }
  void rearm(size_t i, std::chrono::nanoseconds delay) {
    cancel(i);
    arm(i, delay);
  }
  void cancel(size_t i) { ev_timer_stop(loop_, &timers_[i]); }
  void run(int64_t fires) {
    wanted_ = fires;
    ev_now_update(loop_);
    ev_run(loop_, 0);
  }

 private:
  void fire() {
    if (++*fired_ == wanted_) ev_break(loop_, EVBREAK_ALL);
  }

  struct ev_loop* const loop_ = ev_loop_new(EVFLAG_AUTO);
  std::vector<ev_timer> timers_;
  int64_t* const fired_;
  int64_t wanted_ = -1;
};

}  // namespace

void add_libev_timers() { add_timer_contender<EvTimers>("libev"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_LIBEV
