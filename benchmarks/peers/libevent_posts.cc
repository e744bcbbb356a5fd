// How libevent reaches a loop from another thread, as a contender of post_contest.h.

#if defined(GYRE_PEER_LIBEVENT)

#include <event2/event.h>
#include <event2/thread.h>

#include "gyre/benchmarks/peers/locked_callbacks.h"
#include "gyre/benchmarks/post_contest.h"

namespace gyre::bench {
namespace {

class EventLoop : public LockedCallbacks {
 public:
  EventLoop() {
    static const int threads = evthread_use_pthreads();
    static_cast<void>(threads);
    base_ = event_base_new();
    wake_ = event_new(
        base_, -1, EV_PERSIST,
        [](evutil_socket_t, short, void* self) { static_cast<EventLoop*>(self)->run_all(); }, this);
    // An event that waits for nothing would not keep the loop running.
    const timeval never = {24 * 3600, 0};
    event_add(wake_, &never);
  }
  ~EventLoop() {
    event_free(wake_);
    event_base_free(base_);
  }
  template <class F>
  void post(F f) {
    put(std::move(f));
    event_active(wake_, EV_READ, 0);
  }
  void run() { event_base_dispatch(base_); }
  void stop() {
    post([this] { event_base_loopbreak(base_); });
  }

 private:
  event_base* base_;
  event* wake_;
};

}  // namespace

void add_libevent_posts() { add_post_contender<EventLoop>("libevent"); }
void add_libevent_round_trips() { add_round_trip_contender<EventLoop>("libevent"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_LIBEVENT
