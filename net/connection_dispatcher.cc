#include "gyre/net/connection_dispatcher.h"

#include <utility>

#include "gyre/loop/io_loop.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/source_counts.h"

namespace gyre {

using internal::AcceptedConnection;
using internal::LoopConnections;

// Connections on their way to a loop. If the loop closes first they go with its queue.
struct ConnectionDispatcher::Batch {
  std::shared_ptr<LoopConnections> loop;
  Share connections;

  ~Batch() {
    for (const AcceptedConnection& connection : connections) {
      if (connection.fd) loop->count_lost();
    }
  }
};

namespace {

ConnectionDispatcher::Options with_counters(ConnectionDispatcher::Options options) {
  if (options.counters == nullptr) options.counters = std::make_shared<internal::AcceptCounters>();
  return options;
}

}  // namespace

ConnectionDispatcher::ConnectionDispatcher(std::vector<std::shared_ptr<LoopConnections>> loops,
                                           Options options, std::shared_ptr<const Adopt> adopt)
    : loops_(std::move(loops)),
      options_(with_counters(std::move(options))),
      adopt_(std::move(adopt)),
      picker_(options_.placement, options_.seed),
      meter_(loops_.size()),
      shares_(loops_.size()) {}

double ConnectionDispatcher::busy(size_t loop) const {
  return meter_.busy(loop, loops_[loop]->open());
}

bool ConnectionDispatcher::has_room(size_t loop) const {
  return options_.per_loop == 0 || loops_[loop]->open() < options_.per_loop;
}

size_t ConnectionDispatcher::pick(const AcceptedConnection& connection) {
  if (options_.pick) {
    if (const size_t loop = ask_user(connection.peer_address()); loop < size() && has_room(loop))
      return loop;
  } else if (const auto loop =
                 picker_.pick(*this, internal::source_of(connection.peer_address()))) {
    return *loop;
  }
  next_ = (next_ + 1) % size();
  // Where no loop has room it would not have been accepted.
  return next_with_room(next_);
}

size_t ConnectionDispatcher::next_with_room(size_t start) const {
  return LoopPicker::next_with_room(*this, start).value_or(start);
}

size_t ConnectionDispatcher::ask_user(const SocketAddress& peer) {
  size_t loop = size();
  if (IOLoop* here = IOLoop::current(/*instance=*/false)) {
    internal::LoopAccess::call(*here, [&] { loop = options_.pick(peer, *this); });
  } else {
    loop = options_.pick(peer, *this);
  }
  return loop;
}

// Empties `share`, which is counted with `from`, unless `to` is closed.
void ConnectionDispatcher::hand_over(size_t from, size_t to, Share& share) {
  auto batch = std::make_shared<Batch>();
  batch->loop = loops_[to];
  batch->connections = std::move(share);
  const size_t count = batch->connections.size();
  if (to != from) {
    for (size_t i = 0; i < count; ++i) loops_[to]->count_assigned();
  }
  const bool posted = loops_[to]->loop().add_callback([batch, adopt = adopt_] {
    for (AcceptedConnection& connection : batch->connections) {
      (*adopt)(std::move(connection), *batch->loop);
    }
  });
  if (posted) options_.counters->hand_overs.add(1);
  const size_t loser = posted ? from : to;
  if (to != from) {
    for (size_t i = 0; i < count; ++i) loops_[loser]->count_lost();
  }
  share = posted ? Share() : std::move(batch->connections);
}

// A closed loop's share goes to the others, each of which is asked once.
void ConnectionDispatcher::deal_out(size_t loop, Share& share) {
  for (size_t i = 0; i < size() && !share.empty(); ++i) hand_over(loop, (loop + i) % size(), share);
  options_.counters->refused.add(share.size());
  for (size_t i = 0; i < share.size(); ++i) loops_[loop]->count_lost();
  share.clear();
}

void ConnectionDispatcher::dispatch(std::vector<AcceptedConnection>& connections) {
  if (options_.placement == Placement::kLeastBusy && !options_.pick) {
    meter_.update(std::chrono::steady_clock::now(), [this](size_t loop) {
      return BusyMeter::Reading{loops_[loop]->loop().metrics(), loops_[loop]->open()};
    });
  }
  for (AcceptedConnection& connection : connections) {
    const size_t loop = pick(connection);
    loops_[loop]->count_assigned();
    shares_[loop].push_back(std::move(connection));
  }
  connections.clear();
  for (size_t loop = 0; loop < size(); ++loop) {
    if (!shares_[loop].empty()) deal_out(loop, shares_[loop]);
  }
}

}  // namespace gyre
