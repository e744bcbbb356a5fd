#ifndef GYRE_NET_RESOLVER_H_
#define GYRE_NET_RESOLVER_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gyre/loop/clock.h"
#include "gyre/loop/executor.h"
#include "gyre/loop/future.h"
#include "gyre/net/socket_address.h"

namespace gyre {

// The addresses of a name.
using ResolvedAddresses = absl::StatusOr<std::vector<SocketAddress>>;

struct ResolverOptions {
  // Results that are kept, the least recently used goes first. Zero: none.
  size_t max_entries = 1024;
  // How long an answer is good, since getaddrinfo(3) does not tell; and how long a failure is, so
  // that a name that does not exist is not asked for again and again.
  std::chrono::nanoseconds max_age = std::chrono::seconds(60);
  std::chrono::nanoseconds max_negative_age = std::chrono::seconds(5);
  // Names that are being looked up; one more is ResourceExhausted.
  size_t max_lookups = 1024;
  // A name, in small letters, to the name or numeric address that is resolved in its place: for
  // tests, and for what /etc/hosts does.
  std::map<std::string, std::string> overrides = {};
  // Looks a name up, and may block; called on the executor, for several names at the same time. The
  // ports of its result are replaced. Empty: SocketAddress::resolve.
  std::function<ResolvedAddresses(const std::string& host)> lookup = {};
  // Borrowed; nullptr: default_executor().
  Executor* executor = nullptr;
  // Borrowed; nullptr: std::chrono::steady_clock.
  const MonotonicClock* clock = nullptr;
};

// Finds the addresses of names without blocking a loop, and remembers them. Any thread; one serves
// all loops. It may be destroyed while names are being looked up: who waits is told all the same.
class Resolver {
 public:
  explicit Resolver(ResolverOptions options = {});
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // The addresses of `host`, in the order in which to try them. What SocketAddress::parse takes,
  // and what is remembered, is there at once (done()); everybody who asks for the same name
  // meanwhile shares one lookup. InvalidArgument for a host that is empty, has a NUL byte or more
  // than 255 bytes; NotFound and Unavailable as SocketAddress::resolve; ResourceExhausted see
  // max_lookups; Unavailable if the executor refuses. The future never throws.
  Future<ResolvedAddresses> resolve(std::string_view host, uint16_t port);

  // Forgets what is remembered; lookups go on.
  void clear();

  struct Stats {
    uint64_t lookups = 0;  // begun
    uint64_t hits = 0;     // answered from memory, failures too
    uint64_t shared = 0;   // joined a lookup that was going on
    size_t entries = 0;
  };
  Stats stats() const;

 private:
  class State;
  const std::shared_ptr<State> state_;
};

}  // namespace gyre

#endif  // GYRE_NET_RESOLVER_H_
