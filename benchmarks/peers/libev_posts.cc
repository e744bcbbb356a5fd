// How libev reaches a loop from another thread, as a contender of post_contest.h.

#if defined(GYRE_PEER_LIBEV)

#include <ev.h>

#include "gyre/benchmarks/peers/locked_callbacks.h"
#include "gyre/benchmarks/post_contest.h"

namespace gyre::bench {
namespace {

class EvLoop : public LockedCallbacks {
 public:
  EvLoop() {
    loop_ = ev_loop_new(EVFLAG_AUTO);
    ev_async_init(&wake_, [](struct ev_loop*, ev_async* wake, int) {
      static_cast<EvLoop*>(wake->data)->run_all();
    });
    wake_.data = this;
    ev_async_start(loop_, &wake_);
  }
  ~EvLoop() { ev_loop_destroy(loop_); }
  template <class F>
  void post(F f) {
    put(std::move(f));
    ev_async_send(loop_, &wake_);
  }
  void run() { ev_run(loop_, 0); }
  void stop() {
    post([this] { ev_break(loop_, EVBREAK_ALL); });
  }

 private:
  struct ev_loop* loop_;
  ev_async wake_;
};

}  // namespace

void add_libev_posts() { add_post_contender<EvLoop>("libev"); }
void add_libev_round_trips() { add_round_trip_contender<EvLoop>("libev"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_LIBEV
