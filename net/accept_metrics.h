#ifndef GYRE_NET_ACCEPT_METRICS_H_
#define GYRE_NET_ACCEPT_METRICS_H_

#include <cstdint>

#include "gyre/loop/loop_metrics.h"
#include "gyre/net/admission.h"

namespace gyre {

// What became of the connections that came to a server. A snapshot: the counts were read one
// after the other.
struct AcceptMetrics {
  uint64_t accepted = 0;  // taken out of the kernel's queue, and let in
  // Closed at once, by the limit that was reached.
  uint64_t rejected_total = 0;
  uint64_t rejected_per_loop = 0;
  uint64_t rejected_per_source = 0;
  uint64_t rejected_rate = 0;
  uint64_t refused = 0;    // let in, and closed since every loop was closed
  uint64_t shed = 0;       // closed at once, since no file descriptor or buffer was left
  uint64_t transient = 0;  // failed before they were accepted: accept(2) says to go on

  uint64_t batches = 0;
  // Posts to a loop: each wakes it at most once, so that this bounds LoopMetrics::wakeups. At most
  // one for each loop in a batch; none where the loops accept by themselves.
  uint64_t hand_overs = 0;
  uint64_t largest_batch = 0;
  uint64_t back_offs = 0;  // accepting was paused, since no file descriptor or buffer was left
  // The file descriptor that was given up to shed a connection was another thread's first.
  uint64_t spares_lost = 0;
  uint64_t waits = 0;  // accepting was paused at a limit

  uint64_t rejected() const {
    return rejected_total + rejected_per_loop + rejected_per_source + rejected_rate;
  }
};

namespace internal {

// The same of one accepting thread: written by it, read by any.
struct alignas(64) AcceptCounters {
  Counter accepted, rejected[4], refused, shed, transient, batches, hand_overs, largest_batch,
      back_offs, spares_lost, waits;

  void add_to(AcceptMetrics& sum) const;
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_NET_ACCEPT_METRICS_H_
