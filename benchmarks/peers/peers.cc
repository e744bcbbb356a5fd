#include "gyre/benchmarks/peers/peers.h"

namespace gyre::bench {

void add_go_posts();
void add_asio_posts();
void add_asio_round_trips();
void add_asio_timers();
void add_libuv_posts();
void add_libuv_round_trips();
void add_libuv_timers();
void add_libevent_posts();
void add_libevent_round_trips();
void add_libevent_timers();
void add_libev_posts();
void add_libev_round_trips();
void add_libev_timers();

void add_post_peers() {
#if defined(GYRE_PEER_LIBUV)
  add_libuv_posts();
#endif
#if defined(GYRE_PEER_LIBEVENT)
  add_libevent_posts();
#endif
#if defined(GYRE_PEER_LIBEV)
  add_libev_posts();
#endif
#if defined(GYRE_PEER_ASIO)
  add_asio_posts();
#endif
  add_go_posts();
}

void add_round_trip_peers() {
#if defined(GYRE_PEER_LIBUV)
  add_libuv_round_trips();
#endif
#if defined(GYRE_PEER_LIBEVENT)
  add_libevent_round_trips();
#endif
#if defined(GYRE_PEER_LIBEV)
  add_libev_round_trips();
#endif
#if defined(GYRE_PEER_ASIO)
  add_asio_round_trips();
#endif
}

void add_timer_peers() {
#if defined(GYRE_PEER_LIBUV)
  add_libuv_timers();
#endif
#if defined(GYRE_PEER_LIBEVENT)
  add_libevent_timers();
#endif
#if defined(GYRE_PEER_LIBEV)
  add_libev_timers();
#endif
#if defined(GYRE_PEER_ASIO)
  add_asio_timers();
#endif
}

}  // namespace gyre::bench
