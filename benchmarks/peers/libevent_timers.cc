// The timers of libevent, as a contender of timer_contest.h.

#if defined(GYRE_PEER_LIBEVENT)

#include <event2/event.h>
#include <event2/event_struct.h>

#include <vector>

#include "gyre/benchmarks/timer_contest.h"

namespace gyre::bench {
namespace {

class EventTimers {
 public:
  static constexpr bool kPrecise = true;
  EventTimers(size_t count, int64_t* fired) : timers_(count), fired_(fired) {
    for (event& timer : timers_) {
      event_assign(
          &timer, base_, -1, 0,
          [](evutil_socket_t, short, void* self) { static_cast<EventTimers*>(self)->fire(); },
          this);
    }
  }
  ~EventTimers() {
    for (event& timer : timers_) event_del(&timer);
    event_base_free(base_);
  }

  void arm(size_t i, std::chrono::nanoseconds delay) {
    const timeval time = {static_cast<time_t>(delay.count() / 1'000'000'000),
                          static_cast<suseconds_t>(delay.count() / 1000 % 1'000'000)};
    event_add(&timers_[i], &time);
  }
  void rearm(size_t i, std::chrono::nanoseconds delay) { arm(i, delay); }  // it moves it
  void cancel(size_t i) { event_del(&timers_[i]); }
  void run(int64_t fires) {
    wanted_ = fires;
    event_base_dispatch(base_);
  }

 private:
  void fire() {
    if (++*fired_ == wanted_) event_base_loopbreak(base_);
  }

  event_base* const base_ = event_base_new();
  std::vector<event> timers_;
  int64_t* const fired_;
  int64_t wanted_ = -1;
};

}  // namespace

void add_libevent_timers() { add_timer_contender<EventTimers>("libevent"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_LIBEVENT
