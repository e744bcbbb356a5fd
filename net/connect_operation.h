#ifndef GYRE_NET_CONNECT_OPERATION_H_
#define GYRE_NET_CONNECT_OPERATION_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/connect_race.h"
#include "gyre/net/resolver.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_client.h"

namespace gyre::internal {

// One connect() of a TCPClient: resolves, runs a ConnectRace with real sockets, tells the result
// once. Loop thread only. Kept alive by what it waits for.
class ConnectOperation : public std::enable_shared_from_this<ConnectOperation> {
 public:
  struct Target {
    std::string host;
    uint16_t port;
  };

  ConnectOperation(IOLoop& loop, Target target, ConnectOptions options, TCPClient::Callback done);
  ~ConnectOperation();
  ConnectOperation(const ConnectOperation&) = delete;
  ConnectOperation& operator=(const ConnectOperation&) = delete;

  // Begins in the next iteration. Once.
  void start(std::shared_ptr<Resolver> resolver);
  // Closes everything; nobody is told. Idempotent.
  void abandon();

 private:
  using Result = absl::StatusOr<std::shared_ptr<IOStream>>;

  // A socket that waits to be connected. Deletes itself when the loop has released it.
  class Waiter;
  struct Attempt {
    SocketAddress address;
    UniqueFd fd = {};
    Waiter* waiter = nullptr;  // while it is registered
    IOLoop::Timeout retry = {};
    int self_connects = 0;
  };

  absl::Status check_arguments() const;
  void begin(const std::shared_ptr<Resolver>& resolver);
  void resolved(ResolvedAddresses addresses);
  std::vector<SocketAddress> choose(const std::vector<SocketAddress>& addresses) const;
  void give_up(absl::Status why);

  // Does what the race wants, and sets the timer for when it wants more.
  void advance();
  void arm_timer();
  void start_attempt(size_t index);
  void stop_attempt(size_t index);
  // Makes the attempt's socket, bound to the source that was asked for.
  absl::Status open(Attempt& attempt) const;
  absl::Status bind_source(const Attempt& attempt) const;
  void connect_socket(size_t index);
  void socket_ready(size_t index);
  void attempt_connected(size_t index);
  bool is_self_connected(const Attempt& attempt) const;

  void finish(Result result);
  // Lets go of sockets, timers and the token.
  void release_all();

  IOLoop& loop_;
  const Target target_;
  const ConnectOptions options_;
  const std::string what_;
  const SteadyTime began_;
  TCPClient::Callback done_;
  std::optional<ConnectRace> race_;  // once the addresses are known
  std::vector<Attempt> attempts_;
  IOLoop::Timeout timer_;
  uint64_t listener_ = 0;
  bool over_ = false;
};

}  // namespace gyre::internal

#endif  // GYRE_NET_CONNECT_OPERATION_H_
