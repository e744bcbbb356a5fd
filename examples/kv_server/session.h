#ifndef GYRE_EXAMPLES_KV_SERVER_SESSION_H_
#define GYRE_EXAMPLES_KV_SERVER_SESSION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "gyre/loop/clock.h"

namespace gyre::kv {

// The version of redis whose protocol this is, as far as it goes: clients look at it.
inline constexpr char kProtocolVersion[] = "7.0.0";

// What the connections of all loops share. Any thread. Counters only, so the order is relaxed.
struct ServerState {
  explicit ServerState(size_t loop_count) : loops(loop_count) {}

  const size_t loops;
  const SteadyTime started = MonotonicClock::steady().now();
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> closed{0};
};

// One connection, as the commands that are about it see it.
struct Session {
  explicit Session(std::shared_ptr<ServerState> state)
      : server(std::move(state)),
        id(server->accepted.fetch_add(1, std::memory_order_relaxed) + 1) {}
  ~Session() { server->closed.fetch_add(1, std::memory_order_relaxed); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::shared_ptr<ServerState> server;
  const uint64_t id;
  std::string name;
  bool closing = false;  // once what was asked before is answered
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_SESSION_H_
