#ifndef GYRE_NET_ACCEPTOR_H_
#define GYRE_NET_ACCEPTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/log.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/accept_metrics.h"
#include "gyre/net/accepted_connection.h"
#include "gyre/net/admission.h"
#include "gyre/net/handshakes.h"
#include "gyre/net/io_result.h"
#include "gyre/net/listen_socket.h"

namespace gyre {

// Accepts the connections of one listening socket on one loop, in batches. Loop thread only.
//
//     accepting --no fd or buffer is left: sheds a batch--> backing off --10 ms ... 1 s, or a
//       |  ^                                                    |          connection ended
//       |  +----------------------------------------------------+
//       |  +----------------------------------------------------+
//       +--a limit says kWait; one connection is held-----> waiting --a connection ended, or the
//       |                                                             rate allows one
//       +--last_call(): what is in the kernel's queue is accepted--> ending --stop()--> stopped
class Acceptor {
 public:
  // Takes the batch: what it leaves in there is closed. It must not destroy the acceptor.
  using Sink = absl::AnyInvocable<void(std::vector<internal::AcceptedConnection>& connections)>;
  // Asked for each connection before it joins a batch: may it come in? It may fill `place`.
  // `last_call` see stop(); a verdict of kWait is a rejection then.
  using Gate = absl::AnyInvocable<internal::Verdict(internal::AcceptedConnection& connection,
                                                    bool last_call)>;

  struct Options {
    // Accepts in one event at most so many, so that a burst does not own the loop.
    size_t max_batch = kMaxBatch;
    // The socket is watched by other loops, too: see Trigger::kExclusive.
    bool exclusive = false;
    // The gate or the sink looks at the peers' addresses.
    bool wants_peer = false;
    // nullptr: everybody comes in.
    Gate gate = nullptr;
    // Asked before a connection is taken out of the queue: true leaves it there, for others who
    // watch the same socket, until a place is given back. nullptr: never.
    std::function<bool()> full = nullptr;
    // Whose places the gate gives, so that it is asked again when one is given back.
    std::shared_ptr<internal::Admission> admission = nullptr;
    // Notified when a connection has been closed, for those who wait for a file descriptor.
    std::shared_ptr<internal::PlaceSignal> freed = nullptr;
    // Shared by the acceptors of one thread.
    std::shared_ptr<internal::AcceptCounters> counters = nullptr;
  };

  // Accepts until stop(), or until it is destroyed, which gives its share of the socket up: the
  // last one closes it.
  static absl::StatusOr<std::unique_ptr<Acceptor>> create(IOLoop& loop,
                                                          std::shared_ptr<ListenSocket> socket,
                                                          Sink sink, Options options);
  static absl::StatusOr<std::unique_ptr<Acceptor>> create(IOLoop& loop, ListenSocket socket,
                                                          Sink sink);

  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Accepts what is in the kernel's queue and hands it to the sink; from now on nothing else is
  // accepted, and where the kernel can be told so (see ListenSocket::refuse_new) nobody new is
  // added to the queue. False: the handshakes of some who asked before are still under way, and are
  // in the queue when it is called again, a round trip later. A client that says nothing more makes
  // it false for as long as the kernel waits for one, a minute.
  bool last_call();
  // last_call(), and gives the socket up. Idempotent.
  void stop();

  static constexpr size_t kMaxBatch = 64;

 private:
  class Watch;
  enum class Step { kGoOn, kStop };

  Acceptor(IOLoop& loop, std::shared_ptr<ListenSocket> socket, Sink sink, Options options);

  absl::Status watch();
  void unwatch();
  void socket_ready();
  bool accept_batch(bool last_call);
  Step accept_next(bool last_call);
  internal::IoResult accept_one(internal::AcceptedConnection& connection);
  Step enter(internal::AcceptedConnection connection, bool last_call);
  Step handle_error(int error, bool last_call);
  void deliver();

  void shed();
  void back_off(int error);
  Step wait_for_place(internal::AcceptedConnection connection, const internal::Verdict& verdict);
  void pause(std::optional<IOLoop::Duration> retry_in);
  void retry_when(internal::PlaceSignal& signal, bool& awaited);
  void resume();

  IOLoop& loop_;
  std::shared_ptr<ListenSocket> socket_;  // nullptr: stopped
  Sink sink_;
  Options options_;
  Watch* watch_ = nullptr;  // while the socket is watched; the loop's
  std::vector<internal::AcceptedConnection> batch_;
  std::optional<internal::AcceptedConnection> held_;  // waits for a place, in front of the queue
  std::optional<internal::Handshakes> handshakes_;    // at the first last_call()
  bool paused_ = false;
  bool place_awaited_ = false;  // a limit's signal will call
  bool end_awaited_ = false;    // and that of a connection that has ended
  UniqueFd spare_;              // given up to accept, and close, when no other is left
  IOLoop::Timeout retry_;
  IOLoop::Duration delay_;
  LogRateLimiter warnings_;
  std::shared_ptr<Acceptor*> alive_;  // for what is posted to the loop
};

}  // namespace gyre

#endif  // GYRE_NET_ACCEPTOR_H_
