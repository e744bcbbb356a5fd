#include "gyre/net/connection_dispatcher.h"

#include "absl/strings/str_format.h"
#include "gyre/loop/io_loop.h"

namespace gyre {

absl::StatusOr<Placement> parse_placement(std::string_view name) {
  if (name == "round_robin") return Placement::kRoundRobin;
  if (name == "least_connections") return Placement::kLeastConnections;
  return absl::InvalidArgumentError(absl::StrFormat(
      "unknown placement \"%s\": round_robin and least_connections are known", name));
}

// Connections on their way to a loop. If the loop closes first they go with its queue.
struct ConnectionDispatcher::Batch {
  std::shared_ptr<internal::LoopConnections> loop;
  std::vector<UniqueFd> connections;

  ~Batch() {
    for (const UniqueFd& connection : connections) {
      if (connection) loop->count_lost();
    }
  }
};

ConnectionDispatcher::ConnectionDispatcher(
    std::vector<std::shared_ptr<internal::LoopConnections>> loops, Placement placement,
    std::shared_ptr<const Adopt> adopt)
    : loops_(std::move(loops)),
      placement_(placement),
      adopt_(std::move(adopt)),
      shares_(loops_.size()) {}

size_t ConnectionDispatcher::pick() {
  const size_t first = next_++ % loops_.size();
  if (placement_ == Placement::kRoundRobin) return first;
  // Ties go round, too: the search starts at another loop each time.
  size_t least = first;
  uint64_t fewest = loops_[first]->open();
  for (size_t i = 1; i < loops_.size(); ++i) {
    const size_t loop = (first + i) % loops_.size();
    if (const uint64_t open = loops_[loop]->open(); open < fewest) {
      least = loop;
      fewest = open;
    }
  }
  return least;
}

// Empties `share`, which is counted with `from`, unless `to` is closed.
void ConnectionDispatcher::hand_over(size_t from, size_t to, std::vector<UniqueFd>& share) {
  auto batch = std::make_shared<Batch>();
  batch->loop = loops_[to];
  batch->connections = std::move(share);
  const size_t count = batch->connections.size();
  if (to != from) {
    for (size_t i = 0; i < count; ++i) loops_[to]->count_assigned();
  }
  const bool posted = loops_[to]->loop().add_callback([batch, adopt = adopt_] {
    for (UniqueFd& connection : batch->connections) (*adopt)(std::move(connection), *batch->loop);
  });
  const size_t loser = posted ? from : to;
  if (to != from) {
    for (size_t i = 0; i < count; ++i) loops_[loser]->count_lost();
  }
  share = posted ? std::vector<UniqueFd>() : std::move(batch->connections);
}

void ConnectionDispatcher::dispatch(std::vector<UniqueFd>& connections) {
  for (UniqueFd& connection : connections) {
    const size_t loop = pick();
    loops_[loop]->count_assigned();
    shares_[loop].push_back(std::move(connection));
  }
  for (size_t loop = 0; loop < loops_.size(); ++loop) {
    std::vector<UniqueFd>& share = shares_[loop];
    // A closed loop's share goes to the others, each of which is asked once.
    for (size_t i = 0; i < loops_.size() && !share.empty(); ++i) {
      hand_over(loop, (loop + i) % loops_.size(), share);
    }
    refused_.fetch_add(share.size(), std::memory_order_relaxed);
    for (size_t i = 0; i < share.size(); ++i) loops_[loop]->count_lost();
    share.clear();
  }
  connections.clear();
}

}  // namespace gyre
