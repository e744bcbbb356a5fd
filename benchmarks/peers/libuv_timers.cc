// The timers of libuv, as a contender of timer_contest.h.

#if defined(GYRE_PEER_LIBUV)

#include <uv.h>

#include <vector>

#include "gyre/benchmarks/timer_contest.h"

namespace gyre::bench {
namespace {

// libuv's timers have milliseconds, and the time of the loop.
class UvTimers {
 public:
  static constexpr bool kPrecise = true;
  UvTimers(size_t count, int64_t* fired) : timers_(count), fired_(fired) {
    uv_loop_init(&loop_);
    for (uv_timer_t& timer : timers_) {
      uv_timer_init(&loop_, &timer);
      timer.data = this;
    }
  }
  ~UvTimers() {
    for (uv_timer_t& timer : timers_) uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }

  void arm(size_t i, std::chrono::nanoseconds delay) {
    uv_timer_start(
        &timers_[i], [](uv_timer_t* timer) { static_cast<UvTimers*>(timer->data)->fire(); },
        static_cast<uint64_t>(delay.count() / 1'000'000), 0);
  }
  void rearm(size_t i, std::chrono::nanoseconds delay) { arm(i, delay); }  // it stops it first
  void cancel(size_t i) { uv_timer_stop(&timers_[i]); }
  void run(int64_t fires) {
    wanted_ = fires;
    uv_update_time(&loop_);
    uv_run(&loop_, UV_RUN_DEFAULT);
  }

 private:
  void fire() {
    if (++*fired_ == wanted_) uv_stop(&loop_);
  }

  uv_loop_t loop_;
  std::vector<uv_timer_t> timers_;
  int64_t* const fired_;
  int64_t wanted_ = -1;
};

}  // namespace

void add_libuv_timers() { add_timer_contender<UvTimers>("libuv"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_LIBUV
