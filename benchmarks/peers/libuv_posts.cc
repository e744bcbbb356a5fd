// How libuv reaches a loop from another thread, as a contender of post_contest.h.

#if defined(GYRE_PEER_LIBUV)

#include <uv.h>

#include "gyre/benchmarks/peers/locked_callbacks.h"
#include "gyre/benchmarks/post_contest.h"

namespace gyre::bench {
namespace {

class UvLoop : public LockedCallbacks {
 public:
  UvLoop() {
    uv_loop_init(&loop_);
    async_.data = this;
    uv_async_init(&loop_, &async_,
                  [](uv_async_t* async) { static_cast<UvLoop*>(async->data)->run_all(); });
  }
  ~UvLoop() {
    uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }
  template <class F>
  void post(F f) {
    put(std::move(f));
    uv_async_send(&async_);
  }
  void run() { uv_run(&loop_, UV_RUN_DEFAULT); }
  void stop() {
    post([this] { uv_stop(&loop_); });
  }

 private:
  uv_loop_t loop_;
  uv_async_t async_;
};

}  // namespace

void add_libuv_posts() { add_post_contender<UvLoop>("libuv"); }
void add_libuv_round_trips() { add_round_trip_contender<UvLoop>("libuv"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_LIBUV
