#include "gyre/net/proxy_gate.h"

#include <sys/socket.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/idle_timeout.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/log.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"

namespace gyre::internal {
namespace {

// What all gates of a server share.
struct GateSettings {
  ProxyProtocolOptions options;
  AdoptConnection adopt;
  mutable LogRateLimiter warnings = {};

  void warn_of_refused(const SocketAddress& peer, const absl::Status& why) const {
    uint64_t suppressed;
    if (!warnings.allow(&suppressed)) return;
    logf(LogLevel::kWarning,
         "a connection of %s was refused: %s (and %d more since the last message)",
         peer.to_string(), std::string(why.message()), suppressed);
  }
};

// Closes it and gives its place back, and tells the books then: who waits for a place looks for it.
void lose(AcceptedConnection connection, LoopConnections& connections) {
  connection = {};
  connections.count_lost();
}

// A connection whose header is awaited. Deletes itself when the loop has released it.
class ProxyGate final : public EventHandler, public PendingConnection {
 public:
  static void start(std::shared_ptr<const GateSettings> settings, AcceptedConnection connection,
                    LoopConnections& connections, const SocketAddress& peer) {
    std::unique_ptr<ProxyGate> gate(
        new ProxyGate(std::move(settings), std::move(connection), connections, peer));
    // It is there already in most cases.
    if (!gate->read_header()) gate->wait(std::move(gate));
  }

 private:
  ProxyGate(std::shared_ptr<const GateSettings> settings, AcceptedConnection connection,
            LoopConnections& connections, const SocketAddress& peer)
      : settings_(std::move(settings)),
        connections_(connections.shared_from_this()),
        peer_(peer),
        connection_(std::move(connection)),
        parser_(settings_->options.verify_checksum),
        timeout_(connections.loop(),
                 [this] { refuse(absl::DeadlineExceededError("no PROXY header in time")); }) {}

  void wait(std::unique_ptr<ProxyGate> self) {
    if (absl::Status status = LoopAccess::add(connections_->loop(), connection_.fd.get(), *this,
                                              IOLoop::READ, Trigger::kLevel);
        !status.ok()) {
      return refuse(status);
    }
    static_cast<void>(self.release());
    registered_ = true;
    connections_->add_pending(*this);
    timeout_.start(settings_->options.header_timeout);
  }

  void handle_events(int, uint32_t) override { static_cast<void>(read_header()); }
  void drop() override { end(/*admitted=*/false); }
  void released() override {
    if (registered_) {  // the loop closes
      connections_->remove_pending(*this);
      connections_->count_lost();
    }
    delete this;
  }
  void close_fd(int) override {}  // released() does
  std::string describe() const override {
    return "a connection whose PROXY header is awaited, from " + peer_.to_string();
  }

  // False: there is more to come. Otherwise it is over, and this may be gone.
  bool read_header() {
    // Looked at first and then taken, so that not one byte of what follows is.
    char buffer[512];
    for (;;) {
      const IoResult seen = peek(connection_.fd.get(), buffer, sizeof(buffer));
      if (seen.would_block()) return false;
      if (!seen.ok() || seen.count == 0) {
        ended(seen);
        return true;
      }
      const size_t taken = parser_.feed({buffer, static_cast<size_t>(seen.count)});
      if (const IoResult result = receive(connection_.fd.get(), buffer, taken); !result.ok()) {
        ended(result);
        return true;
      }
      if (parser_.state() == ProxyHeaderParser::State::kReading) continue;
      header_read();
      return true;
    }
  }

  // Without a byte it is a balancer's check whether somebody listens.
  void ended(const IoResult& result) {
    if (parser_.bytes_taken() == 0) return end(/*admitted=*/false);
    refuse(result.ok() ? absl::OutOfRangeError("it ended within its PROXY header")
                       : errno_status(result.error, "recv"));
  }

  void header_read() {
    if (parser_.state() == ProxyHeaderParser::State::kFailed) return refuse(parser_.status());
    if (parser_.header().socket_type == SOCK_DGRAM) {
      return refuse(absl::InvalidArgumentError("PROXY header: datagrams over a stream"));
    }
    end(/*admitted=*/true);
  }

  void refuse(const absl::Status& why) {
    settings_->warn_of_refused(peer_, why);
    end(/*admitted=*/false);
  }

  // Nothing of this is used after its registration is gone, and the stream gets its own then.
  void end(bool admitted) {
    const std::shared_ptr<const GateSettings> settings = settings_;
    const std::shared_ptr<LoopConnections> connections = connections_;
    const ProxyHeader header = parser_.header();
    AcceptedConnection connection = std::move(connection_);
    if (std::exchange(registered_, false)) {
      timeout_.stop();
      connections->remove_pending(*this);
      LoopAccess::remove(connections->loop(), connection.fd.get());
    }
    if (!admitted) return lose(std::move(connection), *connections);
    settings->adopt(std::move(connection), *connections, &header);
  }

  const std::shared_ptr<const GateSettings> settings_;
  const std::shared_ptr<LoopConnections> connections_;
  const SocketAddress peer_;
  AcceptedConnection connection_;
  bool registered_ = false;
  ProxyHeaderParser parser_;
  IdleTimeout timeout_;
};

void let_in(const std::shared_ptr<const GateSettings>& settings, AcceptedConnection connection,
            LoopConnections& connections) {
  const absl::StatusOr<SocketAddress> peer = SocketAddress::peer_of(connection.fd.get());
  if (!peer.ok()) return lose(std::move(connection), connections);  // it has been reset
  if (settings->options.trusted.contains(*peer)) {
    return ProxyGate::start(settings, std::move(connection), connections, *peer);
  }
  if (settings->options.untrusted == ProxyProtocolOptions::Untrusted::kPassThrough) {
    return settings->adopt(std::move(connection), connections, nullptr);
  }
  settings->warn_of_refused(
      *peer, absl::PermissionDeniedError("it is no trusted source of PROXY headers"));
  lose(std::move(connection), connections);
}

}  // namespace

absl::AnyInvocable<void(AcceptedConnection connection, LoopConnections& loop) const> behind_proxy(
    std::optional<ProxyProtocolOptions> options, AdoptConnection adopt) {
  if (!options.has_value()) {
    return [adopt = std::move(adopt)](AcceptedConnection connection, LoopConnections& loop) {
      adopt(std::move(connection), loop, nullptr);
    };
  }
  const std::shared_ptr<const GateSettings> settings(
      new GateSettings{*std::move(options), std::move(adopt)});
  return [settings](AcceptedConnection connection, LoopConnections& loop) {
    let_in(settings, std::move(connection), loop);
  };
}

}  // namespace gyre::internal
