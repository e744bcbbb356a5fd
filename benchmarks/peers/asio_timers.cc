// The timers of Boost.Asio, as a contender of timer_contest.h.

#if defined(GYRE_PEER_ASIO)

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>

#include "gyre/benchmarks/timer_contest.h"

namespace gyre::bench {
namespace {

class AsioTimers {
 public:
  static constexpr bool kPrecise = true;
  AsioTimers(size_t count, int64_t* fired) : fired_(fired) {
    for (size_t i = 0; i < count; ++i) timers_.emplace_back(context_);
  }

  void arm(size_t i, std::chrono::nanoseconds delay) {
    boost::asio::steady_timer& timer = timers_[i];
    timer.expires_after(delay);  // cancels what waits for it
    timer.async_wait([this](boost::system::error_code error) {
      if (!error) fire();
    });
  }
  void rearm(size_t i, std::chrono::nanoseconds delay) {
    arm(i, delay);
    run_cancelled();
  }
  void cancel(size_t i) {
    timers_[i].cancel();
    run_cancelled();
  }
  void run(int64_t fires) {
    wanted_ = fires;
    context_.restart();
    context_.run();
  }

 private:
  void fire() {
    if (++*fired_ == wanted_) context_.stop();
  }
  // The handlers of cancelled timers wait for the loop; it runs now and then.
  void run_cancelled() {
    if (++cancelled_ % 1024 == 0) context_.poll();
  }

  boost::asio::io_context context_{1};
  std::deque<boost::asio::steady_timer> timers_;
  int64_t* const fired_;
  int64_t wanted_ = -1;
  int64_t cancelled_ = 0;
};

}  // namespace

void add_asio_timers() { add_timer_contender<AsioTimers>("asio"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_ASIO
