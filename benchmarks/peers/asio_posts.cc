// How Boost.Asio reaches a loop from another thread, as a contender of post_contest.h.

#if defined(GYRE_PEER_ASIO)

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "gyre/benchmarks/post_contest.h"

namespace gyre::bench {
namespace {

class AsioLoop {
 public:
  void prepare(int, int) {}
  void enter(int) {}
  template <class F>
  void post(F f) {
    boost::asio::post(context_, std::move(f));
  }
  void run() { context_.run(); }
  void stop() { context_.stop(); }

 private:
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      context_.get_executor()};
};

}  // namespace

void add_asio_posts() { add_post_contender<AsioLoop>("asio"); }
void add_asio_round_trips() { add_round_trip_contender<AsioLoop>("asio"); }

}  // namespace gyre::bench

#endif  // GYRE_PEER_ASIO
