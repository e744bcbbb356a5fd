#ifndef GYRE_NET_DRAIN_REPORT_H_
#define GYRE_NET_DRAIN_REPORT_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gyre/net/socket_address.h"

namespace gyre {

// How a server's connections ended.
struct DrainReport {
  struct Loop {
    std::string name;
    uint64_t served = 0;
    uint64_t cut_off = 0;
  };

  uint64_t served = 0;   // ended before the deadline: idle, or after their answer, or by the peer
  uint64_t cut_off = 0;  // closed at the deadline
  std::vector<Loop> loops;
  // The peer of the connection that ended last; unset where there was none, or it was gone already.
  std::optional<SocketAddress> last;
  bool last_was_cut_off = false;
  std::chrono::nanoseconds took{0};
  // False: it goes on, and this is what was known when the call returned. Or a loop was stopped
  // before its connections had ended: they end with it, and are counted nowhere.
  bool finished = false;

  // "12 connections served, 1 cut off after 10.0 s; the last was 127.0.0.1:4711, cut off".
  std::string to_string() const;
};

}  // namespace gyre

#endif  // GYRE_NET_DRAIN_REPORT_H_
