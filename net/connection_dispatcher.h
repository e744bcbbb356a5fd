#ifndef GYRE_NET_CONNECTION_DISPATCHER_H_
#define GYRE_NET_CONNECTION_DISPATCHER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/loop_connections.h"

namespace gyre {

// Which loop a new connection goes to.
enum class Placement {
  kRoundRobin,        // each loop in turn
  kLeastConnections,  // the one with the fewest that are open
};

// "round_robin", "least_connections"; InvalidArgument names what there is.
absl::StatusOr<Placement> parse_placement(std::string_view name);

// Deals accepted connections out to loops: one post to each loop for a batch, hence at most one
// wake-up. A loop that is closed gives its share back, and the next one gets it.
class ConnectionDispatcher {
 public:
  // Makes a stream of a connection; on the loop's thread.
  using Adopt =
      absl::AnyInvocable<void(UniqueFd connection, internal::LoopConnections& loop) const>;

  ConnectionDispatcher(std::vector<std::shared_ptr<internal::LoopConnections>> loops,
                       Placement placement, std::shared_ptr<const Adopt> adopt);

  // Takes the connections. Those that no loop would take are closed, and counted. One thread at a
  // time.
  void dispatch(std::vector<UniqueFd>& connections);

  // Any thread.
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Batch;

  size_t pick();
  void hand_over(size_t from, size_t to, std::vector<UniqueFd>& share);

  const std::vector<std::shared_ptr<internal::LoopConnections>> loops_;
  const Placement placement_;
  const std::shared_ptr<const Adopt> adopt_;
  std::vector<std::vector<UniqueFd>> shares_;  // by loop, while a batch is dealt out
  size_t next_ = 0;
  std::atomic<uint64_t> refused_{0};
};

}  // namespace gyre

#endif  // GYRE_NET_CONNECTION_DISPATCHER_H_
