#include "gyre/net/loop_connections.h"

#include <utility>
#include <vector>

#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"

namespace gyre::internal {

void LoopConnections::add(IOStream& stream, Place place) {
  if (streams_++ == 0) self_ = shared_from_this();
  stream.connections_ = this;
  accepted_.add(1);
  if (place) places_.emplace(&stream, std::move(place));
  for (const std::shared_ptr<Watcher>& watcher : watchers_) watcher->added(stream);
}

void LoopConnections::remove(IOStream& stream) {
  std::shared_ptr<LoopConnections> keep;
  --streams_;
  if (!proxy_headers_.empty()) proxy_headers_.erase(&stream);
  if (streams_ == 0) keep = std::move(self_);
  bytes_received_.add(stream.bytes_received());
  bytes_sent_.add(stream.bytes_sent());
  // Release: who sees the count sees the bytes.
  open_.fetch_sub(1, std::memory_order_release);
  // After the count: who gets the place looks at it.
  if (!places_.empty()) places_.erase(&stream);
  // Later, since the stream's fd is still open.
  if (freed_ != nullptr && freed_->has_waiters()) {
    if (!loop_.add_callback([freed = freed_] { freed->notify(); })) freed_->notify();
  }
  if (!watchers_.empty()) tell_watchers_of_end(stream);
}

void LoopConnections::tell_watchers_of_end(const IOStream& stream) {
  // A watcher may be the last to know this object.
  const std::shared_ptr<LoopConnections> keep = shared_from_this();
  for (const std::shared_ptr<Watcher>& watcher : watchers_) watcher->removed(stream, cutting_off_);
  if (streams_ > 0) return;
  const std::vector<std::shared_ptr<Watcher>> watchers = std::exchange(watchers_, {});
  for (const std::shared_ptr<Watcher>& watcher : watchers) watcher->all_gone();
}

void LoopConnections::cut_off_all() {
  drop_pending();
  cutting_off_ = true;
  for_each([](IOStream& stream) { stream.close(absl::CancelledError("the server was closed")); });
  cutting_off_ = false;
}

void LoopConnections::for_each(absl::FunctionRef<void(IOStream&)> visit) {
  // A copy: visit() may close streams, and a read that fails for it may open others.
  std::vector<std::shared_ptr<IOStream>> streams;
  streams.reserve(streams_);
  LoopAccess::for_each_handler(loop_, this, [&](EventHandler& handler) {
    streams.push_back(static_cast<IOStream&>(handler).shared_from_this());
  });
  for (const std::shared_ptr<IOStream>& stream : streams) {
    if (!stream->closed()) visit(*stream);
  }
}

void LoopConnections::drop_pending() {
  while (!pending_.empty()) (*pending_.begin())->drop();
}

const ProxyHeader* LoopConnections::proxy_header(const IOStream& stream) {
  if (stream.connections_ == nullptr) return nullptr;
  const auto& headers = stream.connections_->proxy_headers_;
  const auto it = headers.find(&stream);
  return it != headers.end() ? &it->second : nullptr;
}

}  // namespace gyre::internal
