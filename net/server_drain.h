#ifndef GYRE_NET_SERVER_DRAIN_H_
#define GYRE_NET_SERVER_DRAIN_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "gyre/loop/callback_queue.h"
#include "gyre/loop/mutex.h"
#include "gyre/net/drain_report.h"
#include "gyre/net/loop_connections.h"

namespace gyre::internal {

// What is known of a drain. Any thread.
class DrainProgress {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit DrainProgress(std::vector<std::string> loop_names);

  // What a loop had, once it has none any more. `ended`: when the last of them did.
  struct LoopResult {
    uint64_t served = 0;
    uint64_t cut_off = 0;
    std::optional<SocketAddress> last;
    bool last_was_cut_off = false;
    TimePoint ended{};
  };
  void loop_done(size_t loop, const LoopResult& result);
  void finish();

  DrainReport report() const;
  // False: not finished within `limit`.
  bool wait_for(std::chrono::nanoseconds limit) const;

 private:
  const TimePoint started_;
  mutable Mutex mutex_;
  mutable std::condition_variable_any finished_;
  DrainReport report_ ABSL_GUARDED_BY(mutex_);
  TimePoint last_ended_ ABSL_GUARDED_BY(mutex_){};
};

// A loop whose connections are to end.
struct DrainedLoop {
  explicit DrainedLoop(std::shared_ptr<LoopConnections> of_loop);

  std::shared_ptr<LoopConnections> connections;
  // Not the loop, which may be gone: of a pool that is destroyed the last loop may be the one that
  // lets go of an acceptor, and so begins the drain of all.
  std::shared_ptr<CallbackQueue> queue;
};

// Ends the connections of every loop: the idle ones at once, the busy ones when they become idle,
// all of them at the deadline; then progress->finish() and `done`, on whichever thread was last.
// Any thread; nothing waits. A deadline in the past ends all of them at once.
//
// The acceptors have stopped before, and what they handed over was posted: so it comes before what
// this posts, and nothing comes after.
void drain_loops(const std::vector<DrainedLoop>& loops,
                 std::chrono::steady_clock::time_point deadline,
                 std::shared_ptr<DrainProgress> progress,
                 absl::AnyInvocable<void(DrainReport)> done);

}  // namespace gyre::internal

#endif  // GYRE_NET_SERVER_DRAIN_H_
