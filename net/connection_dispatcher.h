#ifndef GYRE_NET_CONNECTION_DISPATCHER_H_
#define GYRE_NET_CONNECTION_DISPATCHER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "gyre/net/accept_metrics.h"
#include "gyre/net/accepted_connection.h"
#include "gyre/net/loop_connections.h"
#include "gyre/threading/busy_meter.h"
#include "gyre/threading/loop_picker.h"

namespace gyre {

// The user's own choice of a loop, by its number in the pool. Called on the accepting thread: it
// must not block. If the loop is out of range or has no room, or if it throws, the next loop with
// room is taken.
using PickLoop = std::function<size_t(const SocketAddress& peer, const LoopLoads& loads)>;

// Deals accepted connections out to loops: one post to each loop for a batch, hence at most one
// wake-up. A loop that is closed gives its share back, and the next one gets it. One thread at a
// time.
class ConnectionDispatcher final : private LoopLoads {
 public:
  // Makes a stream of a connection; on the loop's thread.
  using Adopt = absl::AnyInvocable<void(internal::AcceptedConnection connection,
                                        internal::LoopConnections& loop) const>;

  struct Options {
    Placement placement = Placement::kRoundRobin;
    PickLoop pick = nullptr;  // instead of `placement`
    uint64_t seed = 0;        // see LoopPicker
    uint64_t per_loop = 0;    // the most connections of a loop; 0: any number
    std::shared_ptr<internal::AcceptCounters> counters = nullptr;
  };

  ConnectionDispatcher(std::vector<std::shared_ptr<internal::LoopConnections>> loops,
                       Options options, std::shared_ptr<const Adopt> adopt);

  // Takes the connections. Those that no loop would take are closed, and counted.
  void dispatch(std::vector<internal::AcceptedConnection>& connections);

  const internal::AcceptCounters& counters() const { return *options_.counters; }

 private:
  struct Batch;
  using Share = std::vector<internal::AcceptedConnection>;

  size_t size() const override { return loops_.size(); }
  uint64_t connections(size_t loop) const override { return loops_[loop]->open(); }
  double busy(size_t loop) const override;
  bool has_room(size_t loop) const override;

  size_t pick(const internal::AcceptedConnection& connection);
  size_t next_with_room(size_t start) const;
  size_t ask_user(const SocketAddress& peer);
  void deal_out(size_t loop, Share& share);
  void hand_over(size_t from, size_t to, Share& share);

  const std::vector<std::shared_ptr<internal::LoopConnections>> loops_;
  const Options options_;
  const std::shared_ptr<const Adopt> adopt_;
  LoopPicker picker_;
  BusyMeter meter_;
  std::vector<Share> shares_;  // by loop, while a batch is dealt out
  size_t next_ = 0;
};

}  // namespace gyre

#endif  // GYRE_NET_CONNECTION_DISPATCHER_H_
