#include "gyre/net/connection_opener.h"

#include <string>
#include <utility>

#include "gyre/loop/log.h"
#include "gyre/loop/loop_access.h"

namespace gyre::internal {
namespace {

void warn_of_lost_connection(const absl::Status& status) {
  static constinit LogRateLimiter limiter;
  uint64_t suppressed;
  if (!limiter.allow(&suppressed)) return;
  logf(LogLevel::kWarning,
       "a connection was closed at once: %s (and %d more since the last message)",
       status.ToString(), suppressed);
}

}  // namespace

void ConnectionOpener::open(AcceptedConnection connection, LoopConnections& loop,
                            const ProxyHeader* header) const {
  absl::StatusOr<std::shared_ptr<IOStream>> stream =
      IOStream::create(loop.loop(), std::move(connection.fd), options_);
  if (!stream.ok()) {
    loop.count_lost();
    return warn_of_lost_connection(stream.status());
  }
  loop.add(**stream, std::move(connection.place));
  if (header != nullptr) loop.set_proxy_header(**stream, *header);
  hand_to_handler(*std::move(stream));
}

void ConnectionOpener::hand_to_handler(std::shared_ptr<IOStream> stream) const {
  std::shared_ptr<IOStream> unhandled = stream;
  IOLoop& loop = stream->loop();
  LoopAccess::call(loop, [&] {
    handler_(std::move(stream));
    unhandled = nullptr;
  });
  // A handler that throws leaves no connection behind, and takes none along.
  if (unhandled != nullptr) unhandled->close(absl::InternalError("the connection's handler threw"));
}

}  // namespace gyre::internal
