#ifndef GYRE_NET_ACCEPTOR_H_
#define GYRE_NET_ACCEPTOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/log.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/listen_socket.h"

namespace gyre {

// Accepts the connections of one listening socket on one loop, in batches. Loop thread only.
class Acceptor {
 public:
  // Takes the batch: what it leaves in there is closed. It must not destroy the acceptor.
  using Sink = absl::AnyInvocable<void(std::vector<UniqueFd>& connections)>;

  // Accepts until it is destroyed, which closes the socket.
  static absl::StatusOr<std::unique_ptr<Acceptor>> create(IOLoop& loop, ListenSocket socket,
                                                          Sink sink);

  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Accepts in one event at most so many, so that a burst of connections does not own the loop.
  static constexpr size_t kMaxBatch = 64;

 private:
  Acceptor(IOLoop& loop, ListenSocket socket, Sink sink);

  void accept_batch();
  bool skip_or_back_off(int error);
  void back_off();

  IOLoop& loop_;
  // Shared with the loop, which closes it when it is closed together with its fds.
  const std::shared_ptr<ListenSocket> socket_;
  Sink sink_;
  std::vector<UniqueFd> batch_;
  IOLoop::Timeout retry_;
  IOLoop::Duration delay_;
  LogRateLimiter warnings_;
};

}  // namespace gyre

#endif  // GYRE_NET_ACCEPTOR_H_
